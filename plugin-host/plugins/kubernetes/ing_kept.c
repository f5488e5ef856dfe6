/*
 * The certificate that a host has in the text that nginx reads now: it keeps
 * that one until the Secret that its rule names has been read, as a client is
 * better off with the one from before than with the default one.
 */

#include <string.h>

#include "bk_names.h"
#include "ing.h"


/* The lines of a text, in their order. */
struct ing_kept_s {
    size_t     n;
    bk_name_t  names[];
};


static void ing_kept_read(ing_t *ing);


/* Who else had that name has nothing to do with it: the pool's namespace is
 * that of the Secrets. */

void
ing_kept(ing_t *ing, const char *host, const char *pool,
    char cert[ING_FILE_MAX])
{
    size_t            ns = (size_t) (strchr(pool, '/') + 1 - pool);
    bk_names_str_t    key = { host, strlen(host) };
    const bk_name_t  *name;

    cert[0] = '\0';

    if (ing->text == NULL) {
        return;
    }

    if (ing->kept == NULL) {
        ing_kept_read(ing);
    }

    name = bk_names_exact(ing->kept->names, ing->kept->n, &key);

    if (name != NULL && name->cert.len == BK_NAMES_CERT_LEN
        && name->pool.len > ns && memcmp(name->pool.data, pool, ns) == 0)
    {
        memcpy(cert, name->cert.data, BK_NAMES_CERT_LEN);
        cert[BK_NAMES_CERT_LEN] = '\0';
    }
}


/* Of one with a mistake in it nginx has taken nothing. */

static void
ing_kept_read(ing_t *ing)
{
    int         rc;
    size_t      n;
    bk_names_t  r;

    n = bk_names_open(&r, ing->text, strlen(ing->text)) == 0 ? r.count : 0;
    ing->kept = calloc(1, sizeof(ing_kept_t) + n * sizeof(bk_name_t));
    if (ing->kept == NULL) {
        abort();
    }

    for (rc = 1; rc == 1 && ing->kept->n < n; /* void */ ) {
        rc = bk_names_next(&r, &ing->kept->names[ing->kept->n]);
        ing->kept->n += rc == 1;
    }

    if (rc != 1) {
        ing->kept->n = 0;
    }
}


/* It is of the text: before that is another one. */

void
ing_kept_free(ing_t *ing)
{
    free(ing->kept);
    ing->kept = NULL;
}
