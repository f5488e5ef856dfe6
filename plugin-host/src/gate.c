/* The gate before handlers: see gate.h. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bk_err.h"
#include "gate_int.h"
#include "identity.h"
#include "log.h"
#include "peer.h"


static void bk_gate_ask(bk_request_t *r, int verb, void *data);
static void bk_gate_known(bk_who_t *who, const bk_err_t *err, void *data);
static int bk_gate_route(bk_caller_t *c, bk_err_t *err);
static void bk_gate_refuse(bk_caller_t *c, const bk_err_t *err);
static void bk_gate_nobody(bk_gate_t *g, bk_err_t *err);
static void bk_gate_forget(void *caller);
static void bk_gate_keep(bk_caller_t *c, bk_str_t rule, bk_str_t pool);
static void bk_gate_count(bk_gate_t *g, bk_str_t rule, int allowed);
static char *bk_gate_copy(bk_str_t s);


static const bk_httpd_caller_ops_t  bk_gate_ops = {
    bk_gate_answered,
    bk_gate_forget
};


void
bk_gate_new(bk_core_t *core)
{
    bk_gate_t  *g;

    g = calloc(1, sizeof(bk_gate_t));
    if (g == NULL) {
        abort();
    }

    g->core = core;
    g->peers = bk_peers_new();
    g->second = evtimer_new(core->base, bk_gate_second, g);
    if (g->second == NULL) {
        abort();
    }

    core->gate = g;

    bk_httpd_gate(core->httpd, bk_gate_ask, g);
}


void
bk_gate_free(bk_core_t *core)
{
    bk_gate_t       *g = core->gate;
    bk_gate_rule_t  *rule, *next;

    if (g == NULL) {
        return;
    }

    core->gate = NULL;
    bk_gate_second(-1, 0, g);
    event_free(g->second);

    HASH_ITER(hh, g->rules, rule, next) {
        HASH_DEL(g->rules, rule);
        free(rule);
    }

    bk_peers_free(&g->peers);
    free(g);
}


static void
bk_gate_ask(bk_request_t *r, int verb, void *data)
{
    bk_err_t      err;
    bk_str_t      bearer, client;
    bk_who_t     *who;
    bk_gate_t    *g = data;
    bk_query_t   *q;
    bk_caller_t  *c;

    c = calloc(1, sizeof(bk_caller_t));
    if (c == NULL) {
        abort();
    }

    c->gate = g;
    c->request = r;
    c->verb = verb;
    bk_httpd_caller_set(r, c, &bk_gate_ops);

    switch (bk_httpd_bearer(r, &bearer)) {

    case 1:
        client.data = bk_httpd_client(r);
        client.len = strlen(client.data);
        q = bk_identity_ask(g->core->plugins, bearer, client, bk_gate_known,
                            c);
        if (q != NULL) {
            c->query = q;
        }

        /* else c may be gone */
        return;

    case -1:
        bk_err_set(&err, 401, "Unauthenticated",
                   "the Authorization header is not \"Bearer TOKEN\" with a "
                   "token of at most %d characters", BK_HTTP_BEARER_MAX);
        bk_gate_known(NULL, &err, c);
        return;
    }

    who = bk_peers_get(g->peers, bk_httpd_fd(r));

    if (who == NULL) {
        bk_gate_nobody(g, &err);
    }

    bk_gate_known(who, &err, c);
    bk_who_unref(&who);
}


static void
bk_gate_nobody(bk_gate_t *g, bk_err_t *err)
{
    bk_err_set(err, 401, "Unauthenticated", "nobody says who asks: this needs "
               "a bearer token");

    if (bk_access_configured(g->core->access)) {
        bk_err_hint(err, "add: Authorization: Bearer TOKEN (bkctl: set "
                    "BKCTL_TOKEN); or use the unix socket");

    } else {
        bk_err_hint(err, "an operator lets callers in with the section access "
                    "of plugin-host's configuration and a plugin that knows "
                    "their tokens; or use the unix socket");
    }
}


/* who, or err.  May end the request, and c with it. */

static void
bk_gate_known(bk_who_t *who, const bk_err_t *err, void *data)
{
    bk_err_t      refused;
    bk_gate_t    *g;
    bk_caller_t  *c = data;

    c->query = NULL;
    g = c->gate;

    if (who == NULL) {
        if (err->code == 401 || err->code == 403) {
            g->stats.unknown++;

        } else {
            g->stats.failed++;
        }

        bk_gate_refuse(c, err);
        return;
    }

    g->stats.known++;
    c->who = bk_who_ref(who);
    c->access = bk_access_ref(g->core->access);

    if (c->verb != BK_VERB_ANY && bk_gate_route(c, &refused) != 0) {
        bk_gate_count(g, BK_STR(BK_ACCESS_NONE), 0);
        bk_gate_refuse(c, &refused);
        return;
    }

    bk_httpd_pass(c->request);
}


/* May it be here at all?  Handlers of admin routes ask no more. */

static int
bk_gate_route(bk_caller_t *c, bk_err_t *err)
{
    bk_decision_t  d;

    if (bk_access_any(c->access, c->who, c->verb, err) != 0) {
        return -1;
    }

    if (c->verb == BK_VERB_ADMIN
        && bk_access_decide(c->access, c->who, c->verb, BK_STR(""), &d, NULL)
           == 0)
    {
        bk_gate_keep(c, d.rule, BK_STR(""));
        bk_gate_count(c->gate, d.rule, 1);
    }

    return 0;
}


static void
bk_gate_refuse(bk_caller_t *c, const bk_err_t *err)
{
    bk_err_t       copy = *err;     /* it may be of what is freed */
    bk_request_t  *r = c->request;

    if (copy.code == 401) {
        bk_httpd_header(r, "WWW-Authenticate", "Bearer");
    }

    bk_httpd_fail(r, &copy);
}


bk_who_t *
bk_gate_who(const bk_request_t *r)
{
    bk_caller_t  *c = bk_httpd_caller(r);

    return c != NULL ? c->who : NULL;
}


int
bk_gate_operator(const bk_gate_t *g, const bk_request_t *r)
{
    int        yes;
    bk_who_t  *peer = bk_gate_who(r);

    if (peer != NULL && peer->operator) {
        return 1;
    }

    peer = bk_peers_get(g->peers, bk_httpd_fd(r));
    yes = peer != NULL && peer->operator;
    bk_who_unref(&peer);

    return yes;
}


int
bk_gate_allowed(bk_request_t *r, int verb, bk_str_t pool, bk_decision_t *d,
    bk_err_t *err)
{
    int           rc;
    json_t       *line;
    bk_gate_t    *g;
    bk_caller_t  *c = bk_httpd_caller(r);

    memset(d, 0, sizeof(bk_decision_t));

    if (c == NULL || c->who == NULL) {
        return bk_err_set(err, 401, "Unauthenticated",
                          "nobody says who asks");
    }

    g = c->gate;
    rc = bk_access_decide(c->access, c->who, verb, pool, d, err);

    /* who needs no reason only looks what there is, perhaps at very much */
    if (err == NULL && (rc != 0 || c->rule != NULL)) {
        return rc;
    }

    bk_gate_keep(c, d->rule, pool);

    if (err == NULL) {
        return 0;
    }

    bk_gate_count(g, d->rule.len > 0 ? d->rule : BK_STR(BK_ACCESS_NONE),
                  rc == 0);

    if (rc != 0 && g->core->audit != NULL) {
        c->audited = 1;
        line = bk_gate_refused(c, bk_verb_name(verb), "refused");

        if (line != NULL) {
            json_object_set_new(line, "reason", json_string("Forbidden"));
            bk_audit_write(g->core->audit, line);
        }
    }

    return rc;
}


static void
bk_gate_keep(bk_caller_t *c, bk_str_t rule, bk_str_t pool)
{
    free(c->rule);
    free(c->pool);
    c->rule = bk_gate_copy(rule);
    c->pool = bk_gate_copy(pool);
}


static void
bk_gate_count(bk_gate_t *g, bk_str_t rule, int allowed)
{
    bk_gate_rule_t  *n;

    /* their number is that of the configuration's rules */
    HASH_FIND(hh, g->rules, rule.data, rule.len, n);

    if (n == NULL) {
        n = calloc(1, sizeof(bk_gate_rule_t) + rule.len + 1);
        if (n == NULL) {
            abort();
        }

        memcpy(n->rule, rule.data, rule.len);
        HASH_ADD(hh, g->rules, rule, rule.len, n);
    }

    if (allowed) {
        n->allowed++;

    } else {
        n->refused++;
    }
}


static void
bk_gate_forget(void *caller)
{
    bk_caller_t  *c = caller;

    if (c->query != NULL) {
        c->gate->stats.gone++;
        bk_identity_drop(c->query);
    }

    bk_who_unref(&c->who);
    bk_access_free(&c->access);
    free(c->rule);
    free(c->pool);
    free(c);
}


void
bk_gate_counts(const bk_gate_t *g, bk_gate_count_pt fn, void *data)
{
    const bk_gate_rule_t  *rule;

    for (rule = g->rules; rule != NULL; rule = rule->hh.next) {
        fn(rule->rule, rule->allowed, rule->refused, data);
    }
}


void
bk_gate_stats(const bk_gate_t *g, bk_gate_stats_t *stats)
{
    *stats = g->stats;
}


static char *
bk_gate_copy(bk_str_t s)
{
    char  *copy;

    copy = strndup(s.data != NULL ? s.data : "", s.len);
    if (copy == NULL) {
        abort();
    }

    return copy;
}
