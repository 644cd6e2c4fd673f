// api_grid.c - what a job's stems are made on, for whoever plays along: a click, and MIDI.
#include "service/api_inside.h"
#include "service/request.h"

#define CLICK_TYPE "audio/wav"
#define MIDI_TYPE "audio/midi"

typedef stemforge_status (*maker)(const stemforge_request *r, uint8_t **file, size_t *size, err *e);

static void reply_file(http_request *q, status rc, const err *e, bytes file, const char *type) {
    if (rc == ERR_ARG) {
        http_reply_problem(q, 404, "not-found", "Not found", e->text, NULL);
    } else if (rc) {
        api_reply_status(q, rc, e);
    } else {
        http_add_header(q, "Cache-Control", "private, max-age=0, must-revalidate");
        http_reply(q, 200, type, file);
    }
}

// A click is as long as the stems: it counts as the reading of one.
static void send_grid(api *a, http_request *q, const char *id, maker make, const char *type) {
    request r;
    job j = {0};
    err e;
    uint8_t *file = NULL;
    size_t size = 0;
    if (!api_enter_reader(a, q)) return;
    if (api_find_job(a, q, id, &j)) {
        status rc = request_reparse(&r, bytes_of(j.request), j.work, &e);
        if (!rc) rc = make(&r.ask, &file, &size, &e);
        reply_file(q, rc, &e, (bytes){file, size}, type);
        request_deinit(&r);
        stemforge_free(file);
    }
    job_deinit(&j);
    api_leave_reader(a);
}

void api_get_click(api *a, http_request *q, const char *id) {
    send_grid(a, q, id, stemforge_click, CLICK_TYPE);
}

void api_get_midi(api *a, http_request *q, const char *id) {
    send_grid(a, q, id, stemforge_midi, MIDI_TYPE);
}
