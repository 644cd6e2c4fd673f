// generate.c - `stemforge generate`: one request, its stems as files, and the recipe to make them
// again.
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "app/args.h"
#include "app/commands.h"
#include "app/progress.h"
#include "app/shipped.h"
#include "app/take.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"
#include "engine/device_choice.h"
#include "engine/metadata.h"
#include "request/chords.h"
#include "request/fields.h"
#include "request/heardjson.h"
#include "request/length.h"
#include "request/measured.h"
#include "request/stems.h"
#include "stemforge.h"

#define OPTIONS_MAX 64
#define FIELDS_MAX 48
#define CHORDS_SHOWN 8
#define HEARD_MAX 8192
#define FADE_IN_SECONDS 0.003 // a stem begins on a beat: its attack stays
#define FADE_OUT_SECONDS 0.1

// Everything the command line says.
typedef struct {
    const char *model, *recipe, *out, *format, *weights, *isa, *device;
    const recipe_file *made;                  // the recipe; NULL: none
    recipe_defaults model_own;                // of the recipe
    int takes[STEMFORGE_STEMS_MAX];           // of the recipe
    double temperatures[STEMFORGE_STEMS_MAX]; // of the recipe
    arg_list stems, chords, follow, sections;
    stemforge_request r;
    int64_t threads;
    bool json, quiet, overwrite;
    bool given[FIELDS_MAX]; // by a flag: field i
} options;

typedef struct {
    const options *o;
    const stemforge_request *r;
    take *take;
    stemforge_info info;
    progress bar;
    int64_t done[STEMFORGE_STEMS_MAX], total[STEMFORGE_STEMS_MAX];
    json *files;    // array of what was written
    json *drawn;    // object: the temperature of each stem
    json *taken;    // object: the number of each stem's chosen take
    json *measured; // object: what was heard in each stem
    json *warnings; // array of what the engine said
    bool no_memory; // for a warning
    bool said_heard;
    double seconds; // until the last stem
} output;

static status write_stem(output *out, const stemforge_stem *s, char path[OS_PATH_MAX], err *e) {
    metadata about_it;
    status rc = metadata_init(&about_it, s, e);
    if (!rc) rc = take_write(out->take, s, &about_it.tags, path, e);
    metadata_deinit(&about_it);
    return rc;
}

// "  119.98 bpm, A minor, Am F C G, -14.2 LUFS": what was heard in the stem.
static void print_measured(const stemforge_measured *m) {
    const char *between = "  ";
    if (m->bpm > 0) printf("%s%.1f bpm", between, m->bpm), between = ", ";
    if (m->key) printf("%s%s", between, m->key), between = ", ";
    for (size_t i = 0; i < m->chord_count && i < CHORDS_SHOWN; i++)
        printf("%s%s", i ? " " : between, m->chords[i]), between = ", ";
    if (m->chord_count > CHORDS_SHOWN) printf(" ...");
    printf("%s%.1f LUFS", between, m->lufs);
    for (size_t i = 0; i < m->fault_count; i++) printf(", fault: %s", m->faults[i]);
    printf("\n");
}

// What was heard in the recording, once.
static void say_heard(output *out, const stemforge_heard *h) {
    if (!h || out->said_heard || out->o->json || out->o->quiet) return;
    buf line;
    buf_init(&line, HEARD_MAX);
    heardjson_say(&line, h);
    if (line.n) printf("heard      %s\n", buf_str(&line));
    buf_deinit(&line);
    out->said_heard = true;
}

// What was assumed and what was not used: to a person now, and into the report and the recipe.
static void warn(output *out, const stemforge_warning *w, const char *stem) {
    const field *f = fields_find(w->field);
    if (!out->o->json && !out->o->quiet) {
        progress_end(&out->bar);
        fprintf(stderr, "stemforge generate: warning: --%s: %s\n", f ? f->flag : w->field, w->text);
    }
    json *j = json_new_object();
    bool ok = json_set_str(j, "code", w->code) &&
              json_set_str(j, "field", f ? f->recipe : w->field) &&
              json_set_str(j, "detail", w->text);
    if (stem) ok = json_set_str(j, "stem", stem) && ok;
    if (!json_add(out->warnings, j) || !ok) out->no_memory = true;
}

static void on_warning(void *arg, const stemforge_warning *w) {
    warn(arg, w, NULL);
}

static status on_stem(void *arg, size_t index, const stemforge_stem *s, err *e) {
    (void)index;
    output *out = arg;
    char path[OS_PATH_MAX];
    status rc = write_stem(out, s, path, e);
    if (rc) return rc;
    out->seconds = s->seconds_spent;
    progress_end(&out->bar);
    say_heard(out, s->heard);
    if (!out->o->json && !out->o->quiet) {
        printf("%s  %.1f s of audio in %.1f s\n", path, (double)s->frames / s->sample_rate,
               s->seconds_spent);
        if (out->r->takes > 1) printf("  take %d%s,", s->take, s->chosen ? ", chosen" : "");
        print_measured(s->measured);
        fflush(stdout);
    }
    for (size_t i = 0; s->chosen && i < s->unmet_count; i++) warn(out, &s->unmet[i], s->name);
    json *j = json_new_object();
    bool ok = json_set_str(j, "stem", s->name) && json_set_str(j, "path", path) &&
              json_set_str(j, "prompt", s->prompt) &&
              json_set_num(j, "temperature", s->temperature) &&
              json_set_num(j, "seconds", s->seconds_spent);
    json *heard = measured_json(s->measured);
    ok = json_set(j, "measured", json_copy_of(heard)) && ok;
    if (s->heard) ok = json_set(j, "heard", heardjson_write(s->heard)) && ok;
    if (s->chosen)
        ok = json_set(out->measured, s->name, heard) && ok;
    else
        json_free(heard);
    if (out->r->takes > 1 || s->take) {
        ok = json_set_int(j, "take", s->take) && json_set_bool(j, "chosen", s->chosen) && ok;
        if (s->chosen) ok = json_set_int(out->taken, s->name, s->take) && ok;
    }
    ok = json_set_num(out->drawn, s->name, s->temperature) && ok;
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

static status print_json(const output *out, err *e) {
    json *j = json_new_object();
    bool ok = json_set_str(j, "model", out->info.name) &&
              json_set_str(j, "recipe", out->take->recipe_path) &&
              json_set_num(j, "seconds", out->seconds) &&
              json_set_int(j, "threads", out->info.threads) &&
              json_set_str(j, "isa", out->info.isa) &&
              json_set_str(j, "device", out->info.gpu ? out->info.gpu : "cpu") &&
              json_set(j, "stems", json_copy_of(out->files)) &&
              json_set(j, "warnings", json_copy_of(out->warnings));
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
        if (strcmp(e->where, r->stems[i]) == 0) err_within(e, e->code, "stem '%s'", r->stems[i]);
    }
}

// The request with the numbers that it leaves to the model: those of the recipe, else its own.
static stemforge_request settle_defaults(const options *o, take *t, const stemforge_info *info) {
    stemforge_request used = *t->recipe.request;
    recipe_defaults own = o->model_own;
    if (!own.known) own = (recipe_defaults){true, info->top_k, info->guidance, info->steps};
    t->recipe.model_own = own;
    if (used.top_k < 0) used.top_k = own.top_k;
    if (used.guidance < 0 && own.guidance > 0) used.guidance = own.guidance;
    if (!used.steps) used.steps = own.steps;
    return used;
}

// Writes down which model it is, and says when the recipe was made with another one.
static status identify_model(output *out, stemforge_engine *g, err *e) {
    recipe_model *is = &out->take->recipe.identity;
    is->name = out->info.name;
    status rc = stemforge_engine_digest(g, is->digest, e);
    const recipe_model *was = out->o->made ? &out->o->made->identity : NULL;
    if (rc || !was || !*was->digest || !*is->digest || strcmp(was->digest, is->digest) == 0)
        return rc;
    char text[400];
    snprintf(text, sizeof text,
             "the recipe was made with another model: expected %.100s (digest %s), found %.100s "
             "(%s); the stems will be others",
             was->name ? was->name : "one", was->digest, is->name, is->digest);
    on_warning(out, &(stemforge_warning){"other_model", "model", text});
    return OK;
}

static status generate(const options *o, take *t, stemforge_engine *g, err *e) {
    const stemforge_request *r = t->recipe.request;
    output out = {.o = o,
                  .r = r,
                  .take = t,
                  .info = stemforge_engine_info(g),
                  .files = json_new_array(),
                  .drawn = json_new_object(),
                  .taken = json_new_object(),
                  .measured = json_new_object(),
                  .warnings = json_new_array()};
    char what[128];
    t->recipe.drawn = out.drawn;
    t->recipe.taken = out.taken;
    t->recipe.measured = out.measured;
    t->recipe.warnings = out.warnings;
    stemforge_request used = settle_defaults(o, t, &out.info);
    title(what, sizeof what, r);
    progress_begin(&out.bar, what, "steps", o->json || o->quiet);
    out.bar.audio_seconds = length_seconds(r) * (double)r->stem_count;
    const stemforge_events ev = {.arg = &out,
                                 .warning = on_warning,
                                 .stem_done = on_stem,
                                 .progress = on_progress,
                                 .canceled = on_canceled};
    status rc = identify_model(&out, g, e);
    if (!rc) rc = stemforge_generate(g, &used, &ev, e);
    progress_end(&out.bar);
    if (rc) name_stem(r, e);
    if (!rc && out.no_memory) rc = err_set(e, ERR_OOM, "no memory for a warning");
    if (!rc) rc = take_finish(t, e);
    if (rc)
        take_abandon(t);
    else if (o->json)
        rc = print_json(&out, e);
    else if (!o->quiet)
        printf("%s  seed %llu\n", t->recipe_path, (unsigned long long)r->seed);
    json_free(out.files);
    json_free(out.drawn);
    json_free(out.taken);
    json_free(out.measured);
    json_free(out.warnings);
    return rc;
}

static const char *const about =
    "makes stems from a request: one file each, on one tempo and harmony";
static const char *const synopsis = "[--model MODEL] --stem NAME [--stem NAME ...] [options]";
static const char *const examples =
    "  stemforge generate --stem drums --stem bass --bpm 120 --chords \"Am F C G\" --out demo\n"
    "  stemforge generate --model facebook/musicgen-small --stem "
    "piano --style jazz --prompt \"slow, brushed\"\n"
    "  stemforge generate --recipe demo/recipe.json --out again\n";

// The flags being put together, and the memory of those lines of help that are made.
typedef struct {
    arg_option rows[OPTIONS_MAX];
    size_t n;
    buf help[OPTIONS_MAX];
    buf stems; // the value of --stem
} option_table;

static void add(option_table *t, const arg_option *row) {
    if (t->n < OPTIONS_MAX) t->rows[t->n++] = *row;
}

static void add_heading(option_table *t, const char *text) {
    add(t, &(arg_option){.kind = ARG_FLAG, .help = text});
}

static void add_field(option_table *t, options *o, const field *f) {
    static const arg_kind kinds[] = {
        [FIELD_TEXT] = ARG_STR,   [FIELD_KEY] = ARG_STR,       [FIELD_METER] = ARG_STR,
        [FIELD_PATH] = ARG_STR,   [FIELD_NUMBER] = ARG_NUM,    [FIELD_SEED] = ARG_SEED,
        [FIELD_STEMS] = ARG_LIST, [FIELD_INTEGER] = ARG_INT32, [FIELD_CHORDS] = ARG_TEXTS,
        [FIELD_FLAG] = ARG_FLAG,  [FIELD_FOLLOW] = ARG_LIST,   [FIELD_SECTIONS] = ARG_TEXTS};
    buf *help = &t->help[t->n];
    buf_init(help, 400);
    const char *value = f->value;
    if (f->kind == FIELD_STEMS) {
        buf_init(&t->stems, 400);
        buf_printf(&t->stems, "%s:", f->value);
        stems_add_names(&t->stems, "|", "|");
        value = buf_str(&t->stems);
        buf_add_str(help, f->help);
    } else {
        field_add_help(help, f);
    }
    void *to = (char *)&o->r + f->at;
    if (f->kind == FIELD_STEMS) to = &o->stems;
    if (f->kind == FIELD_CHORDS) to = &o->chords;
    if (f->kind == FIELD_FOLLOW) to = &o->follow;
    if (f->kind == FIELD_SECTIONS) to = &o->sections;
    bool *given = &o->given[f - field_rows];
    add(t, &(arg_option){f->flag, kinds[f->kind], to, f->lo, f->hi, value, buf_str(help), given});
}

static void add_fields(option_table *t, options *o, bool draws) {
    assert(field_count <= FIELDS_MAX);
    for (size_t i = 0; i < field_count; i++)
        if (field_rows[i].flag && field_rows[i].draws == draws) add_field(t, o, &field_rows[i]);
}

static void add_own_flags(option_table *t, options *o) {
    const arg_option own[] = {
        {NULL, ARG_FLAG, NULL, 0, 0, NULL, "output:", NULL},
        {"out", ARG_STR, &o->out, 0, 0, "DIR",
         "folder for one take: its stems and recipe.json (out)", NULL},
        {"overwrite", ARG_FLAG, &o->overwrite, 0, 0, NULL,
         "replace another take in that folder (refused; the same one is made again)", NULL},
        {"format", ARG_STR, &o->format, 0, 0, ARG_VALUE_FORMAT, "(wav: 16 bits)", NULL},
        {"recipe", ARG_STR, &o->recipe, 0, 0, "FILE",
         "make again what a recipe.json says; other flags override it", NULL},
        {"json", ARG_FLAG, &o->json, 0, 0, NULL, "a report in JSON on stdout, no progress", NULL},
        {"quiet", ARG_FLAG, &o->quiet, 0, 0, NULL, "errors only", NULL},
        {NULL, ARG_FLAG, NULL, 0, 0, NULL, "machine:", NULL},
        {"threads", ARG_INT, &o->threads, 0, 256, "N",
         "threads, also STEMFORGE_THREADS (all processors)", NULL},
        {"weights", ARG_STR, &o->weights, 0, 0, ARG_VALUE_WEIGHTS, "how weights are kept (stored)",
         NULL},
        {"isa", ARG_STR, &o->isa, 0, 0, ARG_VALUE_ISA, "also STEMFORGE_ISA (the best)", NULL},
        {"device", ARG_STR, &o->device, 0, 0, ARG_VALUE_DEVICE,
         "what computes; the samples are the same (auto)", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(own); i++) add(t, &own[i]);
}

static int parse(options *o, int argc, char **argv, int *exit_status) {
    option_table t = {0};
    add(&t, &(arg_option){
                "model", ARG_STR, &o->model, 0, 0, "MODEL",
                "folder of a checkpoint, or ORG/NAME in the Hugging Face cache (the shipped one)",
                NULL});
    add_fields(&t, o, false);
    add_heading(&t, "sampling:");
    add_fields(&t, o, true);
    add_own_flags(&t, o);
    const arg_command c = {"generate", synopsis, about, t.rows, t.n, examples, 0, 0};
    int n, stop = args_parse(&c, argc, argv, NULL, &n, exit_status);
    for (size_t i = 0; i < OPTIONS_MAX; i++) buf_deinit(&t.help[i]);
    buf_deinit(&t.stems);
    return stop;
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
    o->made = rec;
    return OK;
}

static bool given(const options *o, size_t at) {
    for (size_t i = 0; i < field_count; i++)
        if (field_rows[i].at == at) return o->given[i];
    return false;
}
#define GIVEN(o, member) given(o, offsetof(stemforge_request, member))

// A flag for the length takes the place of the recipe's other way to say it, and --loop that of its
// fades.
static void override(options *o) {
    if (GIVEN(o, seconds) && !GIVEN(o, bars)) o->r.bars = 0;
    if (GIVEN(o, bars) && !GIVEN(o, seconds)) o->r.seconds = -1;
    if (GIVEN(o, seconds) || GIVEN(o, bars)) o->r.section_count = 0;
    if (GIVEN(o, more_seconds) && !GIVEN(o, seconds)) o->r.seconds = -1;
    if (GIVEN(o, more_seconds) && !GIVEN(o, bars)) o->r.bars = 0;
    if (o->sections.n) {
        if (!GIVEN(o, bars)) o->r.bars = 0;
        if (!GIVEN(o, seconds)) o->r.seconds = -1;
        o->r.sections = o->sections.item;
        o->r.section_count = o->sections.n;
    }
    if ((GIVEN(o, seconds) || GIVEN(o, bars)) && !GIVEN(o, more_seconds)) o->r.more_seconds = 0;
    if (!GIVEN(o, loop)) return;
    if (!GIVEN(o, fade_in_seconds)) o->r.fade_in_seconds = -1;
    if (!GIVEN(o, fade_out_seconds)) o->r.fade_out_seconds = -1;
}

// The recipe's chosen takes, made alone, unless a flag asks for takes.
static void keep_takes(options *o, const recipe_file *rec) {
    o->r.take = NULL;
    if (!rec->request.take || GIVEN(o, takes)) return;
    o->r.take = o->takes;
    o->r.takes = 0;
    for (size_t i = 0; i < o->r.stem_count; i++)
        for (size_t k = 0; k < rec->request.stem_count; k++)
            if (strcmp(o->r.stems[i], rec->request.stems[k]) == 0) o->takes[i] = rec->takes[k];
}

// What the recipe's stems were drawn with, unless flags say otherwise.
static void keep_temperatures(options *o, const recipe_file *rec) {
    o->r.temperatures = NULL;
    if (!rec->request.temperatures || o->model != rec->model || GIVEN(o, temperature)) return;
    o->r.temperatures = o->temperatures;
    for (size_t i = 0; i < o->r.stem_count; i++) {
        o->temperatures[i] = -1;
        for (size_t k = 0; k < rec->request.stem_count; k++)
            if (strcmp(o->r.stems[i], rec->request.stems[k]) == 0)
                o->temperatures[i] = rec->temperatures[k];
    }
}

static int usage(const char *text) {
    fprintf(stderr, "stemforge generate: %s; see stemforge generate --help\n", text);
    return EXIT_USAGE;
}

// The names in what --chords says, given once or several times. *text is the memory they lie in.
static status split_chords(const arg_list *given, char **text, const char **names, size_t *n,
                           err *e) {
    size_t size = 1, len;
    for (size_t i = 0; i < given->n; i++) size += strlen(given->item[i]) + 1;
    char *to = *text = mem_alloc(size);
    *n = 0;
    if (!to) return err_set(e, ERR_OOM, "no memory for the names of chords");
    for (size_t i = 0; i < given->n; i++) {
        for (const char *p = given->item[i]; chords_next_name(&p, &len);) {
            if (*n == CHORDS_MAX)
                return err_set(e, ERR_LIMIT, "chords: expected at most %d, found more", CHORDS_MAX);
            memcpy(to, p - len, len);
            to[len] = 0;
            names[(*n)++] = to;
            to += len + 1;
        }
    }
    return OK;
}

// The take that the options ask for, when its folder takes it.
static status open_take(take *t, const options *o, err *e) {
    *t = (take){
        .dir = o->out,
        .recipe = {.request = &o->r, .model = o->model, .format = o->format, .weights = o->weights},
        .overwrite = o->overwrite};
    status rc = file_format_parse(&t->format, o->format, e);
    if (!rc) rc = take_check(t, e);
    return rc ? err_within(e, rc, "--out") : OK;
}

// What is not said is written down, so that the recipe has it. A recipe without fades was made with
// those of the service.
static void fill_in(stemforge_request *r, bool again) {
    if (r->seconds < 0 && length_bars(r) == 0 && r->more_seconds == 0 && !r->recording)
        r->seconds = LENGTH_SECONDS_DEFAULT;
    if (r->loop || again) return;
    if (r->fade_in_seconds < 0) r->fade_in_seconds = FADE_IN_SECONDS;
    if (r->fade_out_seconds < 0) r->fade_out_seconds = FADE_OUT_SECONDS;
}

// A wrong word is refused before anything is read.
static int check_device(const options *o, err *e) {
    device_choice choice;
    return choice_parse(&choice, o->device, e) ? usage(e->text) : 0;
}

// A GPU that was not taken though there is one.
static void say_refused(const options *o, const stemforge_engine *g) {
    stemforge_info info = stemforge_engine_info(g);
    if (info.gpu_refused && !o->quiet)
        fprintf(stderr, "stemforge generate: the CPU computes, not the GPU: %s\n", info.cpu_why);
}

static int run_engine(options *o, err *e) {
    stemforge_options so = stemforge_options_default();
    so.model = shipped_model(o->model);
    so.threads = (int)o->threads;
    so.isa = o->isa;
    so.device = o->device;
    (void)stemforge_weights_parse(o->weights, &so.weights); // checked with the other flags
    stemforge_engine *g;
    take t;
    if (open_take(&t, o, e)) return fail(e->text);
    if (stemforge_open(&g, &so, e)) return fail(e->text);
    say_refused(o, g);
    status rc = generate(o, &t, g, e);
    stemforge_close(g);
    if (rc == ERR_CANCELED) {
        fail("stopped");
        return os_stop_status();
    }
    return rc ? fail(e->text) : 0;
}

// --follow FILE alone: its tempo, and its chords unless some are named.
static void follow_recording(options *o) {
    static const char *const both[] = {"tempo", "chords"};
    if (o->follow.n) {
        o->r.follow = o->follow.item;
        o->r.follow_count = o->follow.n;
    } else if (o->r.recording && !o->r.follow_count) {
        o->r.follow = both;
        o->r.follow_count = o->chords.n || o->r.chord_count ? 1 : 2;
    }
}

int generate_main(int argc, char **argv) {
    os_stop_on_signals();
    static const char *chord_names[CHORDS_MAX];
    char *chord_text = NULL;
    options o = {.model = SHIPPED_MODEL,
                 .out = "out",
                 .format = "wav",
                 .weights = "stored",
                 .r = stemforge_request_default()};
    recipe_file rec = {0};
    err e = {0};
    int code = 0;
    if (load_recipe(&o, &rec, argc, argv, &e)) {
        code = fail(e.text);
        goto done;
    }
    if (parse(&o, argc, argv, &code)) goto done;
    override(&o);
    follow_recording(&o);
    if (o.stems.n) {
        o.r.stems = o.stems.item;
        o.r.stem_count = o.stems.n;
    }
    if (o.chords.n) {
        if (split_chords(&o.chords, &chord_text, chord_names, &o.r.chord_count, &e))
            code = usage(e.text);
        o.r.chords = chord_names;
    }
    o.r.temperatures = NULL;
    o.r.take = NULL;
    if (!code && stemforge_request_check(&o.r, &e)) code = usage(e.text);
    if (o.model == rec.model) o.model_own = rec.model_own; // no other model was named
    if (!code) keep_temperatures(&o, &rec);
    if (!code) keep_takes(&o, &rec);
    if (!code) fill_in(&o.r, o.recipe != NULL);
    stemforge_weights kept;
    if (!code && !stemforge_weights_parse(o.weights, &kept)) {
        code = usage("--weights: expected stored, f32, bf16, q8 or q4");
    }
    if (!code) code = check_device(&o, &e);
    file_format format;
    if (!code && file_format_parse(&format, o.format, &e)) code = usage(e.text);
    if (!code && !o.recipe && !GIVEN(&o, seed) && fields_draw_seed(&o.r.seed, &e))
        code = fail(e.text);
    if (!code) code = run_engine(&o, &e);
done:
    args_list_deinit(&o.stems);
    args_list_deinit(&o.follow);
    args_list_deinit(&o.chords);
    args_list_deinit(&o.sections);
    mem_free(chord_text);
    recipe_deinit(&rec);
    return code;
}
