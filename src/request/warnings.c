// warnings.c - see warnings.h.
#include "request/warnings.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/utf8.h"

void warnings_add(warnings *w, const char *code, const char *field, const char *fmt, ...) {
    if (w->n == WARNINGS_MAX) return;
    warning *one = &w->item[w->n++];
    *one = (warning){.code = code};
    snprintf(one->field, sizeof one->field, "%s", field);
    one->field[utf8_valid(bytes_of(one->field))] = 0;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(one->text, sizeof one->text, fmt, ap);
    va_end(ap);
    utf8_mend(one->text);
}
