// emu.cpp - see emu.h.
#include "emu.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "emu_words.h"

#define THREADS_MAX 1024
#define FIBERS_MAX (EMU_PROCESSORS * THREADS_MAX)
// Not a power of two, or all stacks would share a few lines of the cache.
#define STACK_SIZE (((size_t)64 << 10) + 64 * 13)

emu_place emu;

namespace {

enum state { READY, AT_BLOCK, AT_WARP, AT_GRID, LEFT };

struct fiber {
    void *sp;
    state at;
    int line;
    unsigned exchanges; // so far: their boxes have two sides in turn
    uint32_t goal;      // of the grid_sync where it waits
};

struct shared_piece {
    const void *key;
    int first; // fiber of its block
    std::unique_ptr<uint8_t[]> memory;
};

// What the lanes of a warp bring to an mma, and what it makes, once for all of them.
struct mma_box {
    uint32_t in[32][6];
    int32_t out[16][8];
    unsigned made; // the number of the exchange
};

struct machine {
    const emu_launch *launch;
    fiber f[FIBERS_MAX];
    void *scheduler;
    int warp, turn;         // the first thread of the warp that runs; whose turn it is
    std::vector<int> lanes; // in their order
    uint32_t box[FIBERS_MAX / 32][2][32];
    mma_box matrix[FIBERS_MAX / 32][2];
    std::vector<shared_piece> shared;
    std::unique_ptr<uint8_t[]> stacks;
    uint32_t *meetings; // the counter that blocks meet at
    uint32_t met;       // the number of meetings
    uint32_t random;
} m;

uint32_t next_random() {
    m.random ^= m.random << 13, m.random ^= m.random >> 17, m.random ^= m.random << 5;
    return m.random;
}

fiber *here() {
    return &m.f[emu.first + emu.thread];
}

// 0 to n-1 in the order.
void order_of(std::vector<int> &to, int n, emu_order order) {
    to.resize(n);
    for (int i = 0; i < n; i++) to[i] = order == EMU_FALLING ? n - 1 - i : i;
    for (int i = n - 1; order == EMU_SHUFFLED && i > 0; i--)
        std::swap(to[i], to[next_random() % (i + 1)]);
}

} // namespace

void emu_fault(const char *what, ...) {
    va_list ap;
    va_start(ap, what);
    fprintf(stderr, "emulator: kernel %s, block %d,%d, thread %d: ", m.launch->kernel->name,
            emu.block_x, emu.block_y, emu.thread);
    vfprintf(stderr, what, ap);
    fputc('\n', stderr);
    va_end(ap);
    abort();
}

// ---- fibers

extern "C" void emu_switch(void **from, void *to);
#if defined(__x86_64__)
asm(R"(
.text
.globl emu_switch
.hidden emu_switch
.type emu_switch, @function
emu_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    popq %rcx
    jmp *%rcx
)");
#define SAVED 6
#elif defined(__aarch64__)
asm(R"(
.text
.globl emu_switch
.hidden emu_switch
.type emu_switch, %function
emu_switch:
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
)");
#endif

static void fiber_main() {
    m.launch->kernel->run(m.launch->args);
    fiber *f = here();
    f->at = LEFT;
    emu_switch(&f->sp, m.scheduler);
    abort(); // nobody comes back
}

static void fiber_init(int i) {
    uintptr_t top = (uintptr_t)m.stacks.get() + (i + 1) * STACK_SIZE;
    void **sp = (void **)(top / 64 * 64);
#if defined(__x86_64__)
    *--sp = nullptr; // fiber_main's return address
    *--sp = (void *)fiber_main;
    sp -= SAVED;
#else
    sp -= 20;
    sp[11] = (void *)fiber_main;
#endif
    m.f[i] = {sp, READY, 0, 0, 0};
}

// The fiber waits; the next lane of its warp that can go on does, or else the scheduler.
static void wait_at(state s, int line) {
    fiber *f = here();
    f->at = s, f->line = line;
    while (++m.turn < 32) {
        int i = m.warp + m.lanes[m.turn];
        if (m.f[i].at != READY) continue;
        emu.thread = i - emu.first;
        emu_switch(&f->sp, m.f[i].sp);
        return;
    }
    emu_switch(&f->sp, m.scheduler);
}

// ---- meetings

void emu_block_sync(int line) {
    wait_at(AT_BLOCK, line);
}

void emu_grid_sync(uint32_t *meetings, uint32_t goal, int line) {
    if (!m.launch->together) emu_fault("grid_sync, but the launch does not run its blocks at once");
    if (emu.thread == 0) ++*meetings;
    m.meetings = meetings;
    here()->goal = goal;
    wait_at(AT_GRID, line);
}

uint32_t emu_exchange(uint32_t v, int from, int line) {
    int w = (emu.first + emu.thread) / 32, side = here()->exchanges++ % 2;
    m.box[w][side][emu.thread % 32] = v;
    wait_at(AT_WARP, line);
    return m.box[w][side][from];
}

// The whole product of a warp, from what its lanes brought.
static void multiply(int32_t out[16][8], const uint32_t (*in)[6]) {
    int16_t a[16][32], b[8][32];
    for (int lane = 0; lane < 32; lane++) {
        for (int i = 0; i < 24; i++) {
            int8_t v = (int8_t)(in[lane][i / 4] >> i % 4 * 8);
            int reg = i / 4, col = lane % 4 * 4 + i % 4;
            if (reg < 4)
                a[lane / 4 + reg % 2 * 8][col + reg / 2 * 16] = v;
            else
                b[lane / 4][col + (reg - 4) * 16] = v;
        }
    }
    for (int row = 0; row < 16; row++) {
        for (int col = 0; col < 8; col++) {
            int32_t sum = 0;
            for (int k = 0; k < 32; k++) sum += a[row][k] * b[col][k];
            out[row][col] = sum;
        }
    }
}

void emu_mma(int32_t c[4], const uint32_t a[4], const uint32_t b[2], int line) {
    int w = (emu.first + emu.thread) / 32, lane = emu.thread % 32;
    unsigned number = ++here()->exchanges;
    mma_box *box = &m.matrix[w][number % 2];
    memcpy(box->in[lane], a, 4 * sizeof *a);
    memcpy(box->in[lane] + 4, b, 2 * sizeof *b);
    wait_at(AT_WARP, line);
    if (box->made != number) multiply(box->out, box->in), box->made = number;
    for (int i = 0; i < 4; i++) c[i] += box->out[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
}

void *emu_shared(const void *key, size_t size) {
    for (shared_piece &p : m.shared)
        if (p.key == key && p.first == emu.first) return p.memory.get();
    uint8_t *memory = new uint8_t[size];
    memset(memory, 0xa7, size);
    m.shared.push_back({key, emu.first, std::unique_ptr<uint8_t[]>(memory)});
    return memory;
}

// Lets the threads from..to-1, which must all wait in state s at one line, go on.
static void release(int from, int to, state s) {
    static const char *const where[] = {"runs", "waits for the block", "waits for its warp",
                                        "waits for the grid", "left"};
    for (int i = from; i < to; i++) {
        if (m.f[i].at == s && m.f[i].line == m.f[from].line) continue;
        emu.thread = i - emu.first;
        emu_fault("%s at line %d, thread %d %s at line %d", where[m.f[i].at], m.f[i].line, from,
                  where[m.f[from].at], m.f[from].line);
    }
    for (int i = from; i < to; i++) m.f[i].at = READY;
}

// Runs the lanes of warp w until all wait for the block or have left.
static void run_warp(int w, emu_order order) {
    m.warp = 32 * w;
    if (order == EMU_SHUFFLED) order_of(m.lanes, 32, order);
    for (;;) {
        bool meets = false;
        for (m.turn = 0; m.turn < 32; m.turn++) {
            emu.thread = m.warp + m.lanes[m.turn] - emu.first;
            if (here()->at == READY) emu_switch(&m.scheduler, here()->sp);
        }
        for (int i = m.warp; i < m.warp + 32; i++) meets |= m.f[i].at == AT_WARP;
        if (!meets) return;
        release(m.warp, m.warp + 32, AT_WARP);
    }
}

// The fibers of the block that emu names, from its start.
static void start_block() {
    for (int i = emu.first; i < emu.first + emu.threads; i++) fiber_init(i);
    for (int w = emu.first / 32; w < (emu.first + emu.threads) / 32; w++)
        m.matrix[w][0].made = m.matrix[w][1].made = 0;
}

// Runs that block until all its threads wait for the grid or have left.
static void run_block(emu_order order) {
    static std::vector<int> warps;
    int first = emu.first, threads = emu.threads;
    for (;;) {
        bool waits = false;
        order_of(warps, threads / 32, order);
        order_of(m.lanes, 32, order);
        for (int w : warps) run_warp(first / 32 + w, order);
        for (int i = first; i < first + threads; i++) waits |= m.f[i].at == AT_BLOCK;
        if (!waits) return;
        release(first, first + threads, AT_BLOCK);
    }
}

static void go_to_block(int b, int first) {
    const emu_launch *l = m.launch;
    emu = {0, l->threads, b % l->grid_x, b / l->grid_x, first, 0};
}

// Lets all of n fibers go on from grid_sync, with what it was told of the counter proved. False:
// all have left.
static bool release_grid(int n) {
    if (std::all_of(m.f, m.f + n, [](const fiber &f) { return f.at == LEFT; })) return false;
    uint32_t goal = ++m.met * (uint32_t)(n / m.launch->threads);
    emu.first = 0;
    release(0, n, AT_GRID);
    for (int i = 0; i < n; i++)
        if (m.f[i].goal != goal || *m.meetings != goal)
            emu_fault("grid_sync: the counter is %u and the goal %u, expected %u", *m.meetings,
                      m.f[i].goal, goal);
    return true;
}

// Blocks that wait for each other: each goes to its grid_sync, in the order, then all go on.
static void run_together(int count, emu_order order) {
    std::vector<int> blocks;
    int threads = m.launch->threads;
    m.met = 0;
    for (int b = 0; b < count; b++) go_to_block(b, b * threads), start_block();
    do {
        order_of(blocks, count, order);
        for (int b : blocks) go_to_block(b, b * threads), run_block(order);
    } while (release_grid(count * threads));
}

void emu_run(const emu_launch *l, emu_order order) {
    std::vector<int> blocks;
    m.launch = l;
    m.random = 0x9e3779b9u;
    if (l->threads % 32 || l->threads < 32 || l->threads > THREADS_MAX)
        emu_fault("%d threads, expected a multiple of 32 up to %d", l->threads, THREADS_MAX);
    // As it is: a stack that no fiber uses costs nothing.
    if (!m.stacks) m.stacks.reset(new uint8_t[FIBERS_MAX * STACK_SIZE]);
    m.shared.clear();
    if (l->together) {
        run_together(l->grid_x * l->grid_y, order);
        return;
    }
    order_of(blocks, l->grid_x * l->grid_y, order);
    for (int b : blocks) {
        go_to_block(b, 0);
        m.shared.clear();
        start_block();
        run_block(order);
        if (m.f[0].at == AT_GRID) emu_fault("waits for the grid");
    }
}
