/*
 * What a wait for a worker is for, in words: the place in the queue, or how
 * the pool's workers are.
 */

#include <string.h>

#include "bk_duration.h"
#include "bkctl.h"


void
bk_why_workers(bk_progress_t *p, const json_t *workers)
{
    char         text[200], name[80];
    size_t       i, n, total, busy, drained, failed;
    json_t      *worker;
    const char  *state, *message, *last;

    total = busy = drained = failed = 0;
    last = "";

    json_array_foreach(workers, i, worker) {
        state = bk_out_string(worker, "state");
        message = bk_out_string(worker, "message");

        if (strcmp(state, "starting") == 0) {
            snprintf(name, sizeof(name), "%s", bk_out_string(worker, "name"));
            bk_progress_why(p, "worker %s is starting%s%s", name,
                            *message && strcmp(message, state) != 0
                            ? ": " : "",
                            strcmp(message, state) != 0 ? message : "");
            return;
        }

        total++;

        if (strcmp(state, "failed") == 0) {
            failed++;
            last = message;

        } else if (json_is_true(json_object_get(worker, "drained"))) {
            drained++;

        } else if (bk_out_number(worker, "allocations") > 0) {
            busy++;
        }
    }

    if (total == 0) {
        return;         /* none, or none that we may see */
    }

    n = (size_t) snprintf(text, sizeof(text), "%zu of %zu workers in use",
                          busy, total);

    if (drained > 0) {
        n += (size_t) snprintf(text + n, sizeof(text) - n, ", %zu drained",
                               drained);
    }

    if (failed > 0) {
        snprintf(text + n, sizeof(text) - n, ", %zu failed: %s", failed,
                 last);
    }

    bk_progress_why(p, "%s", text);
}


/* An estimate is a duration, or a number of seconds. */

char *
bk_why_place(const json_t *answer, char *buf, size_t size)
{
    char         about[32];
    uint64_t     ms;
    long long    place;
    const char  *text;

    buf[0] = '\0';
    place = bk_out_number(answer, "position");

    if (place <= 0) {
        return buf;
    }

    text = bk_out_string(answer, "estimate");

    if (json_is_number(json_object_get(answer, "estimate"))) {
        ms = (uint64_t) (json_number_value(json_object_get(answer, "estimate"))
                         * 1000);

    } else if (bk_duration_parse(text, strlen(text), &ms) != 0) {
        ms = 0;
    }

    if (ms == 0) {
        snprintf(buf, size, "place %lld", place);

    } else {
        /* nobody believes an estimate to the millisecond */
        bk_duration_format((ms + 999) / 1000 * 1000, about, sizeof(about));
        snprintf(buf, size, "place %lld, about %s", place, about);
    }

    text = bk_out_string(answer, "waitsFor");

    if (*text) {
        snprintf(buf + strlen(buf), size - strlen(buf), " (%s)", text);
    }

    return buf;
}


int
bk_why_queued(bk_progress_t *p, const json_t *answer)
{
    char  place[200];

    if (*bk_why_place(answer, place, sizeof(place)) == '\0') {
        return 0;
    }

    bk_progress_why(p, "%s", place);

    return 1;
}
