/*
 * What the host says to systemd and asks of the kernel: sd_notify() without
 * its library, descriptors.  See host.h.
 */

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "host.h"


#define BK_FILES  65536


void
bk_notify(const char *text)
{
    int                  fd;
    size_t               len;
    const char          *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un   sun;

    if (path == NULL || (path[0] != '/' && path[0] != '@')
        || (len = strlen(path)) >= sizeof(sun.sun_path))
    {
        return;
    }

    memset(&sun, 0, sizeof(sun));
    sun.sun_family = AF_UNIX;
    memcpy(sun.sun_path, path, len);

    /* an abstract name begins with NUL */
    if (path[0] == '@') {
        sun.sun_path[0] = '\0';
    }

    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd != -1) {
        (void) sendto(fd, text, strlen(text), MSG_NOSIGNAL,
                      (struct sockaddr *) &sun,
                      (socklen_t) (offsetof(struct sockaddr_un, sun_path)
                                   + len));
        close(fd);
    }
}


void
bk_more_descriptors(void)
{
    struct rlimit  rl;

    if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur < BK_FILES) {
        rl.rlim_cur = rl.rlim_max < BK_FILES ? rl.rlim_max : BK_FILES;
        (void) setrlimit(RLIMIT_NOFILE, &rl);
    }
}
