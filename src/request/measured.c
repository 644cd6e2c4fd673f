// measured.c - see measured.h.
#include "request/measured.h"

#include <math.h> // floor: exact

#define SILENT (-70.0)

static double rounded(double v, double parts) {
    return floor(v * parts + 0.5) / parts;
}

static bool set_names(json *j, const char *key, const char *const *names, size_t n) {
    json *list = json_new_array();
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < n; i++) ok = json_add(list, json_new_str(names[i]));
    return json_set(j, key, list) && ok;
}

static bool set_rhythm(json *j, const stemforge_measured *m) {
    if (m->bpm <= 0) return true;
    return json_set_num(j, "bpm", rounded(m->bpm, 100)) &&
           json_set_num(j, "first_beat_seconds", rounded(m->first_beat_seconds, 1000));
}

static bool set_harmony(json *j, const stemforge_measured *m) {
    bool ok = !m->key || json_set_str(j, "key", m->key);
    if (m->chord_count) ok = set_names(j, "chords", m->chords, m->chord_count) && ok;
    return ok;
}

static bool set_type(json *j, const stemforge_measured *m) {
    return !m->type || (json_set_str(j, "type", m->type) &&
                        json_set_num(j, "type_share", rounded(m->type_share, 1000)) &&
                        json_set_num(j, "leak", rounded(m->leak, 1000)));
}

static bool set_loudness(json *j, const stemforge_measured *m) {
    if (m->lufs <= SILENT) return true;
    return json_set_num(j, "lufs", rounded(m->lufs, 10)) &&
           json_set_num(j, "gain_db", rounded(m->gain_db, 10));
}

json *measured_json(const stemforge_measured *m) {
    json *j = json_new_object();
    bool ok = j && set_rhythm(j, m) && set_harmony(j, m) && set_type(j, m) &&
              (m->held_pitch < 0 || json_set_num(j, "held_pitch", rounded(m->held_pitch, 100))) &&
              set_loudness(j, m) &&
              (!m->fault_count || set_names(j, "faults", m->faults, m->fault_count));
    if (ok) return j;
    json_free(j);
    return NULL;
}
