// pull.c - `stemforge pull ORG/NAME`: a checkpoint from the Hugging Face hub into its cache.
#include <stdio.h>

#include "app/args.h"
#include "app/commands.h"
#include "app/progress.h"
#include "base/hubdir.h"
#include "base/os.h"
#include "net/hub.h"

#define MB 1000000

typedef struct {
    progress bar;
    bool quiet;
    int begun; // files
} view;

static void show(void *arg, const hub_progress *at) {
    view *v = arg;
    progress_update(&v->bar, at->done / MB, MAX(at->total / MB, 1));
    if (v->quiet || v->bar.terminal || at->index < v->begun) return;
    v->begun = at->index + 1;
    fprintf(stderr, "%s (%d of %d)\n", at->file, v->begun, at->count);
}

static bool stop_asked(void *arg) {
    (void)arg;
    return os_stop_requested();
}

static int pull(hub_options *o, const char *revision, bool quiet) {
    char name[HUBDIR_NAME_MAX + HUBDIR_REF_MAX + 64], path[OS_PATH_MAX];
    err e = {0};
    if (revision) {
        int n = snprintf(name, sizeof name, "%s@%s", o->name, revision);
        if (n < 0 || (size_t)n >= sizeof name) {
            fprintf(stderr, "stemforge pull: name and revision of %d bytes\n", n);
            return EXIT_USAGE;
        }
        o->name = name;
    }
    view v = {.quiet = quiet};
    progress_begin(&v.bar, o->name, "MB", quiet);
    o->canceled = stop_asked;
    o->progress = show;
    o->arg = &v;
    status rc = hub_pull(path, o, &e);
    progress_end(&v.bar);
    if (rc) {
        fprintf(stderr, "stemforge pull: %s\n", e.text);
        return rc == ERR_CANCELED ? os_stop_status() : 1;
    }
    printf("%s\n", path);
    return 0;
}

int pull_main(int argc, char **argv) {
    hub_options o = hub_options_default();
    const char *revision = NULL, *name;
    arg_list include = {0};
    bool quiet = false;
    const arg_option table[] = {
        {"revision", ARG_STR, &revision, 0, 0, "REV", "branch, tag or commit; default main", NULL},
        {"include", ARG_LIST, &include, 0, 0, "PATTERN",
         "files to fetch, such as \"*.json\"; default: those an engine needs", NULL},
        {"quiet", ARG_FLAG, &quiet, 0, 0, NULL, "no progress", NULL},
        {NULL, ARG_FLAG, NULL, 0, 0, NULL,
         "environment: HF_ENDPOINT (another hub), HF_HOME (where the cache is), HF_TOKEN, "
         "HF_HUB_OFFLINE, https_proxy, no_proxy, SSL_CERT_FILE",
         NULL},
    };
    const arg_command c = {"pull",
                           "ORG/NAME [--revision REV] [--include PATTERN ...]",
                           "fetches a checkpoint into the Hugging Face cache, where --model finds "
                           "it; goes on where an interrupted pull stopped",
                           table,
                           ARRAY_LEN(table),
                           "  stemforge pull facebook/musicgen-small\n",
                           1,
                           1};
    int n, code;
    os_stop_on_signals();
    if (args_parse(&c, argc, argv, &name, &n, &code)) return code;
    o.name = name;
    o.include = include.item;
    o.include_count = include.n;
    code = pull(&o, revision, quiet);
    args_list_deinit(&include);
    return code;
}
