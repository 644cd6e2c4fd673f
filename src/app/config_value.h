// config_value.h - what somebody meant by the text of a setting: in a shell, a .env file, a mounted
// secret. No text of a value is put into an error: it may be a secret.
#pragma once
#include "base/buf.h"
#include "base/err.h"

// Puts text into out (initialised) without a byte order mark, without blanks and one pair of quotes
// around. ERR_ARG when nothing is left but separators and quotes, when a quote stays at one end, or
// when there is a byte 0 or a line break in it.
status config_value_clean(buf *out, bytes text, err *e);

// As config_value_clean, of a list: items between commas or line breaks, each cleaned, empty ones
// dropped. out gets them with one comma between.
status config_value_clean_list(buf *out, bytes text, err *e);

// ERR_ARG unless every item of a cleaned list can be an API key: visible ASCII without quotes and
// semicolons, as an HTTP header carries it.
status config_value_check_keys(const char *list, err *e);
