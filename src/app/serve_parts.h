// serve_parts.h - settings as the parts of the service take them.
#pragma once
#include "app/config.h"
#include "service/hook.h"
#include "stemforge.h"
#include "store/blob.h"

// The strings stay c's; url is filled and belongs to the result.
blob_config serve_blob_config(const config *c, char url[BLOB_URL_MAX]);
hook_config serve_hook_config(const config *c);
const char *serve_device(const config *c); // as stemforge_options has it
stemforge_options serve_engine_options(const config *c);
// "HOST:PORT" to listen on.
#define SERVE_LISTEN_MAX 300
// Whether this process runs jobs, and whether it answers more than probes.
bool serve_works(const config *c);
bool serve_answers(const config *c);
void serve_listen(const config *c, char out[SERVE_LISTEN_MAX]);
// Whether only this machine reaches the address.
bool serve_is_local(const config *c);
