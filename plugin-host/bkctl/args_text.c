/*
 * What is said about flags: help, usage errors, and the word that was meant.
 * The table that it is said about is in args.c.
 */

#include <stdarg.h>
#include <string.h>

#include "bkctl.h"


/*
 * At most two letters changed, added, lost or swapped (one in short words),
 * or the beginning of it.
 */

int
bk_args_alike(const char *a, const char *b)
{
    int     d[BK_ARGS_WORD_MAX + 2][BK_ARGS_WORD_MAX + 2], best;
    size_t  i, j, n, m;

    n = strlen(a);
    m = strlen(b);

    if (n == 0 || n > BK_ARGS_WORD_MAX || m > BK_ARGS_WORD_MAX) {
        return 0;
    }

    if (n >= 3 && strncmp(a, b, n) == 0) {
        return 1;
    }

    for (i = 0; i <= n; i++) {
        for (j = 0; j <= m; j++) {
            if (i == 0 || j == 0) {
                d[i][j] = (int) (i + j);
                continue;
            }

            best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);

            if (d[i - 1][j] + 1 < best) {
                best = d[i - 1][j] + 1;
            }

            if (d[i][j - 1] + 1 < best) {
                best = d[i][j - 1] + 1;
            }

            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]
                && d[i - 2][j - 2] + 1 < best)
            {
                best = d[i - 2][j - 2] + 1;
            }

            d[i][j] = best;
        }
    }

    return d[n][m] <= (m < 5 ? 1 : 2);
}


const char *
bk_args_like(const bk_verb_t *verb, const char *name, size_t len)
{
    char              word[BK_ARGS_WORD_MAX + 1];
    const bk_flag_t  *f;

    if (len > BK_ARGS_WORD_MAX) {
        return NULL;
    }

    memcpy(word, name, len);
    word[len] = '\0';

    for (f = bk_flags; f->name; f++) {
        if (bk_args_takes(verb, f) && bk_args_alike(word, f->name)) {
            return f->name;
        }
    }

    return NULL;
}


void
bk_args_help(FILE *f, const bk_verb_t *verb)
{
    char              left[64];
    const bk_flag_t  *flag;

    fprintf(f, "usage: bkctl %s [flags]%s%s\n\n%s\n", verb->name,
            *verb->operands ? " " : "", verb->operands,
            *verb->details ? verb->details : verb->summary);

    if (*verb->details == '\0') {
        fputc('\n', f);
    }

    for (flag = bk_flags; flag->name; flag++) {
        if (!bk_args_takes(verb, flag)) {
            continue;
        }

        snprintf(left, sizeof(left), "--%s%s%s", flag->name,
                 flag->value ? " " : "", flag->value ? flag->value : "");
        fprintf(f, "  %-21s %s", left, flag->help);

        if (flag->env) {
            fprintf(f, " [%s]", flag->env);
        }

        fputc('\n', f);
    }
}


int
bk_args_usage(const bk_verb_t *verb, const char *fmt, ...)
{
    char     text[600];
    va_list  ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);

    bk_out_error("%s", text);

    if (verb) {
        bk_out_hint("usage: bkctl %s [flags]%s%s (more: bkctl %s --help)",
                    verb->name, *verb->operands ? " " : "", verb->operands,
                    verb->name);
    }

    return BK_EXIT_USAGE;
}


int
bk_id_like(const char *s)
{
    size_t  len;

    len = strlen(s);

    return len >= 12 && len <= 64 && strspn(s, "0123456789abcdef") == len;
}


int
bk_args_id(const bk_verb_t *verb, const char *id)
{
    if (bk_id_like(id)) {
        return 0;
    }

    /* it may be a token: not repeated */

    if (strlen(id) < 43) {
        bk_args_usage(verb, "\"%s\" is no allocation's id: 12 hex digits, "
                      "see bkctl allocations", id);
    } else {
        bk_args_usage(verb, "this is no allocation's id: 12 hex digits, see "
                      "bkctl allocations");
    }

    return -1;
}
