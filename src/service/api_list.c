// api_list.c - the list of jobs: by pages, by state, and by words in what was asked for.
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "service/api_inside.h"
#include "service/view.h"

#define LIST_DEFAULT 50
#define LOOK_MAX 2000 // jobs that one search reads
#define LOOK_STEP 100 // of these, at once
#define WORDS_MAX 200 // bytes

typedef struct {
    job_filter filter;
    const char *words; // NULL: every job
    bool details;
} listing;

static bool parse_count(const char *text, int64_t lo, int64_t hi, int64_t *out) {
    if (!text) return true;
    char *end;
    long long v = strtoll(text, &end, 10);
    if (!*text || *end || text[0] < '0' || text[0] > '9' || v < lo || v > hi) return false;
    *out = v;
    return true;
}

static bool parse_filter(http_request *q, listing *l, const char **wrong) {
    const char *state = http_query(q, "status"), *details = http_query(q, "details");
    int64_t limit = LIST_DEFAULT, after = 0;
    job_state s;
    if (state && !job_state_parse(state, &s)) {
        *wrong = "status: expected queued, processing, completed, failed or canceled";
        return false;
    }
    if (!parse_count(http_query(q, "limit"), 1, JOB_LIST_MAX, &limit) ||
        !parse_count(http_query(q, "after"), 1, INT64_MAX, &after)) {
        *wrong = "limit: expected 1 to 500; after: expected the \"next\" of an earlier answer";
        return false;
    }
    if (details && strcmp(details, "true") != 0 && strcmp(details, "false") != 0) {
        *wrong = "details: expected true or false";
        return false;
    }
    l->filter =
        (job_filter){.states = state ? 1u << s : 0, .below_seq = after, .limit = (int)limit};
    l->details = details && strcmp(details, "true") == 0;
    l->words = http_query(q, "q");
    if (l->words && !*l->words) l->words = NULL;
    if (!l->words || strlen(l->words) <= WORDS_MAX) return true;
    *wrong = "q: expected at most 200 bytes";
    return false;
}

// Whether text has the n bytes of word, whatever the case of its letters.
static bool contains(const char *text, const char *word, size_t n) {
    for (; text && *text; text++)
        if (strncasecmp(text, word, n) == 0) return true;
    return false;
}

// Whether each word is in the job's ids or in its request.
static bool is_about(const job *j, const char *words) {
    for (const char *w = words + strspn(words, " "); *w; w += strspn(w, " ")) {
        size_t n = strcspn(w, " ");
        if (!contains(j->request, w, n) && !contains(j->id, w, n)) return false;
        w += n;
    }
    return true;
}

// Adds a job of a list, whose request is not there yet. False: it was left out.
static bool add_job(api *a, const listing *l, const job *j, json *all) {
    if (!l->words && !l->details) return json_add(all, view_job_short(j, false));
    job whole = {0};
    bool ok = job_get(a->config.jobs, j->id, &whole, NULL) == OK &&
              (!l->words || is_about(&whole, l->words)) &&
              json_add(all, view_job_short(&whole, l->details));
    job_deinit(&whole);
    return ok;
}

// Fills all; *next gets where the next page begins, 0: there is none.
static status fill(api *a, const listing *l, json *all, int64_t *next, err *e) {
    int found = 0, looked = 0;
    job_filter f = l->filter;
    if (l->words) f.limit = LOOK_STEP;
    *next = 0;
    for (bool more = true; more;) {
        job *list;
        size_t n;
        status rc = job_list(a->config.jobs, &f, &list, &n, e);
        if (rc) return rc;
        more = n == (size_t)f.limit;
        for (size_t i = 0; i < n && found < l->filter.limit; i++, looked++) {
            found += add_job(a, l, &list[i], all);
            f.below_seq = list[i].seq;
        }
        job_list_free(list, n);
        bool full = found == l->filter.limit || !l->words || looked >= LOOK_MAX;
        if (full) *next = more || (l->words && found == l->filter.limit) ? f.below_seq : 0;
        more = more && !full;
    }
    return OK;
}

void api_get_jobs(api *a, http_request *q, const char *unused) {
    (void)unused;
    listing l;
    const char *wrong;
    if (!parse_filter(q, &l, &wrong)) {
        http_reply_problem(q, 400, "bad-request", "Bad request", wrong, NULL);
        return;
    }
    json *all = json_new_array(), *v = json_new_object();
    int64_t next;
    err e;
    status rc = fill(a, &l, all, &next, &e);
    if (rc) {
        json_free(all);
        json_free(v);
        api_reply_status(q, rc, &e);
        return;
    }
    json_set(v, "jobs", all);
    json_set(v, "next", next ? json_new_int(next) : json_new_null());
    api_reply_json(q, 200, v);
}
