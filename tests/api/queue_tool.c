// queue_tool.c - claims, lists and submits jobs of a queue and says how long each took, for
// bench/queue.py.
//
//   queue_tool URL claim N | list N | submit N
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "store/source.h"

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double claim_one(job_store *s, err *e) {
    source_jobs from;
    claim_token c;
    job j;
    source *jobs = source_jobs_open(&from, s, NULL);
    double start = os_seconds();
    if (source_claim(jobs, job_time_now(), &c, &j, e)) return -1;
    double took = os_seconds() - start;
    job_deinit(&j);
    // Given back, so that the next claim finds as many.
    return source_release(jobs, c, false, 0, job_time_now(), e) ? -1 : took;
}

static double list_one(job_store *s, err *e) {
    const job_filter f = {.limit = 50};
    job *list;
    size_t n;
    double start = os_seconds();
    if (job_list(s, &f, &list, &n, e)) return -1;
    job_list_free(list, n);
    return os_seconds() - start;
}

static double submit_one(job_store *s, int n, err *e) {
    static const char *const stems[] = {"drums"};
    char id[40];
    snprintf(id, sizeof id, "tool-%d", n);
    const job_new j = {.id = id,
                       .audio_file_id = "a",
                       .stems = stems,
                       .stem_count = 1,
                       .request = bytes_of("{\"audio_file_id\": \"a\"}"),
                       .canonical = bytes_of(id),
                       .work = 1};
    job_submitted out;
    double start = os_seconds();
    return job_submit(s, &j, job_time_now(), &out, e) ? -1 : os_seconds() - start;
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    err e = {.text = ""};
    job_store *s;
    job_config c = job_config_default();
    c.queue_max = 1000000;
    int n = (int)strtol(argv[3], NULL, 10);
    double *took = calloc((size_t)n, sizeof *took);
    if (!took || n < 1 || job_store_open(&s, argv[1], &c, &e)) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    for (int i = 0; i < n; i++) {
        took[i] = strcmp(argv[2], "claim") == 0    ? claim_one(s, &e)
                  : strcmp(argv[2], "submit") == 0 ? submit_one(s, i, &e)
                                                   : list_one(s, &e);
        if (took[i] < 0) {
            fprintf(stderr, "%s\n", e.text);
            return 1;
        }
    }
    qsort(took, (size_t)n, sizeof *took, by_value);
    printf("%.3f %.3f\n", took[n / 2] * 1000, took[n * 99 / 100] * 1000);
    job_store_close(s);
    free(took);
    return 0;
}
