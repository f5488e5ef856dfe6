/*
 * Keeping up with a collection: see k8s.h.
 *
 * Two phases.  A list, page by page: each object is put as it comes, unless it
 * is known as it is, and what no page of it had is gone when, and not before,
 * its last page is there.
 * Then watches from the list's version on, one behind the other; each ends by
 * itself soon (K8S_WATCH_S), so that a server that hangs is found out.  An
 * error repeats what was under way, the page or the watch; only 410, that the
 * server does not remember that version any more, begins with a list again.
 *
 * That one need not be newer than what is known: the API server has such a
 * list in its memory, and etcd, which all of its clients have lost just now,
 * is not asked for all of it by each.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bk_err.h"
#include "k8s_int.h"
#include "k8s_watch_int.h"


#define K8S_WATCH_S         30          /* of one watch, and up to ... */
#define K8S_WATCH_MORE_S    10          /* ... so much more */
#define K8S_WATCH_SILENCE   45000       /* ms; longer than both */
#define K8S_WATCH_SHORT     1000        /* ms; a watch that says nothing */
#define K8S_WATCH_GOOD      5000        /* ms; that was no error at once */
#define K8S_WATCH_EMPTY     20          /* so many without a word: list */

#define K8S_AGAIN_MIN       500         /* ms */
#define K8S_AGAIN_MAX       30000
#define K8S_AGAIN_SERVER    120         /* s, that the server may ask for */
#define K8S_WATCH_WHY       600000      /* ms; until another reason is told */

static void k8s_watch_next(void *data);
static void k8s_watch_page(k8s_watch_t *w);
static void k8s_watch_begin(k8s_watch_t *w);
static void k8s_watch_ask(k8s_watch_t *w, const char *query,
    k8s_done_pt done);
static int k8s_watch_part(void *data, const char *part, size_t len);
static void k8s_watch_listed(void *data, const k8s_answer_t *a);
static int k8s_watch_page_end(k8s_watch_t *w, json_t *rest);
static void k8s_watch_synced(k8s_watch_t *w);
static void k8s_watch_ended(void *data, const k8s_answer_t *a);
static int k8s_watch_against(const k8s_answer_t *a);
static json_t *k8s_watch_answer(k8s_watch_t *w, const k8s_answer_t *a);
static void k8s_watch_failed(k8s_watch_t *w, const k8s_answer_t *a);
static void k8s_watch_relist(k8s_watch_t *w);
static uint64_t k8s_watch_delay(unsigned fails, unsigned retry_after);
static void k8s_watch_state(k8s_watch_t *w, int connected, const char *why,
    int us);


k8s_watch_t *
k8s_watch(k8s_t *k, const k8s_kind_t *kind, const char *ns,
    const char *selector, const k8s_watch_ops_t *ops, void *data)
{
    k8s_watch_t  *w;

    w = calloc(1, sizeof(k8s_watch_t));
    if (w == NULL) {
        abort();
    }

    w->k8s = k;
    w->host = k8s_host(k);
    w->ops = *ops;
    w->data = data;
    w->path = k8s_path(kind, ns != NULL && ns[0] != '\0' ? ns : NULL, NULL,
                       NULL);
    w->selector = selector != NULL ? k8s_query(selector) : NULL;
    w->known = k8s_known_new();
    w->timer = w->host->timer_new(w->host, k8s_watch_next, w);
    w->host->timer_set(w->timer, 0);

    return w;
}


void
k8s_watch_fields(k8s_watch_t *w, const char *selector)
{
    free(w->fields);
    w->fields = k8s_query(selector);
}


void
k8s_watch_free(k8s_watch_t **wp)
{
    k8s_watch_t  *w = *wp;

    if (w == NULL) {
        return;
    }

    *wp = NULL;
    k8s_cancel(&w->req);
    k8s_split_free(&w->split);
    k8s_known_free(&w->known);
    w->host->timer_free(&w->timer);
    free(w->next_page);
    free(w->selector);
    free(w->fields);
    free(w->path);
    free(w);
}


void
k8s_watch_again(k8s_watch_t *w)
{
    w->again = 1;
    w->host->timer_set(w->timer, 0);
}


void
k8s_watch_stats(const k8s_watch_t *w, k8s_watch_stats_t *out)
{
    *out = w->stats;
    out->objects = k8s_known_count(w->known);
}


static void
k8s_watch_next(void *data)
{
    k8s_watch_t  *w = data;

    if (w->again) {
        w->again = 0;
        w->doubt = 1;
        k8s_cancel(&w->req);
        k8s_watch_relist(w);
    }

    if (w->watching) {
        k8s_watch_begin(w);

    } else {
        k8s_watch_page(w);
    }
}


static void
k8s_watch_page(k8s_watch_t *w)
{
    char  *query, *part;

    if (w->next_page == NULL) {
        w->list++;
        w->stats.lists++;
        w->began_ms = w->host->monotonic_ms(w->host);
    }

    w->stats.pages++;
    w->near = w->near && !w->doubt && w->next_page == NULL;
    part = k8s_query(w->near ? w->version
                     : w->next_page != NULL ? w->next_page : "");

    /* in pages only of etcd's; without a resourceVersion: the newest, never
       one from before ours */
    if ((w->near
         ? asprintf(&query, "resourceVersion=%s&resourceVersionMatch="
                    "NotOlderThan", part)
         : asprintf(&query, "limit=%d%s%s", w->whole ? 0 : K8S_PAGE,
                    part[0] != '\0' ? "&continue=" : "", part))
        < 0)
    {
        abort();
    }

    w->split = k8s_split_list(k8s_watch_item, w);
    k8s_split_same(w->split, k8s_watch_same);
    k8s_watch_ask(w, query, k8s_watch_listed);
    free(query);
    free(part);
}


static void
k8s_watch_begin(k8s_watch_t *w)
{
    char      query[K8S_VERSION_MAX * 3 + 128], *version;
    unsigned  seconds = K8S_WATCH_S + k8s_random(K8S_WATCH_MORE_S);

    version = k8s_query(w->version);
    snprintf(query, sizeof(query), "watch=true&allowWatchBookmarks=true"
             "&timeoutSeconds=%u&resourceVersion=%s", seconds, version);
    free(version);

    w->stats.watches++;
    w->got = 0;
    w->began_ms = w->host->monotonic_ms(w->host);
    w->split = k8s_split_stream(k8s_watch_event, w);
    k8s_watch_ask(w, query, k8s_watch_ended);
}


static void
k8s_watch_ask(k8s_watch_t *w, const char *query, k8s_done_pt done)
{
    char  *path;

    if (asprintf(&path, "%s?%s%s%s%s%s", w->path, query,
                 w->selector != NULL ? "&labelSelector=" : "",
                 w->selector != NULL ? w->selector : "",
                 w->fields != NULL ? "&fieldSelector=" : "",
                 w->fields != NULL ? w->fields : "")
        < 0)
    {
        abort();
    }

    memset(&w->err, 0, sizeof(bk_err_t));
    w->gone = 0;
    w->req = k8s_stream(w->k8s, path, K8S_WATCH_SILENCE, k8s_watch_part, done,
                        w);
    free(path);
}


static int
k8s_watch_part(void *data, const char *part, size_t len)
{
    bk_err_t      err;
    k8s_watch_t  *w = data;

    /* its head: from now on we are told */
    if (w->watching && !w->stats.connected) {
        k8s_watch_state(w, 1, "", 0);
    }

    if (len == 0 || k8s_split_feed(w->split, part, len, &err) == 0) {
        return 0;
    }

    /* what stopped it said why */
    if (w->err.code == 0) {
        w->err = err;
    }

    return -1;
}


/* --- a list ------------------------------------------------------------- */

static void
k8s_watch_listed(void *data, const k8s_answer_t *a)
{
    json_t       *rest;
    k8s_watch_t  *w = data;

    rest = k8s_watch_answer(w, a);

    if (rest == NULL || k8s_watch_page_end(w, rest) != 0) {
        json_decref(rest);

        /* these pages took longer than the server remembers: all at once */
        if (w->gone && w->next_page != NULL) {
            w->whole = 1;
        }

        /* it may not know yet what is known here, nor ever (a restored etcd) */
        w->doubt = w->doubt || (w->near && !w->gone && k8s_watch_against(a));
        w->near = 0;
        k8s_watch_failed(w, a);
        return;
    }

    json_decref(rest);

    if (w->next_page == NULL) {
        k8s_watch_synced(w);
    }

    w->host->timer_set(w->timer, 0);
}


/* What is around the items: the version, and where the next page begins. */

static int
k8s_watch_page_end(k8s_watch_t *w, json_t *rest)
{
    json_t      *meta = json_object_get(rest, "metadata");
    const char  *version, *page;

    version = k8s_text(meta, "resourceVersion");
    page = k8s_text(meta, "continue");

    if (version[0] == '\0' || strlen(version) > K8S_VERSION_MAX
        || strlen(page) > K8S_CONTINUE_MAX)
    {
        return bk_err_set(&w->err, 502, "BadAnswer",
                          "a list without a resourceVersion");
    }

    /* of the first page: what came since is told again */
    if (w->next_page == NULL) {
        snprintf(w->version, sizeof(w->version), "%s", version);
    }

    free(w->next_page);
    w->next_page = NULL;

    if (page[0] != '\0') {
        w->next_page = strdup(page);
        if (w->next_page == NULL) {
            abort();
        }
    }

    return 0;
}


static void
k8s_watch_synced(k8s_watch_t *w)
{
    int  first = !w->synced;

    w->watching = 1;
    w->whole = 0;
    w->near = 0;
    w->doubt = 0;
    w->empty = 0;
    w->synced = 1;
    w->stats.synced_ms = w->host->monotonic_ms(w->host);
    w->stats.list_ms = w->stats.synced_ms - w->began_ms;

    k8s_known_sweep(w->known, w->list, k8s_watch_swept, w);
    w->ops.synced(w->data, first);
    k8s_watch_state(w, 1, "", 0);
}


/* --- a watch ------------------------------------------------------------ */

static void
k8s_watch_ended(void *data, const k8s_answer_t *a)
{
    int           broken;
    uint64_t      lived;
    k8s_watch_t  *w = data;

    k8s_watch_answer(w, a);
    lived = w->host->monotonic_ms(w->host) - w->began_ms;
    broken = (a->status != 200 || w->err.code != 0);
    w->near = w->gone;

    if (w->got > 0 || (a->status == 200 && lived >= K8S_WATCH_GOOD)) {
        w->fails = 0;
    }

    if (!broken && w->got == 0 && lived < K8S_WATCH_SHORT) {
        bk_err_set(&w->err, 502, "WatchError",
                   "the watch ended as soon as it began");
        broken = 1;
    }

    if (broken) {
        if (k8s_watch_against(a)) {
            w->doubt = w->doubt || !w->gone;
            w->gone = 1;
        }

        k8s_watch_failed(w, a);
        return;
    }

    w->empty = w->got > 0 ? 0 : w->empty + 1;

    /* not even a bookmark: a version from the future would look like this */
    if (w->empty == K8S_WATCH_EMPTY) {
        w->doubt = 1;
        k8s_watch_relist(w);
    }

    w->host->timer_set(w->timer, 0);
}


/* --- how it ended ------------------------------------------------------- */

/* Whatever the server has against this version or this query (a restored
 * etcd, an aggregated API).  But for 410, a version of ours may be another
 * object's there. */

static int
k8s_watch_against(const k8s_answer_t *a)
{
    return a->status >= 400 && a->status < 500 && a->status != 401
           && a->status != 403 && a->status != 429;
}


/* The request is over.  Of a list that is well: its rest. */

static json_t *
k8s_watch_answer(k8s_watch_t *w, const k8s_answer_t *a)
{
    json_t  *rest = NULL;

    w->req = NULL;

    if (a->status == 200 && w->err.code == 0) {
        rest = k8s_split_end(w->split, &w->err);
    }

    if (a->status == 410) {
        w->gone = 1;
    }

    k8s_split_free(&w->split);

    return rest;
}


static void
k8s_watch_failed(k8s_watch_t *w, const k8s_answer_t *a)
{
    int       code = w->err.code != 0 ? w->err.code : a->status;
    uint64_t  delay;

    w->fails++;
    delay = k8s_watch_delay(w->fails, a->retry_after);

    if (w->gone) {
        w->stats.gones++;
        k8s_watch_relist(w);

        /* nothing is wrong; but many may have been told the same */
        if (w->fails == 1) {
            delay = k8s_random(K8S_AGAIN_MIN);
        }

    } else {
        w->stats.errors++;
    }

    k8s_watch_state(w, 0, w->err.code != 0 ? w->err.text : a->text,
                    code == 401 || code == 403);
    w->host->timer_set(w->timer, delay);
}


static void
k8s_watch_relist(k8s_watch_t *w)
{
    k8s_split_free(&w->split);
    free(w->next_page);
    w->next_page = NULL;
    w->watching = 0;
}


static uint64_t
k8s_watch_delay(unsigned fails, unsigned retry_after)
{
    unsigned  ms = K8S_AGAIN_MAX;

    if (fails < 7 && K8S_AGAIN_MIN << (fails - 1) < K8S_AGAIN_MAX) {
        ms = K8S_AGAIN_MIN << (fails - 1);
    }

    ms = ms / 2 + k8s_random(ms / 2 + 1);
    retry_after = retry_after < K8S_AGAIN_SERVER ? retry_after
                                                 : K8S_AGAIN_SERVER;

    return ms > retry_after * 1000 ? ms : retry_after * 1000;
}


/* Of a server that is away for hours the first reason alone would be said, and
 * that it is back and takes not us any more would not. */

static void
k8s_watch_state(k8s_watch_t *w, int connected, const char *why, int us)
{
    uint64_t  now = w->host->monotonic_ms(w->host);

    if (w->told && w->stats.connected == connected
        && (connected || (!us && now - w->told_ms < K8S_WATCH_WHY)
            || k8s_alike(w->why, why)))
    {
        return;
    }

    w->told = 1;
    w->told_ms = now;
    snprintf(w->why, sizeof(w->why), "%s", why);
    w->stats.connected = connected;
    w->ops.state(w->data, connected, why);
}
