// generate.c - `stemforge generate`: one request, its stems as files, and the recipe to make them
// again.
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "app/args.h"
#include "app/commands.h"
#include "app/progress.h"
#include "app/recipe.h"
#include "audio/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/os.h"
#include "request/chords.h"
#include "stemforge.h"

// Everything the command line says.
typedef struct {
    const char *model, *recipe, *out, *format, *weights, *isa, *chords;
    arg_list stems;
    stemforge_request r;
    int64_t threads, top_k;
    bool json, quiet, seed_given, top_k_given;
} options;

typedef struct {
    const options *o;
    const stemforge_request *r;
    file_format format;
    stemforge_info info;
    progress bar;
    int64_t done[16], total[16];
    json *files;    // array of what was written
    double seconds; // until the last stem
} output;

static status write_stem(output *out, const stemforge_stem *s, char *path, size_t cap, err *e) {
    char name[64], comment[FILE_TAG_MAX];
    snprintf(name, sizeof name, "%s.%s", s->name, file_format_suffix(out->format));
    status rc = os_path_join(path, cap, out->o->out, name, e);
    if (rc) return rc;
    recipe_comment(comment, sizeof comment, out->r, s->prompt, out->info.name);
    const file_tags tags = {
        .title = s->name, .comment = comment, .software = "stemforge " STEMFORGE_VERSION};
    return file_write(path, out->format, s->samples, s->frames, s->channels, s->sample_rate, &tags,
                      e);
}

static status on_stem(void *arg, size_t index, const stemforge_stem *s, err *e) {
    (void)index;
    output *out = arg;
    char path[OS_PATH_MAX];
    status rc = write_stem(out, s, path, sizeof path, e);
    if (rc) return rc;
    out->seconds = s->seconds_spent;
    progress_end(&out->bar);
    if (!out->o->json && !out->o->quiet) {
        printf("%s  %.1f s of audio in %.1f s\n", path, (double)s->frames / s->sample_rate,
               s->seconds_spent);
        fflush(stdout);
    }
    json *j = json_new_object();
    bool ok = json_set_str(j, "stem", s->name) && json_set_str(j, "path", path) &&
              json_set_str(j, "prompt", s->prompt) && json_set_num(j, "seconds", s->seconds_spent);
    if (json_add(out->files, j) && ok) return OK;
    return err_set(e, ERR_OOM, "no memory for the report");
}

static void on_progress(void *arg, size_t index, int64_t done, int64_t total) {
    output *out = arg;
    out->done[index] = done;
    out->total[index] = total;
    int64_t d = 0, t = 0;
    for (size_t i = 0; i < out->r->stem_count; i++) {
        d += out->done[i];
        t += out->total[i] ? out->total[i] : total;
    }
    progress_update(&out->bar, d, t);
}

static bool on_canceled(void *arg) {
    (void)arg;
    return os_stop_requested();
}

static int fail(const char *text) {
    fprintf(stderr, "stemforge generate: %s\n", text);
    return 1;
}

static status print_json(const output *out, const char *recipe_path, err *e) {
    json *j = json_new_object();
    bool ok =
        json_set_str(j, "model", out->info.name) && json_set_str(j, "recipe", recipe_path) &&
        json_set_num(j, "seconds", out->seconds) && json_set_int(j, "threads", out->info.threads) &&
        json_set_str(j, "isa", out->info.isa) && json_set(j, "stems", json_copy_of(out->files));
    char seed[32];
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)out->r->seed);
    ok = ok && json_set_str(j, "seed", seed);
    status rc = json_print(ok ? j : NULL, JSON_PRETTY, e);
    json_free(j);
    return rc;
}

static void title(char *out, size_t cap, const stemforge_request *r) {
    size_t n = 0;
    out[0] = 0;
    for (size_t i = 0; i < r->stem_count && n < cap; i++) {
        n += (size_t)snprintf(out + n, cap - n, "%s%s", i ? ", " : "", r->stems[i]);
    }
}

// Of a failed stem, where is its name.
static void name_stem(const stemforge_request *r, err *e) {
    for (size_t i = 0; i < r->stem_count; i++) {
        if (strcmp(e->where, r->stems[i]) == 0) err_within(e, "stem '%s'", r->stems[i]);
    }
}

static status generate(const options *o, const stemforge_request *r, stemforge_engine *g, err *e) {
    output out = {.o = o, .r = r, .info = stemforge_engine_info(g), .files = json_new_array()};
    char what[128], recipe_path[OS_PATH_MAX];
    status rc = file_format_parse(&out.format, o->format, e);
    if (!rc) rc = os_path_join(recipe_path, sizeof recipe_path, o->out, "recipe.json", e);
    if (rc) goto done;
    title(what, sizeof what, r);
    progress_begin(&out.bar, what, "steps", o->json || o->quiet);
    out.bar.audio_seconds = r->seconds * (double)r->stem_count;
    const stemforge_events ev = {
        .arg = &out, .stem_done = on_stem, .progress = on_progress, .canceled = on_canceled};
    rc = stemforge_generate(g, r, &ev, e);
    progress_end(&out.bar);
    if (rc) {
        name_stem(r, e);
        goto done;
    }
    const recipe rec = {
        .request = r, .model = o->model, .format = o->format, .weights = o->weights};
    rc = recipe_write(recipe_path, &rec, e);
    if (!rc && o->json)
        rc = print_json(&out, recipe_path, e);
    else if (!rc && !o->quiet)
        printf("%s  seed %llu\n", recipe_path, (unsigned long long)r->seed);
done:
    json_free(out.files);
    return rc;
}

static const char *const about = "makes stems: one file each, on one tempo and harmony";
static const char *const synopsis = "--model MODEL --stem NAME [--stem NAME ...] [options]";
static const char *const examples = "  stemforge generate --model models/stemforge-mini --stem "
                                    "drums --stem bass --bpm 120 --chords \"Am F C G\"\n"
                                    "  stemforge generate --model facebook/musicgen-small --stem "
                                    "piano --style jazz --prompt \"slow, brushed\"\n"
                                    "  stemforge generate --recipe out/recipe.json --out again\n";

static int parse(options *o, arg_list *chords, int argc, char **argv, int *exit_status) {
    const arg_option table[] = {
        {"model", ARG_STR, &o->model, 0, 0, "MODEL",
         "folder of a checkpoint, or ORG/NAME in the Hugging Face cache", NULL},
        {"stem", ARG_LIST, &o->stems, 0, 0, "NAME",
         "drums bass guitar vocals piano synth other; once for each", NULL},
        {"bpm", ARG_NUM, &o->r.bpm, 20, 400, "N", "tempo", NULL},
        {"style", ARG_STR, &o->r.style, 0, 0, "TEXT", "genre: rock, jazz, house ...", NULL},
        {"key", ARG_STR, &o->r.key, 0, 0, "TEXT", "key: \"A minor\"", NULL},
        {"chords", ARG_LIST, chords, 0, 0, "TEXT", "one chord a bar, repeated: \"Am F C G\"", NULL},
        {"prompt", ARG_STR, &o->r.prompt, 0, 0, "TEXT",
         "your words, added to each stem's description", NULL},
        {"duration", ARG_NUM, &o->r.seconds, 0.1, 600, "SECONDS", "length of each stem (10)", NULL},
        {"melody", ARG_STR, &o->r.melody, 0, 0, "FILE",
         "melody models: audio whose pitch classes to follow", NULL},
        {"continue", ARG_STR, &o->r.continue_from, 0, 0, "FILE",
         "audio, or a .safetensors of codes, that each stem goes on from", NULL},
        {NULL, ARG_FLAG, NULL, 0, 0, NULL, "sampling:", NULL},
        {"seed", ARG_SEED, &o->r.seed, 0, 0, "N", "same request and seed, same bytes (drawn)",
         &o->seed_given},
        {"temperature", ARG_NUM, &o->r.temperature, 0, 2, "N", "0 is greedy (1)", NULL},
        {"top-k", ARG_INT, &o->top_k, 0, 65536, "N",
         "draw from the N best codes, 0: all (the model's, else 250)", &o->top_k_given},
        {"top-p", ARG_NUM, &o->r.top_p, 0, 1, "N",
         "draw from the best codes of so much probability, 0: off (0)", NULL},
        {"guidance", ARG_NUM, &o->r.guidance, 0, 100, "N",
         "how closely to follow the text, 1: unguided (the model's, else 3)", NULL},
        {NULL, ARG_FLAG, NULL, 0, 0, NULL, "output:", NULL},
        {"out", ARG_STR, &o->out, 0, 0, "DIR", "folder for the stems and recipe.json (out)", NULL},
        {"format", ARG_STR, &o->format, 0, 0, "NAME",
         "wav wav24 wavf32 flac flac24 ogg (wav: 16 bits)", NULL},
        {"recipe", ARG_STR, &o->recipe, 0, 0, "FILE",
         "make again what a recipe.json says; other flags override it", NULL},
        {"json", ARG_FLAG, &o->json, 0, 0, NULL, "a report in JSON on stdout, no progress", NULL},
        {"quiet", ARG_FLAG, &o->quiet, 0, 0, NULL, "errors only", NULL},
        {NULL, ARG_FLAG, NULL, 0, 0, NULL, "machine:", NULL},
        {"threads", ARG_INT, &o->threads, 0, 256, "N",
         "threads, also STEMFORGE_THREADS (all processors)", NULL},
        {"weights", ARG_STR, &o->weights, 0, 0, "TYPE",
         "stored, f32, bf16, q8 or q4: how weights are kept (stored)", NULL},
        {"isa", ARG_STR, &o->isa, 0, 0, "NAME",
         "scalar avx2 avx512 neon, also STEMFORGE_ISA (the best)", NULL},
    };
    const arg_command c = {"generate", synopsis, about, table, ARRAY_LEN(table), examples, 0, 0};
    int n;
    return args_parse(&c, argc, argv, NULL, &n, exit_status);
}

// A first pass finds --recipe, so that the flags of the second override what it says.
static status load_recipe(options *o, recipe_file *rec, int argc, char **argv, err *e) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--recipe") == 0 && i + 1 < argc)
            o->recipe = argv[i + 1];
        else if (strncmp(argv[i], "--recipe=", 9) == 0)
            o->recipe = argv[i] + 9;
    }
    if (!o->recipe) return OK;
    status rc = recipe_read(rec, o->recipe, e);
    if (rc) return rc;
    o->r = rec->request;
    o->model = rec->model;
    o->format = rec->format;
    o->weights = rec->weights;
    o->seed_given = true;
    return OK;
}

static status draw_seed(uint64_t *seed, err *e) {
    uint8_t b[4];
    status rc = random_bytes(b, sizeof b, e);
    *seed = (uint64_t)b[0] << 24 | (uint64_t)b[1] << 16 | (uint64_t)b[2] << 8 | b[3];
    return rc;
}

static int usage(const char *text) {
    fprintf(stderr, "stemforge generate: %s; see stemforge generate --help\n", text);
    return EXIT_USAGE;
}

// "Am F C G" and "Am, F" alike: each list item may hold several names.
static status split_chords(char *text, size_t cap, const char **names, size_t *n,
                           const arg_list *given, err *e) {
    size_t used = 0;
    *n = 0;
    for (size_t i = 0; i < given->n; i++) {
        const char *p = given->item[i];
        while (*p) {
            size_t len = strcspn(p, " \t|");
            if (len && (*n == CHORDS_MAX || used + len + 1 > cap)) {
                return err_set(e, ERR_LIMIT, "chords: expected at most %d", CHORDS_MAX);
            }
            if (len) {
                memcpy(text + used, p, len);
                text[used + len] = 0;
                names[(*n)++] = text + used;
                used += len + 1;
            }
            p += len + (p[len] != 0);
        }
    }
    return OK;
}

// Whether all that will be written can be, before the work.
static status check_out(const options *o, err *e) {
    file_format format;
    char name[64], path[OS_PATH_MAX];
    status rc = file_format_parse(&format, o->format, e);
    if (!rc) rc = os_mkdirs(o->out, e);
    for (size_t i = 0; !rc && i <= o->r.stem_count; i++) {
        bool stem = i < o->r.stem_count;
        snprintf(name, sizeof name, "%s.%s", stem ? o->r.stems[i] : "recipe",
                 stem ? file_format_suffix(format) : "json");
        rc = os_path_join(path, sizeof path, o->out, name, e);
        if (!rc) rc = os_can_write(path, e);
    }
    return rc ? err_within(e, "--out") : OK;
}

static int run_engine(options *o, err *e) {
    stemforge_options so = stemforge_options_default();
    so.model = o->model;
    so.threads = (int)o->threads;
    so.isa = o->isa;
    (void)stemforge_weights_parse(o->weights, &so.weights); // checked with the other flags
    stemforge_engine *g;
    if (check_out(o, e)) return fail(e->text);
    if (stemforge_open(&g, &so, e)) return fail(e->text);
    status rc = generate(o, &o->r, g, e);
    stemforge_close(g);
    if (rc == ERR_CANCELED) {
        fail("stopped");
        return os_stop_status();
    }
    return rc ? fail(e->text) : 0;
}

int generate_main(int argc, char **argv) {
    os_stop_on_signals();
    static char chord_text[CHORDS_MAX * (CHORDS_NAME_MAX + 1)];
    static const char *chord_names[CHORDS_MAX];
    options o = {
        .out = "out", .format = "wav", .weights = "stored", .r = stemforge_request_default()};
    arg_list chords = {0};
    recipe_file rec = {0};
    err e = {0};
    int code = 0;
    if (load_recipe(&o, &rec, argc, argv, &e)) {
        code = fail(e.text);
        goto done;
    }
    if (parse(&o, &chords, argc, argv, &code)) goto done;
    if (o.stems.n) {
        o.r.stems = o.stems.item;
        o.r.stem_count = o.stems.n;
    }
    if (o.top_k_given) o.r.top_k = (int)o.top_k;
    if (chords.n) {
        status rc =
            split_chords(chord_text, sizeof chord_text, chord_names, &o.r.chord_count, &chords, &e);
        o.r.chords = chord_names;
        if (rc) code = usage(e.text);
    }
    if (!o.model && !code) code = usage("--model is missing");
    if (!code && stemforge_request_check(&o.r, &e)) code = usage(e.text);
    stemforge_weights kept;
    if (!code && !stemforge_weights_parse(o.weights, &kept)) {
        code = usage("--weights: expected stored, f32, bf16, q8 or q4");
    }
    file_format format;
    if (!code && file_format_parse(&format, o.format, &e)) code = usage(e.text);
    if (!code && !o.seed_given && draw_seed(&o.r.seed, &e)) code = fail(e.text);
    if (!code) code = run_engine(&o, &e);
done:
    args_list_deinit(&o.stems);
    args_list_deinit(&chords);
    recipe_deinit(&rec);
    return code;
}
