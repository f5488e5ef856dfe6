/*
 * Other programs: where they are, and what they are called with.
 */

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bkctl.h"


char *
bk_program_find(const char *env, const char *name)
{
    char        *path, *copy, *dir, *save;
    const char  *value;

    value = env ? getenv(env) : NULL;

    if (value && *value) {
        if (strchr(value, '/')) {
            return access(value, X_OK) == 0 ? strdup(value) : NULL;
        }

        name = value;
    }

    value = getenv("PATH");
    copy = strdup(value ? value : "/usr/local/bin:/usr/bin:/bin");
    path = NULL;

    for (dir = strtok_r(copy, ":", &save); dir && path == NULL;
         dir = strtok_r(NULL, ":", &save))
    {
        struct stat  st;

        if (asprintf(&path, "%s/%s", dir, name) < 0) {
            abort();
        }

        if (stat(path, &st) != 0 || !S_ISREG(st.st_mode)
            || access(path, X_OK) != 0)
        {
            free(path);
            path = NULL;
        }
    }

    free(copy);

    return path;
}


void
bk_argv_add(bk_argv_t *a, const char *fmt, ...)
{
    va_list  ap;

    a->v = realloc(a->v, (a->n + 2) * sizeof(char *));

    if (a->v == NULL) {
        abort();
    }

    va_start(ap, fmt);

    if (vasprintf(&a->v[a->n++], fmt, ap) < 0) {
        abort();
    }

    va_end(ap);

    a->v[a->n] = NULL;
}


void
bk_argv_copy(bk_argv_t *to, const bk_argv_t *from)
{
    size_t  i;

    for (i = 0; i < from->n; i++) {
        bk_argv_add(to, "%s", from->v[i]);
    }
}


void
bk_argv_free(bk_argv_t *a)
{
    size_t  i;

    for (i = 0; i < a->n; i++) {
        free(a->v[i]);
    }

    free(a->v);
}
