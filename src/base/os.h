// os.h - files, clocks and signals: every call to the operating system that more than one layer
// needs.
#pragma once
#include "base/err.h"

// A file mapped read-only, private. The kernel pages it in as it is touched. A file that shrinks
// while mapped would raise SIGBUS; model folders are not to be edited under a running program.
typedef struct {
    bytes data;
    void *base; // os's own
    size_t len;
} os_file_map;

status os_map_open(os_file_map *out, const char *path, err *e); // ERR_NOT_FOUND when absent
void os_map_close(os_file_map *m);                              // zeroed or closed is fine
void os_map_willneed(const os_file_map *m);                     // ask the kernel to read ahead
// The pages that lie wholly in part, which is in m, leave this process; they come back from the
// file when they are touched.
void os_map_forget(const os_file_map *m, bytes part);

bool os_exists(const char *path);
bool os_is_dir(const char *path);
status os_mkdirs(const char *path, err *e); // with parents; existing is OK

// Writes data under a temporary name in the same folder, fsyncs it, renames it over path and fsyncs
// the folder: after OK the file survives a crash, and nobody ever sees half of it.
status os_write_atomic(const char *path, bytes data, err *e);

// A file written piece by piece and then moved under its final name, or abandoned without a trace.
typedef struct os_atomic_file os_atomic_file;
status os_atomic_open(os_atomic_file **out, const char *path, err *e);
status os_atomic_write(os_atomic_file *f, bytes data, err *e);
status os_atomic_commit(os_atomic_file *f, err *e); // closes f in any case
void os_atomic_abandon(os_atomic_file *f);          // NULL is fine

// Joins a folder and a name into out. ERR_LIMIT when it does not fit.
status os_path_join(char *out, size_t cap, const char *dir, const char *name, err *e);
#define OS_PATH_MAX 4096

int64_t os_clock_ns(void); // monotonic
int64_t os_time_ms(void);  // since 1970, may jump
double os_seconds(void);   // monotonic, for durations
void os_sleep_ms(int ms);
int os_cpu_count(void);          // processors this process may run on, at least 1
size_t os_memory_peak(void);     // peak resident bytes of this process
size_t os_memory_resident(void); // those now; 0 when the system does not say
bool os_is_terminal(int fd);

// SIGINT and SIGTERM set a flag that os_stop_requested reads; a second signal ends the process.
void os_stop_on_signals(void);
bool os_stop_requested(void);
