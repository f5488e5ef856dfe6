/* Telling systemd how we are: sd_notify() without its library.  See host.h. */

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "host.h"


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
