// options.c - see options.h.
#include "engine/options.h"

#include <string.h>

#include "engine/followed.h"
#include "model/weights.h"

_Static_assert((int)STEMFORGE_WEIGHTS_Q4 == (int)WEIGHTS_Q4 &&
                   (int)STEMFORGE_WEIGHTS_BF16 == (int)WEIGHTS_BF16,
               "stemforge.h has the numbers of model/weights.h");

stemforge_options stemforge_options_default(void) {
    const follow_limits l = FOLLOW_LIMITS;
    return (stemforge_options){.batch_max = OPTIONS_PLACES,
                               .follow_seconds_max = l.seconds_max,
                               .follow_tempo_sure = l.tempo_sure,
                               .follow_chords_sure = l.chords_sure};
}

bool stemforge_weights_parse(const char *name, stemforge_weights *out) {
    int type = WEIGHTS_AS_STORED;
    while (type <= WEIGHTS_Q4 && strcmp(name, weights_type_name((weights_type)type)) != 0) type++;
    if (type > WEIGHTS_Q4) return false;
    *out = (stemforge_weights)type;
    return true;
}

static status check_follow(const stemforge_options *o, err *e) {
    if (!(o->follow_seconds_max >= 0.1 && o->follow_seconds_max <= FOLLOW_LIMITS.seconds_max))
        return err_field(e, "follow_seconds_max", "expected 0.1 to %g, found %g",
                         FOLLOW_LIMITS.seconds_max, o->follow_seconds_max);
    if (!(o->follow_tempo_sure >= 0 && o->follow_tempo_sure <= 1))
        return err_field(e, "follow_tempo_sure", "expected 0 to 1, found %g", o->follow_tempo_sure);
    if (!(o->follow_chords_sure >= 0 && o->follow_chords_sure <= 1))
        return err_field(e, "follow_chords_sure", "expected 0 to 1, found %g",
                         o->follow_chords_sure);
    return OK;
}

status options_check(const stemforge_options *o, err *e) {
    if (!o->model || !*o->model) return err_set(e, ERR_ARG, "no model was named");
    if (o->batch_max < 0 || o->batch_max > OPTIONS_PLACES_MAX)
        return err_field(e, "batch_max", "expected 0 to %d, found %d", OPTIONS_PLACES_MAX,
                         o->batch_max);
    int kind = (int)o->weights;
    if (kind >= (int)WEIGHTS_AS_STORED && kind <= (int)WEIGHTS_Q4) return check_follow(o, e);
    return err_field(e, "weights", "expected stored, f32, bf16, q8 or q4 (0 to %d), found %d",
                     (int)WEIGHTS_Q4, kind);
}
