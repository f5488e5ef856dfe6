/*
 * How nginx is told which names lead to which pool, and with which
 * certificates: a folder that plugin-host writes (plugin kubernetes, from
 * Ingress objects) and nginx reads (directive buildkit_names).
 *
 * This header is the contract; doc/names.md is its other half.  The folder has
 *
 *     names           text, replaced by rename(): who reads it has all of it
 *     SHA256.pem      a certificate, its chain, and its private key
 *
 * The text, every line ended by one "\n", words by one blank:
 *
 *     buildkit-names 1 COUNT CLASS
 *     HOST POOL ARCH CERT             COUNT of them
 *
 *     CLASS  of the Ingress objects, for texts to people; "-": none
 *     HOST   a name as clients ask for (SNI), in lower case, no dot at the
 *            end; "*.REST" stands for any one label before REST, where
 *            there is no line for that name itself
 *     POOL   namespace/name
 *     ARCH   architecture that workers must have ("amd64"); "-": any
 *     CERT   the file that has its certificate, 64 hexadecimal digits in
 *            lower case and ".pem"; "-": that of ssl_certificate
 *
 * Hosts are in ascending order of their bytes, as strcmp() has it, each there
 * once.  amd64.HOST is a line of its own.  A name only narrows: a client's
 * certificate decides where it is led to.
 *
 * A certificate's file is named for the SHA-256 of what is in it, is whole
 * before a line refers to it, never changes, and stays for BK_NAMES_KEEP_S
 * after the last line that does.  It has mode 0600: both programs are run by
 * one user.  PEM: the certificate, those of its chain, the key (not encrypted).
 *
 * What is written is to be read with the functions below first: nginx takes
 * nothing of a text with a mistake in it, and goes on with what it has.
 */

#ifndef BK_NAMES_H_INCLUDED
#define BK_NAMES_H_INCLUDED

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "bk_table.h"


#define BK_NAMES_FILE        "names"
#define BK_NAMES_MAGIC       "buildkit-names 1 "  /* with the version */

#define BK_NAMES_MAX         65536      /* lines */
#define BK_NAMES_SIZE_MAX    (8 * 1024 * 1024)
#define BK_NAMES_HOST_MAX    253
#define BK_NAMES_LABEL_MAX   63
#define BK_NAMES_POOL_MAX    (BK_TABLE_POOL_LEN - 1)
#define BK_NAMES_ARCH_MAX    (BK_TABLE_ARCH_LEN - 1)
#define BK_NAMES_CLASS_MAX   253
#define BK_NAMES_CERT_LEN    (64 + 4)   /* digits and ".pem" */
#define BK_NAMES_CERT_MAX    65536      /* bytes in such a file */

#define BK_NAMES_KEEP_S      60


typedef struct {
    const char  *data;          /* no NUL at the end; of the text */
    size_t       len;
} bk_names_str_t;


/* A line.  len 0: "-". */
typedef struct {
    bk_names_str_t  host;
    bk_names_str_t  pool;
    bk_names_str_t  arch;
    bk_names_str_t  cert;
} bk_name_t;


typedef struct {
    uint32_t        count;      /* as the first line says */
    bk_names_str_t  class_name;

    /* what is wrong, and in which line (from 1); NULL: nothing */
    const char     *why;
    uint32_t        line;

    const char     *pos;
    const char     *end;
    uint32_t        left;
    bk_names_str_t  last;
} bk_names_t;


/* Lower-case names as DNS has them; "*." in front where wild is set. */

static inline int
bk_names_host_ok(const char *s, size_t len, int wild)
{
    char    c;
    size_t  i, label;

    if (len == 0 || len > BK_NAMES_HOST_MAX) {
        return 0;
    }

    if (wild && len > 2 && s[0] == '*' && s[1] == '.') {
        s += 2;
        len -= 2;
    }

    label = 0;

    for (i = 0; i <= len; i++) {
        c = (i == len) ? '.' : s[i];

        if (c == '.') {
            if (label == 0 || label > BK_NAMES_LABEL_MAX || s[i - 1] == '-') {
                return 0;
            }

            label = 0;
            continue;
        }

        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'
              || (c == '-' && label)))
        {
            return 0;
        }

        label++;
    }

    return 1;
}


static inline int
bk_names_word_ok(const char *s, size_t len, size_t max)
{
    char    c;
    size_t  i;

    for (i = 0; i < len; i++) {
        c = s[i];

        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'
              || c == '.' || c == '_'))
        {
            return 0;
        }
    }

    return len > 0 && len <= max;
}


static inline int
bk_names_pool_ok(const char *s, size_t len)
{
    size_t       left;
    const char  *slash;

    slash = len ? (const char *) memchr(s, '/', len) : NULL;

    if (slash == NULL || len > BK_NAMES_POOL_MAX) {
        return 0;
    }

    left = (size_t) (slash - s);

    return bk_names_word_ok(s, left, len)
           && bk_names_word_ok(slash + 1, len - left - 1, len);
}


static inline int
bk_names_cert_ok(const char *s, size_t len)
{
    size_t  i;

    if (len != BK_NAMES_CERT_LEN || memcmp(s + 64, ".pem", 4) != 0) {
        return 0;
    }

    for (i = 0; i < 64; i++) {
        if (!((s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'f'))) {
            return 0;
        }
    }

    return 1;
}


/* As strcmp(). */

static inline int
bk_names_cmp(const bk_names_str_t *one, const bk_names_str_t *two)
{
    int     rc;
    size_t  len = one->len < two->len ? one->len : two->len;

    rc = len ? memcmp(one->data, two->data, len) : 0;

    return rc ? rc : (one->len > two->len) - (one->len < two->len);
}


/* Up to the blank or, for the last word, the end of the line; NULL: is not. */

static inline const char *
bk_names_word(const char *p, const char *eol, int last, bk_names_str_t *word)
{
    const char  *blank;

    blank = (p < eol) ? (const char *) memchr(p, ' ', (size_t) (eol - p))
                      : NULL;

    if ((blank == NULL) != (last != 0)) {
        return NULL;
    }

    word->data = p;
    word->len = (size_t) ((last ? eol : blank) - p);
    p = last ? eol : blank + 1;

    if (word->len == 1 && word->data[0] == '-') {
        word->len = 0;
        return p;
    }

    return word->len ? p : NULL;
}


static inline int
bk_names_bad(bk_names_t *r, const char *why)
{
    r->why = why;
    r->left = 0;

    return -1;
}


static inline const char *
bk_names_line(bk_names_t *r)
{
    const char  *eol;

    r->line++;

    if (r->pos == r->end) {
        return NULL;
    }

    eol = (const char *) memchr(r->pos, '\n', (size_t) (r->end - r->pos));

    return eol;
}


/* 0, or -1: r->why.  The text must outlive all that is read of it. */

static inline int
bk_names_open(bk_names_t *r, const char *text, size_t len)
{
    size_t       i, magic = sizeof(BK_NAMES_MAGIC) - 1;
    const char  *eol, *p;

    memset(r, 0, sizeof(bk_names_t));

    r->pos = text;
    r->end = text + len;

    if (len > BK_NAMES_SIZE_MAX) {
        return bk_names_bad(r, "it is too large");
    }

    if (len < magic || memcmp(text, BK_NAMES_MAGIC, magic) != 0) {
        return bk_names_bad(r, "it does not begin with \"" BK_NAMES_MAGIC
                               "\"");
    }

    eol = bk_names_line(r);

    if (eol == NULL) {
        return bk_names_bad(r, "the line is not complete");
    }

    p = text + magic;

    for (i = 0; p < eol && *p >= '0' && *p <= '9' && i < 6; i++, p++) {
        r->count = r->count * 10 + (uint32_t) (*p - '0');
    }

    if (i == 0 || r->count > BK_NAMES_MAX || (i > 1 && p[-(int) i] == '0')
        || p == eol || *p != ' ')
    {
        return bk_names_bad(r, "the number of names is no good");
    }

    p = bk_names_word(p + 1, eol, 1, &r->class_name);

    if (p == NULL
        || (r->class_name.len
            && !bk_names_word_ok(r->class_name.data, r->class_name.len,
                                 BK_NAMES_CLASS_MAX)))
    {
        return bk_names_bad(r, "the class is no good");
    }

    r->left = r->count;
    r->pos = eol + 1;

    return 0;
}


/* 1: a name; 0: that was all; -1: r->why. */

static inline int
bk_names_next(bk_names_t *r, bk_name_t *name)
{
    const char  *eol, *p;

    if (r->why) {
        return -1;
    }

    if (r->left == 0) {
        if (r->pos == r->end) {
            return 0;
        }

        r->line++;

        return bk_names_bad(r, "there are more lines than it says");
    }

    eol = bk_names_line(r);

    if (eol == NULL) {
        return bk_names_bad(r, "there are fewer lines than it says");
    }

    p = bk_names_word(r->pos, eol, 0, &name->host);
    p = p ? bk_names_word(p, eol, 0, &name->pool) : NULL;
    p = p ? bk_names_word(p, eol, 0, &name->arch) : NULL;
    p = p ? bk_names_word(p, eol, 1, &name->cert) : NULL;

    if (p == NULL) {
        return bk_names_bad(r, "it has not four words");
    }

    if (!bk_names_host_ok(name->host.data, name->host.len, 1)) {
        return bk_names_bad(r, "the host is no good");
    }

    if (!bk_names_pool_ok(name->pool.data, name->pool.len)) {
        return bk_names_bad(r, "the pool is no good");
    }

    if (name->arch.len && !bk_names_word_ok(name->arch.data, name->arch.len,
                                            BK_NAMES_ARCH_MAX))
    {
        return bk_names_bad(r, "the architecture is no good");
    }

    if (name->cert.len && !bk_names_cert_ok(name->cert.data, name->cert.len)) {
        return bk_names_bad(r, "the certificate's file is no good");
    }

    if (r->last.len && bk_names_cmp(&r->last, &name->host) >= 0) {
        return bk_names_bad(r, "the hosts are not in order");
    }

    r->last = name->host;
    r->pos = eol + 1;
    r->left--;

    return 1;
}


static inline const bk_name_t *
bk_names_exact(const bk_name_t *names, size_t n, const bk_names_str_t *host)
{
    int     rc;
    size_t  low = 0, mid;

    while (low < n) {
        mid = low + (n - low) / 2;
        rc = bk_names_cmp(host, &names[mid].host);

        if (rc == 0) {
            return &names[mid];
        }

        if (rc < 0) {
            n = mid;

        } else {
            low = mid + 1;
        }
    }

    return NULL;
}


/*
 * The line of a client's name (lower case, no dot at the end) among all of
 * them, in their order: its own, or that of "*." and the rest of it.
 */

static inline const bk_name_t *
bk_names_find(const bk_name_t *names, size_t n, const char *host, size_t len)
{
    char              wild[BK_NAMES_HOST_MAX + 1];
    const char       *dot;
    bk_names_str_t    key;
    const bk_name_t  *name;

    if (!bk_names_host_ok(host, len, 0)) {
        return NULL;
    }

    key.data = host;
    key.len = len;

    name = bk_names_exact(names, n, &key);
    dot = (const char *) memchr(host, '.', len);

    if (name || dot == NULL) {
        return name;
    }

    key.len = len - (size_t) (dot - host) + 1;
    wild[0] = '*';
    memcpy(wild + 1, dot, key.len - 1);
    key.data = wild;

    return bk_names_exact(names, n, &key);
}

#endif /* BK_NAMES_H_INCLUDED */
