// test_tokenizer.c - ids as Hugging Face gives them, and every way a tokenizer.json can be wrong.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/os.h"
#include "format/normalize.h"
#include "format/safetensors.h"
#include "format/tokenizer.h"

#define FIXTURE "tests/parity/tokenizer/tokenizer.json"

// tests/parity/README.md says what is in the file.
static void check_strings(const tokenizer *t) {
    st_file *f;
    err e = {0};
    cr_assert_eq(st_open(&f, "tests/parity/tokenizer/strings.safetensors", &e), OK, "%s", e.text);
    const uint8_t *text = st_find(f, "bytes")->data;
    const int32_t *want = st_find(f, "ids")->data;
    const int64_t *at = st_find(f, "offsets")->data, *id_at = st_find(f, "id_offsets")->data;
    int64_t n = tensor_count(st_find(f, "offsets")) - 1;
    cr_assert_geq(n, 10000);
    tok_ids got = {0};
    for (int64_t i = 0; i < n; i++) {
        int64_t from, to, id_from, id_to;
        memcpy(&from, at + i, 8), memcpy(&to, at + i + 1, 8);
        memcpy(&id_from, id_at + i, 8), memcpy(&id_to, id_at + i + 1, 8);
        bytes s = {text + from, (size_t)(to - from)};
        cr_assert_eq(tok_encode(t, s, &got, &e), OK, "%lld: %s", (long long)i, e.text);
        bool same = got.count == (size_t)(id_to - id_from) &&
                    memcmp(got.ids + got.first, want + id_from, got.count * sizeof *want) == 0;
        cr_assert(same, "string %lld: '%.*s'", (long long)i, (int)MIN(s.n, 200), (const char *)s.p);
    }
    tok_ids_deinit(&got);
    st_close(f);
}

Test(tokenizer, agrees_with_the_reference_on_every_string_of_the_fixture) {
    tokenizer *t;
    err e = {0};
    cr_assert_eq(tok_open(&t, FIXTURE, &e), OK, "%s", e.text);
    check_strings(t);
    tok_close(t);
}

// The two parts of a packed file, in memory of exactly their size.
typedef struct {
    buf text, vocab;
} packed;

static packed pack(bytes file) {
    packed p;
    tokenizer *t;
    err e = {0};
    buf_init(&p.text, TOK_FILE_MAX);
    buf_init(&p.vocab, TOK_FILE_MAX);
    cr_assert_eq(tok_open_bytes(&t, file, &e), OK, "%s", e.text);
    cr_assert_eq(tok_pack(t, file, &p.text, &p.vocab, &e), OK, "%s", e.text);
    tok_close(t);
    return p;
}

static void packed_deinit(packed *p) {
    buf_deinit(&p->text);
    buf_deinit(&p->vocab);
}

Test(tokenizer, packed_gives_the_same_ids) {
    os_file_map file;
    tokenizer *t;
    err e = {0};
    cr_assert_eq(os_map_open(&file, FIXTURE, &e), OK, "%s", e.text);
    packed p = pack(file.data);
    cr_assert_lt(p.text.n, file.data.n);
    cr_assert_eq(tok_open_packed(&t, buf_bytes(&p.text), buf_bytes(&p.vocab), &e), OK, "%s",
                 e.text);
    check_strings(t);
    tok_close(t);
    // The text alone is not a tokenizer.
    cr_assert_eq(tok_open_bytes(&t, buf_bytes(&p.text), &e), ERR_FORMAT);
    cr_assert_str_eq(e.text, "model.vocab: 0 pieces, expected 1 to 4194304");
    packed_deinit(&p);
    os_map_close(&file);
}

#define MARK "\xE2\x96\x81"
// Ids:           0          1         2          3        4            5             6
#define VOCAB "[\"<pad>\",0],[\"</s>\",0],[\"<unk>\",0],[\"" MARK "\",-2],[\"" MARK "a\",-1],"
#define MORE "[\"b\",-1],[\"bb\",-1.5],[\"" MARK "ab\",-9]"
#define MODEL "\"model\":{\"type\":\"Unigram\",\"unk_id\":2,\"vocab\":[" VOCAB MORE "]}"
#define ADDED                                                                                      \
    "\"added_tokens\":[{\"id\":1,\"content\":\"</s>\",\"normalized\":false,\"special\":true},"     \
    "{\"id\":8,\"content\":\"<x>\",\"normalized\":false,\"lstrip\":true,\"rstrip\":true}]"
#define SPLIT                                                                                      \
    "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"WhitespaceSplit\"},"  \
    "{\"type\":\"Metaspace\",\"replacement\":\"" MARK "\",\"add_prefix_space\":true}]}"
#define POST                                                                                       \
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"A\"}" \
    "},"                                                                                           \
    "{\"SpecialToken\":{\"id\":\"</s>\"}}],\"special_tokens\":{\"</s>\":{\"ids\":[1]}}}"
#define WHOLE "{" MODEL "," ADDED "," SPLIT "," POST

static void check_ids(const char *file, const char *text, const char *want) {
    tokenizer *t;
    err e = {0};
    cr_assert_eq(tok_open_bytes(&t, bytes_of(file), &e), OK, "%s", e.text);
    tok_ids ids = {0};
    cr_assert_eq(tok_encode(t, bytes_of(text), &ids, &e), OK, "%s", e.text);
    char got[512] = "";
    size_t n = 0;
    for (size_t i = 0; i < ids.n; i++) {
        bool masked = i < ids.first || i >= ids.first + ids.count;
        n += (size_t)snprintf(got + n, sizeof got - n, masked ? "(%d) " : "%d ", ids.ids[i]);
    }
    cr_assert_str_eq(got, want, "'%s' gave %s, want %s", text, got, want);
    tok_ids_deinit(&ids);
    tok_close(t);
}

// The scores above were chosen so that each answer can be added up by hand.
Test(tokenizer, takes_the_best_path_and_joins_unknown_characters) {
    check_ids(WHOLE "}", "a", "4 1 ");
    check_ids(WHOLE "}", "ab", "4 5 1 ");     // -1 -1 beats -9
    check_ids(WHOLE "}", "abbb", "4 5 6 1 "); // b bb and bb b tie: the path found first stays
    check_ids(WHOLE "}",
              "zz\xC3\xA9"
              "b",
              "3 2 5 1 "); // three unknown in a row are one
    check_ids(WHOLE "}", "", "1 ");
    check_ids(WHOLE "}", " \t\n ", "1 ");
}

Test(tokenizer, cuts_added_tokens_out_with_their_blanks) {
    check_ids(WHOLE "}", "a</s>a", "4 1 4 1 ");
    check_ids(WHOLE "}", "a </s> a", "4 1 4 1 ");
    check_ids(WHOLE "}", "a  <x>  a<x", "4 8 4 2 1 ");
    check_ids(WHOLE "}", "<x><x>", "8 8 1 ");
}

// A normaliser may leave nothing of an added token: it is never found, and nothing reads NULL.
Test(tokenizer, an_added_token_that_the_normaliser_empties_is_never_found) {
    static const char file[] =
        "{" MODEL ",\"normalizer\":{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":true},"
        "\"added_tokens\":[{\"id\":8,\"content\":\"  \",\"normalized\":true},"
        "{\"id\":9,\"content\":\" b \",\"normalized\":true}]," SPLIT "," POST "}";
    check_ids(file, "a", "4 1 ");
    check_ids(file, "", "1 ");
    check_ids(file, "   ", "1 ");
    check_ids(file, "b", "9 1 ");
}

Test(tokenizer, truncates_the_text_and_pads_around_it) {
#define TRUNC(max, dir) ",\"truncation\":{\"max_length\":" max ",\"direction\":\"" dir "\"}"
#define PAD(strategy, dir, multiple)                                                               \
    ",\"padding\":{\"strategy\":" strategy ",\"direction\":\"" dir "\",\"pad_id\":0,"              \
    "\"pad_to_multiple_of\":" multiple "}}"
    check_ids(WHOLE TRUNC("3", "Right") PAD("{\"Fixed\":5}", "Right", "null"), "a ab bb",
              "4 4 1 (0) (0) ");
    check_ids(WHOLE TRUNC("3", "Left") PAD("{\"Fixed\":5}", "Left", "null"), "a ab bb",
              "(0) (0) 3 6 1 ");
    check_ids(WHOLE PAD("\"BatchLongest\"", "Right", "4"), "a", "4 1 (0) (0) ");
    check_ids(WHOLE TRUNC("1", "Right") "}", "a ab bb", "1 ");
}

Test(tokenizer, tells_its_size_and_finds_pieces) {
    tokenizer *t;
    cr_assert_eq(tok_open_bytes(&t, bytes_of(WHOLE "}"), NULL), OK);
    cr_assert_eq(tok_vocab_size(t), 9); // eight pieces, one added token behind them
    cr_assert_eq(tok_find(t, "<x>"), 8);
    cr_assert_eq(tok_find(t, "bb"), 6);
    cr_assert_eq(tok_find(t, "bbb"), -1);
    tok_close(t);
}

Test(tokenizer, refuses_text_that_is_not_utf8_or_too_long) {
    tokenizer *t;
    tok_ids ids = {0};
    err e;
    cr_assert_eq(tok_open_bytes(&t, bytes_of(WHOLE "}"), NULL), OK);
    static const char *const bad[] = {"ab\x80",         "ab\xC3", "ab\xC0\x80",
                                      "ab\xED\xA0\x80", "ab\xFF", "ab\xF4\x90\x80\x80",
                                      "ab\xE2\x96"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        cr_assert_eq(tok_encode(t, bytes_of(bad[i]), &ids, &e), ERR_ARG);
        cr_assert_str_eq(e.text, "text is not UTF-8 at byte 2");
        cr_assert_eq(ids.n, 0);
    }
    char *much = mem_alloc(TOK_TEXT_MAX + 1);
    memset(much, 'b', TOK_TEXT_MAX + 1);
    cr_assert_eq(tok_encode(t, (bytes){(uint8_t *)much, TOK_TEXT_MAX + 1}, &ids, &e), ERR_LIMIT);
    cr_assert_eq(tok_encode(t, (bytes){(uint8_t *)much, TOK_TEXT_MAX}, &ids, &e), OK);
    cr_assert_geq(ids.n, TOK_TEXT_MAX / 2);
    memset(much, ' ', TOK_TEXT_MAX);
    cr_assert_eq(tok_encode(t, (bytes){(uint8_t *)much, TOK_TEXT_MAX}, &ids, &e), OK);
    mem_free(much);
    tok_ids_deinit(&ids);
    tok_close(t);
}

// Every byte of a packed vocabulary changed, one at a time, and every length: what opens works
// within its bounds, all else is refused.
Test(tokenizer, a_packed_vocabulary_of_other_bytes_is_refused_or_harmless) {
    packed p = pack(bytes_of(WHOLE "}"));
    bytes text = buf_bytes(&p.text);
    tokenizer *t;
    tok_ids ids = {0};
    int opened = 0, refused = 0;
    for (size_t i = 0; i < p.vocab.n; i++) {
        for (int bit = 0; bit < 8; bit++) {
            p.vocab.p[i] = (char)(p.vocab.p[i] ^ 1 << bit);
            status rc = tok_open_packed(&t, text, buf_bytes(&p.vocab), NULL);
            cr_assert(rc == OK || rc == ERR_FORMAT);
            *(rc ? &refused : &opened) += 1;
            if (!rc) tok_encode(t, bytes_of("a ab bbb z"), &ids, NULL);
            for (size_t j = 0; j < ids.n; j++)
                cr_assert(rc || (ids.ids[j] >= 0 && ids.ids[j] < tok_vocab_size(t)));
            tok_close(t);
            p.vocab.p[i] = (char)(p.vocab.p[i] ^ 1 << bit);
        }
    }
    cr_assert(opened > 0 && refused > 0); // scores may be anything, the shape may not
    for (size_t n = 1; n < p.vocab.n; n++) {
        const bytes part = {(const uint8_t *)p.vocab.p, n};
        cr_assert_eq(tok_open_packed(&t, text, part, NULL), ERR_FORMAT, "%zu bytes", n);
    }
    tok_ids_deinit(&ids);
    packed_deinit(&p);
}

#define NORM(n) "{\"normalizer\":" n "," MODEL "}"

Test(tokenizer, refuses_each_thing_it_does_not_understand_by_name) {
    static const struct {
        const char *file, *why;
    } cases[] = {
        {"[]", "model: expected an object, found nothing"},
        {"{\"model\":{\"type\":\"BPE\"}}", "model.type: expected Unigram, found BPE"},
        {"{\"model\":{\"vocab\":{}}}", "vocab: expected an array, found object"},
        {"{\"model\":{\"vocab\":[]}}", "model.vocab: 0 pieces, expected 1 to 4194304"},
        {"{\"model\":{\"vocab\":[[\"a\"]]}}", "model.vocab[0]: expected [piece, score]"},
        {"{\"model\":{\"vocab\":[[\"a\",\"b\"]]}}", "model.vocab[0]: expected [piece, score]"},
        {"{\"model\":{\"vocab\":[[\"a\",0]],\"unk_id\":1}}", "unk_id: expected 0 to 0, found 1"},
        {"{\"model\":{\"vocab\":[[\"a\",0]],\"unk_id\":-1}}", "unk_id: expected 0 to 0, found -1"},
        {NORM("{\"type\":\"NFKC\"}"), "normalizer: normalizer of type NFKC is not supported"},
        {NORM("{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"a+\"},\"content\":\"\"}"),
         "normalizer: Replace: cannot do pattern a+: only a string, or \" {2,}\""},
        {NORM("{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},\"content\":\"\"}"),
         "normalizer: Replace: cannot do pattern object: only a string, or \" {2,}\""},
        {NORM("{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"!\"}"),
         "normalizer: precompiled_charsmap: base64 text of 1 characters, expected a multiple of 4"},
        {NORM("{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AAAAAA==\"}"),
         "normalizer: precompiled_charsmap: character map of 4 bytes claims an array of 0"},
        {NORM("{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"BAAAAAAAAAD/\"}"),
         "normalizer: precompiled_charsmap: character map: replacements are not UTF-8 at byte 0"},
        {NORM("7"), "normalizer: type: expected a string, found nothing"},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"ByteLevel\"}}",
         "pre_tokenizer: pre_tokenizer of type ByteLevel is not supported here"},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"ab\"}}",
         "pre_tokenizer: replacement: expected one character, found 'ab'"},
        {"{" MODEL ",\"post_processor\":{\"type\":\"BertProcessing\"}}",
         "post_processor: post_processor of type BertProcessing is not supported here"},
        {"{" MODEL ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[]}}",
         "post_processor: single: expected Sequence A once, found 0 times"},
        {"{" MODEL ",\"post_processor\":{\"type\":\"TemplateProcessing\","
         "\"single\":[{\"SpecialToken\":{\"id\":\"x\"}}],\"special_tokens\":{\"x\":{\"ids\":[8]}}}"
         "}",
         "post_processor: special_tokens.x: expected up to 16 ids below 8"},
        {"{" MODEL ",\"added_tokens\":[{\"id\":3,\"content\":\"q\"}]}",
         "added_tokens[0]: id 3 of q is another piece of the model"},
        {"{" MODEL ",\"added_tokens\":[{\"id\":-1,\"content\":\"q\"}]}",
         "added_tokens[0]: id: expected 0 to 4259839, found -1"},
        {WHOLE TRUNC("0", "Right") "}",
         "truncation: max_length: expected 1 to 2147483647, found 0"},
        {WHOLE TRUNC("4", "Up") "}", "truncation: direction: expected Left or Right, found Up"},
        {WHOLE PAD("{\"Fixed\":65537}", "Right", "null"),
         "padding: Fixed: expected 0 to 65536, found 65537"},
        {WHOLE PAD("\"None\"", "Right", "null"),
         "padding: strategy: expected BatchLongest or Fixed"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        tokenizer *t;
        err e = {0};
        cr_assert_eq(tok_open_bytes(&t, bytes_of(cases[i].file), &e), ERR_FORMAT, "%s",
                     cases[i].file);
        cr_assert_null(t);
        cr_assert_str_eq(e.text, cases[i].why);
    }
}

Test(tokenizer, a_map_that_points_anywhere_finds_nothing_and_ends) {
    // Units that lead to themselves, past the end, and to values past the pool, each with every
    // flag.
    static const uint32_t units[] = {0, 0xFFFFFFFF, 0x161, 0x561, 0x7FFFFD61, 0x80000000, 0x361};
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        uint8_t blob[4 + 512 * 4 + 1] = {0, 8};
        for (size_t k = 0; k < 512; k++) {
            for (int b = 0; b < 4; b++) blob[4 + 4 * k + b] = (uint8_t)(units[i] >> 8 * b);
        }
        char text[base64_encoded_size(sizeof blob)], file[8192];
        base64_encode(text, (bytes){blob, sizeof blob});
        snprintf(file, sizeof file,
                 NORM("{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"%s\"}"), text);
        tokenizer *t;
        tok_ids ids = {0};
        err e = {0};
        cr_assert_eq(tok_open_bytes(&t, bytes_of(file), &e), OK, "%s", e.text);
        cr_assert_eq(tok_encode(t, bytes_of("aaaa bb aaaaaaaaaaaaaaaaaaaaaa"), &ids, &e), OK);
        tok_ids_deinit(&ids);
        tok_close(t);
    }
}

Test(tokenizer, text_that_a_file_blows_up_is_refused) {
    char file[2048], text[300];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = 0;
#define GROW                                                                                       \
    "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"aaaaaaaaaaaaaaaa\"}"
    snprintf(file, sizeof file,
             NORM("{\"type\":\"Sequence\",\"normalizers\":[" GROW "," GROW "," GROW "," GROW "]}"));
    tokenizer *t;
    tok_ids ids = {0};
    err e;
    cr_assert_eq(tok_open_bytes(&t, bytes_of(file), NULL), OK);
    cr_assert_eq(tok_encode(t, bytes_of(text), &ids, &e), ERR_LIMIT);
    cr_assert_str_eq(e.text, "text grows past 1048576 bytes when normalised");
    tok_close(t);
    tok_ids_deinit(&ids);
}

Test(tokenizer, open_and_encode_survive_each_failed_allocation) {
    const char *file = WHOLE ",\"normalizer\":" GROW PAD("{\"Fixed\":9}", "Left", "4");
    for (int n = 0, opened = 0; !opened; n++) {
        tokenizer *t;
        mem_fail_after(n);
        status rc = tok_open_bytes(&t, bytes_of(file), NULL);
        mem_fail_after(-1);
        opened = rc == OK;
        cr_assert(opened || (rc == ERR_OOM && t == NULL), "allocation %d gave %d", n, rc);
        tok_close(t);
    }
    tokenizer *t;
    cr_assert_eq(tok_open_bytes(&t, bytes_of(file), NULL), OK);
    for (int n = 0, done = 0; !done; n++) {
        tok_ids ids = {0};
        mem_fail_after(n);
        status rc = tok_encode(t, bytes_of("a ab </s> bbb <x> z"), &ids, NULL);
        mem_fail_after(-1);
        done = rc == OK;
        cr_assert(done || (rc == ERR_OOM && ids.n == 0), "allocation %d gave %d", n, rc);
        cr_assert(!done || n > 5);
        tok_ids_deinit(&ids);
    }
    tok_close(t);
}

// None of these may take the square of the length: blanks that are a token and eat blanks around
// it, a token that fails late everywhere.
Test(tokenizer, long_texts_take_linear_time, .timeout = 20) {
    static const struct {
        const char *added, *text;
    } cases[] = {
        {"{\"id\":8,\"content\":\" \",\"normalized\":false,\"lstrip\":true,\"rstrip\":true}", " "},
        {"{\"id\":8,\"content\":\" x\",\"normalized\":false,\"lstrip\":true}", " "},
        {"{\"id\":8,\"content\":\"bbbbbbbbbbbbbbbbbbbbbbbb!\",\"normalized\":false}", "b"},
    };
    char *text = mem_alloc(TOK_TEXT_MAX), file[2048];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        memset(text, cases[i].text[0], TOK_TEXT_MAX);
        snprintf(file, sizeof file, "{" MODEL ",\"added_tokens\":[%s]}", cases[i].added);
        tokenizer *t;
        tok_ids ids = {0};
        cr_assert_eq(tok_open_bytes(&t, bytes_of(file), NULL), OK);
        cr_assert_eq(tok_encode(t, (bytes){(uint8_t *)text, TOK_TEXT_MAX}, &ids, NULL), OK);
        tok_ids_deinit(&ids);
        tok_close(t);
    }
    mem_free(text);
    char pattern[NORM_PATTERN_MAX + 2];
    memset(pattern, 'p', sizeof pattern - 1);
    pattern[sizeof pattern - 1] = 0;
    tokenizer *t;
    err e;
    snprintf(file, sizeof file,
             NORM("{\"type\":\"Replace\",\"pattern\":{\"String\":\"%s\"},\"content\":\"\"}"),
             pattern);
    cr_assert_eq(tok_open_bytes(&t, bytes_of(file), &e), ERR_FORMAT);
    cr_assert_str_eq(e.text, "normalizer: Replace: pattern of 257 bytes, expected at most 256");
}
