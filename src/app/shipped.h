// shipped.h - where the model that comes with the program is.
#pragma once

// Its name wherever a model may be named, and the default of every command.
#define SHIPPED_MODEL "models/stemforge-mini"

// Returns name, unless it is SHIPPED_MODEL and no such folder is here. Then: the folder beside the
// program (of a checkout: build/../models, of an installation: PREFIX/share/stemforge/models), if
// there is one. The result is name or static; call it before threads start.
const char *shipped_model(const char *name);
