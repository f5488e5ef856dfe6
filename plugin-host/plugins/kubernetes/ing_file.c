/*
 * Lines and certificates -> the folder that nginx reads: see bk_names.h for
 * what it may rely on.  Nothing is written that is so already; what cannot be
 * written is tried again, and nginx has what it had.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bk_names.h"
#include "bk_slurp.h"
#include "ing.h"


/* A certificate's file, and whether a line refers to it. */
struct ing_file_s {
    UT_hash_handle  hh;
    uint64_t        gone_ms;    /* monotonic: since then; 0: it is */
    int             used;
    char            name[BK_NAMES_CERT_LEN + 1];
};


static int ing_file_certs(ing_t *ing);
static int ing_file_put(ing_t *ing, const char *name, const char *data,
    size_t len);
static int ing_file_trouble(ing_t *ing, const char *what, const char *name);
static void ing_file_used(ing_t *ing);
static ing_file_t *ing_file_get(ing_t *ing, const char *name);
static void ing_file_old(ing_t *ing, int dir, const char *name);
static int ing_file_good(ing_t *ing, const char *text);


/* What an earlier run has written is what nginx has. */

void
ing_file_start(ing_t *ing)
{
    char    *path;
    size_t   len;

    if (mkdir(ing->conf->dir, 0700) != 0 && errno != EEXIST) {
        ing_file_trouble(ing, "make", "");
    }

    path = gw_key(ing->conf->dir, BK_NAMES_FILE);
    ing->text = bk_slurp(path, BK_NAMES_SIZE_MAX, &len);
    free(path);
}


void
ing_file_write(ing_t *ing)
{
    char  *text = ing_names_text(ing, ing->conf->class_name);

    if (ing_file_good(ing, text) && ing_file_certs(ing) == 0
        && (ing->text == NULL || strcmp(ing->text, text) != 0)
        && ing_file_put(ing, BK_NAMES_FILE, text, strlen(text)) == 0)
    {
        ing->host->log(ing->host, BK_LOG_INFO, "%zu names for nginx, of %zu "
                       "hosts", ing->nlines, ing->nhosts);
        ing_kept_free(ing);
        free(ing->text);
        ing->text = text;
        text = NULL;
    }

    free(text);
    ing_file_sweep(ing);
}


/* nginx would take nothing of it. */

static int
ing_file_good(ing_t *ing, const char *text)
{
    int         rc;
    bk_name_t   name;
    bk_names_t  r;

    (void) bk_names_open(&r, text, strlen(text));

    do {
        rc = bk_names_next(&r, &name);
    } while (rc == 1);

    if (rc == 0) {
        return 1;
    }

    ing->host->log(ing->host, BK_LOG_ERROR, "the names are not written: line "
                   "%u: %s", r.line, r.why);

    return 0;
}


static int
ing_file_certs(ing_t *ing)
{
    int            rc = 0;
    char          *path;
    size_t         i;
    struct stat    st;
    ing_secret_t  *s;

    ing->turns++;

    for (i = 0; i < ing->nlines; i++) {
        s = ing->lines[i].secret;

        /* once is enough */
        if (s == NULL || s->turn == ing->turns) {
            continue;
        }

        s->turn = ing->turns;
        path = gw_key(ing->conf->dir, s->cert.file);

        if ((lstat(path, &st) != 0 || !S_ISREG(st.st_mode)
             || (size_t) st.st_size != s->cert.len)
            && ing_file_put(ing, s->cert.file, s->cert.pem, s->cert.len) != 0)
        {
            rc = -1;
        }

        free(path);
    }

    return rc;
}


static int
ing_file_put(ing_t *ing, const char *name, const char *data, size_t len)
{
    int      fd, rc = -1;
    char    *path = gw_key(ing->conf->dir, name), *tmp;
    size_t   done = 0;
    ssize_t  n = 0;

    if (asprintf(&tmp, "%s.tmp", path) < 0) {
        abort();
    }

    (void) unlink(tmp);
    fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
              0600);

    while (fd != -1 && done < len) {
        n = write(fd, data + done, len - done);

        if (n <= 0) {
            break;
        }

        done += (size_t) n;
    }

    if (fd != -1 && (close(fd) != 0 || done < len || rename(tmp, path) != 0)) {
        rc = ing_file_trouble(ing, "write", name);
        (void) unlink(tmp);

    } else if (fd == -1) {
        rc = ing_file_trouble(ing, "write", name);

    } else {
        rc = 0;
        ing->trouble[0] = '\0';
    }

    free(tmp);
    free(path);

    return rc;
}


/* Once, until it goes well again. */

static int
ing_file_trouble(ing_t *ing, const char *what, const char *name)
{
    char  text[sizeof(ing->trouble)];

    snprintf(text, sizeof(text), "cannot %s %.100s: %s", what,
             strcmp(name, BK_NAMES_FILE) == 0 ? name : "a file",
             strerror(errno));

    if (strcmp(text, ing->trouble) != 0) {
        strcpy(ing->trouble, text);
        ing->host->log(ing->host, BK_LOG_ERROR, "%s/%s: %s; nginx keeps the "
                       "names that it has", ing->conf->dir, name, text);
    }

    return -1;
}


/* --- files that nobody needs any more ---------------------------------------- */

void
ing_file_sweep(ing_t *ing)
{
    DIR            *dir = opendir(ing->conf->dir);
    size_t          len;
    ing_file_t     *f;
    struct dirent  *e;

    if (dir == NULL) {
        return;
    }

    for (f = ing->files; f != NULL; f = f->hh.next) {
        f->used = 0;
    }

    ing_file_used(ing);

    while ((e = readdir(dir)) != NULL) {
        len = strlen(e->d_name);

        if (len == BK_NAMES_CERT_LEN + 4
            && strcmp(e->d_name + BK_NAMES_CERT_LEN, ".tmp") == 0)
        {
            (void) unlinkat(dirfd(dir), e->d_name, 0);

        } else if (bk_names_cert_ok(e->d_name, len)) {
            ing_file_old(ing, dirfd(dir), e->d_name);
        }
    }

    closedir(dir);
}


/* By the text that is there, not by what it is to be. */

static void
ing_file_used(ing_t *ing)
{
    char         file[BK_NAMES_CERT_LEN + 1];
    bk_name_t    name;
    bk_names_t   r;
    ing_file_t  *f;

    if (ing->text == NULL
        || bk_names_open(&r, ing->text, strlen(ing->text)) != 0)
    {
        return;
    }

    while (bk_names_next(&r, &name) == 1) {
        if (name.cert.len != 0) {
            memcpy(file, name.cert.data, BK_NAMES_CERT_LEN);
            file[BK_NAMES_CERT_LEN] = '\0';
            f = ing_file_get(ing, file);
            f->used = 1;
            f->gone_ms = 0;
        }
    }
}


static ing_file_t *
ing_file_get(ing_t *ing, const char *name)
{
    ing_file_t  *f;

    HASH_FIND_STR(ing->files, name, f);

    if (f == NULL) {
        f = calloc(1, sizeof(ing_file_t));
        if (f == NULL) {
            abort();
        }

        strcpy(f->name, name);
        HASH_ADD_STR(ing->files, name, f);
    }

    return f;
}


static void
ing_file_old(ing_t *ing, int dir, const char *name)
{
    uint64_t     now = ing->host->monotonic_ms(ing->host);
    ing_file_t  *f = ing_file_get(ing, name);

    if (f->used) {
        return;
    }

    if (f->gone_ms == 0) {
        f->gone_ms = now;

    } else if (now - f->gone_ms > BK_NAMES_KEEP_S * 1000) {
        (void) unlinkat(dir, name, 0);
        HASH_DEL(ing->files, f);
        free(f);
    }
}


void
ing_file_free(ing_t *ing)
{
    ing_file_t  *f, *tmp;

    HASH_ITER(hh, ing->files, f, tmp) {
        HASH_DEL(ing->files, f);
        free(f);
    }

    ing_kept_free(ing);
    free(ing->text);
}
