/*
 * What a worker writes: into a file of its own, kept to a size, and its last
 * line is what people are told when it dies.
 */

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "process.h"


#define BK_OUTPUT_MAX   (16 * 1024 * 1024)
#define BK_OUTPUT_KEEP  (64 * 1024)


void
bk_output_last(const bk_worker_t *w, char *line, size_t size)
{
    int      fd;
    off_t    end;
    char     path[BK_PATH_MAX], text[4097];
    char    *p, *start;
    ssize_t  n;

    line[0] = '\0';

    fd = open(bk_text_path(path, w->dir, BK_OUTPUT_FILE), O_RDONLY|O_CLOEXEC);

    if (fd == -1) {
        return;
    }

    end = lseek(fd, 0, SEEK_END);
    n = pread(fd, text, sizeof(text) - 1, end > 4096 ? end - 4096 : 0);
    (void) close(fd);

    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == ' ')) {
        n--;
    }

    if (n <= 0) {
        return;
    }

    text[n] = '\0';
    start = text;

    for (p = text; *p != '\0'; p++) {
        if (*p == '\n') {
            start = p + 1;
        }
    }

    for (p = start; *p != '\0'; p++) {
        /* whatever it is, it must be UTF-8 where it is shown */
        if ((unsigned char) *p >= 0x80) {
            *p = '?';
        }
    }

    if (strcmp(start, BK_OUTPUT_START) != 0) {
        bk_text_clean(line, size, "%s", start);
    }
}


/*
 * Keeps the end of a log that has grown too long.  The process goes on
 * writing at the end of the same file; a line that it writes meanwhile may
 * be lost.
 */

void
bk_output_trim(const bk_worker_t *w)
{
    int          fd;
    char         path[BK_PATH_MAX];
    char        *tail;
    ssize_t      n;
    struct stat  st;

    fd = open(bk_text_path(path, w->dir, BK_OUTPUT_FILE),
              O_RDWR|O_APPEND|O_CLOEXEC|O_NOFOLLOW);

    if (fd == -1) {
        return;
    }

    if (fstat(fd, &st) != 0 || st.st_size <= BK_OUTPUT_MAX) {
        (void) close(fd);
        return;
    }

    tail = malloc(BK_OUTPUT_KEEP);

    if (tail == NULL) {
        abort();
    }

    n = pread(fd, tail, BK_OUTPUT_KEEP, st.st_size - BK_OUTPUT_KEEP);

    if (n > 0 && ftruncate(fd, 0) == 0) {
        n = write(fd, tail, (size_t) n);
    }

    free(tail);
    (void) close(fd);
}
