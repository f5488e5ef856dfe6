/*
 * Kubernetes service accounts: their API server is asked (TokenReview).  Only
 * a JWT that says it is a service account's is ever sent there, so that no
 * other token of a caller's gets out of this process.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bk_slurp.h"
#include "oidc.h"


#define OIDC_SA         "system:serviceaccount:"
#define OIDC_BEARER_MAX  16384


struct oidc_call_s {
    oidc_t        *oidc;
    oidc_call_t   *next;
    bk_fetch_t    *fetch;
    bk_query_t    *q;
    uint64_t       exp_ms;
    uint8_t        hash[32];
    size_t         len;
    char           token[];
};


static int oidc_review_ask(oidc_call_t *call, bk_err_t *err);
static char *oidc_review_body(const oidc_review_conf_t *c, bk_str_t token);
static char *oidc_review_bearer(const oidc_review_conf_t *c, bk_err_t *err);
static void oidc_review_done(void *data, long status, const char *body,
    size_t len, const char *error);
static void oidc_review_take(oidc_call_t *call, const char *user,
    const char *claims);
static void oidc_call_free(oidc_call_t *call);
static int oidc_review_refused(const oidc_review_conf_t *c,
    const json_t *status, bk_str_t token, bk_err_t *err);
static int oidc_review_audience(const oidc_review_conf_t *c,
    const json_t *status);
static char *oidc_review_claims(const json_t *user);
static int oidc_review_unreachable(const oidc_review_conf_t *c,
    const char *what, bk_err_t *err);


int
oidc_review_fits(const oidc_t *o, const oidc_jwt_t *jwt)
{
    const char                *s;
    const oidc_review_conf_t  *c = o->file.doc->review;

    if (c == NULL) {
        return 0;
    }

    s = oidc_jwt_claim(jwt, "sub");

    if (s == NULL || strncmp(s, OIDC_SA, sizeof(OIDC_SA) - 1) != 0) {
        return 0;
    }

    s = oidc_jwt_claim(jwt, "iss");

    return c->issuer == NULL || (s != NULL && strcmp(s, c->issuer) == 0);
}


void
oidc_review(oidc_t *o, bk_query_t *q, const oidc_jwt_t *jwt,
    const uint8_t hash[32])
{
    bk_err_t      err;
    oidc_call_t  *call;

    if (o->ncalls >= OIDC_WAITING_MAX) {
        (void) oidc_review_unreachable(o->file.doc->review, "too many tokens "
                                       "are being reviewed", &err);
        oidc_refuse(o, q, &o->review_count, &err);
        return;
    }

    call = calloc(1, sizeof(oidc_call_t) + jwt->text.len);
    if (call == NULL) {
        abort();
    }

    call->oidc = o;
    call->q = q;
    call->exp_ms = oidc_claims_exp(jwt);
    call->len = jwt->text.len;
    memcpy(call->hash, hash, 32);
    memcpy(call->token, jwt->text.data, call->len);

    call->next = o->calls;
    o->calls = call;
    o->ncalls++;

    if (oidc_review_ask(call, &err) != 0) {
        oidc_refuse(o, q, &o->review_count, &err);
        oidc_call_free(call);
    }
}


static int
oidc_review_ask(oidc_call_t *call, bk_err_t *err)
{
    char                *bearer, *url, *body;
    const char          *server;
    bk_fetch_req_t       req;
    oidc_review_conf_t  *c = call->oidc->file.doc->review;

    bearer = oidc_review_bearer(c, err);
    if (bearer == NULL) {
        return -1;
    }

    server = c->server;

    if (asprintf(&url, "%.*s/apis/authentication.k8s.io/v1/tokenreviews",
                 (int) strlen(server) - (server[strlen(server) - 1] == '/'),
                 server)
        < 0)
    {
        abort();
    }

    body = oidc_review_body(c, (bk_str_t) { call->token, call->len });

    memset(&req, 0, sizeof(req));
    req.url = url;
    req.ca_file = c->ca_file;
    req.bearer = bearer;
    req.body = body;
    req.body_len = strlen(body);
    req.limit = OIDC_JWKS_MAX;
    req.insecure = call->oidc->insecure;
    req.timeout_ms = OIDC_REVIEW_MS;

    call->fetch = bk_fetch(call->oidc->fetcher, &req, oidc_review_done,
                           call);

    explicit_bzero(bearer, strlen(bearer));
    free(bearer);
    explicit_bzero(body, strlen(body));
    free(body);
    free(url);

    return 0;
}


/* Ours, read each time: the kubelet renews it. */

static char *
oidc_review_bearer(const oidc_review_conf_t *c, bk_err_t *err)
{
    char    *bearer;
    char     what[320];
    size_t   len;

    bearer = bk_slurp(c->token_file, OIDC_BEARER_MAX, &len);

    if (bearer == NULL) {
        snprintf(what, sizeof(what), "our own token %.200s: %s",
                 c->token_file, strerror(errno));
        (void) oidc_review_unreachable(c, what, err);
        return NULL;
    }

    while (len > 0 && strchr(" \t\r\n", bearer[len - 1]) != NULL) {
        bearer[--len] = '\0';
    }

    /* it becomes a header */
    if (len == 0 || strlen(bearer) != len
        || strpbrk(bearer, " \t\r\n") != NULL)
    {
        explicit_bzero(bearer, len);
        free(bearer);
        snprintf(what, sizeof(what), "our own token %.200s is none",
                 c->token_file);
        (void) oidc_review_unreachable(c, what, err);
        return NULL;
    }

    return bearer;
}


static char *
oidc_review_body(const oidc_review_conf_t *c, bk_str_t token)
{
    char      *text;
    json_t    *spec, *list;
    unsigned   i;

    spec = json_pack("{s:s%}", "token", token.data, token.len);

    if (c->audiences_count > 0) {
        list = json_array();

        for (i = 0; i < c->audiences_count; i++) {
            json_array_append_new(list, json_string(c->audiences[i]));
        }

        json_object_set_new(spec, "audiences", list);
    }

    spec = json_pack("{s:s, s:s, s:o}", "apiVersion",
                     "authentication.k8s.io/v1", "kind", "TokenReview",
                     "spec", spec);
    text = json_dumps(spec, JSON_COMPACT);
    json_decref(spec);

    if (text == NULL) {
        abort();
    }

    return text;
}


static void
oidc_review_done(void *data, long status, const char *body, size_t len,
    const char *error)
{
    int                        rc;
    char                      *user, *claims;
    oidc_t                    *o;
    bk_err_t                   err;
    oidc_call_t               *call = data;
    const oidc_review_conf_t  *c;

    o = call->oidc;
    c = o->file.doc->review;
    call->fetch = NULL;

    rc = status == 0 ? oidc_review_unreachable(c, error, &err)
                     : oidc_review_read(c, status, body, len,
                                        (bk_str_t) { call->token, call->len },
                                        &user, &claims, &err);
    if (rc == 0) {
        o->reviews_good++;
        oidc_review_take(call, user, claims);
        free(user);
        free(claims);

    } else {
        o->reviews_good += err.code == 401;
        o->reviews_bad += err.code != 401;
        oidc_refuse(o, call->q, &o->review_count, &err);
    }

    oidc_call_free(call);
}


static void
oidc_review_take(oidc_call_t *call, const char *user, const char *claims)
{
    char           name[OIDC_NAME_MAX + 1];
    oidc_t        *o = call->oidc;
    uint64_t       until_ms;
    bk_identity_t  id;
    const char    *source = o->file.doc->review->name;

    oidc_name(source, user, name);
    id.name = (bk_str_t) { name, strlen(name) };
    id.source = (bk_str_t) { source, strlen(source) };
    id.claims = (bk_str_t) { claims, strlen(claims) };
    id.until_ms = call->exp_ms;

    /* shortly: a pod that is deleted takes its token along */
    until_ms = o->host->now_ms(o->host) + OIDC_REVIEWED_MS;

    if (call->exp_ms != 0 && call->exp_ms < until_ms) {
        until_ms = call->exp_ms;
    }

    oidc_cache_put(o->cache, call->hash, &id, until_ms, &o->review_count);
    oidc_accept(o, call->q, &o->review_count, &id, 0);
}


void
oidc_review_end(oidc_t *o)
{
    bk_err_t  err;

    oidc_given_up(o, &err);
    oidc_cache_forget(o->cache, &o->review_count);

    while (o->calls != NULL) {
        oidc_refuse(o, o->calls->q, &o->review_count, &err);
        oidc_call_free(o->calls);
    }
}


static void
oidc_call_free(oidc_call_t *call)
{
    oidc_call_t  **at;

    for (at = &call->oidc->calls; *at != call; at = &(*at)->next) {
        /* void */
    }

    *at = call->next;
    call->oidc->ncalls--;
    bk_fetch_cancel(&call->fetch);
    explicit_bzero(call->token, call->len);
    free(call);
}


int
oidc_review_read(const oidc_review_conf_t *c, long status, const char *body,
    size_t len, bk_str_t token, char **user, char **claims, bk_err_t *err)
{
    int            rc;
    char           what[64];
    json_t        *json;
    const char    *why, *name;
    const json_t  *st, *who;

    if (status != 200 && status != 201) {
        snprintf(what, sizeof(what), "HTTP status %ld", status);
        (void) oidc_review_unreachable(c, what, err);
        return status != 401 && status != 403 ? -1
               : bk_err_hint(err, "what %.150s holds must be good, and its "
                             "owner may create tokenreviews (ClusterRole "
                             "system:auth-delegator)", c->token_file);
    }

    json = oidc_json(body, len, &why);
    st = json_object_get(json, "status");
    who = json_object_get(st, "user");
    name = json_string_value(json_object_get(who, "username"));

    if (!json_is_object(st)) {
        rc = oidc_review_unreachable(c, "its answer is no TokenReview", err);

    } else if (!json_is_true(json_object_get(st, "authenticated"))) {
        rc = oidc_review_refused(c, st, token, err);

    } else if (!oidc_review_audience(c, st)) {
        rc = bk_err_set(err, 401, "WrongAudience", "the token is not for %s%s",
                        c->audiences[0], c->audiences_count > 1
                        ? " (or another of the list)" : "");

    } else if (name == NULL || name[0] == '\0') {
        rc = oidc_review_unreachable(c, "its answer names no user", err);

    } else {
        *user = strdup(name);
        *claims = oidc_review_claims(who);
        rc = 0;

        if (*user == NULL || *claims == NULL) {
            abort();
        }
    }

    json_decref(json);

    return rc;
}


/* Its text is of use, unless it holds what nobody may see. */

static int
oidc_review_refused(const oidc_review_conf_t *c, const json_t *status,
    bk_str_t token, bk_err_t *err)
{
    const char  *text, *last;

    text = json_string_value(json_object_get(status, "error"));
    last = memrchr(token.data, '.', token.len);
    last = last != NULL && last + 9 < token.data + token.len
           ? last + 1 : token.data;

    if (text == NULL || text[0] == '\0'
        || memmem(text, strlen(text), last, 8) != NULL)
    {
        text = "it is not authenticated";
    }

    return bk_err_set(err, 401, "TokenRefused", "%s does not take the token: "
                      "%.300s", c->name, text);
}


static int
oidc_review_audience(const oidc_review_conf_t *c, const json_t *status)
{
    size_t         i;
    json_t        *one;
    unsigned       j;
    const json_t  *list;

    list = json_object_get(status, "audiences");

    /* an authenticator that knows nothing of audiences says none */
    json_array_foreach((json_t *) list, i, one) {
        for (j = 0; j < c->audiences_count && json_is_string(one); j++) {
            if (strcmp(json_string_value(one), c->audiences[j]) == 0) {
                return 1;
            }
        }
    }

    return c->audiences_count == 0;
}


static char *
oidc_review_claims(const json_t *user)
{
    char        *text;
    json_t      *claims, *extra;
    const char  *name, *colon;

    claims = json_object();
    name = json_string_value(json_object_get(user, "username"));
    extra = json_object_get(user, "extra");

    json_object_set_new(claims, "username", json_string(name));
    json_object_set(claims, "uid", json_object_get(user, "uid"));
    json_object_set(claims, "groups", json_object_get(user, "groups"));

    if (json_is_object(extra)) {
        json_object_set(claims, "extra", extra);
    }

    if (strncmp(name, OIDC_SA, sizeof(OIDC_SA) - 1) == 0) {
        name += sizeof(OIDC_SA) - 1;
        colon = strchr(name, ':');

        if (colon != NULL) {
            json_object_set_new(claims, "namespace",
                                json_stringn(name, (size_t) (colon - name)));
            json_object_set_new(claims, "serviceaccount",
                                json_string(colon + 1));
        }
    }

    text = json_dumps(claims, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(claims);

    return text;
}


static int
oidc_review_unreachable(const oidc_review_conf_t *c, const char *what,
    bk_err_t *err)
{
    (void) bk_err_set(err, 503, "IssuerUnreachable", "%s (%.150s) cannot "
                      "review the token: %.250s", c->name, c->server, what);

    return bk_err_hint(err, "try again; if it goes on: can plugin-host reach "
                       "this address?");
}
