// os.h - files, clocks and signals: every call to the operating system that more than one layer
// needs.
#pragma once
#include <pthread.h>

#include "base/err.h"

// A file mapped read-only, private. The kernel pages it in as it is touched. A file that shrinks
// while mapped raises SIGBUS: kept.h is for files that are used for long.
typedef struct {
    bytes data;
    void *base; // os's own
    size_t len;
} os_file_map;

status os_map_open(os_file_map *out, const char *path, err *e); // ERR_NOT_FOUND when absent
void os_map_close(os_file_map *m);                              // zeroed or closed is fine
// The pages that lie wholly in part, which is in m, leave this process; they come back from the
// file when they are touched.
void os_map_forget(const os_file_map *m, bytes part);

bool os_exists(const char *path);
bool os_is_dir(const char *path);
bool os_is_file(const char *path); // a regular one
bool os_is_link(const char *path); // whether or not what it leads to is there
// Which file a path leads to, so that one that was removed or replaced is noticed.
typedef struct {
    uint64_t device, inode;
} os_file_id;
bool os_file_identify(os_file_id *out, const char *path); // false: there is none
status os_mkdirs(const char *path, err *e);               // with parents; existing is OK

// Writes data under a temporary name in the same folder, fsyncs it, renames it over path and fsyncs
// the folder: after OK the file survives a crash, and nobody ever sees half of it. A link stays,
// what it leads to is replaced; mode and owner stay, and a file that is write-protected is refused.
// A device or FIFO is written to, a FIFO once it has a reader. A file is written in place when its
// owner could not be kept, when its folder takes no other file, and when it is a mount point.
status os_write_atomic(const char *path, bytes data, err *e);

// Whether a file could be written there now, asked before long work: its folder takes a file, and
// the path is no folder itself. Leaves nothing behind, and opens no device or FIFO.
status os_can_write(const char *path, err *e);
bool os_is_stdout(const char *path); // whether path leads to what the standard output is

// The same, piece by piece: moved under its final name, or abandoned without a trace.
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
size_t os_memory_resident(void); // those now; 0 when the system does not say
size_t os_memory_huge(void);     // those of them that lie in huge pages; 0 likewise
bool os_is_terminal(int fd);

// A point in time as people and JSON read it, in UTC: "2026-03-04T05:06:07.890Z", or without the
// thousandths: "2026-03-04T05:06:07Z".
#define OS_TIME_SIZE 40
void os_time_text(char out[OS_TIME_SIZE], int64_t time_ms, bool thousandths);

// A condition variable that waits on the monotonic clock: a wall clock that is set back or forward
// makes no wait longer or shorter. Use os_cond_init instead of pthread_cond_init; everything else
// is pthread's.
void os_cond_init(pthread_cond_t *c);
// Waits until c is signalled (true) or ms milliseconds have passed (false). mu is held.
bool os_cond_wait_ms(pthread_cond_t *c, pthread_mutex_t *mu, int64_t ms);

// SIGINT, SIGTERM and SIGHUP set a flag that os_stop_requested reads; a second signal ends the
// process. A SIGHUP that is ignored, as by nohup, stays ignored.
void os_stop_on_signals(void);
bool os_stop_requested(void);
// For commands that do not ask: the same signals end the process at once, and the unfinished
// os_atomic_file of a process that has one at a time leaves no trace.
void os_end_on_signals(void);
int os_stop_status(void); // the exit status of a process that was stopped: 130 after Ctrl-C

// The width of the terminal at fd, else COLUMNS, else 80; at least 1.
int os_terminal_columns(int fd);
