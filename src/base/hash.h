// hash.h - SHA-256, MD5, HMAC-SHA256, base64 and hex, over libcrypto.
#pragma once
#include "base/err.h"

#define SHA256_LEN 32
#define MD5_LEN 16

status hash_sha256(uint8_t out[SHA256_LEN], bytes data, err *e);
status hash_md5(uint8_t out[MD5_LEN], bytes data, err *e);
status hash_hmac_sha256(uint8_t out[SHA256_LEN], bytes key, bytes data, err *e);

// SHA-256 of data that arrives in pieces.
typedef struct hash_stream hash_stream;
status hash_open(hash_stream **out, err *e);
status hash_update(hash_stream *h, bytes data, err *e);
status hash_finish(hash_stream *h, uint8_t out[SHA256_LEN], err *e);
void hash_close(hash_stream *h); // NULL is fine

// Lower-case hex of n bytes and a NUL: out has room for 2n+1.
void hex_encode(char *out, const uint8_t *p, size_t n);
// Standard base64 with padding, NUL-terminated: out has room for base64_encoded_size(n).
#define base64_encoded_size(n) (((n) + 2) / 3 * 4 + 1)
void base64_encode(char *out, bytes in);
// Decodes text (padding required, no blanks). *n in: room in out; out: bytes written.
status base64_decode(uint8_t *out, size_t *n, bytes text, err *e);

// 16 random bytes from the OS. Fails only when the OS has none.
status random_bytes(uint8_t *out, size_t n, err *e);
// Compares without telling through time where the two differ. Lengths are not secret.
bool bytes_equal_secret(bytes a, bytes b);
