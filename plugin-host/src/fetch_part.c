/*
 * What a server says, as it comes: see fetch.c.
 *
 * curl cannot be called from its own callbacks (CURLM_RECURSIVE_API_CALL),
 * but who gets a part of a stream may want to begin or cancel a request.  So
 * parts are handed out when curl has returned.
 */

#include <stdlib.h>
#include <string.h>

#include "fetch_int.h"


static int bk_fetch_part(bk_fetch_t *e);


size_t
bk_fetch_write(char *text, size_t size, size_t n, void *data)
{
    long         status = 0;
    char        *body;
    size_t       room;
    bk_fetch_t  *e = data;

    n *= size;

    bk_fetch_heard(e);
    curl_easy_getinfo(e->easy, CURLINFO_RESPONSE_CODE, &status);

    if (e->part != NULL && status == 200) {
        e->good = 1;
        e->owner->parts = 1;

    } else if (n > e->limit - e->len) {
        e->too_long = 1;
        return 0;
    }

    if (e->size - e->len <= n) {
        room = e->size * 2 > e->len + n + 1 ? e->size * 2 : e->len + n + 1;

        body = realloc(e->body, room);
        if (body == NULL) {
            abort();
        }

        e->body = body;
        e->size = room;
    }

    memcpy(e->body + e->len, text, n);
    e->len += n;
    e->body[e->len] = '\0';

    return n;
}


/* Of a stream: it speaks. */

void
bk_fetch_heard(bk_fetch_t *e)
{
    if (e->part == NULL) {
        return;
    }

    e->heard = 1;

    if (e->silence_ms != 0) {
        e->owner->host->timer_set(e->timer, e->silence_ms);

    } else {
        e->owner->host->timer_clear(e->timer);
    }
}


void
bk_fetch_silent(void *data)
{
    bk_fetch_t  *e = data;

    bk_fetch_tell(e, 0, e->heard ? "it has stopped to say anything"
                                 : "it did not answer in time");
}


/* From the beginning after each: who was told may have cancelled any. */

void
bk_fetch_parts(bk_fetcher_t *f)
{
    bk_fetch_t  *e;

    while (f->parts) {
        for (e = f->first; e != NULL && !(e->good && (e->begun || e->len > 0));
             e = e->next)
        {
            /* void */
        }

        if (e == NULL) {
            f->parts = 0;
            return;
        }

        (void) bk_fetch_part(e);
    }
}


/* -1: it is gone */

static int
bk_fetch_part(bk_fetch_t *e)
{
    int            rc;
    char          *body = NULL;
    size_t         len = 0;
    bk_fetcher_t  *f = e->owner;

    /* not of *e: it may be gone while this is read */
    if (!e->begun) {
        body = e->body;
        len = e->len;
        e->body = NULL;
        e->len = 0;
        e->size = 0;
    }

    e->begun = 0;
    f->current = e;
    rc = e->part(e->data, body != NULL ? body : "", len);
    free(body);

    if (f->current == NULL) {
        return -1;
    }

    f->current = NULL;

    if (rc != 0) {
        bk_fetch_tell(e, 0, "stopped");
        return -1;
    }

    return 0;
}
