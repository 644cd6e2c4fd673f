// library.c - a program of somebody else's, against what `make install` puts down.
#include <stdio.h>
#include <stemforge.h>

// Names that the engine uses inside must be free for its users.
int buf_init(void);
int buf_init(void) {
    return 7;
}

static stemforge_status on_stem(void *arg, size_t i, const stemforge_stem *s, stemforge_error *e) {
    (void)e;
    *(int *)arg += 1;
    printf("%zu %s %lld frames at %d Hz\n", i, s->name, (long long)s->frames, s->sample_rate);
    return STEMFORGE_OK;
}

int main(int argc, char **argv) {
    int made = 0;
    stemforge_error e;
    stemforge_engine *g;
    stemforge_options o = stemforge_options_default();
    o.model = argc > 1 ? argv[1] : "";
    if (stemforge_open(&g, &o, &e)) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    const char *stems[] = {"drums", "bass"};
    stemforge_request r = stemforge_request_default();
    r.stems = stems, r.stem_count = 2, r.seconds = 1, r.seed = 5;
    stemforge_events ev = {.arg = &made, .stem_done = on_stem};
    int rc = stemforge_generate(g, &r, &ev, &e);
    stemforge_close(g);
    return rc || made != 2 || buf_init() != 7;
}
