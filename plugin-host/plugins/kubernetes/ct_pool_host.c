/*
 * Host names in the certificate of a pool's gateways.  Who may edit pools
 * chooses them, and must not get one of a name by which somebody else's clients
 * look for their gateway, or a gateway for its workers.
 *
 * What a pool's own authority signs, or an Issuer of its namespace, no clients
 * of other namespaces trust: any name will do.  What a ClusterIssuer signs, those
 * of all the pools do that have it from one; what a gateway signs that the option
 * gateways names, all do.  So these get no names inside of the cluster but the
 * pool's own, and of a ClusterIssuer none that an older pool has.
 */

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "bk_err.h"
#include "ct_pool.h"


#define CT_TAKEN_LOOK_MS  30000


static int ct_host_trusted(const ct_pool_t *p);
static int ct_host_all(const ct_pool_t *p);
static int ct_host_other(const ct_pool_t *p, const ct_pool_t *other);
static int ct_host_older(const ct_pool_t *p, const ct_pool_t *other);
static int ct_host_same(const ct_pool_t *p, const char *ours,
    const ct_pool_t *other, const char *theirs);
static int ct_host_both(const char *a, const char *b);
static const char *ct_host_bare(const char *host);
static int ct_host_covers(const char *a, const char *b);


int
ct_pool_hosts(ct_pool_t *p, bk_err_t *err)
{
    int          i;
    char         own[2 * K8S_NAME_MAX + 2];
    ct_pool_t   *other, *tmp;
    const char  *hosts[MK_HOSTS], *theirs[MK_HOSTS];

    mk_hosts(p->o->obj, hosts);

    for (i = 0; i < MK_HOSTS && ct_host_trusted(p); i++) {
        if (mk_host_inside(p->o->obj, hosts[i])) {
            return bk_fail(err, 422, "BadHostname", "a name that its clients "
                           "find it by from outside; it has those of its "
                           "Service anyway", "\"%s\" is a name of something "
                           "else inside of the cluster", hosts[i]);
        }
    }

    if (!ct_host_all(p)
        || (hosts[0][0] == '\0' && hosts[1][0] == '\0'
            && hosts[2][0] == '\0'))
    {
        return 0;
    }

    HASH_ITER(hh, p->ct->pools, other, tmp) {
        if (!ct_host_other(p, other)) {
            continue;
        }

        mk_hosts(other->o->obj, theirs);
        snprintf(own, sizeof(own), "%s.%s", mk_name(other->o->obj),
                 mk_ns(other->o->obj));

        for (i = 0; i < MK_HOSTS * MK_HOSTS; i++) {
            if (ct_host_both(hosts[i / MK_HOSTS], own)
                || (ct_host_older(p, other)
                    && ct_host_same(p, hosts[i / MK_HOSTS], other,
                                    theirs[i % MK_HOSTS])))
            {
                ct_pool_later(p, CT_TAKEN_LOOK_MS);
                return bk_fail(err, 409, "HostnameTaken", "one issuer signs "
                               "for both", "\"%s\" is a name of a pool of "
                               "another namespace", hosts[i / MK_HOSTS]);
            }
        }
    }

    return 0;
}


/* Do clients of other namespaces trust who signs? */

static int
ct_host_trusted(const ct_pool_t *p)
{
    return ct_host_all(p) || ct_pool_named(p);
}


/* Does somebody sign whom pools of other namespaces may ask as well? */

static int
ct_host_all(const ct_pool_t *p)
{
    return ct_pool_managed(p) && !ct_pool_issuer_alone(p);
}


static int
ct_host_other(const ct_pool_t *p, const ct_pool_t *other)
{
    return other->o != NULL && other->o->obj != NULL && ct_host_all(other)
           && strcmp(mk_ns(p->o->obj), mk_ns(other->o->obj)) != 0;
}


/* Nobody can set that time. */

static int
ct_host_older(const ct_pool_t *p, const ct_pool_t *other)
{
    int  d = strcmp(obj_text(ct_at(other->o, "metadata", NULL),
                             "creationTimestamp"),
                    obj_text(ct_at(p->o, "metadata", NULL),
                             "creationTimestamp"));

    return d < 0 || (d == 0 && strcmp(other->key, p->key) < 0);
}


/* A gateway in front of several has amd64.HOST and arm64.HOST, too. */

static int
ct_host_same(const ct_pool_t *p, const char *ours, const ct_pool_t *other,
    const char *theirs)
{
    return ct_host_both(ours, theirs)
           || (ct_pool_fronted(p) && ct_host_both(ours, ct_host_bare(theirs)))
           || (ct_pool_fronted(other)
               && ct_host_both(ct_host_bare(ours), theirs));
}


/* without the architecture */

static const char *
ct_host_bare(const char *host)
{
    return strncasecmp(host, "amd64.", 6) == 0
           || strncasecmp(host, "arm64.", 6) == 0 ? host + 6 : host;
}


/* Is there a host that both are names of? */

static int
ct_host_both(const char *a, const char *b)
{
    return a[0] != '\0' && b[0] != '\0'
           && (ct_host_covers(a, b) || ct_host_covers(b, a));
}


static int
ct_host_covers(const char *a, const char *b)
{
    if (strncmp(a, "*.", 2) != 0) {
        return strcasecmp(a, b) == 0;
    }

    b = strchr(b, '.');

    return b != NULL && strcasecmp(a + 1, b) == 0;
}
