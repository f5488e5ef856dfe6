/*
 * The audit log: see audit.h.  A line is one write(2) on a descriptor that was
 * opened O_APPEND and does not block, so lines of a host that goes and of the
 * one that comes never mix.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit.h"
#include "bk_err.h"
#include "log.h"
#include "model.h"
#include "slow.h"


#define BK_AUDIT_SAY_MS  60000


struct bk_audit_s {
    char      *path;
    int        fd;
    unsigned   torn:1;          /* the last line is not whole */
    uint64_t   written;
    uint64_t   lost;
    uint64_t   said_ms;         /* when it was last said that lines are lost */
};


static int bk_audit_open(const char *path, bk_err_t *err);
static void bk_audit_lost(bk_audit_t *a, int e);


int
bk_audit_new(bk_audit_t **out, const char *path, bk_err_t *err)
{
    int          fd;
    bk_audit_t  *a;

    fd = bk_audit_open(path, err);
    if (fd == -1) {
        return -1;
    }

    a = calloc(1, sizeof(bk_audit_t));
    if (a == NULL || (a->path = strdup(path)) == NULL) {
        abort();
    }

    a->fd = fd;
    *out = a;

    return 0;
}


void
bk_audit_free(bk_audit_t **ap)
{
    bk_audit_t  *a = *ap;

    if (a != NULL) {
        *ap = NULL;
        close(a->fd);
        free(a->path);
        free(a);
    }
}


static int
bk_audit_open(const char *path, bk_err_t *err)
{
    int        fd;
    const int  flags = O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;

    fd = open(path, flags | O_CREAT | O_EXCL, 0640);

    if (fd != -1) {
        /* our umask is stricter; one that was there keeps its mode */
        (void) fchmod(fd, 0640);

    } else if (errno == EEXIST) {
        fd = open(path, flags);
    }

    if (fd == -1) {
        bk_err_set(err, 500, "AuditFile", "cannot open the audit log %s: %s",
                   path, strerror(errno));
        return bk_err_hint(err, "its folder must be there, and writable for "
                           "plugin-host");
    }

    return fd;
}


int
bk_audit_reopen(bk_audit_t *a, bk_err_t *err)
{
    int  fd;

    fd = bk_audit_open(a->path, err);
    if (fd == -1) {
        return -1;
    }

    close(a->fd);
    a->fd = fd;
    a->torn = 0;

    return 0;
}


void
bk_audit_write(bk_audit_t *a, json_t *line)
{
    char      when[32], *text;
    size_t    len;
    json_t   *all;
    ssize_t   n;

    bk_log_time(bk_model_now_ms(), when, sizeof(when));

    all = json_pack("{s:s}", "time", when);
    json_object_update_missing(all, line);
    json_decref(line);

    text = json_dumps(all, JSON_COMPACT);
    json_decref(all);

    if (text == NULL) {
        bk_audit_lost(a, EILSEQ);
        return;
    }

    len = strlen(text);
    text[len] = '\n';       /* in place of the NUL */

    if (a->torn && write(a->fd, "\n", 1) == 1) {
        a->torn = 0;
    }

    n = write(a->fd, text, len + 1);

    if (n == (ssize_t) len + 1) {
        a->written++;

    } else {
        a->torn |= n > 0;
        bk_audit_lost(a, n == -1 ? errno : ENOSPC);
    }

    free(text);
}


static void
bk_audit_lost(bk_audit_t *a, int e)
{
    uint64_t  now = bk_host_monotonic_ms();

    a->lost++;

    if (a->said_ms == 0 || now - a->said_ms >= BK_AUDIT_SAY_MS) {
        a->said_ms = now;
        bk_log(BK_LOG_ERROR, "audit", "%s: %s; %llu lines are lost so far",
               a->path, strerror(e), (unsigned long long) a->lost);
    }
}


void
bk_audit_stats(const bk_audit_t *a, uint64_t *written, uint64_t *lost)
{
    *written = a != NULL ? a->written : 0;
    *lost = a != NULL ? a->lost : 0;
}
