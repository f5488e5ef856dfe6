/*
 * bkctl env: an allocation for a shell.
 *
 * What is printed holds paths, never the key itself.  The variables that
 * docker/setup-buildx-action reads want the PEM text: the shell puts it in.
 * On failure stdout gets "(exit N)", so that eval "$(bkctl env ...)" fails.
 */

#include <string.h>

#include "bkctl.h"


static void bk_env_print(const json_t *answer, const char *dir);
static void bk_env_quoted(const char *prefix, const char *dir,
    const char *file);


int
bk_cmd_env(const bk_args_t *args)
{
    int              rc;
    char             dir[PATH_MAX], temp[PATH_MAX];
    json_t          *answer;
    const char      *out;
    bk_api_reply_t   r;

    rc = bk_alloc_guarded(args, &answer);

    if (rc != BK_EXIT_OK) {
        goto failed;
    }

    out = args->out;
    rc = BK_EXIT_FAILED;

    if (out == NULL && bk_creds_tempdir(temp, sizeof(temp)) == 0) {
        out = temp;
    }

    if (out == NULL || bk_creds_write(out, answer) != 0
        || bk_creds_absolute(out, dir) != 0)
    {
        bk_alloc_release(args, bk_out_string(answer, "token"), 0, &r);
        bk_reply_free(&r);
        json_decref(answer);
        goto failed;
    }

    bk_alloc_warn(answer);
    bk_env_print(answer, dir);
    json_decref(answer);

    return bk_out_flush();

failed:

    printf("(exit %d)\n", rc);
    bk_out_flush();

    return rc > 128 ? bk_signals_die(rc - 128) : rc;
}


static void
bk_env_print(const json_t *answer, const char *dir)
{
    char         id[13], when[64];
    const char  *endpoint;

    endpoint = bk_alloc_endpoint(answer);
    bk_alloc_id(answer, id);
    bk_time_relative(bk_out_string(answer, "expiresAt"), when, sizeof(when));

    bk_env_quoted("export BUILDKIT_HOST=", endpoint, "");
    bk_env_quoted("\nexport BKCTL_TLS_DIR=", dir, "");
    bk_env_quoted("\nexport BUILDER_NODE_0_AUTH_TLS_CACERT=\"$(cat ", dir,
                  "/ca.pem");
    bk_env_quoted(")\"\nexport BUILDER_NODE_0_AUTH_TLS_CERT=\"$(cat ", dir,
                  "/cert.pem");
    bk_env_quoted(")\"\nexport BUILDER_NODE_0_AUTH_TLS_KEY=\"$(cat ", dir,
                  "/key.pem");
    printf(")\"\n");

    printf("# allocation %s, worker %s, expires %s\n", id,
           bk_out_text(answer, "workerName"), when);

    printf("# docker buildx create --name bkctl-%s --driver remote "
           "--driver-opt ", id);
    bk_env_quoted("cacert=", dir, "/ca.pem");
    bk_env_quoted(",cert=", dir, "/cert.pem");
    bk_env_quoted(",key=", dir, "/key.pem");
    bk_env_quoted(" ", endpoint, "");

    bk_env_quoted("\n# buildctl --addr ", endpoint, "");
    bk_env_quoted(" --tlscacert ", dir, "/ca.pem");
    bk_env_quoted(" --tlscert ", dir, "/cert.pem");
    bk_env_quoted(" --tlskey ", dir, "/key.pem");
    bk_env_quoted("\n# bkctl release ", dir, "/alloc.json");
    putchar('\n');
}


/* Quotes for a shell where it is needed; a newline never leaves a comment. */

static void
bk_env_quoted(const char *prefix, const char *dir, const char *file)
{
    const char  *p;

    fputs(prefix, stdout);

    if (strspn(dir, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                    "0123456789/._-:@%+=[]") == strlen(dir))
    {
        printf("%s%s", dir, file);
        return;
    }

    putchar('\'');

    for (p = dir; *p; p++) {
        if (*p == '\'') {
            fputs("'\\''", stdout);

        } else {
            putchar((unsigned char) *p < 0x20 ? '?' : *p);
        }
    }

    printf("%s'", file);
}
