/*
 * bkctl ca: the certificate authorities; rotate makes new keys, retire drops
 * the old ones.  What either does to clients and workers is said by the API.
 */

#include <string.h>

#include "bkctl.h"


#define BK_CA_MS    120000      /* on a slow disk */
#define BK_CA_HASH  16          /* of the SHA-256 that people compare */


static int bk_ca_call(const bk_args_t *args, const char *what,
    bk_api_reply_t *r);
static void bk_ca_print(const json_t *json);
static void bk_ca_row(bk_rows_t *rows, const json_t *authority,
    const json_t *cert, int first);
static void bk_ca_notes(const json_t *json);


int
bk_cmd_ca(const bk_args_t *args)
{
    int              rc;
    const char      *what = args->argc > 0 ? args->argv[0] : NULL;
    bk_api_reply_t   r;

    if (what != NULL && strcmp(what, "rotate") != 0
        && strcmp(what, "retire") != 0)
    {
        return bk_args_usage(args->verb, "\"bkctl ca\" does not take \"%s\"; "
                             "it takes rotate or retire", what);
    }

    if (what == NULL && (args->authority != NULL || args->force)) {
        return bk_args_usage(args->verb, "\"--%s\" goes with rotate or retire",
                             args->force ? "force" : "authority");
    }

    if (args->force && strcmp(what, "retire") != 0) {
        return bk_args_usage(args->verb, "\"--force\" goes with retire");
    }

    rc = bk_ca_call(args, what, &r);

    if (rc != BK_EXIT_OK) {
        bk_reply_complain(&r);

    } else if (args->json) {
        rc = bk_out_json(r.json);

    } else {
        bk_ca_print(r.json);
        rc = bk_out_flush();
        bk_ca_notes(r.json);
    }

    bk_reply_free(&r);

    return rc;
}


static int
bk_ca_call(const bk_args_t *args, const char *what, bk_api_reply_t *r)
{
    int               rc;
    json_t           *body = NULL;
    bk_api_request_t  req = { .method = "GET", .path = "/api/v1/ca",
                              .fd = -1 };

    if (what != NULL) {
        req.method = "POST";
        req.path = strcmp(what, "rotate") == 0 ? "/api/v1/ca/rotate"
                                               : "/api/v1/ca/retire";
        req.timeout_ms = BK_CA_MS;
        req.body = body = json_pack("{s:s*}", "authority", args->authority);

        if (body == NULL) {
            return bk_args_usage(args->verb,
                                 "the authority is not valid UTF-8");
        }

        if (args->force) {
            json_object_set_new(body, "force", json_true());
        }
    }

    rc = bk_api_call(args, &req, r);
    json_decref(body);

    return rc;
}


static void
bk_ca_print(const json_t *json)
{
    size_t        i, j;
    json_t       *authority, *cert;
    bk_rows_t    *rows = bk_rows_new(6);

    static const char *const  header[] = {
        "AUTHORITY", "STATE", "SHA256", "VALID UNTIL", "NEEDED UNTIL",
        "SUBJECT"
    };

    bk_rows_add(rows, header);

    json_array_foreach(json_object_get(json, "authorities"), i, authority) {
        json_array_foreach(json_object_get(authority, "certificates"), j,
                           cert)
        {
            bk_ca_row(rows, authority, cert, j == 0);
        }
    }

    bk_rows_print(rows);
    bk_rows_free(&rows);
}


static void
bk_ca_row(bk_rows_t *rows, const json_t *authority, const json_t *cert,
    int first)
{
    int          external;
    char         name[64], state[16], hash[BK_CA_HASH + 1], until[64];
    char         needed[16], subject[200];
    const char  *cells[6];

    external = strcmp(bk_out_string(authority, "issuer"), "external") == 0;

    snprintf(name, sizeof(name), "%.40s%s", bk_out_text(authority, "name"),
             first && external ? " (external)" : "");
    snprintf(hash, sizeof(hash), "%.*s", BK_CA_HASH,
             bk_out_text(cert, "sha256"));
    snprintf(until, sizeof(until), "%.10s (%lld days)",
             bk_out_text(cert, "notAfter"), bk_out_number(cert, "days"));
    snprintf(needed, sizeof(needed), "%.10s",
             json_is_string(json_object_get(cert, "neededUntil"))
                 ? bk_out_text(cert, "neededUntil") : "-");

    /* each is overwritten by the next call */
    snprintf(state, sizeof(state), "%.15s", bk_out_text(cert, "state"));
    snprintf(subject, sizeof(subject), "%.199s",
             bk_out_text(cert, "subject"));

    cells[0] = name;
    cells[1] = state;
    cells[2] = hash;
    cells[3] = until;
    cells[4] = needed;
    cells[5] = subject;
    bk_rows_add(rows, cells);
}


/* What somebody should know, on stderr. */

static void
bk_ca_notes(const json_t *json)
{
    size_t         i;
    json_t        *authority;
    const char    *state;
    const json_t  *reload;

    json_array_foreach(json_object_get(json, "authorities"), i, authority) {
        if (*bk_out_string(authority, "error") != '\0') {
            bk_out_note("%s", bk_out_text(authority, "error"));
        }
    }

    reload = json_object_get(json, "reload");
    state = bk_out_string(reload, "state");

    if (strcmp(state, "failed") == 0) {
        bk_out_note("nginx was not reloaded, and uses its old files: %s",
                    bk_out_text(reload, "error"));

    } else if (strcmp(state, "pending") == 0 || strcmp(state, "running") == 0)
    {
        bk_out_note("nginx is being reloaded");

    } else if (strcmp(state, "none") == 0
               && json_is_true(json_object_get(json, "reloadDue")))
    {
        bk_out_note("nginx's files have changed: reload it (nginx -s reload), "
                    "which touches no build");
    }
}
