// front.c - see front.h.
#include "engine/front.h"

#include "audio/file.h"
#include "audio/join.h"
#include "base/mem.h"
#include "request/fields.h"
#include "request/length.h"

#define SECONDS_MAX 600

static void leave_out_fade(file_clip *clip, const char *path, warnings *said) {
    int64_t fade = join_find_fade(clip->x, clip->frames, clip->channels, clip->rate);
    if (!fade || fade >= clip->frames) return;
    clip->frames -= fade;
    warnings_add(said, WARNING_NOT_USED, "continue_from",
                 "the last %.3g s of %s fade out: they are left out, and the stems go on from "
                 "%.3f s",
                 (double)fade / clip->rate, path, (double)clip->frames / clip->rate);
}

status front_open(front *out, const stemforge_request *r, int rate, int channels, warnings *said,
                  err *e) {
    *out = (front){0};
    file_clip clip = {0};
    float *planes = NULL;
    int64_t frames = 0;
    file_limits limits = file_limits_default();
    limits.seconds_max = SECONDS_MAX;
    status rc = file_read(&clip, r->continue_from, &limits, e);
    if (!rc) leave_out_fade(&clip, r->continue_from, said);
    if (!rc) rc = file_clip_planes(&out->planes, &out->samples, &clip, rate, channels, e);
    if (!rc) rc = file_clip_planes(&planes, &frames, &clip, POST_RATE, POST_CHANNELS, e);
    file_clip_deinit(&clip);
    if (!rc) out->x = mem_alloc((size_t)(frames * POST_CHANNELS) * sizeof *out->x);
    if (!rc && !out->x) rc = err_set(e, ERR_OOM, "no memory for %s", r->continue_from);
    for (int64_t i = 0; !rc && i < frames * POST_CHANNELS; i++)
        out->x[i] = planes[i % POST_CHANNELS * frames + i / POST_CHANNELS];
    out->frames = frames;
    mem_free(planes);
    if (rc) front_close(out);
    return rc;
}

status front_settle(stemforge_request *r, double given, err *e) {
    double most = fields_find("seconds")->hi;
    if (r->more_seconds > 0 && given + r->more_seconds > most)
        return err_field(e, "more_seconds",
                         "expected at most %g s behind the %.1f s of %s, found %g", most - given,
                         given, r->continue_from, r->more_seconds);
    if (r->more_seconds > 0) r->seconds = given + r->more_seconds;
    if (given < length_seconds(r)) return OK;
    return err_field(e, "seconds", "expected more than the %.1f s of %s to go on from, found %g",
                     given, r->continue_from, length_seconds(r));
}

void front_close(front *f) {
    mem_free(f->x);
    mem_free(f->planes);
    *f = (front){0};
}
