// device_choice.c - see device_choice.h.
#include "engine/device_choice.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INDEX_MAX 63

// N of "cuda:N"; -1: it is none.
static int index_of(const char *text) {
    char *end;
    if (*text < '0' || *text > '9') return -1;
    long n = strtol(text, &end, 10);
    return *end || n > INDEX_MAX ? -1 : (int)n;
}

status choice_parse(device_choice *out, const char *text, err *e) {
    *out = (device_choice){.kind = CHOICE_AUTO};
    if (!text || strcmp(text, "auto") == 0) return OK;
    out->kind = strcmp(text, "cpu") == 0 ? CHOICE_CPU : CHOICE_CUDA;
    if (out->kind == CHOICE_CPU || strcmp(text, "cuda") == 0) return OK;
    if (strncmp(text, "cuda:", 5) == 0 && (out->index = index_of(text + 5)) >= 0) return OK;
    return err_field(e, "device", "expected auto, cpu, cuda or cuda:0 to cuda:%d, found \"%.40s\"",
                     INDEX_MAX, text);
}

status choice_open(const device_choice *c, device_chosen *out, err *e) {
    err unasked = {0}, *to = c->kind == CHOICE_AUTO || !e ? &unasked : e;
    *out = (device_chosen){0};
    if (c->kind == CHOICE_CPU) return OK;
    status rc = device_open(&out->gpu, c->index, to);
    if (!rc || c->kind == CHOICE_CUDA) return rc;
    snprintf(out->why, sizeof out->why, "%.199s", unasked.text);
    out->refused = rc != ERR_NOT_FOUND;
    return OK;
}
