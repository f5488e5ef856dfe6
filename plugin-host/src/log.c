/*
 * Log lines: see log.h.  A line is built in one buffer and written with one
 * write(2), so that lines of a restarted host never mix with each other.  A
 * full pipe loses the line: the loop must not block for its log.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bk_err.h"
#include "log.h"


#define BK_LOG_LINE  4096


static void bk_log_write(const char *line, size_t len);
static size_t bk_log_text(char *line, size_t size, const char *when, int level,
    const char *who, const char *msg);
static size_t bk_log_json(char *line, size_t size, const char *when, int level,
    const char *who, const char *msg);
static size_t bk_log_escape(char *dst, size_t size, const char *src);


static int   bk_log_max = BK_LOG_INFO;
static int   bk_log_format = BK_LOG_TEXT;
static int   bk_log_fd = STDERR_FILENO;
static char *bk_log_path;

static const char *const bk_log_names[] = {
    "none", "error", "warn", "info", "debug"
};


void
bk_log_set(int level, int format)
{
    bk_log_max = level;
    bk_log_format = format;
}


int
bk_log_level(void)
{
    return bk_log_max;
}


int
bk_log_open(const char *path, bk_err_t *err)
{
    int    fd;
    char  *copy;

    if (path == NULL) {
        return 0;
    }

    fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
    if (fd == -1) {
        return bk_err_set(err, 500, "LogFile", "cannot open the log %s: %s",
                          path, strerror(errno));
    }

    copy = strdup(path);
    if (copy == NULL) {
        abort();
    }

    if (bk_log_fd != STDERR_FILENO) {
        close(bk_log_fd);
    }

    free(bk_log_path);
    bk_log_path = copy;
    bk_log_fd = fd;

    return 0;
}


int
bk_log_reopen(bk_err_t *err)
{
    return bk_log_open(bk_log_path, err);
}


void
bk_log(int level, const char *who, const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    bk_log_v(level, who, fmt, args);
    va_end(args);
}


void
bk_log_v(int level, const char *who, const char *fmt, va_list args)
{
    char             line[BK_LOG_LINE], msg[BK_LOG_LINE / 2], when[32], *p;
    size_t           len;
    struct timespec  ts;

    if (level > bk_log_max || level < BK_LOG_ERROR) {
        return;
    }

    vsnprintf(msg, sizeof(msg), fmt, args);

    for (p = msg; *p != '\0'; p++) {
        if ((unsigned char) *p < 0x20 || *p == 0x7f) {
            *p = ' ';
        }
    }

    clock_gettime(CLOCK_REALTIME, &ts);
    bk_log_time((uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000,
                when, sizeof(when));

    if (bk_log_format == BK_LOG_JSON) {
        len = bk_log_json(line, sizeof(line), when, level, who, msg);

    } else {
        len = bk_log_text(line, sizeof(line), when, level, who, msg);
    }

    bk_log_write(line, len);
}


/* A pipe that says it is writable has room for PIPE_BUF bytes: a line. */

static void
bk_log_write(const char *line, size_t len)
{
    ssize_t        n;
    struct pollfd  pfd = { bk_log_fd, POLLOUT, 0 };

    if (poll(&pfd, 1, 0) == 1 && (pfd.revents & POLLOUT)) {
        n = write(bk_log_fd, line, len);
        (void) n;
    }
}


void
bk_log_err(int level, const char *who, const bk_err_t *err)
{
    if (err->hint[0] != '\0') {
        bk_log(level, who, "%s (%s)", err->text, err->hint);

    } else {
        bk_log(level, who, "%s", err->text);
    }
}


static size_t
bk_log_text(char *line, size_t size, const char *when, int level,
    const char *who, const char *msg)
{
    int  n;

    n = snprintf(line, size - 1, "%s %-5s %s: %s", when, bk_log_names[level],
                 who, msg);
    if ((size_t) n > size - 2) {
        n = (int) size - 2;
    }

    line[n] = '\n';

    return (size_t) n + 1;
}


static size_t
bk_log_json(char *line, size_t size, const char *when, int level,
    const char *who, const char *msg)
{
    int     n;
    size_t  len;

    n = snprintf(line, size, "{\"time\":\"%s\",\"level\":\"%s\",\"from\":\"",
                 when, bk_log_names[level]);
    len = (size_t) n;
    len += bk_log_escape(line + len, 128, who);
    len += (size_t) snprintf(line + len, size - len, "\",\"msg\":\"");
    len += bk_log_escape(line + len, size - len - 4, msg);
    memcpy(line + len, "\"}\n", 3);

    return len + 3;
}


static size_t
bk_log_escape(char *dst, size_t size, const char *src)
{
    size_t  len;

    for (len = 0; *src != '\0' && len + 2 < size; src++) {
        if (*src == '"' || *src == '\\') {
            dst[len++] = '\\';
        }

        dst[len++] = *src;
    }

    return len;
}


char *
bk_log_time(uint64_t ms, char *buf, size_t size)
{
    size_t     len;
    time_t     sec = (time_t) (ms / 1000);
    struct tm  tm;

    gmtime_r(&sec, &tm);
    len = strftime(buf, size, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(buf + len, size - len, ".%03uZ", (unsigned) (ms % 1000));

    return buf;
}
