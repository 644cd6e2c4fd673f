// serve_check.h - what `serve` would refuse, found before anything is started.
#pragma once
#include "app/config.h"

// Reports every setting that cannot be used on this machine now: values, files, folders, the
// address, the model's place. Leaves nothing behind. `serve` begins with it, so that
// `serve --check-config` and `serve` never differ.
void serve_check(const config *c, config_report *r);

// Beside serve_check, for --check-config: opens the model, which `serve` does while it already
// answers, and closes it.
void serve_check_model(const config *c, config_report *r);
