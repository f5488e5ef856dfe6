/*
 * Where table, sockets and configurations are: a folder of our own in
 * /dev/shm.
 *
 * Containers of a Pod share /dev/shm, so it must be ours alone; what another
 * start of this container has left there is of no use.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "entry.h"


/* in a container always a tmpfs that anybody may write to, whatever of the
 * rest is read-only */
#define FOLDER_RUN  "/dev/shm/buildkit-gateway"


static int folder_lock(const char *run);
static void folder_clear(const char *run);


const char *
entry_folder(void)
{
    const char   *run;
    struct stat   st;

    run = getenv("BUILDKIT_GATEWAY_RUN");

    if (run == NULL) {
        run = FOLDER_RUN;
    }

    /* a unix socket's path is shorter than others */

    if (run[0] != '/' || strlen(run) > 80) {
        entry_log("BUILDKIT_GATEWAY_RUN must be an absolute path, and short");
        return NULL;
    }

    if (mkdir(run, 0700) != 0 && errno != EEXIST) {
        entry_log("cannot make %s: %s", run, strerror(errno));
        return NULL;
    }

    if (lstat(run, &st) != 0 || !S_ISDIR(st.st_mode)
        || st.st_uid != geteuid() || (st.st_mode & 077))
    {
        entry_log("%s is not a folder of mine alone", run);
        return NULL;
    }

    if (folder_lock(run) != 0) {
        return NULL;
    }

    folder_clear(run);

    return run;
}


/* for as long as we live */

static int
folder_lock(const char *run)
{
    int   fd;
    char  path[ENTRY_PATH];

    snprintf(path, sizeof(path), "%s/lock", run);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd != -1 && flock(fd, LOCK_EX | LOCK_NB) == 0) {
        return 0;
    }

    entry_log("%s: %s", path, errno == EWOULDBLOCK
              ? "another gateway has it" : strerror(errno));

    return -1;
}


static void
folder_clear(const char *run)
{
    char      path[ENTRY_PATH];
    unsigned  i;

    static const char *const  names[] = {
        "buildkit.table", "api.sock", "metrics.sock", "nginx.pid"
    };

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", run, names[i]);
        unlink(path);
    }
}
