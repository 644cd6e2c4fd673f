// grid.c - stemforge.h: what the stems of a request were made on, as a click and as MIDI.
#include "audio/click.h"
#include "audio/file.h"
#include "audio/post.h"
#include "base/mem.h"
#include "engine/followed.h"
#include "request/check.h"
#include "request/length.h"
#include "request/midi.h"
#include "stemforge.h"

#define WAV_MAX ((size_t)1 << 28)

// Its beats are known from the request alone.
static status check_even(const stemforge_request *r, err *e) {
    status rc = check_first(r, e);
    if (rc) return rc;
    if (followed_asks(r, "tempo"))
        return err_set(e, ERR_ARG,
                       "expected a tempo of the request's own, found stems that follow a "
                       "recording: their beats are the recording's");
    if (!(r->bpm > 0))
        return err_set(e, ERR_ARG, "expected a tempo (bpm), found none: its beats are not known");
    return OK;
}

static status write_click(buf *out, const stemforge_request *r, err *e) {
    int64_t frames = length_frames(r, POST_RATE);
    const meter *m = meter_of(r->meter);
    float *x = mem_alloc((size_t)frames * POST_CHANNELS * sizeof *x);
    if (!x) return err_set(e, ERR_OOM, "no memory for %lld frames", (long long)frames);
    click_fill(x, frames, POST_RATE, r->bpm / m->pulse, (int)(m->quarters / m->pulse));
    const file_tags tags = {.title = "click",
                            .software = "stemforge " STEMFORGE_VERSION,
                            .music = {.bpm = r->bpm,
                                      .beats_per_bar = m->quarters,
                                      .whole = length_bars(r) > 0,
                                      .loop = r->loop}};
    status rc = file_encode(out, FILE_WAV16, x, frames, POST_CHANNELS, POST_RATE, &tags, e);
    mem_free(x);
    return rc;
}

typedef status (*grid_writer)(buf *out, const stemforge_request *r, err *e);

static status write_file(grid_writer f, size_t most, const stemforge_request *r, uint8_t **file,
                         size_t *size, err *e) {
    buf out;
    buf_init(&out, most);
    status rc = check_even(r, e);
    if (!rc) rc = f(&out, r, e);
    if (!rc) rc = buf_status(&out, e);
    if (rc) buf_deinit(&out);
    *size = rc ? 0 : out.n;
    *file = rc ? NULL : (uint8_t *)buf_take(&out);
    return rc;
}

stemforge_status stemforge_click(const stemforge_request *r, uint8_t **wav, size_t *size,
                                 stemforge_error *e) {
    return write_file(write_click, WAV_MAX, r, wav, size, e);
}

stemforge_status stemforge_midi(const stemforge_request *r, uint8_t **midi, size_t *size,
                                stemforge_error *e) {
    return write_file(midi_write, MIDI_BYTES_MAX, r, midi, size, e);
}
