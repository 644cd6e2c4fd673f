// cgroup.c - see cgroup.h.
#include "base/cgroup.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/os.h"

#define LINE_MAX_BYTES 4096

// The first line of a file below root, without its end. False when there is none.
static bool read_line(char out[LINE_MAX_BYTES], const char *root, const char *file) {
    char path[OS_PATH_MAX];
    int n = snprintf(path, sizeof path, "%s%s", root, file);
    FILE *f = n > 0 && (size_t)n < sizeof path ? fopen(path, "re") : NULL;
    bool ok = f && fgets(out, LINE_MAX_BYTES, f);
    if (f) fclose(f);
    if (ok) out[strcspn(out, "\n")] = 0;
    return ok;
}

static double ratio(double quota, double period) {
    return quota > 0 && period > 0 ? quota / period : 0;
}

// Version 2 has "max 100000" or "150000 100000" in one file.
static double quota_v2(const char *root, const char *dir) {
    char file[OS_PATH_MAX], line[LINE_MAX_BYTES];
    double quota = 0, period = 0;
    snprintf(file, sizeof file, "%s/cpu.max", dir);
    if (!read_line(line, root, file) || sscanf(line, "%lf %lf", &quota, &period) != 2) return 0;
    return ratio(quota, period);
}

// Version 1 has two files, and -1 for no limit.
static double quota_v1(const char *root, const char *dir) {
    char file[OS_PATH_MAX], line[LINE_MAX_BYTES];
    double quota = 0, period = 0;
    snprintf(file, sizeof file, "%s/cpu.cfs_quota_us", dir);
    if (!read_line(line, root, file) || sscanf(line, "%lf", &quota) != 1) return 0;
    snprintf(file, sizeof file, "%s/cpu.cfs_period_us", dir);
    if (!read_line(line, root, file) || sscanf(line, "%lf", &period) != 1) return 0;
    return ratio(quota, period);
}

static void lower(double *least, double found) {
    if (found > 0 && (*least <= 0 || found < *least)) *least = found;
}

// The least of a group and of all that it lies in. In a container the path may be the machine's,
// of which only the top is mounted: what is not there is passed over.
static void look_up(double *least, const char *root, const char *mount, const char *group,
                    double (*quota)(const char *, const char *)) {
    char dir[OS_PATH_MAX];
    int n = snprintf(dir, sizeof dir, "%s%s", mount, group);
    if (n < 0 || (size_t)n >= sizeof dir) return;
    for (size_t end = (size_t)n, top = strlen(mount);; end--) {
        if (end > top && dir[end] != '/' && dir[end]) continue;
        dir[end] = 0;
        lower(least, quota(root, dir));
        if (end <= top) return;
    }
}

// Whether a list such as "cpu,cpuacct" has the word "cpu".
static bool has_cpu(const char *list, size_t n) {
    for (size_t at = 0; at < n;) {
        size_t word = strcspn(list + at, ",:");
        if (word == 3 && memcmp(list + at, "cpu", 3) == 0) return true;
        at += word + 1;
    }
    return false;
}

// A line of /proc/self/cgroup: "0::/group" of version 2, "4:cpu,cpuacct:/group" of version 1.
static void look_at_group(double *least, const char *root, char *line) {
    char mount[OS_PATH_MAX];
    line[strcspn(line, "\n")] = 0;
    char *list = strchr(line, ':'), *group = list ? strchr(list + 1, ':') : NULL;
    if (!group) return;
    list++;
    size_t n = (size_t)(group - list);
    group++;
    if (!n) {
        look_up(least, root, "/sys/fs/cgroup", group, quota_v2);
        look_up(least, root, "/sys/fs/cgroup/unified", group, quota_v2);
    } else if (has_cpu(list, n)) {
        snprintf(mount, sizeof mount, "/sys/fs/cgroup/%.*s", (int)MIN(n, (size_t)200), list);
        look_up(least, root, mount, group, quota_v1);
        look_up(least, root, "/sys/fs/cgroup/cpu", group, quota_v1);
    }
}

double cgroup_cpus(const char *root) {
    char path[OS_PATH_MAX], line[LINE_MAX_BYTES];
    double least = 0;
    snprintf(path, sizeof path, "%.3000s/proc/self/cgroup", root);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f)) look_at_group(&least, root, line);
    if (f) fclose(f);
    return least;
}

int cgroup_threads(double cpus, int processors) {
    if (!(cpus > 0) || cpus >= processors) return MAX(1, processors);
    return MAX(1, (int)ceil(cpus - 0.01)); // 2.001 is two
}

void cgroup_text(char *out, size_t cap, double cpus, int processors) {
    int threads = cgroup_threads(cpus, processors);
    if (cpus > 0 && threads < processors)
        snprintf(out, cap, "%d of %d processors, by a CPU quota of %.3g", threads, processors,
                 cpus);
    else
        snprintf(out, cap, "%d, one a processor", threads);
}
