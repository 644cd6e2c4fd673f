// sound.c - see sound.h.
#include "engine/musicgen/sound.h"

#include <assert.h>
#include <string.h>

int64_t sound_codebooks(const pipeline *p) {
    return mg_get_config(p->lm)->codebooks;
}

int64_t sound_frames(const pipeline *p, int64_t samples) {
    return encodec_frame_count(p->codec, samples);
}

int64_t sound_samples(const pipeline *p, int64_t frames) {
    return frames * encodec_get_config(p->codec)->hop;
}

// Codes from outside, or of a codec that has more vectors than the decoder has codes.
static status check_codes(const pipeline *p, const int32_t *codes, int64_t n, err *e) {
    int64_t vocab = mg_get_config(p->lm)->vocab;
    for (int64_t i = 0; i < n; i++) {
        if (codes[i] >= 0 && codes[i] < vocab) continue;
        return err_set(e, ERR_FORMAT, "code %lld is %d, the decoder knows 0 to %lld", (long long)i,
                       codes[i], (long long)vocab - 1);
    }
    return OK;
}

// Encodes one channel.
static status encode(const pipeline *p, const sound_codec *d, const float *plane, int64_t n,
                     int32_t *codes, err *e) {
    const encodec_encoded to = {.codes = codes};
    return d->gpu ? gpu_codec_encode(d->gpu, plane, n, &to, e)
                  : encodec_encode(p->codec, d->c, plane, n, &to, e);
}

status sound_encode(const pipeline *p, const sound_codec *d, const float *planes, int64_t n,
                    int32_t *codes, err *e) {
    const mg_config *cfg = mg_get_config(p->lm);
    int64_t books = cfg->codebooks / cfg->channels, frames = encodec_frame_count(p->codec, n);
    int32_t *one = mem_alloc((size_t)(books * frames) * sizeof *one);
    if (!one) return err_set(e, ERR_OOM, "no memory for %lld frames", (long long)frames);
    status rc = OK;
    for (int64_t ch = 0; !rc && ch < cfg->channels; ch++) {
        rc = encode(p, d, planes + ch * n, n, one, e);
        // The rows of the channels interleave.
        for (int64_t q = 0; !rc && q < books; q++) {
            memcpy(codes + (q * cfg->channels + ch) * frames, one + q * frames,
                   (size_t)frames * sizeof *one);
        }
    }
    mem_free(one);
    if (!rc) rc = check_codes(p, codes, cfg->codebooks * frames, e);
    return rc ? err_within(e, rc, "the sound as codes (audio_encoder.codebook_size %lld)",
                           (long long)encodec_get_config(p->codec)->codes)
              : OK;
}

status sound_decode_stems(const pipeline *p, const sound_codec *d, const sound_stem *list, size_t n,
                          err *e) {
    encodec_codes in[SOUND_TOGETHER];
    float *planes[2 * SOUND_TOGETHER], **plane = planes;
    int channels = (int)mg_get_config(p->lm)->channels;
    assert(n <= SOUND_TOGETHER);
    for (size_t i = 0; i < n; i++) {
        in[i] = (encodec_codes){list[i].codes, list[i].frames, list[i].frames, channels};
        for (int ch = 0; ch < channels; ch++)
            *plane++ = list[i].planes + ch * sound_samples(p, list[i].frames);
    }
    return d->gpu ? gpu_codec_decode(d->gpu, in, n, planes, e)
                  : encodec_decoder_run(d->cpu, d->c, in, n, planes, e);
}

status sound_decode(const pipeline *p, compute *c, const int32_t *codes, int64_t frames,
                    float *planes, err *e) {
    sound_codec d = {.c = c};
    status rc = encodec_decoder_create(&d.cpu, p->codec, (int)mg_get_config(p->lm)->channels, e);
    if (rc) return rc;
    rc = sound_decode_stems(p, &d, &(sound_stem){codes, frames, planes}, 1, e);
    encodec_decoder_free(d.cpu);
    return rc;
}

static status copy_codes(const pipeline *p, const tensor *t, int32_t **codes, int64_t *frames,
                         err *e) {
    const mg_config *cfg = mg_get_config(p->lm);
    if (!t || t->type != DT_I32 || t->dims != 2 || t->shape[0] != cfg->codebooks ||
        t->shape[1] < 1) {
        return err_set(e, ERR_FORMAT, "expected a tensor \"codes\" [%lld, frames] of I32",
                       (long long)cfg->codebooks);
    }
    int64_t n = tensor_count(t);
    int32_t *copy = mem_alloc((size_t)n * sizeof *copy); // aligned, unlike the file
    if (!copy) return err_set(e, ERR_OOM, "no memory for %lld codes", (long long)n);
    memcpy(copy, t->data, (size_t)n * sizeof *copy);
    status rc = check_codes(p, copy, n, e);
    if (rc) {
        mem_free(copy);
        return rc;
    }
    *codes = copy;
    *frames = t->shape[1];
    return OK;
}

status sound_read_codes(const pipeline *p, const char *path, int32_t **codes, int64_t *frames,
                        err *e) {
    st_file *f;
    *codes = NULL;
    *frames = 0;
    status rc = st_open(&f, path, e);
    if (rc) return rc;
    rc = copy_codes(p, st_find(f, "codes"), codes, frames, e);
    if (rc) err_within(e, rc, "%s", path);
    if (!rc) rc = st_check(f, e);
    if (rc) {
        mem_free(*codes);
        *codes = NULL;
    }
    st_close(f);
    return rc;
}

status sound_write_codes(const pipeline *p, const char *path, const int32_t *codes, int64_t frames,
                         err *e) {
    const st_entry entry = {.name = "codes",
                            .t = {.type = DT_I32,
                                  .dims = 2,
                                  .shape = {mg_get_config(p->lm)->codebooks, frames},
                                  .data = codes}};
    return st_write(path, &entry, 1, NULL, e);
}
