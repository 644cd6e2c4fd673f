// version.h - `stemforge --version`: the version, the commit, and what this build can do.
#pragma once

void version_print(void);
