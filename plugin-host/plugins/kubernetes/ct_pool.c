/*
 * A pool as a whole: see ct_pool.h.  Everybody tells the host of it; what it
 * has in the cluster is looked after by who leads.
 */

#include <stdio.h>
#include <string.h>

#include "bk_err.h"
#include "ct_pool.h"


#define CT_AGAIN_MS  300000         /* what is not watched */
#define CT_LEASE_MS  1000           /* a Lease that is not known to be ours */
#define CT_UNPUT_MS  5000           /* the host's table is full */


static void ct_pool_gone(ct_pool_t *p);
static void ct_pool_put(ct_pool_t *p);
static void ct_pool_labels(ct_pool_t *p);
static void ct_pool_follow(ct_pool_t *p);
static void ct_pool_nudged(ct_pool_t *p);
static void ct_pool_toml(ct_pool_t *p);
static void ct_pool_workers(ct_pool_t *p);


void
ct_pool_look(ct_pool_t *p)
{
    (void) ct_pool_own(p);
    ct_pool_spec(p);

    if (p->o == NULL || p->o->obj == NULL) {
        ct_pool_gone(p);
        return;
    }

    ct_pool_put(p);
    ct_pool_labels(p);

    /* the Lease may be renewed yet, or is lost within moments: until then
       nothing is known better */
    if (p->ct->leads && !ct_leads(p->ct)) {
        ct_pool_later(p, CT_LEASE_MS);
        return;
    }

    if (!ct_may(p->ct, p->key)) {
        ct_pool_follow(p);
        return;
    }

    ct_pool_hold(p);

    ct_pool_common(p->ct)->looks++;
    ct_pool_nudged(p);
    memset(&p->own->bad, 0, sizeof(bk_err_t));

    /* what it has goes with it, by its ownerReferences, and nothing of it is
       written; but who is still on a worker of it, or comes through its
       gateway, goes by what is there */
    if (ct_deleting(p->o)) {
        ct_pool_certs(p);
        ct_pool_toml(p);
        ct_pool_gateway(p);
        ct_pool_endpoint(p);
        ct_pool_workers(p);
        ct_pool_later(p, CT_AGAIN_MS);
        return;
    }

    /* one too many has nothing, and of what it had only what is idle goes */
    if (ct_limit_pool(p, &p->own->bad) == 0) {
        ct_pool_certs(p);
        ct_pool_toml(p);
        ct_pool_gateway(p);
        ct_pool_endpoint(p);
        ct_pool_workers(p);
    }

    ct_pool_conditions(p);
    ct_pool_status(p);
    ct_pool_later(p, CT_AGAIN_MS);
}


ct_pool_own_t *
ct_pool_own(ct_pool_t *p)
{
    if (p->own == NULL) {
        p->own = calloc(1, sizeof(ct_pool_own_t));
        if (p->own == NULL) {
            abort();
        }
    }

    return p->own;
}


void
ct_pool_free(ct_pool_t *p)
{
    int             i;
    ct_pool_own_t  *own = p->own;

    free(p->read);
    free(p->arch);
    free(p->cache_size);
    p->read = NULL;
    p->arch = NULL;
    p->cache_size = NULL;

    if (own == NULL) {
        return;
    }

    for (i = 0; i < CT_ITEMS; i++) {
        ct_item_free(&own->items[i]);
    }

    free(own->nudge);
    ct_pool_authority_free(own);
    free(own->server_ca);
    free(own->endpoint);
    free(own->why);
    free(own->told);
    free(own->secret);
    free(own->config);
    free(own);
    p->own = NULL;
}


/* --- the host's model ----------------------------------------------------- */

static void
ct_pool_put(ct_pool_t *p)
{
    bk_err_t         err;
    bk_pool_info_t   info;

    if (p->put || ct_limit_pool(p, &err) != 0) {
        return;
    }

    memset(&info, 0, sizeof(info));
    info.name = CT_STR(p->key);

    if (p->ct->host->pool_put(p->ct->host, &info, &err) != 0) {
        if (p->own->unput.code == 0) {
            p->ct->host->log(p->ct->host, BK_LOG_ERROR, "pool %s: %s", p->key,
                             err.text);
        }

        p->own->unput = err;
        ct_pool_later(p, CT_UNPUT_MS);
        return;
    }

    memset(&p->own->unput, 0, sizeof(bk_err_t));
    p->put = 1;
    free(p->own->told);
    p->own->told = NULL;
}


/* Callers may choose by them. */

static void
ct_pool_labels(ct_pool_t *p)
{
    char    *text;
    json_t  *labels = ct_at(p->o, "metadata", "labels", NULL);

    text = labels != NULL ? json_dumps(labels, JSON_COMPACT) : NULL;
    (void) p->ct->host->pool_labels(p->ct->host, CT_STR(p->key),
                                    CT_STR(text != NULL ? text : ""));
    free(text);
}


/* Its name may still be that of workers that go. */

static void
ct_pool_gone(ct_pool_t *p)
{
    if (p->put) {
        (void) p->ct->host->pool_delete(p->ct->host, CT_STR(p->key), NULL);
        p->put = 0;
    }

    ct_pool_authority_gone(p);
    ct_pool_free(p);
    (void) ct_pool_own(p);
}


/*
 * Nobody asks who does not lead; but he may lead soon, and whom clients are to
 * trust he knows only when he has looked at the pool's Secrets.
 */

static void
ct_pool_follow(ct_pool_t *p)
{
    const char         *endpoint;
    bk_pool_gateway_t   g;

    endpoint = obj_text(ct_at(p->o, "status", NULL), "endpoint");

    memset(&g, 0, sizeof(g));
    g.endpoint = CT_STR(endpoint);
    g.ca = BK_STR("");
    g.why = endpoint[0] != '\0' ? BK_STR("its certificates are being looked "
                                         "at") : BK_STR("");

    (void) p->ct->host->pool_gateway(p->ct->host, CT_STR(p->key), &g);
    free(p->own->told);
    p->own->told = NULL;
}


/* --- what workers need ---------------------------------------------------- */

/* Somebody has changed it: he wants to see what comes of it, and may have
 * changed what is not watched as well. */

static void
ct_pool_nudged(ct_pool_t *p)
{
    char           *all, *annotations;
    ct_pool_own_t  *own = p->own;

    annotations = json_dumps(ct_at(p->o, "metadata", "annotations", NULL),
                             JSON_SORT_KEYS | JSON_ENCODE_ANY);
    all = ct_pool_printf("%s %lld %s", ct_uid(p->o), (long long)
        json_integer_value(ct_at(p->o, "metadata", "generation", NULL)),
        annotations != NULL ? annotations : "");
    free(annotations);

    if (own->nudge != NULL && strcmp(own->nudge, all) == 0) {
        free(all);
        return;
    }

    if (own->nudge != NULL) {
        own->nudge_ms = p->ct->host->monotonic_ms(p->ct->host);
    }

    free(own->nudge);
    own->nudge = all;
}


static void
ct_pool_toml(ct_pool_t *p)
{
    char            digest[65], *toml;
    json_t         *map, *data;
    ct_obj_t       *o;
    bk_err_t        bad;
    const char     *texts[2];
    ct_pool_own_t  *own = p->own;

    /* no Pods, so nothing for them */
    if (mk_allowed(p->o->obj, p->ct->conf, &own->bad) != 0) {
        own->config_good = 0;
        return;
    }

    o = ct_item(p, CT_TOML, "%s-buildkitd", mk_name(p->o->obj));

    if (o == NULL) {
        return;
    }

    own->config_good = 0;
    memset(&bad, 0, sizeof(bad));

    if (ct_item_mine(p, o, &own->bad) != 0) {
        return;
    }

    toml = mk_toml(p->o->obj, p->ct->conf, &bad);
    map = toml != NULL ? mk_toml_map(p->o->obj, toml) : NULL;

    if (map == NULL) {
        own->bad = bad;
        free(toml);
        return;
    }

    data = ct_at(o, "data", NULL);
    own->config_good = data != NULL
                       && json_equal(json_object_get(map, "data"), data);
    ct_item_apply(p, CT_TOML, o, map);

    if (own->items[CT_TOML]->err.code != 0 && !own->config_good) {
        own->bad = own->items[CT_TOML]->err;
    }

    texts[0] = toml;
    texts[1] = p->tls ? own->parts[CT_BUILDKITD].print : NULL;
    ct_pool_digest(texts, 2, digest);
    snprintf(own->hash, sizeof(own->hash), "%.16s", digest);
    free(toml);

    free(own->config);
    own->config = ct_pool_strdup(o->name);
    free(own->secret);
    own->secret = p->tls
                  ? ct_pool_printf("%s-%s", mk_name(p->o->obj),
                                   ct_pool_part_name(CT_BUILDKITD)) : NULL;
}


/* They wait for it, or are to be replaced. */

static void
ct_pool_workers(ct_pool_t *p)
{
    int           ready = ct_pool_ready(p);
    ct_worker_t  *w;

    if (ready && (!p->own->ready
                  || strcmp(p->own->hash, p->own->hash_told) != 0))
    {
        DL_FOREACH(p->workers, w) {
            ct_dirty_worker(w);
        }

        memcpy(p->own->hash_told, p->own->hash, sizeof(p->own->hash));
    }

    p->own->ready = ready;
}


int
ct_pool_ready(const ct_pool_t *p)
{
    const ct_pool_own_t  *own = p->own;

    return own != NULL && p->o != NULL && p->o->obj != NULL
           && own->bad.code == 0 && own->config_good
           && (!p->tls || own->parts[CT_BUILDKITD].good);
}


const char *
ct_pool_why(const ct_pool_t *p)
{
    const ct_pool_own_t  *own = p->own;

    if (ct_pool_ready(p)) {
        return "";
    }

    if (own == NULL || p->o == NULL || p->o->obj == NULL) {
        return "there is no such pool";
    }

    if (own->bad.code != 0) {
        return own->bad.text;
    }

    return own->parts[CT_BUILDKITD].err.code != 0
           ? own->parts[CT_BUILDKITD].err.text
           : "its certificates are being made";
}


const char *
ct_pool_worker_secret(const ct_pool_t *p)
{
    return p->own != NULL ? p->own->secret : NULL;
}


const char *
ct_pool_worker_config(const ct_pool_t *p)
{
    return p->own != NULL ? p->own->config : NULL;
}


const char *
ct_pool_worker_hash(const ct_pool_t *p)
{
    return ct_pool_ready(p) ? p->own->hash : "";
}


void
ct_pool_pods_bad(ct_pool_t *p, const bk_err_t *err)
{
    bk_err_t  *bad = &ct_pool_own(p)->pods_bad;

    if (err == NULL ? bad->code == 0
                    : bad->code == err->code
                      && strcmp(bad->text, err->text) == 0)
    {
        return;
    }

    memset(bad, 0, sizeof(bk_err_t));

    if (err != NULL) {
        *bad = *err;
    }

    ct_dirty_pool(p);
}
