// ogg.c - see ogg.h. Page layout: RFC 3533, section 6.
#include "audio/ogg.h"

#include <string.h>

#define HEADER 27 // bytes before the segment table
#define AT_SERIAL 14
#define AT_CRC 22
#define AT_SEGMENTS 26

// CRC-32, polynomial 0x04c11db7, most significant bit first, from 0, not inverted.
// The page's own checksum field counts as zero.
static uint32_t crc_of(const uint32_t table[256], const uint8_t *p, size_t n) {
    uint32_t crc = 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t byte = i >= AT_CRC && i < AT_CRC + 4 ? 0 : p[i];
        crc = crc << 8 ^ table[(crc >> 24 ^ byte) & 0xFF];
    }
    return crc;
}

static void fill_table(uint32_t table[256]) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t r = i << 24;
        for (int bit = 0; bit < 8; bit++) r = r << 1 ^ (r >> 31 ? 0x04c11db7u : 0);
        table[i] = r;
    }
}

static void put32(uint8_t *p, uint32_t v) {
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> 8 * i);
}

static uint32_t get32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

// Bytes of the page at p, 0 when there is no whole page.
static size_t page_size(const uint8_t *p, size_t n) {
    if (n < HEADER || memcmp(p, "OggS", 4)) return 0;
    size_t segments = p[AT_SEGMENTS], size = HEADER + segments;
    if (n < size) return 0;
    for (size_t i = 0; i < segments; i++) size += p[HEADER + i];
    return size <= n ? size : 0;
}

status ogg_set_serial(uint8_t *file, size_t n, uint32_t serial, err *e) {
    uint32_t table[256];
    fill_table(table);
    for (size_t at = 0; at < n;) {
        size_t size = page_size(file + at, n - at);
        if (!size) return err_set(e, ERR_FORMAT, "no Ogg page at byte %zu", at);
        put32(file + at + AT_SERIAL, serial);
        put32(file + at + AT_CRC, crc_of(table, file + at, size));
        at += size;
    }
    return OK;
}

status ogg_check(bytes image, err *e) {
    uint32_t table[256];
    fill_table(table);
    for (size_t at = 0; at < image.n;) {
        size_t size = page_size(image.p + at, image.n - at);
        if (!size) return err_set(e, ERR_FORMAT, "no Ogg page at byte %zu", at);
        if (get32(image.p + at + AT_CRC) != crc_of(table, image.p + at, size))
            return err_set(e, ERR_FORMAT, "damaged Ogg page at byte %zu", at);
        at += size;
    }
    return OK;
}
