/*
 * The route table's file, mapped for reading.
 *
 * What is read is live memory of another program's file.  bk_table_read.h
 * trusts no value in it; what is left is a file that shrinks while it is
 * looked at, which the kernel tells with SIGBUS: here it ends the reading
 * with an error.
 */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bkctl.h"


static void bk_map_sigbus(int signo);


static sigjmp_buf  bk_map_jump;


int
bk_map_read(const char *path, int (*fn)(const bk_map_t *m, void *data),
    void *data, char *error, size_t size)
{
    int                fd, rc;
    bk_map_t           m;
    struct stat        st;
    struct sigaction   sa, old;

    fd = open(path, O_RDONLY|O_CLOEXEC|O_NONBLOCK);

    if (fd == -1) {
        snprintf(error, size, "cannot read the route table %s: %s", path,
                 strerror(errno));
        return -1;
    }

    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        snprintf(error, size, "the route table %s is not a file", path);
        close(fd);
        return -1;
    }

    m.path = path;
    m.size = (size_t) st.st_size;
    m.base = NULL;

    if (m.size) {
        m.base = mmap(NULL, m.size, PROT_READ, MAP_SHARED, fd, 0);
    }

    close(fd);

    if (m.base == MAP_FAILED) {
        snprintf(error, size, "cannot map the route table %s: %s", path,
                 strerror(errno));
        return -1;
    }

    memset(&sa, 0, sizeof(struct sigaction));
    sa.sa_handler = bk_map_sigbus;
    sigemptyset(&sa.sa_mask);
    sigaction(SIGBUS, &sa, &old);

    if (sigsetjmp(bk_map_jump, 1) == 0) {
        rc = fn(&m, data);

    } else {
        snprintf(error, size, "the route table %s was cut short while it was "
                 "read", path);
        rc = -1;
    }

    sigaction(SIGBUS, &old, NULL);

    if (m.base) {
        munmap(m.base, m.size);
    }

    return rc;
}


static void
bk_map_sigbus(int signo)
{
    (void) signo;

    siglongjmp(bk_map_jump, 1);
}
