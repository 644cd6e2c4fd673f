// metadata.c - see metadata.h.
#include "engine/metadata.h"

#include "request/fields.h"
#include "request/length.h"
#include "request/stems.h"

#define COMMENT_MAX ((size_t)64 << 10)
#define OCTAVE_FROM_C 60 // MIDI note
#define CHORDS_SHOWN 64

// ", top-k 250"
static void add_setting(buf *out, const field *f, const stemforge_request *r) {
    if (f->kind != FIELD_SEED && field_number(f, r) < 0) return; // the model has nothing like it
    buf_printf(out, ", %s ", f->flag);
    if (f->kind == FIELD_SEED)
        buf_printf(out, "%llu", (unsigned long long)field_seed(f, r));
    else
        buf_printf(out, "%g", field_number(f, r));
}

// What was heard in it, so that a file alone says it: " | heard 113.00 bpm from 0.003 s, A minor,
// Am F, piano 0.60, leak 0.02, -14.2 LUFS".
static void add_heard(buf *out, const stemforge_measured *m) {
    buf_add_str(out, " | heard");
    if (m->bpm > 0) buf_printf(out, " %.2f bpm from %.3f s,", m->bpm, m->first_beat_seconds);
    if (m->key) buf_printf(out, " %s,", m->key);
    for (size_t i = 0; i < m->chord_count && i < CHORDS_SHOWN; i++)
        buf_printf(out, " %s%s", m->chords[i], i + 1 == m->chord_count ? "," : "");
    if (m->chord_count > CHORDS_SHOWN) buf_add_str(out, " ...,");
    if (m->type) buf_printf(out, " %s %.2f, leak %.2f,", m->type, m->type_share, m->leak);
    buf_printf(out, " %.1f LUFS", m->lufs);
}

static void add_comment(buf *out, const stemforge_stem *s) {
    buf_printf(out, "%s | model %s", s->prompt, s->model);
    for (size_t i = 0; i < field_count; i++)
        if (field_rows[i].draws) add_setting(out, &field_rows[i], s->request);
    if (s->take) buf_printf(out, ", take %d", s->take);
    buf_printf(out, ", %g s", length_seconds(s->request));
    if (s->measured) add_heard(out, s->measured);
}

static void set_music(metadata *m, const stemforge_stem *s) {
    const stemforge_request *r = s->request;
    key k;
    int type = stems_find(s->name);
    m->tags.music = (music_facts){.bpm = r->bpm,
                                  .beats_per_bar = meter_of(r->meter)->quarters,
                                  .whole = length_bars(r) > 0,
                                  .loop = r->loop};
    if (!r->key || chords_parse_key(&k, r->key, NULL)) return;
    chords_key_text(m->key, k);
    m->tags.music.key = m->key;
    if (type >= 0 && stem_types[type].pitched) m->tags.music.root = OCTAVE_FROM_C + k.tonic;
}

status metadata_init(metadata *out, const stemforge_stem *s, err *e) {
    *out = (metadata){0};
    buf_init(&out->comment, COMMENT_MAX);
    add_comment(&out->comment, s);
    out->tags = (file_tags){.title = s->name,
                            .comment = buf_str(&out->comment),
                            .software = "stemforge " STEMFORGE_VERSION};
    set_music(out, s);
    return buf_status(&out->comment, e);
}

void metadata_deinit(metadata *m) {
    buf_deinit(&m->comment);
}
