// test_service.c - the callback's body, and the text of metrics.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "service/metrics.h"
#include "service/stem_file.h"
#include "service/view.h"

static blob_store *store(void) {
    static char dir[] = "/tmp/view_XXXXXX";
    cr_assert_not_null(mkdtemp(dir));
    blob_config c = blob_config_default();
    c.dir = dir;
    c.public_url = "http://host/files";
    blob_store *s;
    err e;
    cr_assert_eq(blob_open(&s, &c, &e), OK, "%s", e.text);
    return s;
}

Test(view, a_callback_is_the_contracts_object_with_parameters_as_received) {
    blob_store *blobs = store();
    char request[] = "{\"x\":1, \"parameters\" : {\"b\": 1.50, \"a\":\"\\u00e4\"} }";
    char warnings[] = "[{\"code\":\"assumed\",\"pointer\":\"/parameters/target_bpm\","
                      "\"detail\":\"no\"}]";
    char facts[] = "{\"measured\":{\"bpm\":120.0}}";
    job_stem stems[2] = {{.name = "guitar",
                          .done = true,
                          .result = {.key = "f/generated/r/guitar.wav",
                                     .size = 2621440,
                                     .md5 = "abc",
                                     .sample_rate = 44100,
                                     .channels = 2,
                                     .seconds = 10,
                                     .facts = facts}},
                         {.name = "bass"}};
    job j = {.id = "r",
             .audio_file_id = "f",
             .state = JOB_FAILED,
             .request = request,
             .warnings = warnings,
             .error = "stem 'bass': no",
             .error_code = "model_error",
             .ended_ms = 1772600767890,
             .run_seconds = 3.25,
             .seed = 42,
             .stems = stems,
             .stem_count = 2};
    buf b;
    err e;
    buf_init(&b, 10000);
    cr_assert_eq(view_callback(blobs, &j, &b, &e), OK, "%s", e.text);
    cr_assert_str_eq(
        buf_str(&b),
        "{\"generation_request_id\":\"r\",\"audio_file_id\":\"f\",\"status\":\"failed\","
        "\"processing_time_seconds\":3.25,\"generated_stems\":[{\"stem_type\":\"guitar\","
        "\"blob_url\":\"http://host/files/f/generated/r/guitar.wav\",\"file_size_bytes\":2621440,"
        "\"format\":\"wav\",\"sample_rate\":44100,\"channels\":2,\"duration_seconds\":10.0,"
        "\"content_md5\":\"abc\",\"measured\":{\"bpm\":120.0}}],\"error_message\":\"stem 'bass': "
        "no\","
        "\"error\":{\"code\":\"model_error\",\"detail\":\"stem 'bass': no\"},"
        "\"timestamp\":\"2026-03-04T05:06:07.890Z\",\"random_seed\":42,"
        "\"warnings\":[{\"code\":\"assumed\",\"pointer\":\"/parameters/target_bpm\","
        "\"detail\":\"no\"}],"
        "\"parameters\":{\"b\": 1.50, \"a\":\"\\u00e4\"}}");
    buf_clear(&b);
    j.request = j.warnings = NULL; // a list of jobs has none
    j.state = JOB_CANCELED;
    cr_assert_eq(view_callback(blobs, &j, &b, &e), OK);
    cr_assert_not_null(strstr(buf_str(&b), "\"status\":\"failed\""));
    cr_assert_not_null(strstr(buf_str(&b), ",\"parameters\":{}}"));
    buf_deinit(&b);
    blob_close(blobs);
}

Test(metrics, write_the_prometheus_text_format) {
    metrics *m;
    cr_assert_eq(metrics_open(&m, NULL), OK);
    metrics_add(m, "stemforge_jobs_submitted_total", NULL, 2);
    metrics_count(m, "stemforge_uploads_total", "outcome=\"%s\"", "ok");
    metrics_observe(m, "stemforge_callback_seconds", NULL, 0.2);
    metrics_observe(m, "stemforge_callback_seconds", NULL, 100);
    buf b;
    buf_init(&b, 10000);
    metrics_write(m, &b);
    const char *t = buf_str(&b);
    cr_assert_not_null(strstr(t, "# TYPE stemforge_jobs_submitted_total counter\n"
                                 "stemforge_jobs_submitted_total 2\n"));
    cr_assert_not_null(strstr(t, "\nstemforge_uploads_total{outcome=\"ok\"} 1\n"));
    cr_assert_not_null(strstr(t, "\nstemforge_callback_seconds_bucket{le=\"0.1\"} 0\n"));
    cr_assert_not_null(strstr(t, "\nstemforge_callback_seconds_bucket{le=\"0.25\"} 1\n"));
    cr_assert_not_null(strstr(t, "\nstemforge_callback_seconds_bucket{le=\"+Inf\"} 2\n"));
    cr_assert_not_null(strstr(t, "\nstemforge_callback_seconds_sum 100.2\n"));
    cr_assert_not_null(strstr(t, "\nstemforge_callback_seconds_count 2\n"));
    buf_deinit(&b);
    metrics_close(m);
}

Test(metrics, never_hold_more_series_than_their_maximum) {
    metrics *m;
    cr_assert_eq(metrics_open(&m, NULL), OK);
    for (int i = 0; i < 2 * METRICS_SERIES_MAX; i++)
        metrics_count(m, "stemforge_stem_errors_total", "stem=\"%d\"", i);
    char label[32];
    int kept = 0;
    bool before = true;
    for (int i = 0; i < 2 * METRICS_SERIES_MAX; i++) {
        snprintf(label, sizeof label, "stem=\"%d\"", i);
        bool now = metrics_get(m, "stemforge_stem_errors_total", label) > 0;
        cr_assert(before || !now); // the first that came, and none after the first that was dropped
        before = now;
        kept += now;
    }
    cr_assert_gt(kept, METRICS_SERIES_MAX / 2);
    cr_assert_lt(kept, METRICS_SERIES_MAX); // those that metrics_open begins count too
    metrics_close(m);
}

Test(stem_file, a_key_is_made_and_known_again_and_nothing_else_is) {
    char key[200];
    stem_file_key(key, sizeof key, "song.1", "r-2", "bass");
    cr_assert_str_eq(key, "song.1/generated/r-2/bass.wav");
    cr_assert(stem_file_is_key(key));
    static const char *const wrong[] = {
        "",
        "generated/r/bass.wav",
        "a/generated/r/bass",
        "a/generated/r/bass.flac",
        "a/generated/r/bass.wav/x",
        "a/other/r/bass.wav",
        "a/generated//bass.wav",
        "/generated/r/bass.wav",
        "a/generated/../bass.wav",
        "a/generated/r/.tmp/bass.wav",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cr_assert_not(stem_file_is_key(wrong[i]), "%s", wrong[i]);
    }
}
