// heardjson.c - see heardjson.h.
#include "request/heardjson.h"

#include <math.h> // floor: exact

static double rounded(double v, double parts) {
    return floor(v * parts + 0.5) / parts;
}

static bool add_chords(json *to, const stemforge_heard *h) {
    json *names = json_new_array();
    bool ok = names != NULL;
    for (size_t i = 0; i < h->chord_count; i++)
        ok = json_add(names, json_new_str(h->chords[i])) && ok;
    ok = json_set(to, "chord_progression", names) && ok;
    return json_set_num(to, "chords_sure", rounded(h->chords_sure, 100)) && ok;
}

json *heardjson_write(const stemforge_heard *h) {
    json *v = json_new_object();
    bool ok = v != NULL;
    if (h->bpm > 0)
        ok = ok && json_set_num(v, "target_bpm", rounded(h->bpm, 100)) &&
             json_set_num(v, "tempo_sure", rounded(h->tempo_sure, 100)) &&
             json_set_num(v, "first_bar_seconds", rounded(h->first_bar_seconds, 1000)) &&
             json_set_int(v, "bars", (int64_t)h->bars);
    if (h->chord_count) ok = ok && add_chords(v, h);
    if (h->key) ok = ok && json_set_str(v, "key", h->key);
    if (ok) return v;
    json_free(v);
    return NULL;
}

void heardjson_say(buf *out, const stemforge_heard *h) {
    if (h->bpm > 0)
        buf_printf(out, "%.1f bpm (%.2f sure), %zu bars from %.2f s", h->bpm, h->tempo_sure,
                   h->bars, h->first_bar_seconds);
    if (h->key) buf_printf(out, "%s%s", out->n ? ", " : "", h->key);
    for (size_t i = 0; i < h->chord_count; i++)
        buf_printf(out, "%s%s", i ? " " : ", ", h->chords[i]);
    if (h->chord_count) buf_printf(out, " (%.0f%% sure)", h->chords_sure * 100);
}
