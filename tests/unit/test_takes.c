// test_takes.c - several takes of a stem: each is its own seed's, one is chosen and comes last.
#include <criterion/criterion.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "engine/choice.h"
#include "stemforge.h"

#define MODEL "tests/parity/mono/model"

enum { TAKES = 3 };

// What came of each stem and take.
typedef struct {
    uint8_t digest[2][STEMFORGE_TAKES_MAX][SHA256_LEN];
    int calls, chosen[2], after[2]; // after: calls for a stem behind its chosen take
} outcome;

static status keep(void *arg, size_t i, const stemforge_stem *s, stemforge_error *e) {
    (void)e;
    outcome *o = arg;
    o->calls++;
    o->after[i] += o->chosen[i] >= 0;
    if (s->chosen) o->chosen[i] = s->take;
    bytes data = {(const uint8_t *)s->samples,
                  (size_t)(s->frames * s->channels) * sizeof *s->samples};
    return hash_sha256(o->digest[i][s->take], data, NULL);
}

static outcome make(int places, int takes, const int *take) {
    static const char *const stems[] = {"bass", "piano"};
    outcome o = {.chosen = {-1, -1}};
    stemforge_engine *g;
    stemforge_error e;
    stemforge_options with = stemforge_options_default();
    with.model = MODEL, with.batch_max = places;
    cr_assert_eq(stemforge_open(&g, &with, &e), STEMFORGE_OK, "%s", e.text);
    stemforge_request r = stemforge_request_default();
    r.stems = stems, r.stem_count = 2, r.seconds = 0.5, r.seed = 5;
    r.takes = takes, r.take = take;
    const stemforge_events ev = {.arg = &o, .stem_done = keep};
    cr_assert_eq(stemforge_generate(g, &r, &ev, &e), STEMFORGE_OK, "%s", e.text);
    stemforge_close(g);
    return o;
}

static bool same(const outcome *a, const outcome *b, int stem, int take) {
    return memcmp(a->digest[stem][take], b->digest[stem][take], SHA256_LEN) == 0;
}

Test(takes, each_is_another_and_number_0_is_the_stem_of_one_take) {
    outcome one = make(16, 0, NULL), all = make(16, TAKES, NULL), few = make(2, TAKES, NULL);
    cr_assert(one.calls == 2 && all.calls == 2 * TAKES);
    for (int s = 0; s < 2; s++) {
        cr_assert(one.chosen[s] == 0 && all.chosen[s] >= 0 && !all.after[s]);
        cr_assert_eq(all.chosen[s], few.chosen[s]); // whatever ended first
        cr_assert(same(&one, &all, s, 0));
        for (int k = 0; k < TAKES; k++) {
            cr_assert(same(&all, &few, s, k));
            for (int i = 0; i < k; i++)
                cr_assert(memcmp(all.digest[s][i], all.digest[s][k], SHA256_LEN) != 0);
        }
    }
}

Test(takes, a_chosen_one_is_made_again_alone) {
    const int take[] = {2, 1};
    outcome all = make(16, TAKES, NULL), alone = make(16, 0, take);
    cr_assert_eq(alone.calls, 2);
    for (int s = 0; s < 2; s++) {
        cr_assert_eq(alone.chosen[s], take[s]);
        cr_assert(same(&all, &alone, s, take[s]));
    }
}

Test(takes, their_number_is_checked) {
    static const char *const stems[] = {"bass"};
    stemforge_request r = stemforge_request_default();
    stemforge_error e;
    r.stems = stems, r.stem_count = 1;
    r.takes = STEMFORGE_TAKES_MAX;
    cr_assert_eq(stemforge_request_check(&r, &e), STEMFORGE_OK, "%s", e.text);
    r.takes = STEMFORGE_TAKES_MAX + 1;
    cr_assert_eq(stemforge_request_check(&r, &e), STEMFORGE_ERR_ARG);
    cr_assert_str_eq(e.where, "takes");
}

static candidate with(int number, size_t faults, const char *type, double leak, double held) {
    candidate c = {.stem = {.name = "bass", .take = number}};
    c.heard.out =
        (stemforge_measured){.fault_count = faults, .type = type, .leak = leak, .held_pitch = held};
    return c;
}

static bool better(candidate a, candidate b) {
    a.stem.measured = &a.heard.out;
    b.stem.measured = &b.heard.out;
    bool first = choice_is_better(&a, &b);
    cr_assert_neq(first, choice_is_better(&b, &a));
    return first;
}

Test(takes, faults_come_before_type_leak_and_held_pitch_and_the_lower_number_last) {
    cr_assert(better(with(3, 0, "synth", 0.9, 0), with(0, 1, "bass", 0, 1)));
    cr_assert(better(with(3, 0, "bass", 0.9, 0), with(0, 0, "synth", 0, 1)));
    cr_assert(better(with(3, 0, "bass", 0.1, 0), with(0, 0, "bass", 0.3, 1)));
    cr_assert(better(with(3, 0, "bass", 0.1, 0.6), with(0, 0, "bass", 0.1, 0.3)));
    cr_assert(better(with(0, 0, "bass", 0.12, 0.58), with(3, 0, "bass", 0.1, 0.6)));
}
