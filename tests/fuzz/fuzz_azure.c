// fuzz_azure.c - what an operator or the storage service may hand us: connection strings, and the
// XML of answers. A string that is taken must be usable: it can sign and make a link.
#include <assert.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "store/azure_inside.h"

static void use(const azure_account *a) {
    assert(a->endpoint && strncmp(a->endpoint, "http", 4) == 0);
    assert(a->auth != AZURE_SAS || a->sas);
    assert(a->auth != AZURE_SHARED_KEY || (a->name[0] && a->key_len));
    fetch_header h[] = {{"x-ms-date", "d"}, {"Content-Type", "audio/wav"}};
    azure_to_sign q = {.verb = "PUT",
                       .path = "/c/b",
                       .query = a->sas ? a->sas : "comp=block&x",
                       .headers = h,
                       .header_count = 2,
                       .content_length = 1};
    buf out;
    buf_init(&out, (size_t)1 << 20);
    (void)!azure_string_to_sign(&q, a->name, &out, NULL);
    buf_clear(&out);
    if (a->auth == AZURE_SHARED_KEY) {
        status rc = azure_sas_read(a, "audio-files", "x.wav", 0, 3600000, true, &out, NULL);
        assert(rc == OK);
        (void)rc;
    }
    buf_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    log_setup(LOG_OFF, false);
    char *text = mem_strndup((const char *)p, n);
    azure_account a;
    if (azure_account_parse(&a, text, NULL) == OK) {
        use(&a);
        azure_account_deinit(&a);
    }
    char code[AZURE_CODE_MAX];
    azure_xml_find(text, "Code", code, sizeof code);
    mem_free(text);
    return 0;
}
