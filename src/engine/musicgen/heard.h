// heard.h - what a MusicGen model does not hear of a request, and what it assumes: warnings.
#pragma once
#include "engine/musicgen/condition.h"
#include "engine/prompt.h"
#include "request/warnings.h"

// Of tempo, key, chords and characters, for a request whose condition was opened.
void heard_of_request(warnings *w, const condition *k, const stemforge_request *r);

// Of the text of a stem, whose ids are those of the line that parts make. OK, ERR_OOM, or what
// prompt_build says.
status heard_of_text(warnings *w, const condition *k, const prompt_parts *parts, const tok_ids *ids,
                     err *e);
// The line of a stem in the form that the model was trained with. Appended to out.
status heard_line(buf *out, const pipeline *p, const prompt_parts *parts, err *e);
