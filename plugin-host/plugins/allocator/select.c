/*
 * Which pool do older callers mean, who do not say its name and namespace?  By
 * labels, or by a name that only one pool has.  Only what a caller may use is
 * looked at: of others he does not learn that they are there.
 *
 * Who may use pools of any namespace gets none by its name alone but from his
 * own: else whoever makes a pool of that name somewhere is in the way there,
 * or has his builds while the other one is away.
 */

#include <stdio.h>
#include <string.h>

#include "allocator.h"


#define BK_SELECT_MAX  32       /* labels */


typedef struct {
    bk_call_t   *call;
    int          verb;
    json_t      *selector;      /* NULL: by name */
    const char  *space;         /* NULL: any */
    const char  *name;
    unsigned     found;
} bk_select_t;


static int bk_select_own(bk_call_t *c, int verb, const char *name);
static int bk_select_anywhere(bk_call_t *c, int verb, const char *name);
static int bk_select_look(const bk_pool_info_t *pool, void *data);
static int bk_select_fits(const bk_select_t *s, bk_str_t pool);
static int bk_select_labels(const bk_select_t *s, bk_str_t pool);


int
bk_select_by_labels(bk_call_t *c, int verb, json_t *selector,
    const char *space, bk_err_t *err)
{
    json_t           *value;
    const char       *key;
    bk_select_t       s = { c, verb, selector, space, NULL, 0 };
    const bk_host_t  *h = c->a->host;

    if (json_object_size(selector) > BK_SELECT_MAX) {
        return bk_fail(err, 400, "TooLong", NULL, "\"poolSelector\" has more "
                       "than %d labels", BK_SELECT_MAX);
    }

    json_object_foreach(selector, key, value) {
        if (!json_is_string(value)) {
            return bk_fail(err, 400, "WrongType", NULL, "\"poolSelector\" "
                           "must be labels: names and strings");
        }
    }

    (void) h->pool_each(h, bk_select_look, &s);

    return s.found > 0 ? 0
           : bk_fail(err, 404, "PoolNotFound", "bkctl pools lists the pools",
                     "no pool of namespace %s that you may use has these "
                     "labels", space);
}


int
bk_select_by_name(bk_call_t *c, int verb, const char *name, bk_err_t *err)
{
    char              was[sizeof(c->pool)];
    bk_pool_info_t    pool;
    bk_select_t       s = { c, verb, NULL, NULL, name, 0 };
    const bk_host_t  *h = c->a->host;

    if (h->pool_find(h, bk_str(c->pool), &pool) == 0
        || bk_select_own(c, verb, name) == 0)
    {
        return 0;
    }

    memcpy(was, c->pool, sizeof(was));
    (void) h->pool_each(h, bk_select_look, &s);

    /* with none, c's own name is refused as ever */
    if (s.found == 0) {
        return 0;
    }

    if (s.found > 1) {
        return bk_fail(err, 409, "Ambiguous", "name it with its namespace: "
                       "namespace/name", "there are %u pools %s that you may "
                       "use", s.found, name);
    }

    if (bk_select_anywhere(c, verb, name)) {
        bk_fail(err, 409, "Ambiguous", "name it with its namespace: "
                "namespace/name", "you may use a pool %s of any namespace: "
                "that there is only %s now does not say that it is yours",
                name, c->pool);
        memcpy(c->pool, was, sizeof(was));
        return -1;
    }

    return 0;
}


/* Of a service account: that of his namespace. */

static int
bk_select_own(bk_call_t *c, int verb, const char *name)
{
    int               n, rc = -1;
    char              key[sizeof(c->pool)];
    json_t           *claims;
    const char       *space;
    bk_decision_t     d;
    bk_identity_t     who;
    bk_pool_info_t    pool;
    const bk_host_t  *h = c->a->host;

    if (h->http_identity(c->r, &who) != 0) {
        return -1;
    }

    claims = json_loadb(who.claims.data, who.claims.len, 0, NULL);
    space = json_string_value(json_object_get(json_object_get(claims,
                                                  "kubernetes.io"),
                                              "namespace"));

    if (space == NULL) {
        space = json_string_value(json_object_get(claims, "namespace"));
    }

    if (space != NULL) {
        n = snprintf(key, sizeof(key), "%s/%s", space, name);

        if (n < (int) sizeof(key) && h->pool_find(h, bk_str(key), &pool) == 0
            && h->http_allowed(c->r, verb, bk_str(key), &d, sizeof(d), NULL)
               == 0)
        {
            memcpy(c->pool, key, (size_t) n + 1);
            rc = 0;
        }
    }

    json_decref(claims);

    return rc;
}


/* Is it one of a namespace that cannot be? */

static int
bk_select_anywhere(bk_call_t *c, int verb, const char *name)
{
    char              key[BK_TABLE_POOL_LEN + 4];
    bk_decision_t     d;
    const bk_host_t  *h = c->a->host;

    snprintf(key, sizeof(key), "-/%s", name);

    return h->http_allowed(c->r, verb, bk_str(key), &d, sizeof(d), NULL) == 0;
}


/* The first by name: the same one every time. */

static int
bk_select_look(const bk_pool_info_t *pool, void *data)
{
    bk_select_t *s = data;

    size_t            len;
    bk_call_t        *c = s->call;
    bk_decision_t     d;
    const bk_host_t  *h = c->a->host;

    if (!bk_select_fits(s, pool->name)
        || (s->selector != NULL && !bk_select_labels(s, pool->name))
        || h->http_allowed(c->r, s->verb, pool->name, &d, sizeof(d), NULL)
           != 0)
    {
        return 0;
    }

    len = strlen(c->pool);

    if (s->found++ == 0
        || memcmp(pool->name.data, c->pool,
                  pool->name.len < len ? pool->name.len : len + 1) < 0)
    {
        bk_str_copy(c->pool, sizeof(c->pool), pool->name);
    }

    return 0;
}


/* namespace/name: of the one, or with the other? */

static int
bk_select_fits(const bk_select_t *s, bk_str_t pool)
{
    size_t       n;
    const char  *slash = memchr(pool.data, '/', pool.len);

    if (slash == NULL || pool.len >= BK_TABLE_POOL_LEN) {
        return 0;
    }

    if (s->space != NULL) {
        n = (size_t) (slash - pool.data);
        return strlen(s->space) == n && memcmp(s->space, pool.data, n) == 0;
    }

    n = pool.len - (size_t) (slash + 1 - pool.data);

    return strlen(s->name) == n && memcmp(s->name, slash + 1, n) == 0;
}


static int
bk_select_labels(const bk_select_t *s, bk_str_t pool)
{
    int               fits = 1;
    json_t           *labels, *value;
    bk_str_t          text;
    const char       *key, *has;
    const bk_host_t  *h = s->call->a->host;

    text = h->pool_labels_of(h, pool);
    labels = text.len > 0 ? json_loadb(text.data, text.len, 0, NULL) : NULL;

    json_object_foreach(s->selector, key, value) {
        has = json_string_value(json_object_get(labels, key));
        fits = fits && has != NULL
               && strcmp(has, json_string_value(value)) == 0;
    }

    json_decref(labels);

    return fits;
}
