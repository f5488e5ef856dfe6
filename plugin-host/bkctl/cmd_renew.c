/*
 * bkctl renew: an allocation lasts longer.
 *
 * The new certificate has the old key.  It is put where the old one was read
 * from, or into --out; alloc.json is brought up to date beside it.
 */

#include "bkctl.h"


static int bk_renew_done(const bk_args_t *args, bk_token_t *t,
    const json_t *answer);


int
bk_cmd_renew(const bk_args_t *args)
{
    int              rc;
    bk_token_t       t;
    bk_api_reply_t   r;

    rc = bk_token_read(args, &t);

    if (rc != BK_EXIT_OK) {
        return rc;
    }

    rc = bk_alloc_renew(args, t.token, 0, -1, NULL, NULL, &r);
    rc = rc == BK_EXIT_OK ? bk_renew_done(args, &t, r.json)
                          : bk_reply_complain(&r);

    bk_reply_free(&r);
    bk_token_free(&t);

    return rc;
}


static int
bk_renew_done(const bk_args_t *args, bk_token_t *t, const json_t *answer)
{
    char         when[64];
    json_t      *merged;
    const char  *dir;

    dir = args->out ? args->out : t->dir[0] ? t->dir : NULL;

    if (dir) {
        merged = t->alloc ? json_copy(t->alloc) : json_object();
        json_object_set_new(merged, "token", json_string(t->token));
        json_object_update(merged, (json_t *) answer);

        if (bk_creds_write(dir, merged) != 0) {
            json_decref(merged);
            return BK_EXIT_FAILED;
        }

        json_decref(merged);
    }

    if (args->json || (dir == NULL && !bk_out_tty())) {
        return bk_out_json(answer);
    }

    bk_time_relative(bk_out_string(answer, "expiresAt"), when, sizeof(when));
    printf("renewed %s: expires %s\n", t->id, when);

    if (dir == NULL) {
        bk_out_note("bkctl: the new certificate was not written: use --out "
                    "DIR");
    }

    return bk_out_flush();
}
