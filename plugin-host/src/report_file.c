/*
 * Reads one report file.  Nothing in it is trusted: it may be half a file,
 * another program's, or somebody's idea of a joke.
 *
 * It is read, not mapped: a mapping would turn a file that is cut short into
 * a SIGBUS.  The writer stores aligned 64-bit words and the kernel copies
 * such words whole.  A session's record is read twice, and counts when all
 * that seq guards was the same both times, and seq is even.  To compare seq
 * alone is not enough: the kernel copies in no particular order, so a seq may
 * be newer than what stands behind it.  Equal copies of which one was begun
 * when the other had ended are what that seq stands for.
 */

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bk_err.h"
#include "report_int.h"


#define BK_REPORT_ROWS   (BK_REPORT_POOLS * sizeof(bk_report_pool_t))

/* records that are read at a time */
#define BK_REPORT_CHUNK  64


static int bk_report_header_ok(const bk_report_header_t *h, uint64_t size,
    bk_err_t *err);
static int bk_report_pools_ok(bk_report_pool_t *pools, bk_err_t *err);
static int bk_report_read_sessions(int fd, bk_report_copy_t *copy,
    bk_err_t *err);
static uint32_t bk_report_room(bk_report_copy_t *copy);
static int bk_report_session_ok(bk_report_session_t *s,
    const bk_report_session_t *again);
static int bk_report_text_ok(const char *text, size_t size);
static int bk_report_get(int fd, void *buf, size_t size, uint64_t offset,
    bk_err_t *err);


int
bk_report_read(int dir, const char *name, bk_report_copy_t *copy,
    bk_err_t *err)
{
    int  fd, rc;

    /* O_NONBLOCK: a FIFO in the folder must not stop us */
    fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    if (fd == -1) {
        return bk_err_set(err, errno == ELOOP ? 400 : 500, "ReportUnreadable",
                          "cannot open it: %s", strerror(errno));
    }

    rc = bk_report_read_fd(fd, copy, err);

    /* a row that had just got its name can be read as one without */
    if (rc != 0) {
        rc = bk_report_read_fd(fd, copy, err);
    }

    close(fd);

    if (rc != 0) {
        /* it was in no budget this time: its room goes back */
        free(copy->sessions);
        copy->sessions = NULL;
        copy->room = 0;
        copy->nsessions = 0;
    }

    return rc;
}


int
bk_report_read_fd(int fd, bk_report_copy_t *copy, bk_err_t *err)
{
    struct stat         st;
    bk_report_header_t  head;

    if (fstat(fd, &st) == -1) {
        return bk_err_set(err, 500, "ReportUnreadable",
                          "cannot look at it: %s", strerror(errno));
    }

    if (!S_ISREG(st.st_mode)) {
        return bk_err_set(err, 400, "ReportBad", "it is no file");
    }

    if (st.st_size < (off_t) sizeof(head)) {
        return bk_err_set(err, 400, "ReportBad", "it is too short");
    }

    if (bk_report_get(fd, &head, sizeof(head), 0, err) != 0
        || bk_report_header_ok(&head, (uint64_t) st.st_size, err) != 0)
    {
        return -1;
    }

    if (copy->pools == NULL) {
        copy->pools = malloc(BK_REPORT_ROWS);
        if (copy->pools == NULL) {
            abort();
        }
    }

    /* whatever fails from here on leaves nothing behind to be believed */
    memset(copy->pools, 0, BK_REPORT_ROWS);

    copy->head = head;
    copy->head.boot[sizeof(head.boot) - 1] = '\0';
    copy->head.folded_boot[sizeof(head.folded_boot) - 1] = '\0';
    copy->nsessions = 0;

    if (bk_report_get(fd, copy->pools, BK_REPORT_ROWS, head.pools_offset, err)
        != 0
        || bk_report_pools_ok(copy->pools, err) != 0
        || bk_report_read_sessions(fd, copy, err) != 0)
    {
        memset(copy->pools, 0, BK_REPORT_ROWS);
        copy->nsessions = 0;
        return -1;
    }

    return 0;
}


static int
bk_report_read_sessions(int fd, bk_report_copy_t *copy, bk_err_t *err)
{
    size_t                size;
    uint32_t              i, k, n, left;
    uint64_t              at;
    bk_report_session_t  *s, twice[BK_REPORT_CHUNK];

    left = bk_report_room(copy);
    at = copy->head.sessions_offset;

    for ( /* void */ ; left > 0; left -= n) {
        n = left < BK_REPORT_CHUNK ? left : BK_REPORT_CHUNK;
        size = n * sizeof(bk_report_session_t);

        /* pages behind those that count are not touched: a file of holes
         * takes no memory */
        s = &copy->sessions[copy->nsessions];

        if (bk_report_get(fd, s, size, at, err) != 0
            || bk_report_get(fd, twice, size, at, err) != 0)
        {
            return -1;
        }

        for (i = 0, k = 0; i < n; i++) {
            if (bk_report_session_ok(&s[i], &twice[i])) {
                s[k++] = s[i];
            }
        }

        copy->nsessions += k;
        at += size;
    }

    return 0;
}


/* How many are to be read, with room for them and for few more. */

static uint32_t
bk_report_room(bk_report_copy_t *copy)
{
    uint32_t  n;

    n = (uint32_t) copy->head.nused;
    copy->nsessions = 0;
    copy->unlisted = 0;

    if (copy->left != NULL) {

        if (n > *copy->left) {
            copy->unlisted = 1;
            n = 0;
        }

        *copy->left -= n;
    }

    if (n > copy->room || copy->room > n + n / 2 + BK_REPORT_CHUNK) {
        free(copy->sessions);
        copy->sessions = NULL;
        copy->room = n != 0 ? n + n / 4 + 16 : 0;

        if (copy->room != 0) {
            copy->sessions = malloc(copy->room
                                    * sizeof(bk_report_session_t));
            if (copy->sessions == NULL) {
                abort();
            }
        }
    }

    return n;
}


void
bk_report_copy_free(bk_report_copy_t *copy)
{
    free(copy->pools);
    free(copy->sessions);
    memset(copy, 0, sizeof(bk_report_copy_t));
}


static int
bk_report_header_ok(const bk_report_header_t *h, uint64_t size, bk_err_t *err)
{
    const uint64_t  rows = sizeof(*h) + BK_REPORT_ROWS;

    if (memcmp(h->magic, BK_REPORT_MAGIC, BK_REPORT_MAGIC_LEN - 1) != 0) {
        return bk_err_set(err, 400, "ReportBad", "it is no report");
    }

    if (h->magic[BK_REPORT_MAGIC_LEN - 1]
        != BK_REPORT_MAGIC[BK_REPORT_MAGIC_LEN - 1])
    {
        /* a gateway of another release, which goes on writing it */
        return bk_err_set(err, 500, "ReportVersion",
                          "its layout is version %c, ours is %c",
                          h->magic[BK_REPORT_MAGIC_LEN - 1],
                          BK_REPORT_MAGIC[BK_REPORT_MAGIC_LEN - 1]);
    }

    if (h->endian != BK_REPORT_ENDIAN) {
        return bk_err_set(err, 400, "ReportBad",
                          "it was written on another kind of machine");
    }

    if (h->header_size != sizeof(*h)
        || h->pool_size != sizeof(bk_report_pool_t)
        || h->session_size != sizeof(bk_report_session_t)
        || h->npools != BK_REPORT_POOLS
        || h->nsessions > BK_REPORT_MAX_SESSIONS
        || h->pools_offset != sizeof(*h)
        || h->sessions_offset != rows
        || h->nused > h->nsessions)
    {
        return bk_err_set(err, 400, "ReportBad",
                          "its sizes are not those of its version");
    }

    if (h->total_size != rows + (uint64_t) h->nsessions * h->session_size
        || h->total_size != size)
    {
        return bk_err_set(err, 400, "ReportBad",
                          "it is not as long as it says");
    }

    if (memchr(h->boot, '\0', sizeof(h->boot)) == NULL) {
        return bk_err_set(err, 400, "ReportBad", "its boot id has no end");
    }

    return 0;
}


/* Names become labels: what needs quoting there is none of ours. */

static int
bk_report_pools_ok(bk_report_pool_t *pools, bk_err_t *err)
{
    unsigned  i;

    for (i = 0; i < BK_REPORT_POOLS; i++) {
        if (pools[i].used > 1) {
            break;
        }

        if (pools[i].used == 0) {
            pools[i].name[0] = '\0';
            continue;
        }

        if (!bk_report_text_ok(pools[i].name, BK_REPORT_POOL_LEN)
            || (i == 0) != (pools[i].name[0] == '\0'))
        {
            break;
        }
    }

    if (i < BK_REPORT_POOLS) {
        return bk_err_set(err, 400, "ReportBad",
                          "row %u holds what no gateway writes", i);
    }

    return 0;
}


/* 1: there is a session, and the copy of it is whole. */

static int
bk_report_session_ok(bk_report_session_t *s, const bk_report_session_t *again)
{
    return s->seq % 2 == 0
           && memcmp(s, again, offsetof(bk_report_session_t, bytes_up)) == 0
           && s->phase != BK_PHASE_FREE && s->phase < BK_PHASES
           && s->kind < BK_KINDS
           && s->reason < (s->phase == BK_PHASE_REFUSED ? BK_REFUSED
                           : s->phase == BK_PHASE_CUT ? BK_CUT : 64)
           && s->pool < BK_REPORT_POOLS
           && bk_report_text_ok(s->allocation, BK_REPORT_ID_LEN)
           && bk_report_text_ok(s->client, BK_REPORT_CLIENT_LEN)
           && bk_report_text_ok(s->worker, BK_REPORT_NAME_LEN);
}


static int
bk_report_text_ok(const char *text, size_t size)
{
    size_t  i;

    for (i = 0; i < size; i++) {
        if (text[i] == '\0') {
            return 1;
        }

        if (text[i] <= ' ' || text[i] > '~' || text[i] == '"'
            || text[i] == '\\')
        {
            return 0;
        }
    }

    return 0;
}


static int
bk_report_get(int fd, void *buf, size_t size, uint64_t offset, bk_err_t *err)
{
    char     *p = buf;
    ssize_t   n;

    while (size > 0) {
        n = pread(fd, p, size, (off_t) offset);

        if (n == -1 && errno == EINTR) {
            continue;
        }

        if (n == -1) {
            return bk_err_set(err, 500, "ReportUnreadable",
                              "cannot read it: %s", strerror(errno));
        }

        if (n == 0) {
            return bk_err_set(err, 400, "ReportBad",
                              "it was cut short while it was read");
        }

        p += n;
        offset += (uint64_t) n;
        size -= (size_t) n;
    }

    return 0;
}
