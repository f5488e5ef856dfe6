/*
 * GET /api/v1/explain: which access rule decides for the caller, and why.
 * Formats: plugin-host/doc/access.md.  Anybody whose identity is known may
 * ask, since who is refused must be able to find out why; but what a rule
 * would have wanted names what others have, and is told where an operator's
 * process holds the connection alone.
 */

#include <stdio.h>
#include <string.h>

#include "api.h"
#include "bk_err.h"
#include "gate.h"


static void bk_api_explain(bk_request_t *r, const bk_request_info_t *info,
    void *data);
static int bk_api_explain_args(bk_request_t *r, int *verb, char *pool,
    size_t size, bk_err_t *err);


int
bk_api_explain_routes(bk_core_t *core, bk_err_t *err)
{
    return bk_httpd_route_for(core->httpd, BK_HTTP_API, "GET",
                              "/api/v1/explain", BK_VERB_ANY, bk_api_explain,
                              core, BK_HTTP_HOST, err);
}


static void
bk_api_explain(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    int              verb;
    char             pool[500];
    json_t          *json;
    bk_err_t         err;
    bk_core_t       *core = data;
    const bk_who_t  *who = core->gate != NULL ? bk_gate_who(r) : NULL;

    (void) info;

    if (who == NULL) {
        bk_err_set(&err, 401, "Unauthenticated", "nobody says who asks");
        bk_httpd_fail(r, &err);
        return;
    }

    if (bk_api_explain_args(r, &verb, pool, sizeof(pool), &err) != 0) {
        bk_httpd_fail(r, &err);
        return;
    }

    json = bk_access_explain(core->access, who, verb,
                             (bk_str_t) { pool, strlen(pool) },
                             bk_gate_operator(core->gate, r));
    bk_api_send(r, 200, json);
}


/* pool: as in allocate, with its namespace or in one; empty: of no pool */

static int
bk_api_explain_args(bk_request_t *r, int *verb, char *pool, size_t size,
    bk_err_t *err)
{
    int      n;
    char     word[16], name[240], space[240];
    json_t  *valid;

    *verb = BK_VERB_ALLOCATE;
    pool[0] = '\0';

    if (bk_httpd_query(r, "verb", word, sizeof(word)) == 0) {
        *verb = bk_verb_number(word);

        if (*verb == -1) {
            bk_err_set(err, 400, "BadValue", "there is no such verb");
            return bk_err_hint(err, "verbs are allocate, wake, release, "
                               "revoke, drain, list, certs and admin");
        }
    }

    if (bk_httpd_query(r, "pool", name, sizeof(name)) != 0
        || name[0] == '\0')
    {
        return 0;
    }

    if (bk_httpd_query(r, "namespace", space, sizeof(space)) != 0) {
        snprintf(space, sizeof(space), "default");
    }

    n = strchr(name, '/') != NULL
        ? snprintf(pool, size, "%s", name)
        : snprintf(pool, size, "%s/%s", space, name);
    valid = json_stringn(pool, (size_t) n);
    json_decref(valid);

    return valid != NULL ? 0
                         : bk_err_set(err, 400, "BadValue", "the pool's name "
                                      "is not UTF-8");
}
