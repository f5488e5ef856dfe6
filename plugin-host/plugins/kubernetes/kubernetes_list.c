/*
 * Plugin kubernetes: options that are lists.  What is in one was checked; it
 * ends with NULL, and is NULL where nothing was given.
 */

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "bk_err.h"
#include "kubernetes.h"


#define KUBERNETES_LIST_MAX  256            /* of namespaces or prefixes */
#define KUBERNETES_KEY_MAX   317            /* a label's or annotation's name */


static int kubernetes_is_key(const char *s);


int
kubernetes_list_allow(char ***list, const char *key, const char *value,
    bk_err_t *err)
{
    int  namespaces = strcmp(key, "privileged") == 0;

    if (strcmp(value, "*") != 0
        && !(namespaces ? kubernetes_is_namespace(value)
                        : kubernetes_is_key(value)))
    {
        return bk_err_set(err, 400, "BadOption", namespaces
                          ? "is no name of a namespace"
                          : "is neither a name as \"example.com/team\" nor a "
                            "prefix as \"example.com/\"");
    }

    if (!namespaces && *list != NULL
        && (strcmp((*list)[0], "none") == 0 || strcmp(value, "none") == 0))
    {
        return bk_err_set(err, 400, "BadOption", "\"none\" is none of them: "
                          "no other may be given");
    }

    return kubernetes_list_add(list, value, "*", err);
}


int
kubernetes_list_pool(char ***list, const char *value, bk_err_t *err)
{
    int          rc;
    char        *ns;
    size_t       n = strcspn(value, "/");
    const char  *name = value + n + (value[n] == '/');

    ns = strndup(value, n);
    if (ns == NULL) {
        abort();
    }

    rc = value[n] == '/' && kubernetes_is_namespace(ns) && name[0] != '\0'
         && strlen(name) <= K8S_NAME_MAX
         && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789.-")
            == strlen(name);
    free(ns);

    if (!rc) {
        return bk_err_set(err, 400, "BadOption", "is no NAMESPACE/NAME of a "
                          "pool");
    }

    return kubernetes_list_add(list, value, "", err);
}


int
kubernetes_list_name(char ***list, const char *value, bk_err_t *err)
{
    size_t  n = strlen(value);

    if (n == 0 || n > 253 || strspn(value, "abcdefghijklmnopqrstuvwxyz"
                                    "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                    "0123456789.:-") != n)
    {
        return bk_err_set(err, 400, "BadOption", "is neither a DNS name nor "
                          "an address");
    }

    return kubernetes_list_add(list, value, "", err);
}


/* A list ends with NULL; what is all of them is alone in it. */

int
kubernetes_list_add(char ***list, const char *value, const char *all,
    bk_err_t *err)
{
    size_t   n;
    char   **l = *list;

    for (n = 0; l != NULL && l[n] != NULL; n++) {
        if (strcmp(l[n], value) == 0) {
            return bk_err_set(err, 400, "BadOption", "is given twice");
        }

        if (strcmp(value, all) == 0 || strcmp(l[n], all) == 0) {
            return bk_err_set(err, 400, "BadOption", "\"*\" is all of them: "
                              "no other may be given");
        }
    }

    if (n == KUBERNETES_LIST_MAX) {
        return bk_err_set(err, 400, "BadOption", "more than %d of them",
                          KUBERNETES_LIST_MAX);
    }

    l = realloc(l, (n + 2) * sizeof(char *));
    if (l == NULL) {
        abort();
    }

    l[n] = kubernetes_strdup(value);
    l[n + 1] = NULL;
    *list = l;

    return 0;
}


/* RFC 1123 label, as namespaces are. */

int
kubernetes_is_namespace(const char *s)
{
    size_t  n = strlen(s);

    return n > 0 && n <= 63 && s[0] != '-' && s[n - 1] != '-'
           && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}


/* A name, "PREFIX/NAME", or "PREFIX/". */

static int
kubernetes_is_key(const char *s)
{
    size_t       i, n = strlen(s);
    const char  *slash = strchr(s, '/');

    if (n == 0 || n > KUBERNETES_KEY_MAX || !isalnum((unsigned char) s[0])
        || (slash != NULL && strchr(slash + 1, '/') != NULL)
        || (slash == NULL && !isalnum((unsigned char) s[n - 1])))
    {
        return 0;
    }

    for (i = 0; i < n; i++) {
        if (!isalnum((unsigned char) s[i]) && strchr("-_./", s[i]) == NULL) {
            return 0;
        }
    }

    return 1;
}


void
kubernetes_list_free(char ***list)
{
    size_t  i;

    for (i = 0; *list != NULL && (*list)[i] != NULL; i++) {
        free((*list)[i]);
    }

    free(*list);
    *list = NULL;
}
