// mem.h - allocation with a test hook, and arenas.
//
// The only file that calls malloc. Every function returns NULL when there is no memory; callers
// turn that into ERR_OOM. mem_fail_after lets a test fail the nth allocation from now.
#pragma once
#include "base/base.h"

void *mem_alloc(size_t n);                   // uninitialised; n 0 gives a pointer that can be freed
void *mem_calloc(size_t count, size_t size); // zeroed; NULL on overflow too
void *mem_realloc(void *p, size_t n);        // as realloc; p is untouched on failure
void *mem_aligned(size_t n);                 // zeroed, 64-byte aligned, huge pages when large
char *mem_strdup(const char *s);             // NULL gives NULL
char *mem_strndup(const char *s, size_t n);  // n bytes and a NUL; s may be NULL for n 0
void mem_free(void *p);                      // NULL is fine; frees what any of the above returned

// Tests only, per process: the nth allocation from now (0 = the next) and all after it fail. -1:
// none.
void mem_fail_after(int n);

// A bump allocator for things that live and die together (a job, a forward pass). The blocks it
// takes are zeroed. It stays failed once an allocation has failed, so one check at the end is
// enough.
typedef struct arena_block arena_block;
typedef struct {
    arena_block *head;
    size_t used; // bytes handed out, padding included
    size_t max;  // 0: no limit; else alloc beyond it fails
    bool failed;
} arena;

void arena_init(arena *a, size_t max);
void *arena_alloc(arena *a, size_t n);                // 64-byte aligned and zeroed, or NULL
float *arena_f32(arena *a, size_t rows, size_t cols); // [rows, cols]
char *arena_strdup(arena *a, const char *s);
void arena_reset(arena *a); // frees everything; the arena can be used again
void arena_deinit(arena *a);
