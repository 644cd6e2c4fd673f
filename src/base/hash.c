// hash.c - the only file that includes OpenSSL; see hash.h.
#include "base/hash.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include "base/mem.h"

static status digest(uint8_t *out, const EVP_MD *md, bytes data, err *e) {
    if (EVP_Digest(data.n ? data.p : (const uint8_t *)"", data.n, out, NULL, md, NULL) == 1)
        return OK;
    return err_set(e, ERR_IO, "libcrypto could not compute a digest");
}

status hash_sha256(uint8_t out[SHA256_LEN], bytes data, err *e) {
    return digest(out, EVP_sha256(), data, e);
}

status hash_md5(uint8_t out[MD5_LEN], bytes data, err *e) {
    return digest(out, EVP_md5(), data, e);
}

status hash_hmac_sha256(uint8_t out[SHA256_LEN], bytes key, bytes data, err *e) {
    static const uint8_t none[1];
    unsigned n = SHA256_LEN;
    const uint8_t *d = data.n ? data.p : none, *k = key.n ? key.p : none;
    if (key.n <= 1 << 20 && HMAC(EVP_sha256(), k, (int)key.n, d, data.n, out, &n)) return OK;
    return err_set(e, ERR_IO, "libcrypto could not compute an HMAC");
}

struct hash_stream {
    EVP_MD_CTX *ctx;
};

status hash_open(hash_stream **out, err *e) {
    *out = NULL;
    hash_stream *h = mem_calloc(1, sizeof *h);
    if (!h) return err_set(e, ERR_OOM, "no memory for a digest");
    h->ctx = EVP_MD_CTX_new();
    if (!h->ctx || EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL) != 1) {
        hash_close(h);
        return err_set(e, ERR_OOM, "no memory for a digest");
    }
    *out = h;
    return OK;
}

status hash_update(hash_stream *h, bytes data, err *e) {
    if (!data.n || EVP_DigestUpdate(h->ctx, data.p, data.n) == 1) return OK;
    return err_set(e, ERR_IO, "libcrypto could not extend a digest");
}

status hash_finish(hash_stream *h, uint8_t out[SHA256_LEN], err *e) {
    if (EVP_DigestFinal_ex(h->ctx, out, NULL) == 1) return OK;
    return err_set(e, ERR_IO, "libcrypto could not finish a digest");
}

void hash_close(hash_stream *h) {
    if (!h) return;
    EVP_MD_CTX_free(h->ctx);
    mem_free(h);
}

void hex_encode(char *out, const uint8_t *p, size_t n) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        *out++ = digits[p[i] >> 4];
        *out++ = digits[p[i] & 15];
    }
    *out = 0;
}

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(char *out, bytes in) {
    for (size_t i = 0; i < in.n; i += 3) {
        uint32_t v = (uint32_t)in.p[i] << 16;
        if (i + 1 < in.n) v |= (uint32_t)in.p[i + 1] << 8;
        if (i + 2 < in.n) v |= in.p[i + 2];
        *out++ = alphabet[v >> 18];
        *out++ = alphabet[v >> 12 & 63];
        *out++ = i + 1 < in.n ? alphabet[v >> 6 & 63] : '=';
        *out++ = i + 2 < in.n ? alphabet[v & 63] : '=';
    }
    *out = 0;
}

static int sextet(uint8_t c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

status base64_decode(uint8_t *out, size_t *n, bytes text, err *e) {
    if (text.n % 4)
        return err_set(e, ERR_FORMAT, "base64 text of %zu characters, expected a multiple of 4",
                       text.n);
    size_t pad = 0;
    while (pad < 2 && pad < text.n && text.p[text.n - 1 - pad] == '=') pad++;
    size_t len = text.n / 4 * 3 - pad;
    if (len > *n)
        return err_set(e, ERR_LIMIT, "base64 text holds %zu bytes, room for %zu", len, *n);
    size_t o = 0;
    for (size_t i = 0; i < text.n; i += 4) {
        uint32_t v = 0;
        for (size_t j = 0; j < 4; j++) {
            int s = i + j >= text.n - pad ? 0 : sextet(text.p[i + j]);
            if (s < 0) return err_set(e, ERR_FORMAT, "character %zu is not base64", i + j);
            v = v << 6 | (uint32_t)s;
        }
        for (int shift = 16; shift >= 0 && o < len; shift -= 8) out[o++] = (uint8_t)(v >> shift);
    }
    *n = len;
    return OK;
}

status random_bytes(uint8_t *out, size_t n, err *e) {
    if (n <= 1 << 20 && RAND_bytes(out, (int)n) == 1) return OK;
    return err_set(e, ERR_IO, "the system gave no random bytes");
}

bool bytes_equal_secret(bytes a, bytes b) {
    return a.n == b.n && (a.n == 0 || CRYPTO_memcmp(a.p, b.p, a.n) == 0);
}
