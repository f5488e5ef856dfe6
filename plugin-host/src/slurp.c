/* Small local files: see bk_slurp.h. */

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bk_slurp.h"


char *
bk_slurp(const char *path, size_t max, size_t *len)
{
    int          fd, saved;
    char        *buf;
    ssize_t      n;
    struct stat  st;

    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd == -1) {
        return NULL;
    }

    if (fstat(fd, &st) == -1 || !S_ISREG(st.st_mode)) {
        close(fd);
        errno = EINVAL;
        return NULL;
    }

    if ((uintmax_t) st.st_size > max) {
        close(fd);
        errno = EFBIG;
        return NULL;
    }

    /* it may grow meanwhile, and files of /proc say that they are empty */
    buf = malloc(max + 2);
    if (buf == NULL) {
        abort();
    }

    n = read(fd, buf, max + 1);
    saved = errno;
    close(fd);

    if (n < 0 || (size_t) n > max) {
        free(buf);
        errno = n < 0 ? saved : EFBIG;
        return NULL;
    }

    buf[n] = '\0';
    *len = (size_t) n;

    return buf;
}
