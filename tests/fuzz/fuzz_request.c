// fuzz_request.c - any bytes as the body of POST /generate, as a path and as a Range header.
#include <string.h>

#include "base/mem.h"
#include "net/http_server.h"
#include "service/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void as_body(bytes text) {
    static const request_limits limits = {.seconds_max = 300, .body_max = 65536};
    request r;
    json *faults;
    if (request_parse(&r, text, &limits, &faults, NULL)) {
        json_free(faults);
        return;
    }
    // What was accepted once is accepted when it is read back, and is within its limits.
    request again;
    if (request_reparse(&again, text, r.work, NULL)) __builtin_trap();
    request_deinit(&again);
    if (!request_id_ok(r.id) || !request_id_ok(r.audio_file_id) || strchr(r.id, '/'))
        __builtin_trap();
    if (!(r.ask.seconds > 0 && r.ask.seconds <= 300) || r.ask.stem_count < 1 ||
        r.ask.stem_count > 7)
        __builtin_trap();
    bytes member = json_member_text(text, "parameters");
    if (member.n && (member.p < text.p || member.p + member.n > text.p + text.n)) __builtin_trap();
    json *j = NULL;
    // A duplicate written with escapes is another name to the reader of raw text, never beyond it.
    if (member.n) json_parse(&j, member, 65536, NULL);
    json_free(j);
    request_deinit(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    as_body((bytes){p, n});
    char *s = mem_strndup((const char *)p, n);
    if (!s) return 0;
    uint64_t first, count;
    if (http_range_parse(s, 1000, &first, &count) == HTTP_RANGE_OK &&
        (first >= 1000 || count == 0 || count > 1000 - first))
        __builtin_trap();
    if (http_path_decode(s) && strlen(s) > n) __builtin_trap();
    mem_free(s);
    return 0;
}
