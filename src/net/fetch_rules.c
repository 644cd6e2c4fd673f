// fetch_rules.c - the parts of fetch.h that need no connection: HTTP dates, Retry-After, and which
// addresses a callback may reach.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "net/fetch.h"

// ---- HTTP dates (RFC 9110 section 5.6.7, the fixed form that must be sent)

#define DAY_MS INT64_C(86400000)

static const char day_names[] = "SunMonTueWedThuFriSat";
static const char month_names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

// Days since 1970-01-01 of a date of the Gregorian calendar. Years begin in March here, so that
// the leap day is the last of its year; 400 years have 146,097 days.
static int64_t days_from_date(int64_t y, int m, int d) {
    y -= m <= 2;
    int64_t era = y / 400, year = y % 400;
    int64_t day = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + year * 365 + year / 4 - year / 100 + day - 719468;
}

static void date_from_days(int64_t days, int64_t *y, int *m, int *d) {
    days += 719468;
    int64_t era = days / 146097, in_era = days % 146097;
    int64_t year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    int64_t in_year = in_era - (365 * year + year / 4 - year / 100);
    int64_t march = (5 * in_year + 2) / 153;
    *d = (int)(in_year - (153 * march + 2) / 5 + 1);
    *m = (int)(march < 10 ? march + 3 : march - 9);
    *y = era * 400 + year + (*m <= 2);
}

// n digits at s as a number, -1 when there are others.
static int digits(const char *s, int n) {
    int v = 0;
    for (int i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9') return -1;
        v = v * 10 + (s[i] - '0');
    }
    return v;
}

int64_t fetch_date_parse(const char *s) {
    // "Sun, 06 Nov 1994 08:49:37 GMT"
    if (strlen(s) != 29 || memcmp(s + 3, ", ", 2) || s[7] != ' ' || s[11] != ' ' || s[16] != ' ' ||
        s[19] != ':' || s[22] != ':' || memcmp(s + 25, " GMT", 4)) {
        return -1;
    }
    int month = 0;
    for (int i = 0; i < 12; i++) {
        if (memcmp(s + 8, month_names + 3 * i, 3) == 0) month = i + 1;
    }
    int d = digits(s + 5, 2), y = digits(s + 12, 4);
    int hh = digits(s + 17, 2), mm = digits(s + 20, 2), ss = digits(s + 23, 2);
    if (!month || d < 1 || d > 31 || y < 1970 || hh < 0 || hh > 23 || mm < 0 || mm > 59 || ss < 0 ||
        ss > 60) {
        return -1;
    }
    return days_from_date(y, month, d) * DAY_MS + ((hh * 60 + mm) * 60 + ss) * INT64_C(1000);
}

void fetch_date_format(char out[FETCH_DATE_SIZE], int64_t ms) {
    if (ms < 0) ms = 0;
    if (ms > INT64_C(253402300799000)) ms = INT64_C(253402300799000); // the year has four digits
    int64_t days = ms / DAY_MS, y;
    int s = (int)(ms % DAY_MS / 1000), m, d;
    date_from_days(days, &y, &m, &d);
    char text[64]; // room for any int, so that the compiler need not know the ranges
    snprintf(text, sizeof text, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT",
             day_names + 3 * ((days + 4) % 7), d, month_names + 3 * (m - 1), (int)y, s / 3600,
             s / 60 % 60, s % 60);
    snprintf(out, FETCH_DATE_SIZE, "%.29s", text);
}

// ---- Retry-After

// A decimal number without sign, at most ten digits; -1 otherwise.
static int64_t whole_number(const char *s) {
    int64_t v = 0;
    size_t n = strlen(s);
    if (n == 0 || n > 10) return -1;
    for (; *s; s++) {
        if (*s < '0' || *s > '9') return -1;
        v = v * 10 + (*s - '0');
    }
    return v;
}

int64_t fetch_retry_after_ms(const fetch_response *r, int64_t now_ms) {
    static const char *const in_ms[] = {"retry-after-ms", "x-ms-retry-after-ms"};
    char v[64];
    for (size_t i = 0; i < ARRAY_LEN(in_ms); i++) {
        if (fetch_find_header(r, in_ms[i], v, sizeof v) && whole_number(v) >= 0) {
            return whole_number(v);
        }
    }
    if (!fetch_find_header(r, "retry-after", v, sizeof v)) return -1;
    if (whole_number(v) >= 0) return whole_number(v) * 1000;
    int64_t at = fetch_date_parse(v);
    return at < 0 ? -1 : MAX(at - now_ms, 0);
}

// ---- addresses

typedef struct {
    uint32_t net;
    int bits;
    fetch_addr_kind kind;
} v4_rule;

#define V4(a, b, c, d) ((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (c) << 8 | (d))

// The first rule that matches decides (IANA's IPv4 special-purpose registry, and where clouds keep
// their instance metadata).
static const v4_rule v4_rules[] = {
    {V4(0, 0, 0, 0), 8, FETCH_ADDR_NEVER},          // this network; 0.0.0.0 reaches loopback
    {V4(169, 254, 0, 0), 16, FETCH_ADDR_NEVER},     // link-local, and metadata at .169.254
    {V4(168, 63, 129, 16), 32, FETCH_ADDR_NEVER},   // Azure's host agent
    {V4(100, 100, 100, 200), 32, FETCH_ADDR_NEVER}, // metadata at Alibaba
    {V4(192, 0, 0, 0), 24, FETCH_ADDR_NEVER},       // IETF assignments, and metadata at Oracle
    {V4(224, 0, 0, 0), 3, FETCH_ADDR_NEVER},        // multicast, reserved, broadcast
    {V4(10, 0, 0, 0), 8, FETCH_ADDR_PRIVATE},
    {V4(100, 64, 0, 0), 10, FETCH_ADDR_PRIVATE}, // carrier NAT
    {V4(127, 0, 0, 0), 8, FETCH_ADDR_PRIVATE},   // loopback
    {V4(172, 16, 0, 0), 12, FETCH_ADDR_PRIVATE},
    {V4(192, 0, 2, 0), 24, FETCH_ADDR_PRIVATE}, // documentation, also the next two lines
    {V4(198, 51, 100, 0), 24, FETCH_ADDR_PRIVATE},
    {V4(203, 0, 113, 0), 24, FETCH_ADDR_PRIVATE},
    {V4(192, 168, 0, 0), 16, FETCH_ADDR_PRIVATE},
    {V4(198, 18, 0, 0), 15, FETCH_ADDR_PRIVATE}, // benchmarks
};

static fetch_addr_kind classify_v4(uint32_t a) {
    for (size_t i = 0; i < ARRAY_LEN(v4_rules); i++) {
        const v4_rule *r = &v4_rules[i];
        if ((a ^ r->net) >> (32 - r->bits) == 0) return r->kind;
    }
    return FETCH_ADDR_PUBLIC;
}

static bool begins(const uint8_t *a, const char *prefix, size_t n) {
    return memcmp(a, prefix, n) == 0;
}

static uint32_t v4_at(const uint8_t *p) {
    return V4(p[0], p[1], (uint32_t)p[2], (uint32_t)p[3]);
}

static fetch_addr_kind classify_v6(const uint8_t a[16]) {
    static const uint8_t metadata[16] = {0xfd, 0, 0x0e, 0xc2, [14] = 2, [15] = 0x54}; // Amazon
    bool zero96 = begins(a, "\0\0\0\0\0\0\0\0\0\0\0\0", 12);
    if (zero96 && v4_at(a + 12) == 1) return FETCH_ADDR_PRIVATE; // ::1
    if (zero96) return classify_v4(v4_at(a + 12));               // ::a.b.c.d, and ::
    if (begins(a, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12)) return classify_v4(v4_at(a + 12)); // mapped
    if (begins(a, "\0\x64\xff\x9b\0\0\0\0\0\0\0\0", 12)) return classify_v4(v4_at(a + 12)); // NAT64
    if (begins(a, "\0\x64\xff\x9b\0\1", 6)) { // local NAT64
        return MAX(classify_v4(v4_at(a + 12)), FETCH_ADDR_PRIVATE);
    }
    if (begins(a, "\x20\x02", 2)) return classify_v4(v4_at(a + 2));       // 6to4
    if (begins(a, "\x20\x01\0\0", 4)) return classify_v4(~v4_at(a + 12)); // Teredo: inverted
    if (memcmp(a, metadata, 16) == 0) return FETCH_ADDR_NEVER;
    if ((a[0] & 0xfe) == 0xfc) return FETCH_ADDR_PRIVATE;                 // unique local
    if (a[0] == 0xfe && (a[1] & 0xc0) == 0xc0) return FETCH_ADDR_PRIVATE; // site-local, old
    if (begins(a, "\x20\x01\x0d\xb8", 4)) return FETCH_ADDR_PRIVATE;      // documentation
    // Only 2000::/3 is given out; link-local, multicast and everything unassigned is not for us.
    return (a[0] & 0xe0) == 0x20 ? FETCH_ADDR_PUBLIC : FETCH_ADDR_NEVER;
}

fetch_addr_kind fetch_addr_classify(const struct sockaddr *a) {
    if (a->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, a, sizeof in);
        return classify_v4(ntohl(in.sin_addr.s_addr));
    }
    if (a->sa_family == AF_INET6) {
        struct sockaddr_in6 in;
        memcpy(&in, a, sizeof in);
        return classify_v6(in.sin6_addr.s6_addr);
    }
    return FETCH_ADDR_NEVER;
}

void fetch_addr_text(const struct sockaddr *a, char *out, size_t cap) {
    char text[INET6_ADDRSTRLEN] = "?";
    if (a->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, a, sizeof in);
        inet_ntop(AF_INET, &in.sin_addr, text, sizeof text);
    } else if (a->sa_family == AF_INET6) {
        struct sockaddr_in6 in;
        memcpy(&in, a, sizeof in);
        inet_ntop(AF_INET6, &in.sin6_addr, text, sizeof text);
    }
    snprintf(out, cap, "%s", text);
}
