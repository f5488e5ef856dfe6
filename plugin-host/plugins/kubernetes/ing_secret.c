/*
 * The Secrets that rules name, and no others: nothing is listed or watched, so
 * that who faces the clients may be allowed those of some namespaces only, and
 * holds no key that it does not need.  Each is asked for when a rule names it,
 * when its object changes, and now and then.
 *
 * What cannot be read for a while stays as it was; one that is gone does not.
 */

#include <string.h>

#include "bk_err.h"
#include "ing.h"


#define ING_READS      8        /* under way at once */
#define ING_READ_MS    15000    /* again, one that is there */
#define ING_NONE_MS    5000     /* ... that is not, or cannot be read */
#define ING_SOON_MS    1000     /* ... whose object has changed */
#define ING_SHARE_MS   20       /* each costs so much of that time */

#define ING_CERT_TYPE  "kubernetes.io/tls"


static const k8s_kind_t  ing_secrets = { "", "v1", "secrets", "Secret" };


static void ing_secret_new(ing_t *ing, const char *key);
static void ing_secret_drop(ing_secret_t *s);
static void ing_secret_read(ing_secret_t *s);
static void ing_secret_done(void *data, const k8s_answer_t *a);
static int ing_secret_take(ing_secret_t *s, json_t *obj);
static int ing_secret_none(ing_secret_t *s);
static int ing_secret_failed(ing_secret_t *s, const k8s_answer_t *a);


/* Those of the lines as they are now; lines are made anew when this is 1. */

void
ing_secret_want(ing_t *ing)
{
    size_t         i;
    ing_secret_t  *s, *tmp;

    ing->wants++;

    for (i = 0; i < ing->nlines; i++) {
        if (ing->lines[i].named == NULL) {
            continue;
        }

        HASH_FIND_STR(ing->secrets, ing->lines[i].named, s);

        if (s == NULL) {
            ing_secret_new(ing, ing->lines[i].named);

        } else {
            s->want = ing->wants;
        }
    }

    /* no line has one of them */
    HASH_ITER(hh, ing->secrets, s, tmp) {
        if (s->want != ing->wants) {
            ing_secret_drop(s);
        }
    }

    ing_secret_turn(ing);
}


static void
ing_secret_new(ing_t *ing, const char *key)
{
    ing_secret_t  *s = calloc(1, sizeof(ing_secret_t));

    if (s == NULL) {
        abort();
    }

    s->ing = ing;
    s->want = ing->wants;
    s->key = gw_strdup(key);
    s->name = strchr(s->key, '/') + 1;
    s->ns = strndup(key, (size_t) (s->name - s->key - 1));
    if (s->ns == NULL) {
        abort();
    }

    HASH_ADD_KEYPTR(hh, ing->secrets, s->key, strlen(s->key), s);
}


static void
ing_secret_drop(ing_secret_t *s)
{
    HASH_DEL(s->ing->secrets, s);

    if (s->req != NULL) {
        k8s_cancel(&s->req);
        s->ing->reads--;
    }

    ing_cert_free(&s->cert);
    free(s->version);
    free(s->ns);
    free(s->key);
    free(s);
}


void
ing_secret_free(ing_t *ing)
{
    ing_secret_t  *s, *tmp;

    HASH_ITER(hh, ing->secrets, s, tmp) {
        ing_secret_drop(s);
    }
}


/* Is there one of which nothing is known yet? */

int
ing_secret_waits(const ing_t *ing)
{
    const ing_secret_t  *s;

    for (s = ing->secrets; s != NULL; s = s->hh.next) {
        if (!s->known) {
            return 1;
        }
    }

    return 0;
}


/* Whoever has changed the object may have changed what it names. */

void
ing_secret_soon(ing_obj_t *o)
{
    size_t         i;
    uint64_t       soon;
    ing_secret_t  *s;

    for (i = 0; i < o->read.nrules; i++) {
        if (o->read.rules[i].secret == NULL) {
            continue;
        }

        HASH_FIND_STR(o->ing->secrets, o->read.rules[i].secret, s);

        if (s != NULL) {
            soon = s->read_ms + ING_SOON_MS;
            s->due_ms = s->due_ms < soon ? s->due_ms : soon;
        }
    }
}


/* --- reading ---------------------------------------------------------------- */

void
ing_secret_turn(void *data)
{
    ing_t         *ing = data;
    uint64_t       first = UINT64_MAX, now;
    ing_secret_t  *s;

    now = ing->host->monotonic_ms(ing->host);

    for (s = ing->secrets; s != NULL; s = s->hh.next) {
        if (s->req != NULL) {
            continue;
        }

        if (s->due_ms > now) {
            first = first < s->due_ms ? first : s->due_ms;

        } else if (ing->reads < ING_READS) {
            ing_secret_read(s);
        }

        /* or else when another one has been read */
    }

    if (first != UINT64_MAX) {
        ing->host->timer_set(ing->again, first - now);
    }
}


static void
ing_secret_read(ing_secret_t *s)
{
    ing_t  *ing = s->ing;

    ing->reads++;
    s->read_ms = ing->host->monotonic_ms(ing->host);
    s->req = k8s_get(ing->k8s, &ing_secrets, s->ns, s->name, ing_secret_done,
                     s);
}


static void
ing_secret_done(void *data, const k8s_answer_t *a)
{
    int            changed;
    ing_secret_t  *s = data;
    ing_t         *ing = s->ing;
    uint64_t       share = (uint64_t) HASH_COUNT(ing->secrets) * ING_SHARE_MS;
    uint64_t       wait;

    s->req = NULL;
    ing->reads--;

    if (K8S_OK(a) && strcmp(obj_text(a->obj, "type"), ING_CERT_TYPE) == 0) {
        changed = ing_secret_take(s, a->obj);
        wait = ING_READ_MS;

    } else if (K8S_OK(a) || a->status == 404) {
        changed = ing_secret_none(s);
        wait = ING_NONE_MS;

    } else {
        changed = ing_secret_failed(s, a);
        wait = ING_NONE_MS > a->retry_after * 1000 ? ING_NONE_MS
                                                   : a->retry_after * 1000;
    }

    wait = wait > share ? wait : share;
    s->due_ms = ing->host->monotonic_ms(ing->host) + wait;

    if (changed) {
        ing_dirty(ing);
    }

    ing_secret_turn(ing);
}


static int
ing_secret_take(ing_secret_t *s, json_t *obj)
{
    int          was = s->denied;
    const char  *version;

    version = obj_text(json_object_get(obj, "metadata"), "resourceVersion");
    s->denied = s->failed = 0;
    s->known = 1;

    if (s->version != NULL && strcmp(s->version, version) == 0) {
        return was;
    }

    gw_set(&s->version, version);
    s->there = 1;
    ing_cert_free(&s->cert);
    ing_cert_read(obj, &s->cert);

    return 1;
}


static int
ing_secret_none(ing_secret_t *s)
{
    int  was = s->there || s->denied || !s->known;

    s->known = 1;
    free(s->version);
    s->version = NULL;
    s->there = s->denied = s->failed = 0;
    ing_cert_free(&s->cert);

    return was;
}


static int
ing_secret_failed(ing_secret_t *s, const k8s_answer_t *a)
{
    int     was = s->denied;
    ing_t  *ing = s->ing;

    if (a->status == 403) {
        s->denied = s->known = 1;

    } else if (!s->failed) {
        ing->host->log(ing->host, BK_LOG_INFO, "Secret %s: %s; its names keep "
                       "the certificate that they have", s->key, a->text);
    }

    s->failed = 1;

    return was != s->denied;
}
