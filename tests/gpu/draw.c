// draw.c - guidance and the draw on the device against engine/musicgen/sampler.c.
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "compute/rng.h"
#include "engine/musicgen/sampler.h"
#include "gpu_test.h"

#define BOOKS 4
#define SEQS 3
#define FRAMES 9

typedef struct {
    int32_t vocab;
    float temperature, top_p, guidance;
    int top_k;
    bool flat; // many equal scores
    float fine_less;
} draw_case;

static void scores_of(float *x, int64_t n, uint64_t seed, bool flat) {
    fill(x, n, seed);
    for (int64_t i = 0; i < n; i++) x[i] = flat ? roundf(2 * x[i]) / 4 : 3 * x[i];
}

static sampler_params params_of(const draw_case *t) {
    return (sampler_params){t->temperature, t->top_k, t->top_p, t->guidance, t->fine_less};
}

static gpu_seq_entry entry_of(const draw_case *t, int i, int32_t *codes) {
    gpu_seq_entry s = {.codes = codes + i * BOOKS * FRAMES, .broken = dev_count(0), .seed = 77};
    s.stream = (uint64_t)i, s.index = i, s.frames = FRAMES, s.start = 1, s.window = 6, s.known = i;
    s.column = 2 + i, s.cond = 2 * i, s.null = i == 1 ? -1 : 2 * i + 1;
    s.temperature = t->temperature, s.top_k = t->top_k, s.top_p = t->top_p;
    const sampler_params p = params_of(t);
    s.guidance = sampler_guidance(&p, false), s.fine_guidance = sampler_guidance(&p, true);
    return s;
}

// What sampler.h draws for codebook k of sequence s, -1: nothing; and the weights that it draws
// from. room [3 * vocab].
static int32_t draw_on_cpu(const draw_case *t, const gpu_seq_entry *s, int k, const float *logits,
                           float *x, uint32_t *room) {
    int64_t n = t->vocab, at = k * n, f = s->column - 1 - k;
    if (f < s->known || f >= s->window) return -1;
    const sampler_params p = params_of(t);
    sampler_guide(x, logits + s->cond * BOOKS * n + at,
                  s->null < 0 ? NULL : logits + s->null * BOOKS * n + at,
                  sampler_guidance(&p, k > 0), n);
    uint64_t number = (uint64_t)s->index << 40 | (uint64_t)s->column << 8 | (uint64_t)k;
    rng_u32x4 u = rng_draw(s->seed, s->stream, number);
    int32_t code = sampler_draw(x, n, &p, rng_u64(&u), room + n);
    if (t->temperature >= 1e-4f) sampler_weights(room, x, n, &p, room + n);
    return code;
}

// Compares what the device drew for one sequence, and the weights.
static void check_draws(const draw_case *t, const gpu_seq_entry *s, const float *logits,
                        const int32_t *codes, const uint32_t *weights) {
    size_t n = (size_t)t->vocab;
    float *x = mem_calloc(n, sizeof *x);
    uint32_t *room = mem_calloc(3 * n, sizeof *room);
    for (int k = 0; k < BOOKS; k++) {
        int32_t want = draw_on_cpu(t, s, k, logits, x, room);
        if (want < 0) continue;
        int32_t got = codes[k * FRAMES + s->start + s->column - 1 - k];
        expect(want == got, "draw of %d codes, k %d, top-p %g: expected %d, found %d",
               (int)t->vocab, t->top_k, (double)t->top_p, (int)want, (int)got);
        for (size_t i = 0; i < n && t->temperature >= 1e-4f; i++) {
            uint32_t there = weights[(size_t)k * n + i];
            expect(room[i] == there,
                   "weight of code %zu of %d, k %d, top-p %g: expected %u, found %u", i,
                   (int)t->vocab, t->top_k, (double)t->top_p, room[i], there);
        }
    }
    mem_free(x), mem_free(room);
}

static void test_draw(const draw_case *t, uint64_t seed) {
    int64_t size = (int64_t)BOOKS * t->vocab;
    int32_t codes[SEQS * BOOKS * FRAMES];
    float *logits = mem_calloc((size_t)(2 * SEQS * size), sizeof *logits);
    scores_of(logits, 2 * SEQS * size, seed, t->flat);
    memset(codes, 0xff, sizeof codes);
    int32_t *there = dev_bytes(codes, sizeof codes);
    gpu_seq_entry s[SEQS];
    for (int i = 0; i < SEQS; i++) s[i] = entry_of(t, i, there);
    size_t all = (size_t)(SEQS * size) * sizeof(uint32_t);
    draw_args a = {.seqs = dev_bytes(s, sizeof s),
                   .n = dev_count(SEQS),
                   .logits = dev_floats(logits, 2 * SEQS * size),
                   .scores = dev_floats(NULL, SEQS * size),
                   .weights = dev_bytes(NULL, all),
                   .vocab = t->vocab,
                   .codebooks = BOOKS,
                   .channels = 1};
    dev_run(GPU_draw, BOOKS, SEQS, 256, &a);
    dev_read(codes, there, sizeof codes);
    uint32_t *weights = mem_calloc(1, all);
    dev_read(weights, a.weights, all);
    for (int i = 0; i < SEQS; i++)
        check_draws(t, &s[i], logits, codes + i * BOOKS * FRAMES, weights + i * size);
    mem_free(logits), mem_free(weights);
    dev_reset();
}

void test_gpu_draw(void) {
    static const draw_case cases[] = {
        {512, 1, 0, 3, 250, false, 0},     {64, 0, 0, 3, 250, false, 0},
        {2048, 1, 0, 3, 250, false, 0},    {300, 0.7f, 0.9f, 2, 50, false, 0},
        {64, 1.3f, 0.5f, 3, 0, false, 0},  {100, 1, 0, 1.5f, 10, true, 0},
        {64, 1, 0.3f, 3, 64, true, 0},     {37, 1e-5f, 0, 3, 1, true, 0},
        {37, 1e-3f, 0.8f, 3, 5, false, 0}, {64, 1, 1e-30f, 3, 0, false, 0},
        {64, 0.5f, 0, 3, 20, false, 0.5f},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (uint64_t seed = 0; seed < 3; seed++) test_draw(&cases[i], 100 * i + seed);
}
