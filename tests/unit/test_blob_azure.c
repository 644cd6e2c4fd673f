// test_blob_azure.c - the blob store on top of Azure: what counts as stored, and which links hold.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "azure_script.h"
#include "base/os.h"
#include "store/blob.h"
#include "wall_clock.h"

Test(azure, blob_store_says_what_is_wrong_with_its_settings) {
    static const char *const bad_names[] = {"ab",  "Audio", "a--b", "-ab",
                                            "ab-", "a_b",   "a/b",  "$root"};
    blob_config c = blob_config_default();
    blob_store *s;
    c.connection = "UseDevelopmentStorage=true";
    for (size_t i = 0; i < ARRAY_LEN(bad_names); i++) {
        c.container = bad_names[i];
        cr_assert_eq(blob_open(&s, &c, NULL), ERR_ARG, "%s", bad_names[i]);
        cr_assert_null(s);
    }
    c.container = "audio-files";
    cr_assert_eq(blob_open(&s, &c, NULL), OK);
    cr_assert_str_eq(blob_kind(s), "azure");
    cr_assert_str_eq(blob_place(s), "http://127.0.0.1:10000/devstoreaccount1/audio-files");
    char url[BLOB_URL_MAX];
    cr_assert_eq(blob_link(s, "a/x.wav", T0, url, sizeof url, NULL), OK);
    cr_assert_str_eq(url, "http://127.0.0.1:10000/devstoreaccount1/audio-files/a/x.wav");
    blob_close(s);
    c.connection = "BlobEndpoint=https://a.blob.core.windows.net;SharedAccessSignature=sig=x";
    c.sas_hours = 1;
    cr_assert_eq(blob_open(&s, &c, NULL), ERR_ARG);
}

// A blob store whose service is the script. Larger blobs than whole_max go up in blocks.
static blob_store *script_store_with(script *s, size_t whole_max, int sas_hours) {
    s->server = loopback_start(play, s);
    char text[300];
    snprintf(text, sizeof text,
             "AccountName=acct;AccountKey=%s;BlobEndpoint=http://127.0.0.1:%d/acct", EMULATOR_KEY,
             loopback_port(s->server));
    blob_config c = blob_config_default();
    c.connection = text;
    c.whole_max = whole_max;
    c.sas_hours = sas_hours;
    c.block_size = 4;
    c.delay_first_ms = 1;
    blob_store *b;
    cr_assert_eq(blob_open(&b, &c, NULL), OK);
    return b;
}

static blob_store *script_store(script *s, size_t whole_max) {
    return script_store_with(s, whole_max, 0);
}

// A container that is missing, an upload that arrived damaged, and then all is well.
Test(azure, put_makes_the_container_and_repeats_a_damaged_upload) {
    script s = {0};
    s.answer[0].code = 404, s.answer[0].headers = "x-ms-error-code: ContainerNotFound\r\n";
    s.answer[1].code = 201;
    s.answer[2].code = 400, s.answer[2].headers = "x-ms-error-code: Md5Mismatch\r\n";
    s.answer[3].code = 201;
    s.answer[3].headers =
        "x-ms-request-id: 7\r\nETag: \"0x8\"\r\nContent-MD5: XUFAKrxLKna5cZ2REBfFkg==\r\n";
    blob_store *b = script_store(&s, (size_t)1 << 20);
    blob_info info;
    err e = {.text = ""};
    cr_assert_eq(blob_put(b, "a/x.wav", bytes_of("hello"), "audio/wav", &info, &e), OK, "%s",
                 e.text);
    cr_assert_eq(s.count, 4);
    cr_assert(strncmp(s.head[1], "PUT /acct/audio-files?restype=container ", 40) == 0);
    cr_assert_str_eq(info.etag, "\"0x8\"");
    cr_assert_str_eq(info.md5,
                     "XUFAKrxLKna5cZ2REBfFkg=="); // printf hello | openssl md5 -binary | base64
    cr_assert_not_null(strstr(s.head[3], "Content-MD5: XUFAKrxLKna5cZ2REBfFkg==\r\n"));
    cr_assert_not_null(strstr(s.head[3], "Content-Type: audio/wav\r\n"));
    cr_assert_not_null(strstr(s.head[3], "x-ms-blob-type: BlockBlob\r\n"));
    s.count = 4, s.answer[4].code = 503; // for /health: one try
    cr_assert_eq(blob_check(b, NULL), ERR_BUSY);
    cr_assert_eq(s.count, 5);
    blob_close(b);
    loopback_stop(s.server);
}

// What the service does not promise is no success, and what it does not say is no refusal: both
// pass, so the job waits.
Test(azure, an_answer_of_something_in_between_is_neither_success_nor_refusal) {
    static const struct {
        int code;
        const char *headers, *body;
    } odd[] = {{200, "Content-Type: text/html\r\n", "<html>welcome</html>"},
               {200, GENUINE, ""},                  // not the promised 201
               {201, "", ""},                       // not the service's
               {201, "ETag: \"1\"\r\n", ""},        // likewise
               {201, "x-ms-request-id: 1\r\n", ""}, // a blob without an ETag
               {202, GENUINE, ""},
               {204, GENUINE, ""},
               {302, "Location: http://login.example/\r\n", ""},
               {400, "", "<html>bad request</html>"},
               {404, "", "hello"},
               {405, "Allow: GET\r\n", ""},
               {410, "", ""},
               {412, "", ""},
               {413, "", ""},
               {501, "", ""}};
    for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
        script s = {0};
        for (int n = 0; n < 6; n++) {
            s.answer[n].code = odd[i].code;
            s.answer[n].headers = odd[i].headers;
            s.answer[n].body = odd[i].body;
        }
        s.answer[6].code = 201; // it has passed
        blob_store *b = script_store(&s, 1000);
        err e = {.text = ""};
        status rc = blob_put(b, "a/x.wav", bytes_of("hello"), "audio/wav", NULL, &e);
        cr_assert(rc == ERR_BUSY || (odd[i].code == 501 && rc == ERR_IO), "%d: %s", odd[i].code,
                  e.text);
        while (s.count < 6) s.count++;
        cr_assert_eq(blob_put(b, "a/x.wav", bytes_of("hello"), "audio/wav", NULL, &e), OK, "%s",
                     e.text);
        blob_close(b);
        loopback_stop(s.server);
    }
}

Test(azure, a_block_or_a_list_that_was_not_taken_as_promised_is_not_stored) {
    for (int wrong = 0; wrong < 3; wrong++) { // two blocks and their list
        script s = {0};
        for (int i = 0; i < SCRIPT_MAX; i++) s.answer[i].code = 201;
        for (int i = wrong; i < wrong + 6; i++) s.answer[i].code = 200;
        blob_store *b = script_store(&s, 4);
        cr_assert_eq(blob_put(b, "a/x.wav", bytes_of("hello"), "audio/wav", NULL, NULL), ERR_BUSY);
        cr_assert_eq(s.count, wrong + 6);
        cr_assert_eq(blob_put(b, "a/x.wav", bytes_of("hello"), "audio/wav", NULL, NULL), OK);
        blob_close(b);
        loopback_stop(s.server);
    }
}

Test(azure, a_check_passes_only_when_writing_does) {
    script s = {0};
    s.answer[0].code = 200, s.answer[0].body = "<html>welcome</html>";
    s.answer[1].code = 403;
    s.answer[1].headers = "x-ms-error-code: AuthorizationPermissionMismatch\r\n";
    s.answer[2].code = 404, s.answer[2].headers = "x-ms-error-code: ContainerNotFound\r\n";
    s.answer[3].code = 403, s.answer[3].headers = "x-ms-error-code: AuthorizationFailure\r\n";
    s.answer[4].code = 404, s.answer[4].headers = "x-ms-error-code: ContainerNotFound\r\n";
    s.answer[5].code = s.answer[6].code = 201;
    s.answer[7].code = 404;
    blob_store *b = script_store(&s, 1000);
    cr_assert_eq(blob_check(b, NULL), ERR_BUSY); // a page of something in between
    cr_assert_eq(blob_check(b, NULL), ERR_BUSY); // may read, not write
    cr_assert_eq(blob_check(b, NULL), ERR_BUSY); // no container, and none may be made
    cr_assert_eq(s.count, 4);
    cr_assert_eq(blob_check(b, NULL), OK); // none, and one is made
    cr_assert_eq(s.count, 6);
    cr_assert_eq(blob_check(b, NULL), OK);
    cr_assert(strncmp(s.head[6], "PUT /acct/audio-files/stemforge-check?comp=block&", 49) == 0);
    cr_assert_eq(blob_check(b, NULL), ERR_BUSY);
    blob_close(b);
    loopback_stop(s.server);
}

// The day and hour of a query parameter of url.
static const char *hour_of(const char *url, const char *name, char out[40]) {
    char want[16];
    snprintf(want, sizeof want, "%s=", name);
    const char *at = strstr(url, want);
    snprintf(out, 40, "%.13s", at ? at + strlen(want) : "");
    return out;
}

// Ours is off by minutes or days, in either direction.
Test(azure, links_are_valid_by_the_services_clock_when_ours_is_wrong) {
    static const int64_t off[] = {-3 * 86400000LL, -900000, 0, 900000, 3 * 86400000LL};
    for (size_t i = 0; i < ARRAY_LEN(off); i++) {
        script s = {0};
        s.answer[0].code = 201;
        s.answer[0].headers = GENUINE "Date: Thu, 29 Feb 2024 15:10:00 GMT\r\n";
        blob_store *b = script_store_with(&s, 1000, 2);
        char url[BLOB_URL_MAX], v[40];
        const int64_t right = 1709219400000; // date -d '2024-02-29 15:10:00 UTC' +%s
        wall_clock_shift(right + off[i] - os_time_ms());
        cr_assert_eq(blob_put(b, "a/x.wav", bytes_of("hello"), "audio/wav", NULL, NULL), OK);
        cr_assert_eq(blob_link(b, "a/x.wav", os_time_ms(), url, sizeof url, NULL), OK);
        cr_assert_str_eq(hour_of(url, "st", v), "2024-02-29T15", "%s", url);
        cr_assert_str_eq(hour_of(url, "se", v), "2024-02-29T17", "%s", url);
        wall_clock_shift(0);
        blob_close(b);
        loopback_stop(s.server);
    }
}
