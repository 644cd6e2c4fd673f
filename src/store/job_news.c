// job_news.c - see job_news.h. On the wire: a letter, and the id behind a blank.
#include "store/job_news.h"

#include <stdio.h>
#include <string.h>

#include "store/job_sql.h"

static const char letters[] = {
    [JOB_NEWS_QUEUED] = 'q', [JOB_NEWS_CANCEL] = 'c', [JOB_NEWS_CHANGED] = 'j'};

static void on_text(void *arg, const char *text) {
    const job_store *s = arg;
    job_news what = JOB_NEWS_MISSED;
    for (size_t i = 0; i < ARRAY_LEN(letters); i++)
        if (text[0] == letters[i]) what = (job_news)i;
    const char *id = text[0] && text[1] == ' ' ? text + 2 : "";
    s->heard(s->heard_arg, what, id);
}

status job_news_listen(job_store *s, job_news_heard heard, void *arg, err *e) {
    s->heard = heard;
    s->heard_arg = arg;
    return db_listen(s->d, on_text, s, e);
}

void job_news_stop(job_store *s) {
    if (s) db_deafen(s->d);
}

void job_news_tell(job_store *s, job_news what, const char *id) {
    char text[JOB_ID_MAX + 4];
    if (what == JOB_NEWS_MISSED) return; // nothing that one says
    snprintf(text, sizeof text, "%c%s%s", letters[what], id[0] ? " " : "", id);
    db_tell(s->d, text);
}

bool job_news_any(const job_store *s) {
    return s->d->shared;
}
