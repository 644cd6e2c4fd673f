// runner.c - runs the tests that criterion.h beside it registers, each in a process of its own.
// Arguments: suite names; none: all.
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

#include "criterion/criterion.h"

#define TIMEOUT_S 600

static plain_test *first;
static plain_suite *first_suite;

void plain_register(plain_test *t) {
    t->next = first;
    first = t;
}

void plain_register_suite(plain_suite *s) {
    s->next = first_suite;
    first_suite = s;
}

// Gives a test what its suite has and the test has not.
static plain_test with_suite(plain_test t) {
    for (const plain_suite *s = first_suite; s; s = s->next) {
        if (strcmp(s->name, t.suite) != 0) continue;
        if (!t.init) t.init = s->init;
        if (!t.fini) t.fini = s->fini;
        if (t.timeout <= 0) t.timeout = s->timeout;
        t.disabled |= s->disabled;
    }
    return t;
}

void plain_fail(const char *file, int line, const char *what, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "%s:%d: %s: ", file, line, what);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    fflush(NULL);
    _exit(1);
}

static int run(const plain_test *t) {
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(t->timeout > 0 ? (unsigned)t->timeout * 10 : TIMEOUT_S); // TSan is ten times slower
        if (t->init) t->init();
        t->body();
        if (t->fini) t->fini();
        exit(0); // not _exit: reports are printed at exit
    }
    int how = 0;
    waitpid(pid, &how, 0);
    if (how == 0) return 0;
    fprintf(stderr, "FAIL %s::%s (%s %d)\n", t->suite, t->name, WIFEXITED(how) ? "exit" : "signal",
            WIFEXITED(how) ? WEXITSTATUS(how) : WTERMSIG(how));
    return 1;
}

int main(int argc, char **argv) {
    int failed = 0, count = 0;
    for (const plain_test *p = first; p; p = p->next) {
        const plain_test t = with_suite(*p);
        int wanted = argc < 2;
        for (int i = 1; i < argc; i++) wanted |= strcmp(argv[i], t.suite) == 0;
        if (!wanted || t.disabled) continue;
        count++;
        failed += run(&t);
    }
    fprintf(stderr, "tested: %d, failing: %d\n", count, failed);
    return failed != 0;
}
