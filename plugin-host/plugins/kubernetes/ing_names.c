/*
 * All Ingress objects -> the lines of bk_names.h: see ing.h.
 *
 * A host is the older object's, and with it are amd64.HOST and arm64.HOST: the
 * same pool's workers of that architecture, or what that namespace says.  Only
 * who had such a name before the host was anybody's keeps it.
 */

#include <stdio.h>
#include <string.h>

#include "bk_names.h"
#include "ing.h"


/* How much a namespace has. */
typedef struct {
    UT_hash_handle  hh;
    size_t          hosts;
    const char     *ns;
} ing_share_t;

/* Who has a host. */
typedef struct {
    UT_hash_handle     hh;
    const char        *host;
    const ing_rule_t  *rule;
    ing_obj_t         *obj;
} ing_claim_t;

typedef struct {
    ing_claim_t  *claims;
    ing_share_t  *shares;
    size_t        size;         /* of the text, at most */
} ing_all_t;


static const char *const  ing_archs[] = { "amd64", "arm64" };

#define ING_ARCHS  (sizeof(ing_archs) / sizeof(ing_archs[0]))


static ing_obj_t **ing_names_sorted(ing_t *ing, size_t *n);
static int ing_names_older(const void *one, const void *two);
static void ing_names_claim(ing_all_t *all, ing_obj_t *o,
    const ing_rule_t *rule);
static ing_claim_t *ing_names_taken(ing_all_t *all, const ing_obj_t *o,
    const ing_rule_t *rule);
static int ing_names_room(ing_all_t *all, ing_obj_t *o,
    const ing_rule_t *rule);
static void ing_names_line(ing_t *ing, ing_claim_t *claims,
    const ing_claim_t *c);
static int ing_names_served(ing_t *ing, const ing_claim_t *c);
static ing_secret_t *ing_names_secret(ing_t *ing, ing_obj_t *o,
    const ing_rule_t *rule, char kept[ING_FILE_MAX]);
static int ing_names_cmp(const void *one, const void *two);


void
ing_names(ing_t *ing)
{
    size_t         i, j, n;
    ing_all_t      all = { NULL, NULL, 0 };
    ing_obj_t    **objs = ing_names_sorted(ing, &n);
    ing_claim_t   *c, *ctmp;
    ing_share_t   *s, *stmp;

    ing_names_free(ing);

    for (i = 0; i < n; i++) {
        objs[i]->faults.n = 0;

        for (j = 0; j < objs[i]->read.nrules; j++) {
            ing_names_claim(&all, objs[i], &objs[i]->read.rules[j]);
        }
    }

    free(objs);

    ing->nhosts = HASH_COUNT(all.claims);
    ing->lines = calloc(ing->nhosts * (1 + ING_ARCHS) + 1,
                        sizeof(ing_line_t));
    ing->made = calloc(ing->nhosts * ING_ARCHS + 1, sizeof(char *));
    if (ing->lines == NULL || ing->made == NULL) {
        abort();
    }

    for (c = all.claims; c != NULL; c = c->hh.next) {
        ing_names_line(ing, all.claims, c);
    }

    HASH_ITER(hh, all.claims, c, ctmp) {
        HASH_DEL(all.claims, c);
        free(c);
    }

    HASH_ITER(hh, all.shares, s, stmp) {
        HASH_DEL(all.shares, s);
        free(s);
    }

    qsort(ing->lines, ing->nlines, sizeof(ing_line_t), ing_names_cmp);
}


static ing_obj_t **
ing_names_sorted(ing_t *ing, size_t *n)
{
    ing_obj_t  *o, **all;

    *n = 0;
    all = calloc(HASH_COUNT(ing->objs) + 1, sizeof(ing_obj_t *));
    if (all == NULL) {
        abort();
    }

    for (o = ing->objs; o != NULL; o = o->hh.next) {
        all[(*n)++] = o;
    }

    qsort(all, *n, sizeof(ing_obj_t *), ing_names_older);

    return all;
}


static int
ing_names_older(const void *one, const void *two)
{
    const ing_obj_t  *a = *(ing_obj_t *const *) one;
    const ing_obj_t  *b = *(ing_obj_t *const *) two;

    if (a->created_ms != b->created_ms) {
        return a->created_ms < b->created_ms ? -1 : 1;
    }

    return strcmp(a->uid, b->uid);
}


static void
ing_names_claim(ing_all_t *all, ing_obj_t *o, const ing_rule_t *rule)
{
    ing_claim_t  *c = ing_names_taken(all, o, rule);

    /* whose it is may be nobody's business here: the name of an object of
       another namespace is not told */
    if (c != NULL) {
        if (strcmp(c->obj->ns, o->ns) == 0) {
            ing_fault(&o->faults, "HostTaken", "%s is that of the older "
                      "Ingress %s", rule->host, c->obj->name);

        } else {
            ing_fault(&o->faults, "HostTaken", "%s is that of an older "
                      "Ingress in another namespace", rule->host);
        }

        return;
    }

    if (!ing_names_room(all, o, rule)) {
        return;
    }

    c = calloc(1, sizeof(ing_claim_t));
    if (c == NULL) {
        abort();
    }

    c->host = rule->host;
    c->rule = rule;
    c->obj = o;
    HASH_ADD_KEYPTR(hh, all->claims, c->host, strlen(c->host), c);
}


/* Older objects come first: what is there is of one. */

static ing_claim_t *
ing_names_taken(ing_all_t *all, const ing_obj_t *o, const ing_rule_t *rule)
{
    size_t        i, n;
    ing_claim_t  *c;

    HASH_FIND_STR(all->claims, rule->host, c);

    for (i = 0; c == NULL && i < ING_ARCHS; i++) {
        n = strlen(ing_archs[i]);

        if (strncmp(rule->host, ing_archs[i], n) == 0 && rule->host[n] == '.')
        {
            HASH_FIND_STR(all->claims, rule->host + n + 1, c);
            return c != NULL && strcmp(c->obj->ns, o->ns) != 0 ? c : NULL;
        }
    }

    return c;
}


/* nginx takes nothing of a text that is too large, and one namespace must not
 * fill it. */

static int
ing_names_room(ing_all_t *all, ing_obj_t *o, const ing_rule_t *rule)
{
    size_t        size;
    ing_share_t  *s;

    size = (strlen(rule->host) + strlen(rule->pool) + BK_NAMES_CERT_LEN + 16)
           * (1 + ING_ARCHS);

    if (HASH_COUNT(all->claims) >= BK_NAMES_MAX / (1 + ING_ARCHS)
        || all->size + size > BK_NAMES_SIZE_MAX - 1024)
    {
        ing_fault(&o->faults, "TooManyHosts", "%s is not served: older objects "
                  "have taken all the room there is", rule->host);
        return 0;
    }

    HASH_FIND_STR(all->shares, o->ns, s);

    if (s == NULL) {
        s = calloc(1, sizeof(ing_share_t));
        if (s == NULL) {
            abort();
        }

        s->ns = o->ns;
        HASH_ADD_KEYPTR(hh, all->shares, s->ns, strlen(s->ns), s);
    }

    if (s->hosts == ING_NS_HOSTS) {
        ing_fault(&o->faults, "TooManyHosts", "%s is not served: older objects "
                  "of this namespace have %d hosts, and more one cannot have",
                  rule->host, ING_NS_HOSTS);
        return 0;
    }

    s->hosts++;
    all->size += size;

    return 1;
}


static void
ing_names_line(ing_t *ing, ing_claim_t *claims, const ing_claim_t *c)
{
    char          *host, kept[ING_FILE_MAX];
    size_t         i;
    ing_claim_t   *other;
    ing_line_t    *line;
    ing_secret_t  *secret;

    if (!ing_names_served(ing, c)) {
        return;
    }

    secret = ing_names_secret(ing, c->obj, c->rule, kept);

    line = &ing->lines[ing->nlines++];
    line->host = c->host;
    line->pool = c->rule->pool;
    line->arch = "";
    line->named = c->rule->secret;
    line->secret = secret;
    memcpy(line->kept, kept, sizeof(kept));

    for (i = 0; c->host[0] != '*' && i < ING_ARCHS; i++) {
        if (asprintf(&host, "%s.%s", ing_archs[i], c->host) < 0) {
            abort();
        }

        HASH_FIND_STR(claims, host, other);

        if (other != NULL || !bk_names_host_ok(host, strlen(host), 0)) {
            free(host);
            continue;
        }

        ing->made[ing->nmade++] = host;
        line = &ing->lines[ing->nlines++];
        line->host = host;
        line->pool = c->rule->pool;
        line->arch = ing_archs[i];
        line->named = c->rule->secret;
        line->secret = secret;
        memcpy(line->kept, kept, sizeof(kept));
    }
}


/* A host stays whose it is, whatever its pool is like. */

static int
ing_names_served(ing_t *ing, const ing_claim_t *c)
{
    ing_pool_t  *p;
    const char  *name = strchr(c->rule->pool, '/') + 1;

    HASH_FIND_STR(ing->pools, c->rule->pool, p);

    if (p == NULL) {
        ing_fault(&c->obj->faults, "NoPool", "%s is that of the pool %s, which "
                  "is not there", c->host, name);
        return 1;
    }

    if (p->workers == ING_PLAIN) {
        ing_fault(&c->obj->faults, "TLSDisabled", "%s is not served: workers "
                  "of the pool %s speak no TLS", c->host, name);
        return 0;
    }

    if (p->workers == ING_OTHER) {
        ing_fault(&c->obj->faults, "OtherIssuer", "%s is not served: workers "
                  "of the pool %s have certificates of its tls.certManager, "
                  "which nobody can verify here: its own gateway can",
                  c->host, name);
        return 0;
    }

    return 1;
}


/* NULL: the default certificate, and why is told when it is known; or the one
 * that the host has, as long as nobody has said what is in the Secret. */

static ing_secret_t *
ing_names_secret(ing_t *ing, ing_obj_t *o, const ing_rule_t *rule,
    char kept[ING_FILE_MAX])
{
    uint64_t       now = ing->host->now_ms(ing->host);
    const char    *name;
    ing_secret_t  *s;

    kept[0] = '\0';

    if (rule->secret == NULL) {
        return NULL;
    }

    name = strchr(rule->secret, '/') + 1;
    HASH_FIND_STR(ing->secrets, rule->secret, s);

    if (s == NULL || !s->known || (s->denied && !s->there)) {
        ing_kept(ing, rule->host, rule->pool, kept);
    }

    if (s == NULL || !s->known) {
        return NULL;
    }

    if (s->denied) {
        ing_fault(&o->faults, "NotAllowed", "%s has %s certificate: the "
                  "Secret %s may not be read: give the ingress controller's "
                  "account the role buildkit-ingress-certificates in this "
                  "namespace", rule->host, s->there || kept[0] != '\0' ? "an old"
                  : "the default", name);
    }

    if (!s->there) {
        if (!s->denied) {
            ing_fault(&o->faults, "NoCertificate", "%s has the default "
                      "certificate: there is no Secret %s of type "
                      "kubernetes.io/tls", rule->host, name);
        }

    } else if (s->cert.err.code != 0) {
        ing_fault(&o->faults, s->cert.err.reason, "%s has the default "
                  "certificate: Secret %s: %s", rule->host, name,
                  s->cert.err.text);

    } else if (s->cert.until_ms <= now) {
        ing_fault(&o->faults, "Expired", "%s has the default certificate: that "
                  "of Secret %s has expired", rule->host, name);

    } else if (s->cert.from_ms > now) {
        ing_fault(&o->faults, "NotYetValid", "%s has the default certificate: "
                  "that of Secret %s is not valid yet", rule->host, name);

    } else {
        if (!ing_cert_covers(&s->cert, rule->host)) {
            ing_fault(&o->faults, "NameMissing", "%s: the certificate of "
                      "Secret %s is not for that name: clients will not "
                      "trust it", rule->host, name);
        }

        return s;
    }

    return NULL;
}


static int
ing_names_cmp(const void *one, const void *two)
{
    return strcmp(((const ing_line_t *) one)->host,
                  ((const ing_line_t *) two)->host);
}


/* To be freed. */

char *
ing_names_text(const ing_t *ing, const char *class_name)
{
    char    *text;
    FILE    *out;
    size_t   i, len;

    out = open_memstream(&text, &len);
    if (out == NULL) {
        abort();
    }

    fprintf(out, BK_NAMES_MAGIC "%zu %s\n", ing->nlines,
            class_name[0] != '\0' ? class_name : "-");

    for (i = 0; i < ing->nlines; i++) {
        fprintf(out, "%s %s %s %s\n", ing->lines[i].host, ing->lines[i].pool,
                ing->lines[i].arch[0] != '\0' ? ing->lines[i].arch : "-",
                ing->lines[i].secret != NULL
                ? ing->lines[i].secret->cert.file
                : ing->lines[i].kept[0] != '\0' ? ing->lines[i].kept : "-");
    }

    if (fclose(out) != 0) {
        abort();
    }

    return text;
}


void
ing_names_free(ing_t *ing)
{
    size_t  i;

    for (i = 0; i < ing->nmade; i++) {
        free(ing->made[i]);
    }

    free(ing->made);
    free(ing->lines);
    ing->made = NULL;
    ing->lines = NULL;
    ing->nmade = ing->nlines = 0;
}
