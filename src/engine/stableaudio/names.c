// names.c - see names.h.
#include "engine/stableaudio/names.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define NAME_MAX_LEN 200

// --- rules

// What of the tensor: WHOLE as it is, FLAT as [n], COLUMN as [1, n, 1], or part k of n of its rows.
typedef enum {
    WHOLE,
    FLAT,
    COLUMN,
    PART_0_OF_2,
    PART_1_OF_2,
    PART_0_OF_3,
    PART_1_OF_3,
    PART_2_OF_3
} view;

// In `from`, # is a number, which takes the place of # in `to`; a number in front of which `to` has
// ~ becomes less by one; * at the end is the rest of the name.
typedef struct {
    const char *from, *to;
    view what;
} rule;

#define NET "model.model."
#define CODEC "pretransform.model."
#define SECONDS "conditioner.conditioners.seconds_"
#define LAYER NET "transformer.layers.#."
#define BLOCK "transformer_blocks.#."

static const rule rules[] = {
    {NET "timestep_features.weight", "time_proj.weight", FLAT},
    {NET "to_timestep_embed.*", "timestep_proj.*", WHOLE},
    {NET "to_global_embed.*", "global_proj.*", WHOLE},
    {NET "to_cond_embed.*", "cross_attention_proj.*", WHOLE},
    {NET "preprocess_conv.*", "preprocess_conv.*", WHOLE},
    {NET "postprocess_conv.*", "postprocess_conv.*", WHOLE},
    {NET "transformer.project_in.*", "proj_in.*", WHOLE},
    {NET "transformer.project_out.*", "proj_out.*", WHOLE},
    {NET "transformer.rotary_pos_emb.inv_freq", NULL,
     WHOLE}, // made anew: a file of f16 has it rounded
    {LAYER "pre_norm.gamma", BLOCK "norm1.weight", WHOLE},
    {LAYER "pre_norm.beta", BLOCK "norm1.bias", WHOLE},
    {LAYER "self_attn.to_qkv.weight", BLOCK "attn1.to_q.weight", PART_0_OF_3},
    {LAYER "self_attn.to_qkv.weight", BLOCK "attn1.to_k.weight", PART_1_OF_3},
    {LAYER "self_attn.to_qkv.weight", BLOCK "attn1.to_v.weight", PART_2_OF_3},
    {LAYER "self_attn.to_out.weight", BLOCK "attn1.to_out.0.weight", WHOLE},
    {LAYER "self_attn.q_norm.*", BLOCK "attn1.norm_q.*", WHOLE},
    {LAYER "self_attn.k_norm.*", BLOCK "attn1.norm_k.*", WHOLE},
    {LAYER "cross_attend_norm.gamma", BLOCK "norm2.weight", WHOLE},
    {LAYER "cross_attend_norm.beta", BLOCK "norm2.bias", WHOLE},
    {LAYER "cross_attn.to_q.weight", BLOCK "attn2.to_q.weight", WHOLE},
    {LAYER "cross_attn.to_kv.weight", BLOCK "attn2.to_k.weight", PART_0_OF_2},
    {LAYER "cross_attn.to_kv.weight", BLOCK "attn2.to_v.weight", PART_1_OF_2},
    {LAYER "cross_attn.to_out.weight", BLOCK "attn2.to_out.0.weight", WHOLE},
    {LAYER "cross_attn.q_norm.*", BLOCK "attn2.norm_q.*", WHOLE},
    {LAYER "cross_attn.k_norm.*", BLOCK "attn2.norm_k.*", WHOLE},
    {LAYER "ff_norm.gamma", BLOCK "norm3.weight", WHOLE},
    {LAYER "ff_norm.beta", BLOCK "norm3.bias", WHOLE},
    {LAYER "ff.ff.0.proj.*", BLOCK "ff.net.0.proj.*", WHOLE},
    {LAYER "ff.ff.2.*", BLOCK "ff.net.2.*", WHOLE},
    {SECONDS "start.embedder.embedding.*", "start_number_conditioner.time_positional_embedding.*",
     WHOLE},
    {SECONDS "total.embedder.embedding.*", "end_number_conditioner.time_positional_embedding.*",
     WHOLE},
    {"conditioner.conditioners.prompt.proj_out.*", "text_projection.*", WHOLE},
};

// The codec's layers are numbered through in the original. Both halves have the same residual
// units, which stand behind the decoder's transposed convolution and before the encoder's other.
#define UNIT_RULES(side, layer, unit)                                                              \
    {CODEC side ".layers.#.layers." layer ".layers.0.*",                                           \
     side ".block.~#.res_unit" unit ".snake1.*", COLUMN},                                          \
        {CODEC side ".layers.#.layers." layer ".layers.1.*",                                       \
         side ".block.~#.res_unit" unit ".conv1.*", WHOLE},                                        \
        {CODEC side ".layers.#.layers." layer ".layers.2.*",                                       \
         side ".block.~#.res_unit" unit ".snake2.*", COLUMN},                                      \
    {                                                                                              \
        CODEC side ".layers.#.layers." layer ".layers.3.*",                                        \
            side ".block.~#.res_unit" unit ".conv2.*", WHOLE                                       \
    }

static const rule codec_rules[] = {
    UNIT_RULES("decoder", "2", "1"),
    UNIT_RULES("decoder", "3", "2"),
    UNIT_RULES("decoder", "4", "3"),
    UNIT_RULES("encoder", "0", "1"),
    UNIT_RULES("encoder", "1", "2"),
    UNIT_RULES("encoder", "2", "3"),
    {CODEC "decoder.layers.#.layers.0.*", "decoder.block.~#.snake1.*", COLUMN},
    {CODEC "decoder.layers.#.layers.1.*", "decoder.block.~#.conv_t1.*", WHOLE},
    {CODEC "encoder.layers.#.layers.3.*", "encoder.block.~#.snake1.*", COLUMN},
    {CODEC "encoder.layers.#.layers.4.*", "encoder.block.~#.conv1.*", WHOLE},
    // Behind the stages, whatever their number:
    {CODEC "decoder.layers.#.alpha", "decoder.snake1.alpha", COLUMN},
    {CODEC "decoder.layers.#.beta", "decoder.snake1.beta", COLUMN},
    {CODEC "encoder.layers.#.alpha", "encoder.snake1.alpha", COLUMN},
    {CODEC "encoder.layers.#.beta", "encoder.snake1.beta", COLUMN},
    {CODEC "decoder.layers.0.*", "decoder.conv1.*", WHOLE},
    {CODEC "encoder.layers.0.*", "encoder.conv1.*", WHOLE},
    {CODEC "decoder.layers.#.weight*", "decoder.conv2.weight*", WHOLE},
    {CODEC "decoder.layers.#.parametrizations.*", "decoder.conv2.parametrizations.*", WHOLE},
    {CODEC "encoder.layers.#.weight*", "encoder.conv2.weight*", WHOLE},
    {CODEC "encoder.layers.#.parametrizations.*", "encoder.conv2.parametrizations.*", WHOLE},
    {CODEC "encoder.layers.#.bias", "encoder.conv2.bias", WHOLE},
};

// --- names

// What a rule's # and * stand for in a name.
typedef struct {
    long number;
    const char *rest;
} match;

static bool matches(match *m, const char *pattern, const char *name) {
    for (; *pattern; pattern++) {
        if (*pattern == '*') {
            m->rest = name;
            return *name != 0;
        }
        if (*pattern == '#') {
            char *end;
            if (!isdigit((unsigned char)*name)) return false;
            m->number = strtol(name, &end, 10);
            if (m->number > 9999) return false;
            name = end;
        } else if (*name++ != *pattern) {
            return false;
        }
    }
    return *name == 0;
}

// False: no room.
static bool write_name(char out[NAME_MAX_LEN], const char *to, const match *m) {
    size_t n = 0;
    long less = 0;
    for (; *to && n < NAME_MAX_LEN; to++) {
        size_t room = NAME_MAX_LEN - n;
        if (*to == '~')
            less = 1;
        else if (*to == '#')
            n += (size_t)snprintf(out + n, room, "%ld", m->number - less);
        else if (*to == '*')
            n += (size_t)snprintf(out + n, room, "%s", m->rest);
        else
            n += (size_t)snprintf(out + n, room, "%c", *to);
    }
    return n < NAME_MAX_LEN;
}

// --- tensors

typedef struct {
    const char *name;
    tensor t;
} entry;

struct sa_names {
    entry *list; // by name
    size_t count, cap;
    const st_file *file;
    arena own;
};

static tensor part_of(const tensor *t, int part, int parts) {
    tensor out = *t;
    if (t->dims != 2 || t->shape[0] % parts) return out; // the wrong shape is told by who binds it
    out.shape[0] /= parts;
    size_t bytes_each = (size_t)(tensor_count(t) / parts) * dtype_size(t->type);
    out.data = (const uint8_t *)t->data + (size_t)part * bytes_each;
    return out;
}

static tensor seen_as(const tensor *t, view what) {
    int64_t n = tensor_count(t);
    if (what == FLAT) return (tensor){t->type, 1, {n}, t->data};
    if (what == COLUMN && t->dims == 1) return (tensor){t->type, 3, {1, n, 1}, t->data};
    if (what >= PART_0_OF_3) return part_of(t, (int)(what - PART_0_OF_3), 3);
    return what >= PART_0_OF_2 ? part_of(t, (int)(what - PART_0_OF_2), 2) : *t;
}

static status add(sa_names *n, const char *name, const tensor *t, err *e) {
    if (n->count == n->cap) {
        size_t cap = n->cap ? 2 * n->cap : 512;
        entry *list = mem_realloc(n->list, cap * sizeof *list);
        if (!list) return err_set(e, ERR_OOM, "no memory for the names of tensors");
        n->list = list;
        n->cap = cap;
    }
    char *kept = arena_strdup(&n->own, name);
    if (!kept) return err_set(e, ERR_OOM, "no memory for the names of tensors");
    n->list[n->count++] = (entry){kept, *t};
    return OK;
}

// Adds what the tensor is by the rules; *known: a rule is about it.
static status add_by(sa_names *n, const rule *list, size_t count, const char *name, const tensor *t,
                     bool *known, err *e) {
    status rc = OK;
    for (size_t i = 0; i < count && !rc; i++) {
        match m = {0};
        char to[NAME_MAX_LEN];
        if (!matches(&m, list[i].from, name)) continue;
        // Of the codec's rules the first counts, of the others each gives a part.
        if (*known && list[i].what < PART_0_OF_2) continue;
        *known = true;
        if (!list[i].to) continue;
        tensor made = seen_as(t, list[i].what);
        if (write_name(to, list[i].to, &m)) rc = add(n, to, &made, e);
    }
    return rc;
}

static status fill(sa_names *n, const st_file *f, err *e) {
    status rc = OK;
    for (size_t i = 0; i < st_count(f) && !rc; i++) {
        const char *name = st_name_at(f, i);
        bool known = false;
        rc = add_by(n, rules, ARRAY_LEN(rules), name, st_at(f, i), &known, e);
        if (!rc && !known)
            rc = add_by(n, codec_rules, ARRAY_LEN(codec_rules), name, st_at(f, i), &known, e);
        if (!rc && !known)
            rc = err_set(e, ERR_FORMAT,
                         "tensor %.120s: expected one of a Stable Audio model (model.model., "
                         "pretransform.model., conditioner.conditioners.), found one that no part "
                         "of it has; a training checkpoint must be unwrapped first",
                         name);
    }
    return rc;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const entry *)a)->name, ((const entry *)b)->name);
}

status sa_names_open(sa_names **out, const st_file *f, err *e) {
    *out = NULL;
    sa_names *n = mem_calloc(1, sizeof *n);
    if (!n) return err_set(e, ERR_OOM, "no memory for the names of tensors");
    n->file = f;
    status rc = fill(n, f, e);
    if (rc) {
        sa_names_close(n);
        return rc;
    }
    if (n->count) qsort(n->list, n->count, sizeof *n->list, by_name);
    *out = n;
    return OK;
}

void sa_names_close(sa_names *n) {
    if (!n) return;
    mem_free(n->list);
    arena_deinit(&n->own);
    mem_free(n);
}

static const tensor *find(const void *file, const char *name) {
    const sa_names *n = file;
    const entry key = {.name = name};
    const entry *found =
        n->count ? bsearch(&key, n->list, n->count, sizeof *n->list, by_name) : NULL;
    return found ? &found->t : NULL;
}

static void forget(const void *file, const tensor *t) {
    st_forget(((const sa_names *)file)->file, t);
}

weights_source sa_names_source(const sa_names *n) {
    return (weights_source){find, n, forget};
}
