// config_names.c - variables of the environment that look like a setting and are none.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/config_table.h"
#include "base/near.h"

extern char **environ;

#define OWN_PREFIX "STEMFORGE_" // no setting has it
#define SHORT_NAME 5            // so short a name is near to many words that mean something else
#define TELLING_LENGTH 9        // of a shared beginning

// What the program reads beside the settings.
static const char *const others[] = {
    "AZURE_STORAGE_BLOB_ENDPOINT", "AZURE_CLIENT_ID",      "AZURE_TENANT_ID",
    "AZURE_FEDERATED_TOKEN_FILE",  "AZURE_AUTHORITY_HOST", "AZURE_POD_IDENTITY_AUTHORITY_HOST",
};

// Of the option that name belongs to: name itself or, of a secret, name and _FILE.
static bool is_known(const char *name) {
    char file[CONFIG_NAME_MAX + 8];
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        if (strcmp(others[i], name) == 0) return true;
    }
    for (size_t i = 0; i < config_table_len; i++) {
        const option *o = &config_table[i];
        if (o->kind == TITLE) continue;
        snprintf(file, sizeof file, "%s_FILE", o->name);
        if (strcmp(o->name, name) == 0 || (option_is_secret(o) && strcmp(file, name) == 0))
            return true;
    }
    return false;
}

static bool same_letters(const char *a, const char *b) {
    int count[256] = {0};
    for (; *a; a++) count[(unsigned char)*a]++;
    for (; *b; b++) count[(unsigned char)*b]--;
    for (size_t i = 0; i < ARRAY_LEN(count); i++) {
        if (count[i]) return false;
    }
    return true;
}

// Whether one name is the other and more: LISTEN_ADDRESS, JOB_TIMEOUT.
static bool one_begins_the_other(const char *a, const char *b) {
    size_t n = MIN(strlen(a), strlen(b));
    return n >= TELLING_LENGTH && strncmp(a, b, n) == 0;
}

// The setting that name was meant to be, or NULL. file gets NAME_FILE where that is meant.
static const char *meant_by(const char *name, char file[CONFIG_NAME_MAX + 8]) {
    near n = {.word = name};
    const char *begins = NULL;
    for (size_t i = 0; i < config_table_len; i++) {
        const option *o = &config_table[i];
        if (o->kind == TITLE) continue;
        near_try(&n, o->name);
        if (!begins && one_begins_the_other(name, o->name)) begins = o->name;
        if (!option_is_secret(o)) continue;
        char maybe[CONFIG_NAME_MAX + 8];
        snprintf(maybe, sizeof maybe, "%s_FILE", o->name);
        const char *best = n.best;
        near_try(&n, maybe);
        if (n.best == maybe) { // it is to outlive this turn
            snprintf(file, CONFIG_NAME_MAX + 8, "%s", maybe);
            n.best = file;
        } else {
            n.best = best;
        }
    }
    bool doubtful = n.best && strlen(name) <= SHORT_NAME && n.distance > 1;
    if (doubtful && !same_letters(name, n.best)) n.best = NULL;
    return n.best ? n.best : begins;
}

// "PORT_FILE": a file for a setting that is no secret.
static bool file_of_no_secret(const char *name, char setting[CONFIG_NAME_MAX]) {
    size_t n = strlen(name), tail = strlen("_FILE");
    if (n <= tail || n - tail >= CONFIG_NAME_MAX || strcmp(name + n - tail, "_FILE") != 0)
        return false;
    snprintf(setting, CONFIG_NAME_MAX, "%.*s", (int)(n - tail), name);
    return is_known(setting);
}

static void look_at(const char *name, const char *value, config_report *r) {
    char file[CONFIG_NAME_MAX + 8], setting[CONFIG_NAME_MAX];
    if (is_known(name)) return;
    if (file_of_no_secret(name, setting)) {
        config_warning(r, "%s is not read: only a secret can come from a file; set %s", name,
                       setting);
        return;
    }
    bool prefixed = strncmp(name, OWN_PREFIX, strlen(OWN_PREFIX)) == 0;
    // Kubernetes sets variables like STEMFORGE_PORT=tcp://... for a service of our name.
    if (prefixed && (strstr(value, "://") || strstr(name, "_SERVICE_"))) return;
    const char *word = prefixed ? name + strlen(OWN_PREFIX) : name;
    const char *meant = is_known(word) ? word : meant_by(word, file);
    if (meant) config_warning(r, "%s is no setting and is not read; did you mean %s?", name, meant);
}

void config_warn_names(config_report *r) {
    for (char **p = environ; *p; p++) {
        char name[CONFIG_NAME_MAX];
        size_t n = strcspn(*p, "=");
        if (n == 0 || n >= sizeof name || !(*p)[n]) continue;
        memcpy(name, *p, n);
        name[n] = 0;
        look_at(name, *p + n + 1, r);
    }
}
