/*
 * Asking the API server: see k8s.h.
 *
 * What an answer means is in its body, a Status object when it is not what
 * was asked for (reason, message, details):
 * https://kubernetes.io/docs/reference/using-api/api-concepts/
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bk_err.h"
#include "k8s_int.h"


struct k8s_s {
    const bk_host_t  *host;
    k8s_conf_t       *conf;
    bk_fetcher_t     *fetcher;
    k8s_req_t        *first;
};

struct k8s_req_s {
    k8s_t             *k;
    k8s_req_t         *next, **at;
    bk_fetch_t        *fetch;
    bk_fetch_part_pt   part;
    k8s_done_pt        done;
    void              *data;
    char              *gone;        /* the name that may be; or NULL */
};


static void k8s_escape(FILE *out, const char *s);
static void k8s_req_free(k8s_req_t *r);
static int k8s_part(void *data, const char *part, size_t len);
static void k8s_done(void *data, long status, const char *body, size_t len,
    const char *error);
static void k8s_read(k8s_answer_t *a, const char *body, size_t len);
static void k8s_failed(const k8s_req_t *r, k8s_answer_t *a, const char *body,
    size_t len);
static int k8s_is_gone(const k8s_req_t *r, const json_t *status);
static char *k8s_strdup(const char *s);


k8s_t *
k8s_new(const bk_host_t *host, k8s_conf_t *conf)
{
    k8s_t  *k;

    k = calloc(1, sizeof(k8s_t));
    if (k == NULL) {
        abort();
    }

    k->host = host;
    k->conf = conf;
    k->fetcher = bk_fetcher_new(host);

    if (k->fetcher == NULL) {
        abort();
    }

    return k;
}


void
k8s_free(k8s_t **kp)
{
    k8s_req_t  *r;
    k8s_t      *k = *kp;

    if (k == NULL) {
        return;
    }

    *kp = NULL;

    while ((r = k->first) != NULL) {
        k8s_cancel(&r);
    }

    bk_fetcher_free(&k->fetcher);
    k8s_conf_free(&k->conf);
    free(k);
}


const k8s_conf_t *
k8s_conf(const k8s_t *k)
{
    return k->conf;
}


const bk_host_t *
k8s_host(const k8s_t *k)
{
    return k->host;
}


k8s_req_t *
k8s_ask(k8s_t *k, const char *path, const char *query, bk_fetch_req_t *req,
    const char *gone, bk_fetch_part_pt part, k8s_done_pt done, void *data)
{
    char       *url;
    k8s_req_t  *r;

    r = calloc(1, sizeof(k8s_req_t));
    if (r == NULL) {
        abort();
    }

    r->k = k;
    r->part = part;
    r->done = done;
    r->data = data;
    r->gone = gone != NULL ? k8s_strdup(gone) : NULL;

    r->next = k->first;
    r->at = &k->first;
    k->first = r;

    if (r->next != NULL) {
        r->next->at = &r->next;
    }

    if (asprintf(&url, "%s%s%s%s", k8s_conf_server(k->conf), path,
                 query != NULL ? "?" : "", query != NULL ? query : "")
        < 0)
    {
        abort();
    }

    req->url = url;
    req->accept = "application/json";
    k8s_conf_fill(k->conf, req);

    r->fetch = part != NULL
               ? bk_fetch_stream(k->fetcher, req, k8s_part, k8s_done, r)
               : bk_fetch(k->fetcher, req, k8s_done, r);
    free(url);

    return r;
}


char *
k8s_path(const k8s_kind_t *kind, const char *ns, const char *name,
    const char *sub)
{
    char    *path = NULL;
    FILE    *out;
    size_t   len;

    out = open_memstream(&path, &len);
    if (out == NULL) {
        abort();
    }

    fprintf(out, kind->group[0] ? "/apis/%s/%s" : "/api%s/%s", kind->group,
            kind->version);

    if (ns != NULL && ns[0] != '\0') {
        fprintf(out, "/namespaces/");
        k8s_escape(out, ns);
    }

    fprintf(out, "/%s", kind->plural);

    if (name != NULL) {
        fprintf(out, "/");
        k8s_escape(out, name);
    }

    if (sub != NULL) {
        fprintf(out, "/%s", sub);
    }

    if (fclose(out) != 0) {
        abort();
    }

    return path;
}


/* No name at all would be all objects of a collection, and dots another path:
 * these are names that no object has. */

static void
k8s_escape(FILE *out, const char *s)
{
    if (s[0] == '\0' || strcmp(s, ".") == 0 || strcmp(s, "..") == 0) {
        fprintf(out, "%%00");
        return;
    }

    for ( /* void */ ; *s != '\0'; s++) {
        if ((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z')
            || (*s >= '0' && *s <= '9') || *s == '-' || *s == '.'
            || *s == '_')
        {
            fputc(*s, out);

        } else {
            fprintf(out, "%%%02X", (unsigned char) *s);
        }
    }
}


void
k8s_cancel(k8s_req_t **rp)
{
    k8s_req_t  *r = *rp;

    if (r != NULL) {
        *rp = NULL;
        bk_fetch_cancel(&r->fetch);
        k8s_req_free(r);
    }
}


static void
k8s_req_free(k8s_req_t *r)
{
    *r->at = r->next;

    if (r->next != NULL) {
        r->next->at = r->at;
    }

    free(r->gone);
    free(r);
}


static int
k8s_part(void *data, const char *part, size_t len)
{
    k8s_req_t  *r = data;

    return r->part(r->data, part, len);
}


static void
k8s_done(void *data, long status, const char *body, size_t len,
    const char *error)
{
    void          *to;
    k8s_req_t     *r = data;
    k8s_done_pt    done;
    k8s_answer_t   a;

    r->fetch = NULL;

    memset(&a, 0, sizeof(a));
    a.status = (int) status;
    a.retry_after = bk_fetch_retry_after(r->k->fetcher);

    if (status == 0) {
        snprintf(a.text, sizeof(a.text), "%s%.200s%s%.200s",
                 strcmp(error, "stopped") == 0 ? "" : "API server ",
                 strcmp(error, "stopped") == 0 ? ""
                 : k8s_conf_server(r->k->conf),
                 strcmp(error, "stopped") == 0 ? "" : ": ", error);

    } else if (status < 200 || status >= 300) {
        k8s_failed(r, &a, body, len);

    } else if (r->part == NULL) {
        k8s_read(&a, body, len);
    }

    bk_err_clean(a.text);
    bk_err_clean(a.reason);

    done = r->done;
    to = r->data;
    k8s_req_free(r);

    done(to, &a);
    json_decref(a.obj);
}


/* What was done is not known when it cannot be read: status 0. */

static void
k8s_read(k8s_answer_t *a, const char *body, size_t len)
{
    json_error_t  error;

    a->obj = json_loadb(body, len, JSON_REJECT_DUPLICATES, &error);

    if (json_is_object(a->obj)) {
        return;
    }

    snprintf(a->text, sizeof(a->text), "the API server's answer cannot be "
             "read: %s", a->obj == NULL ? error.text : "it is no object");
    a->status = 0;
    json_decref(a->obj);
    a->obj = NULL;
}


static void
k8s_failed(const k8s_req_t *r, k8s_answer_t *a, const char *body, size_t len)
{
    int          n;
    json_t      *status;
    const char  *text, *reason;

    status = json_loadb(body, len, 0, NULL);
    text = json_string_value(json_object_get(status, "message"));
    reason = json_string_value(json_object_get(status, "reason"));

    if (a->status == 404 && k8s_is_gone(r, status)) {
        a->status = 200;
        json_decref(status);
        return;
    }

    snprintf(a->reason, sizeof(a->reason), "%s", reason ? reason : "");

    if (text != NULL && text[0] != '\0') {
        snprintf(a->text, sizeof(a->text), "%s", text);

    } else {
        n = snprintf(a->text, sizeof(a->text), "API server %.200s: HTTP "
                     "status %d", k8s_conf_server(r->k->conf), a->status);

        if (len > 0 && body[0] != '<') {
            snprintf(a->text + n, sizeof(a->text) - (size_t) n, ": %.200s",
                     body);
        }
    }

    if (a->retry_after == 0) {
        n = (int) json_integer_value(json_object_get(
                      json_object_get(status, "details"),
                      "retryAfterSeconds"));
        a->retry_after = n > 0 && n < 86400 ? (unsigned) n : 0;
    }

    json_decref(status);
}


/* Its kind may be unknown as well, or the URL be somebody else's: then it
 * does not name the object. */

static int
k8s_is_gone(const k8s_req_t *r, const json_t *status)
{
    const char  *name;

    name = json_string_value(json_object_get(json_object_get(status,
                                             "details"), "name"));

    return r->gone != NULL && name != NULL && strcmp(name, r->gone) == 0;
}


static char *
k8s_strdup(const char *s)
{
    char  *copy = strdup(s);

    if (copy == NULL) {
        abort();
    }

    return copy;
}
