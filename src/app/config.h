// config.h - every setting of the service, in one table.
//
// One row is the environment variable, the flag, the check, the default and the line of help. A
// flag wins over the environment, the environment over the default. An empty variable counts as
// unset. A secret can also be read from a file: NAME_FILE holds its path (the last newline is cut).
#pragma once
#include <stdio.h>

#include "base/err.h"

typedef struct {
    // what the contract names
    char *azure_connection, *container;
    bool use_gpu;
    int64_t workers;
    // model
    char *model, *weights;
    int64_t threads, batch_max, memory_max_mb;
    // listening
    char *listen_addr, *public_url, *api_keys;
    int64_t port, http_threads, body_max, head_max, connections_max, client_max;
    double head_seconds, body_seconds, idle_seconds;
    // jobs
    char *data_dir, *storage_dir, *database;
    int64_t queue_max, attempts_max;
    double duration_max, lease_seconds, job_timeout, storage_wait, retention_days, grace_seconds;
    // storage
    char *azure_account, *storage_ca;
    int64_t sas_hours;
    double storage_check;
    // callbacks
    char *secret, *secret_old, *allowed_origins, *callback_ca;
    bool allow_private;
    int64_t callback_threads, callback_attempts;
    double callback_timeout, callback_first, callback_cap;
    // logs
    char *log_level, *log_format;
    // not settings: what was asked for on the command line
    bool help, check, markdown;
} config;

// Reads defaults, the environment and argv[1..argc). ERR_ARG names the setting, what was expected
// and what was found. config_deinit in any case.
status config_load(config *c, int argc, char **argv, err *e);
void config_deinit(config *c);

void config_help(FILE *to, const char *command);
// The table of docs/OPERATIONS.md. A test compares the two.
void config_markdown(FILE *to);
