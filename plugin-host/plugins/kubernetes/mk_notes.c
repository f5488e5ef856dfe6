/*
 * What a pool asks for that nothing comes of: users of this API have fields
 * that mean nothing here, or not together.  Said, not refused: their objects
 * are to work.
 */

#include <stdio.h>
#include <string.h>

#include "mk_int.h"


#define MK_NOTES_TEXT  448


static int mk_notes_text(json_t *pool, const char *a, const char *b,
    const char *c);
static int mk_notes_not(json_t *pool, const char *key, int value);
static int mk_notes_gc(json_t *pool);
static int mk_notes_credentials(json_t *pool);
static int mk_notes_claims(json_t *pool);
static int mk_notes_logging(json_t *pool);
static void mk_notes_add(char *buf, size_t size, const char *text);


int
mk_notes(json_t *pool, const ct_conf_t *conf, char *buf, size_t size)
{
    int          n = 0, annotations, labels;
    char         left[2][MK_NOTES_TEXT], names[MK_NOTES_TEXT - 100];
    size_t       i;
    json_t      *cidrs = mk_spec(pool, "networking", "allowedCIDRs", NULL);
    const char  *type = mk_service_type(pool);

    annotations = mk_left_out(pool, conf, 0, names, sizeof(names));
    snprintf(left[0], sizeof(left[0]), "annotations %s are left out: the "
             "controller's option annotations does not have them", names);
    labels = mk_left_out(pool, conf, 1, names, sizeof(names));
    snprintf(left[1], sizeof(left[1]), "labels %s are left out: the "
             "controller's option labels does not have them", names);

    struct {
        int          is;
        const char  *text;
    } notes[] = {
        { strcmp(type, "LoadBalancer") != 0 && json_array_size(cidrs) > 0,
          "networking.allowedCIDRs keeps nobody out where there is no load "
          "balancer" },
        { strcmp(type, "LoadBalancer") != 0
          && mk_notes_text(pool, "gateway", "loadBalancerClass", NULL),
          "gateway.loadBalancerClass is for serviceType LoadBalancer" },
        { strcmp(type, "NodePort") != 0
          && json_is_integer(mk_spec(pool, "gateway", "nodePort", NULL)),
          "gateway.nodePort is for serviceType NodePort" },
        { mk_notes_claims(pool),
          "resources.*.claims is not used" },
        { mk_notes_text(pool, NULL, "buildkitConfig", NULL)
          && mk_notes_gc(pool),
          "cache.gc is not used beside buildkitConfig" },
        { mk_notes_text(pool, "cache", "gc", "schedule"),
          "cache.gc.schedule is not used: BuildKit collects when it is idle" },
        { mk_notes_credentials(pool),
          "cache.backends.registry.credentialsSecret is not used: a "
          "registry's credentials are those of the client who builds" },
        { json_is_true(mk_spec(pool, "gateway", "ingress", "enabled", NULL))
          && mk_spec_text(pool, NULL, "gateway", "ingress", "tls",
                          "secretName", NULL) != NULL,
          "gateway.ingress.tls.secretName is not shown to anybody: TLS is "
          "passed through to the gateway" },
        { mk_notes_not(pool, "targetActiveConnections", 10)
          || mk_notes_not(pool, "targetCPUUtilization", 70)
          || mk_notes_not(pool, "targetMemoryUtilization", 80),
          "scaling.target* is not used: there is a worker for each "
          "allocation" },
        { annotations, left[0] },
        { labels, left[1] },
        { mk_notes_logging(pool),
          "observability.logging is not used: see the gateway's nginx.conf" },
    };

    buf[0] = '\0';

    for (i = 0; i < sizeof(notes) / sizeof(notes[0]); i++) {
        if (notes[i].is) {
            mk_notes_add(buf, size, notes[i].text);
            n++;
        }
    }

    return n;
}


static void
mk_notes_add(char *buf, size_t size, const char *text)
{
    size_t  n = strlen(buf);

    snprintf(buf + n, size - n, "%s%s", n > 0 ? "; " : "", text);
}


static int
mk_notes_text(json_t *pool, const char *a, const char *b, const char *c)
{
    return a == NULL ? mk_spec_text(pool, NULL, b, c, NULL) != NULL
                     : mk_spec_text(pool, NULL, a, b, c, NULL) != NULL;
}


/* the API server fills in the defaults of these */

static int
mk_notes_not(json_t *pool, const char *key, int value)
{
    json_t  *v = mk_spec(pool, "scaling", key, NULL);

    return json_is_integer(v) && json_integer_value(v) != value;
}


static int
mk_notes_gc(json_t *pool)
{
    return mk_notes_text(pool, "cache", "gc", "keepStorage")
           || mk_notes_text(pool, "cache", "gc", "keepDuration")
           || json_is_false(mk_spec(pool, "cache", "gc", "enabled", NULL));
}


static int
mk_notes_credentials(json_t *pool)
{
    size_t   i;
    json_t  *backend;

    json_array_foreach(mk_spec(pool, "cache", "backends", NULL), i, backend) {
        if (obj_text(json_object_get(backend, "registry"),
                     "credentialsSecret")[0] != '\0')
        {
            return 1;
        }
    }

    return 0;
}


static int
mk_notes_claims(json_t *pool)
{
    return json_array_size(mk_spec(pool, "resources", "buildkit", "claims",
                                   NULL)) > 0
           || json_array_size(mk_spec(pool, "resources", "sidecar", "claims",
                                      NULL)) > 0;
}


static int
mk_notes_logging(json_t *pool)
{
    return strcmp(mk_spec_text(pool, "info", "observability", "logging",
                               "level", NULL), "info") != 0
           || strcmp(mk_spec_text(pool, "json", "observability", "logging",
                                  "format", NULL), "json") != 0;
}
