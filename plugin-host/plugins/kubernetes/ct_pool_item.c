/*
 * The objects that a pool has: see ct_pool.h.
 *
 * Who may edit pools may choose their names, and so the names of Secrets and
 * Services: one that is there and not this pool's is not touched.  What all
 * pools of a namespace have together (account, configuration) is not owned by
 * any of them.
 */

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "bk_err.h"
#include "ct_pool.h"


#define CT_READ_MS      300000      /* what is not watched is read again */
#define CT_TAKEN_MS     15000       /* somebody else's: until he removes it */
#define CT_READ_AGAIN   3000        /* an answer may be lost */
#define CT_RETRY_MS     1000        /* after a refusal, doubled each time */
#define CT_RETRY_MAX    6


static const struct {
    ct_kind_t  kind;
    int        shared;              /* by all pools of a namespace, or
                                       somebody else's */
} ct_items[CT_ITEMS] = {
    [CT_SERVER]         = { CT_SECRET, 0 },
    [CT_CLIENT]         = { CT_SECRET, 0 },
    [CT_BUILDKITD]      = { CT_SECRET, 0 },
    [CT_FROM_SERVER]    = { CT_SECRET, 1 },
    [CT_FROM_CLIENT]    = { CT_SECRET, 1 },
    [CT_FROM_BUILDKITD] = { CT_SECRET, 1 },
    [CT_FROM_CA]        = { CT_SECRET, 1 },
    [CT_FROM_CLIENT_CA] = { CT_SECRET, 1 },
    [CT_AUTHORITY]      = { CT_SECRET, 0 },
    [CT_ASK_SERVER]     = { CT_CERTIFICATE, 0 },
    [CT_ASK_CLIENT]     = { CT_CERTIFICATE, 0 },
    [CT_ASK_BUILDKITD]  = { CT_CERTIFICATE, 0 },
    [CT_TOML]           = { CT_CONFIGMAP, 0 },
    [CT_GW_ACCOUNT]     = { CT_ACCOUNT, 1 },
    [CT_GW_BINDING]     = { CT_ROLEBINDING, 1 },
    [CT_GW_CONFIG]      = { CT_CONFIGMAP, 1 },
    [CT_GW_DEPLOYMENT]  = { CT_DEPLOYMENT, 0 },
    [CT_GW_SERVICE]     = { CT_SERVICE, 0 },
    [CT_GW_BUDGET]      = { CT_BUDGET, 0 },
    [CT_GW_INGRESS]     = { CT_INGRESS, 0 },
    [CT_GW_ROUTE]       = { CT_TLSROUTE, 0 },
    [CT_GW_API]         = { CT_GATEWAY, 0 }
};


static int ct_item_watched(int item);
static ct_item_t *ct_item_own(ct_pool_t *p, int item, ct_obj_t *o);
static json_t *ct_item_make(void *data, ct_obj_t *o, bk_err_t *err);
static void ct_item_done(void *data, ct_obj_t *o, const bk_err_t *err);
static void ct_item_failed(ct_item_t *i, ct_obj_t *o, const bk_err_t *err);
static void ct_item_write(ct_pool_t *p, int item, ct_obj_t *o, int how,
    json_t *body);


ct_obj_t *
ct_item(ct_pool_t *p, int item, const char *fmt, ...)
{
    int         n, mine;
    char        name[K8S_NAME_MAX + 64];
    va_list     args;
    uint64_t    now = p->ct->host->monotonic_ms(p->ct->host), every;
    ct_obj_t   *o;
    ct_item_t  *i;

    va_start(args, fmt);
    n = vsnprintf(name, sizeof(name), fmt, args);
    va_end(args);

    if (n <= 0 || n > K8S_NAME_MAX) {
        return NULL;
    }

    o = ct_obj_get(p->ct, ct_items[item].kind, mk_ns(p->o->obj), name);

    if (o->pool == NULL) {
        o->pool = p;
    }

    mine = o->obj != NULL && ct_item_mine(p, o, NULL) == 0;

    if (ct_item_watched(item) && mine) {
        return o;
    }

    i = ct_item_own(p, item, o);
    every = mine || ct_items[item].shared ? CT_READ_MS : CT_TAKEN_MS;

    /* whatever has changed may have been all of it; who misses one that is
     * not there makes it, or asks again */
    if (i->read_ms == 0 || (o->obj != NULL && now - i->read_ms > every)
        || i->read_ms < p->own->nudge_ms
        || (i->again_ms != 0 && i->again_ms <= now)
        || (!o->known && now - i->read_ms > CT_READ_AGAIN))
    {
        i->read_ms = now;
        i->again_ms = 0;
        ct_obj_read(o);

        /* of the pools that have it only one is told */
        if (ct_items[item].shared && o->pool != p) {
            ct_pool_later(p, 500);
        }
    }

    if (!o->known) {
        ct_pool_later(p, CT_READ_AGAIN + 500);
        return NULL;
    }

    return o;
}


/*
 * By our labels: one that is known need not be read, but one of that name may
 * be there that has none of them, and is to be known before it is written
 * over.  A gateway's budget has not the label by which budgets are watched.
 */

static int
ct_item_watched(int item)
{
    return item == CT_GW_DEPLOYMENT || item == CT_GW_SERVICE;
}


static ct_item_t *
ct_item_own(ct_pool_t *p, int item, ct_obj_t *o)
{
    ct_item_t    *i = p->own->items[item];
    ct_common_t  *c = ct_pool_common(p->ct);

    /* the spec names another one now */
    if (i != NULL && i->at != o) {
        ct_item_free(&p->own->items[item]);
        i = NULL;
    }

    if (i == NULL) {
        i = calloc(1, sizeof(ct_item_t));
        if (i == NULL) {
            abort();
        }

        i->pool = p;
        i->at = o;
        DL_APPEND(c->items, i);
        p->own->items[item] = i;
    }

    return i;
}


void
ct_item_again(ct_pool_t *p, int item, uint64_t ms)
{
    ct_item_t  *i = p->own->items[item];

    if (i != NULL && i->again_ms == 0) {
        i->again_ms = p->ct->host->monotonic_ms(p->ct->host) + ms;
        ct_pool_later(p, ms + 1);
    }
}


void
ct_item_free(ct_item_t **ip)
{
    ct_item_t  *i = *ip;

    if (i == NULL) {
        return;
    }

    *ip = NULL;

    /* a write of it is under way: it goes with its end */
    if (i->pending != 0) {
        i->pool = NULL;
        return;
    }

    DL_DELETE(ct_pool_common(i->pool->ct)->items, i);
    json_decref(i->body);
    free(i->was);
    free(i);
}


int
ct_item_mine(const ct_pool_t *p, const ct_obj_t *o, bk_err_t *err)
{
    size_t       n;
    json_t      *ref;
    const char  *uid = ct_uid(p->o);

    if (o->obj == NULL) {
        return 0;
    }

    json_array_foreach(ct_at(o, "metadata", "ownerReferences", NULL), n, ref) {
        if (uid[0] != '\0' && strcmp(obj_text(ref, "uid"), uid) == 0) {
            return 0;
        }
    }

    bk_err_set(err, 409, "NameTaken", "there is a %s %s already, which is not "
               "this pool's", ct_kinds[o->kind].kind, o->name);
    bk_err_hint(err, "remove it, or give the pool another name");

    return -1;
}


/* --- writing -------------------------------------------------------------- */

void
ct_item_apply(ct_pool_t *p, int item, ct_obj_t *o, json_t *body)
{
    ct_item_write(p, item, o, CT_APPLY, body);
}


void
ct_item_create(ct_pool_t *p, int item, ct_obj_t *o, json_t *body)
{
    if (o->obj != NULL) {
        json_decref(body);
        return;
    }

    ct_item_write(p, item, o, CT_CREATE, body);
}


void
ct_item_patch(ct_pool_t *p, int item, ct_obj_t *o, json_t *body)
{
    ct_item_write(p, item, o, CT_TEND, body);
}


void
ct_item_remove(ct_pool_t *p, int item, ct_obj_t *o)
{
    if (o == NULL || o->obj == NULL || ct_deleting(o)
        || ct_item_mine(p, o, NULL) != 0)
    {
        return;
    }

    ct_item_write(p, item, o, CT_DELETE, json_object());
}


static void
ct_item_write(ct_pool_t *p, int item, ct_obj_t *o, int how, json_t *body)
{
    ct_item_t  *i;

    if (body == NULL) {
        return;
    }

    /* one that is deleted is only looked at */
    if (ct_deleting(p->o) || !ct_item_may(p, item, o)) {
        json_decref(body);
        return;
    }

    i = ct_item_own(p, item, o);
    i->pending++;
    json_decref(i->body);
    i->body = body;
    free(i->was);
    i->was = ct_strdup(ct_version(o));
    ct_write(o, how, ct_item_make, ct_item_done, i);
}


/* It was decided of what was known then.  If there is something else by now,
 * perhaps somebody else's, it is looked at first. */

static json_t *
ct_item_make(void *data, ct_obj_t *o, bk_err_t *err)
{
    ct_item_t  *i = data;

    (void) err;

    return i->pool != NULL && strcmp(i->was, ct_version(o)) == 0
           ? json_incref(i->body) : NULL;
}


/* One after the other is soon enough: its end is looked at. */

int
ct_item_may(ct_pool_t *p, int item, const ct_obj_t *o)
{
    uint64_t         now = p->ct->host->monotonic_ms(p->ct->host);
    const ct_item_t  *i = p->own->items[item];

    if (ct_writing(o)) {
        return 0;
    }

    if (i == NULL || i->at != o || i->failed == 0 || i->retry_ms <= now) {
        return 1;
    }

    ct_pool_later(p, i->retry_ms - now + 1);

    return 0;
}


static void
ct_item_done(void *data, ct_obj_t *o, const bk_err_t *err)
{
    ct_item_t  *i = data;

    i->pending--;
    json_decref(i->body);           /* there may be a key in it */
    i->body = NULL;

    if (i->pool == NULL) {
        if (i->pending == 0) {
            DL_DELETE(ct_pool_common(o->ct)->items, i);
            free(i->was);
            free(i);
        }

        return;
    }

    if (err != NULL) {
        ct_item_failed(i, o, err);

    } else if (i->err.code == 0 && strcmp(i->was, ct_version(o)) == 0) {
        /* it was so: who looked need not look again, and again */
        return;

    } else {
        memset(&i->err, 0, sizeof(bk_err_t));
        i->failed = 0;
    }

    ct_dirty_pool(i->pool);
}


static void
ct_item_failed(ct_item_t *i, ct_obj_t *o, const bk_err_t *err)
{
    const bk_host_t  *h = o->ct->host;

    i->err = *err;
    bk_err_prefix(&i->err, "%s %s", ct_kinds[o->kind].kind, o->name);
    i->retry_ms = h->monotonic_ms(h) + ((uint64_t) CT_RETRY_MS << i->failed);
    i->failed += i->failed < CT_RETRY_MAX;

    /* what the API server does not take as it is */
    if (err->code >= 400 && err->code < 500 && err->code != 409) {
        ct_event(i->pool->o, "Warning", "Refused", "%s", i->err.text);
    }
}
