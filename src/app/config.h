// config.h - every setting of the service, in one table.
//
// One row is the environment variable, the flag, the check, the default and the line of help. A
// flag wins over the environment, the environment over the default. A value that is given and empty
// is a fault: nobody means an open door by it. A secret can also be read from a file: NAME_FILE
// holds its path. Blanks and one pair of quotes around a value are dropped.
#pragma once
#include <stdio.h>

#include "app/usage.h"
#include "base/buf.h"
#include "base/err.h"

#define CONFIG_ROWS_MAX 80

typedef enum { FROM_DEFAULT, FROM_ENVIRONMENT, FROM_FILE, FROM_FLAG } config_place;

typedef struct {
    // what the contract names
    char *azure_connection, *container;
    bool use_gpu;
    int64_t workers;
    // model
    char *model, *stable_audio, *weights, *device;
    int64_t threads, batch_max, memory_max_mb;
    // listening
    char *listen_addr, *public_url, *api_keys;
    int64_t port, http_threads, body_max, head_max, connections_max, client_max;
    double head_seconds, body_seconds, idle_seconds;
    // jobs
    char *data_dir, *storage_dir, *database, *queue_url, *role;
    int64_t queue_max, attempts_max, queue_connections, key_jobs_max;
    double duration_max, lease_seconds, job_timeout, storage_wait, retention_days, grace_seconds;
    // storage
    char *azure_account, *storage_ca, *stem_delivery;
    int64_t sas_hours;
    double storage_check;
    // recordings
    int64_t follow_mb;
    double follow_fetch, follow_seconds, follow_tempo_sure, follow_chords_sure;
    // callbacks
    char *secret, *secret_old, *allowed_origins, *callback_ca;
    bool allow_private;
    int64_t callback_threads, callback_attempts;
    double callback_timeout, callback_first, callback_cap, callback_progress;
    // logs
    char *log_level, *log_format;
    // not settings: what was asked for on the command line
    bool check;
    bool public_url_guessed;       // PUBLIC_URL is unset
    bool storage_dir_guessed;      // STORAGE_DIR is unset
    uint8_t from[CONFIG_ROWS_MAX]; // a config_place for each row of config_table
} config;

// What is wrong with settings, one line each: a fault ends start-up, a warning does not.
typedef struct {
    buf faults, warnings;
    int count; // of faults
} config_report;

void config_report_init(config_report *r);
void config_report_deinit(config_report *r);
void config_fault(config_report *r, const char *fmt, ...) PRINTF_LIKE(2, 3);
void config_warning(config_report *r, const char *fmt, ...) PRINTF_LIKE(2, 3);

// Reads defaults, the environment and argv[1..argc), and reports all that is wrong, not only the
// first: each fault names the setting, what was expected and what was found. Whether the values can
// be used together, here and now, is for serve_check. config_deinit in any case.
void config_load(config *c, int argc, char **argv, config_report *r);
// As config_load, of the listening settings alone: what a client of the service needs.
void config_load_listening(config *c, config_report *r);
// Warns of variables of the environment that are near a setting's name and not read.
void config_warn_names(config_report *r);
void config_deinit(config *c);

// Prints the settings as help, manual page or completion of `serve`.
void config_usage(usage_form form);
// "--settings" prints the table of docs/OPERATIONS.md (a test compares the two), "--settings=man"
// the page stemforge.env(5), "--settings=env" that file with every setting commented out. False: it
// is another word.
bool config_print_settings(const char *word);
// Every setting with its value and where it comes from; secrets are not shown.
void config_show(FILE *to, const config *c);
