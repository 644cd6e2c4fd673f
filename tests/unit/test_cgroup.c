// test_cgroup.c - CPU quotas of control groups, read below a root that the test makes.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cgroup.h"
#include "base/os.h"

static char root[64];

static void setup(void) {
    strcpy(root, "/tmp/stemforge-cgroup-XXXXXX");
    cr_assert_not_null(mkdtemp(root));
}

static void teardown(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    cr_assert_eq(system(command), 0);
}

TestSuite(cgroup, .init = setup, .fini = teardown);

static void put(const char *file, const char *text) {
    char path[OS_PATH_MAX], dir[OS_PATH_MAX];
    snprintf(path, sizeof path, "%s%s", root, file);
    snprintf(dir, sizeof dir, "%.*s", (int)(strrchr(path, '/') - path), path);
    cr_assert_eq(os_mkdirs(dir, NULL), OK);
    FILE *f = fopen(path, "w");
    cr_assert(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static void expect(double cpus) {
    cr_assert(fabs(cgroup_cpus(root) - cpus) < 1e-9, "expected %g, found %g", cpus,
              cgroup_cpus(root));
}

Test(cgroup, without_groups_there_is_no_limit) {
    expect(0);
    put("/proc/self/cgroup", "0::/\n");
    expect(0);
    put("/sys/fs/cgroup/cpu.max", "max 100000\n");
    expect(0);
}

// Docker and Kubernetes with a namespace of their own: the group is the root of what is mounted.
Test(cgroup, version_2_in_a_container) {
    put("/proc/self/cgroup", "0::/\n");
    put("/sys/fs/cgroup/cpu.max", "150000 100000\n");
    expect(1.5);
}

// systemd's CPUQuota= on a slice above the service's own group.
Test(cgroup, version_2_takes_the_least_of_all_groups_above) {
    put("/proc/self/cgroup", "0::/a.slice/b.service/c\n");
    put("/sys/fs/cgroup/a.slice/cpu.max", "200000 100000\n");
    put("/sys/fs/cgroup/a.slice/b.service/cpu.max", "max 100000\n");
    put("/sys/fs/cgroup/a.slice/b.service/c/cpu.max", "800000 100000\n");
    expect(2);
    put("/sys/fs/cgroup/a.slice/b.service/cpu.max", "25000 50000");
    expect(0.5);
}

// The path is the machine's; in the container only its end is mounted.
Test(cgroup, version_1_of_a_container_and_of_a_machine) {
    put("/proc/self/cgroup", "9:memory:/docker/x\n4:cpuset:/docker/x\n3:cpu,cpuacct:/docker/x\n");
    put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "300000\n");
    put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    expect(3);
    put("/sys/fs/cgroup/cpu/docker/x/cpu.cfs_quota_us", "-1\n");
    put("/sys/fs/cgroup/cpu/docker/x/cpu.cfs_period_us", "100000\n");
    expect(3);
    put("/sys/fs/cgroup/cpu/docker/x/cpu.cfs_quota_us", "50000\n");
    expect(0.5);
}

Test(cgroup, files_that_are_something_else_are_no_limit) {
    static const char *const texts[] = {"", "0 0\n", "-5 100000\n", "x y\n", "100000\n", "nan 1\n"};
    put("/proc/self/cgroup", "no line of a group\n:\n::\n0::/\n");
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        put("/sys/fs/cgroup/cpu.max", texts[i]);
        expect(0);
    }
}

Test(cgroup, threads_follow_the_quota) {
    static const struct {
        double cpus;
        int processors, threads;
    } rows[] = {{0, 8, 8},     {0.5, 8, 1}, {1, 8, 1}, {1.5, 8, 2},
                {2.001, 8, 2}, {3, 2, 2},   {8, 8, 8}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        cr_assert_eq(cgroup_threads(rows[i].cpus, rows[i].processors), rows[i].threads, "row %zu",
                     i);
    char text[80];
    cgroup_text(text, sizeof text, 1.5, 16);
    cr_assert_str_eq(text, "2 of 16 processors, by a CPU quota of 1.5");
    cgroup_text(text, sizeof text, 0, 4);
    cr_assert_str_eq(text, "4, one a processor");
}
