// config_table.c - see config_table.h.
#include "app/config_table.h"

#include <assert.h>
#include <ctype.h>
#include <string.h>

#define FIELD(f) offsetof(config, f)
const option config_table[] = {
    {"The contract's", TITLE, 0, 0, 0, "", ""},
    {"AZURE_STORAGE_CONNECTION_STRING", SECRET, FIELD(azure_connection), 0, 0, "",
     "Azure Blob Storage or Azurite; unset: a local directory"},
    {"BLOB_CONTAINER_NAME", STR, FIELD(container), 0, 0, "audio-files",
     "container; created when missing"},
    {"USE_GPU", BOOL, FIELD(use_gpu), 0, 0, "false",
     "true: an NVIDIA GPU computes, and it is an error at start-up if there is none"},
    {"WORKERS", INT, FIELD(workers), 1, 64, "1",
     "jobs that run at once; their stems share the running step"},
    {"Model", TITLE, 0, 0, 0, "", ""},
    {"MODEL", PATH, FIELD(model), 0, 0, "models/stemforge-mini",
     "a model folder, or ORG/NAME in the Hugging Face cache"},
    {"STABLE_AUDIO_MODEL", PATH, FIELD(stable_audio), 0, 0, "",
     "a Stable Audio model beside MODEL; a request's model says which of them makes it"},
    {"MODEL_WEIGHTS", WORD, FIELD(weights), 0, 0, "stored|f32|bf16|q8|q4", "how weights are kept"},
    {"DEVICE", STR, FIELD(device), 0, 0, "",
     "auto, cpu, cuda or cuda:N; unset: cuda when USE_GPU is true, else cpu"},
    {"MODEL_THREADS", INT, FIELD(threads), 0, 1024, "0",
     "threads that compute; 0: one a processor, fewer under a CPU quota"},
    {"BATCH_MAX", INT, FIELD(batch_max), 0, 256, "0",
     "stems in the running step at most; 0: the engine's default"},
    {"BATCH_MEMORY_MB", INT, FIELD(memory_max_mb), 0, 1048576, "0",
     "memory of running stems at most; 0: no limit"},
    {CONFIG_LISTENING, TITLE, 0, 0, 0, "", ""},
    {"LISTEN_ADDR", STR, FIELD(listen_addr), 0, 0, "127.0.0.1",
     "address to listen on; * or :: for all, IPv4 and IPv6 (the container image sets *)"},
    {"PORT", INT, FIELD(port), 1, 65535, "8080", "port to listen on"},
    {"PUBLIC_URL", STR, FIELD(public_url), 0, 0, "",
     "how clients reach this server, for blob_url of local files; unset: http://127.0.0.1:PORT"},
    {"API_KEYS", KEYS, FIELD(api_keys), 0, 0, "",
     "separated by commas or lines; set: Authorization: Bearer or X-Api-Key is required"},
    {"API_KEY_JOBS_MAX", INT, FIELD(key_jobs_max), 0, 1000000, "0",
     "jobs of one key that wait or run before 429; 0: no limit"},
    {"HTTP_THREADS", INT, FIELD(http_threads), 1, 256, "16", "threads that answer requests"},
    {"HTTP_BODY_MAX", INT, FIELD(body_max), 1024, 262144, "65536", "bytes of a body; more is 413"},
    {"HTTP_HEAD_MAX", INT, FIELD(head_max), 2048, 262144, "16384",
     "bytes of a request's line and headers; more is 431"},
    {"HTTP_CONNECTIONS_MAX", INT, FIELD(connections_max), 4, 60000, "1024", "open connections"},
    {"HTTP_CLIENT_CONNECTIONS_MAX", INT, FIELD(client_max), 0, 60000, "768",
     "open connections of one address; 0: no limit of its own"},
    {"HTTP_HEAD_SECONDS", NUM, FIELD(head_seconds), 0.1, 3600, "10",
     "for a new connection to send its first request's head"},
    {"HTTP_BODY_SECONDS", NUM, FIELD(body_seconds), 0.1, 3600, "20", "for a body to arrive"},
    {"HTTP_IDLE_SECONDS", NUM, FIELD(idle_seconds), 1, 3600, "60",
     "between requests, and without progress while an answer is read"},
    {"Jobs", TITLE, 0, 0, 0, "", ""},
    {"DATA_DIR", FOLDER, FIELD(data_dir), 0, 0, "stemforge-data",
     "holds the database and, unless said otherwise, the stems"},
    {"DATABASE", PATH, FIELD(database), 0, 0, "", "the job database; unset: DATA_DIR/jobs.db"},
    {"QUEUE_URL", SECRET, FIELD(queue_url), 0, 0, "",
     "postgres://...: the queue lies in PostgreSQL, and machines share it; unset: in DATABASE"},
    {"QUEUE_CONNECTIONS", INT, FIELD(queue_connections), 1, 100, "8",
     "connections to PostgreSQL at most, and one more for its news"},
    {"ROLE", WORD, FIELD(role), 0, 0, "all|api|worker",
     "with QUEUE_URL an api answers and has no model, and a worker runs jobs"},
    {"QUEUE_MAX", INT, FIELD(queue_max), 1, 1000000, "1000", "waiting jobs before 429"},
    {"DURATION_MAX_SECONDS", NUM, FIELD(duration_max), 0.1, 600, "300", "longest stem accepted"},
    {"JOB_LEASE_SECONDS", NUM, FIELD(lease_seconds), 1, 3600, "60",
     "a worker that is silent for so long loses its job to another"},
    {"JOB_TIMEOUT_SECONDS", NUM, FIELD(job_timeout), 1, 604800, "3600",
     "a job that runs longer fails"},
    {"JOB_MAX_ATTEMPTS", INT, FIELD(attempts_max), 0, 1000, "5",
     "claims without a finished stem before a job fails; 0: no limit"},
    {"JOB_RETENTION_DAYS", NUM, FIELD(retention_days), 0, 36500, "7",
     "ended jobs are forgotten after this; 0: never"},
    {"SHUTDOWN_GRACE_SECONDS", NUM, FIELD(grace_seconds), 0, 86400, "30",
     "after SIGTERM: for running jobs to end and callbacks to go out; then jobs are given back"},
    {"Storage", TITLE, 0, 0, 0, "", ""},
    {"STORAGE_DIR", FOLDER, FIELD(storage_dir), 0, 0, "",
     "stems, when they are kept locally; unset: DATA_DIR/files"},
    {"STORAGE_WAIT_SECONDS", NUM, FIELD(storage_wait), 0, 2592000, "86400",
     "a finished stem waits so long for storage to come back, then its job fails"},
    {"STORAGE_CHECK_SECONDS", NUM, FIELD(storage_check), 0.1, 3600, "10",
     "between checks whether storage answers"},
    {"STORAGE_CA_FILE", PATH, FIELD(storage_ca), 0, 0, "", "PEM roots instead of the system's"},
    {"AZURE_STORAGE_ACCOUNT", STR, FIELD(azure_account), 0, 0, "",
     "without a connection string: managed or workload identity for this account"},
    {"BLOB_URL_SAS_HOURS", INT, FIELD(sas_hours), 0, 8760, "0",
     "blob_url carries a signature for reading that lasts so long; 0: plain URL"},
    {"STEM_DELIVERY", WORD, FIELD(stem_delivery), 0, 0, "proxy|redirect",
     "how stems in Azure reach the page: through this server, or by a link signed for ten minutes"},
    {"Recordings that stems follow", TITLE, 0, 0, 0, "", ""},
    {"FOLLOW_SIZE_MB", INT, FIELD(follow_mb), 1, 1024, "128", "largest recording that is fetched"},
    {"FOLLOW_FETCH_SECONDS", NUM, FIELD(follow_fetch), 0.1, 3600, "120", "for all of it to arrive"},
    {"FOLLOW_LENGTH_SECONDS", NUM, FIELD(follow_seconds), 0.1, 600, "600", "longest recording"},
    {"FOLLOW_TEMPO_SURE", NUM, FIELD(follow_tempo_sure), 0, 1, "0.5",
     "its beats must be as sure (tempo_sure of heard), else the job fails"},
    {"FOLLOW_CHORDS_SURE", NUM, FIELD(follow_chords_sure), 0, 1, "0.35",
     "the share of bars whose chord must be sure (chords_sure), likewise"},
    {"Callbacks", TITLE, 0, 0, 0, "", ""},
    {"CALLBACK_SECRET", SECRET, FIELD(secret), 0, 0, "",
     "whsec_...: callbacks are signed as Standard Webhooks say"},
    {"CALLBACK_SECRET_OLD", SECRET, FIELD(secret_old), 0, 0, "",
     "signs a second time while receivers change over"},
    {"CALLBACK_ALLOWED_ORIGINS", LIST, FIELD(allowed_origins), 0, 0, "",
     "comma-separated, like https://api.example.com; set: only these, and they may be private"},
    {"CALLBACK_ALLOW_PRIVATE", BOOL, FIELD(allow_private), 0, 0, "true",
     "without a list: whether callbacks may go to private addresses"},
    {"CALLBACK_TIMEOUT_SECONDS", NUM, FIELD(callback_timeout), 0.1, 300, "15", "for one attempt"},
    {"CALLBACK_PROGRESS_SECONDS", NUM, FIELD(callback_progress), 0, 86400, "0",
     "between callbacks that say how far a running job is; 0: none"},
    {"CALLBACK_MAX_ATTEMPTS", INT, FIELD(callback_attempts), 1, 10000, "40",
     "then the callback is kept as dead, to be sent again by hand"},
    {"CALLBACK_FIRST_DELAY_SECONDS", NUM, FIELD(callback_first), 0.01, 3600, "5",
     "delay n is drawn from 0 to first * 2^n"},
    {"CALLBACK_MAX_DELAY_SECONDS", NUM, FIELD(callback_cap), 0.01, 604800, "14400",
     "and from 0 to this at most"},
    {"CALLBACK_THREADS", INT, FIELD(callback_threads), 1, 64, "4", "callbacks sent at once"},
    {"CALLBACK_CA_FILE", PATH, FIELD(callback_ca), 0, 0, "", "PEM roots instead of the system's"},
    {"Logs", TITLE, 0, 0, 0, "", ""},
    {"LOG_LEVEL", WORD, FIELD(log_level), 0, 0, "info|error|warn|debug", "what is logged at least"},
    {"LOG_FORMAT", WORD, FIELD(log_format), 0, 0, "text|json", "how a line of the log is written"},
};

const size_t config_table_len = ARRAY_LEN(config_table);

bool option_is_secret(const option *o) {
    return o->kind == SECRET || o->kind == KEYS;
}

bool option_is_text(const option *o) {
    return o->kind == STR || o->kind == PATH || o->kind == FOLDER || o->kind == WORD ||
           o->kind == LIST || option_is_secret(o);
}

void option_flag(const option *o, char out[CONFIG_NAME_MAX]) {
    size_t n = 0;
    for (; o->name[n] && n + 1 < CONFIG_NAME_MAX; n++) {
        out[n] = o->name[n] == '_' ? '-' : (char)tolower((unsigned char)o->name[n]);
    }
    out[n] = 0;
}

void option_preset(const option *o, char out[CONFIG_NAME_MAX]) {
    int n = o->kind == WORD ? (int)strcspn(o->preset, "|") : CONFIG_NAME_MAX - 1;
    snprintf(out, CONFIG_NAME_MAX, "%.*s", n, o->preset);
}

void option_words(const option *o, char out[OPTION_WORDS_MAX]) {
    size_t n = 0;
    out[0] = 0;
    for (const char *p = o->kind == WORD ? o->preset : ""; *p; p++) {
        const char *between = strchr(p + 1, '|') ? ", " : " or ";
        const char one[2] = {*p};
        n += (size_t)snprintf(out + n, OPTION_WORDS_MAX - n, "%s", *p == '|' ? between : one);
        assert(n < OPTION_WORDS_MAX);
    }
}

static void show_secret(FILE *to, const option *o, const char *value) {
    if (o->kind == SECRET) {
        fprintf(to, "set, not shown");
        return;
    }
    size_t n = 1;
    for (const char *p = value; *p; p++) n += *p == ',';
    fprintf(to, "%zu key%s, not shown", n, n == 1 ? "" : "s");
}

static void show_value(FILE *to, const option *o, const void *field) {
    if (o->kind == BOOL) {
        fprintf(to, *(const bool *)field ? "true" : "false");
    } else if (o->kind == INT) {
        fprintf(to, "%lld", (long long)*(const int64_t *)field);
    } else if (o->kind == NUM) {
        fprintf(to, "%.10g", *(const double *)field);
    } else {
        const char *value = *(char *const *)field;
        if (!value[0])
            fprintf(to, "unset");
        else if (option_is_secret(o))
            show_secret(to, o, value);
        else
            fprintf(to, "%s", value);
    }
}

void config_show(FILE *to, const config *c) {
    static const char *const places[] = {"", "  (environment)", "  (file)", "  (flag)"};
    for (size_t i = 0; i < config_table_len; i++) {
        const option *o = &config_table[i];
        if (o->kind == TITLE) continue;
        fprintf(to, "  %-32s ", o->name);
        show_value(to, o, (const char *)c + o->field);
        fprintf(to, "%s\n", places[c->from[i]]);
    }
}
