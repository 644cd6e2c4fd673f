// pretender.h - what often lies in place of a large file: a Git LFS pointer, the text of a link,
// a page of a web site, nothing.
#pragma once
#include "base/err.h"

// ERR_FORMAT when data is one of those, with what it is and what to do; else OK. path is for the
// text.
status pretender_check(bytes data, const char *path, err *e);
// The same for the file at path; OK when it cannot be read: whoever opens it says why.
status pretender_check_file(const char *path, err *e);
