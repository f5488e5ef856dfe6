/*
 * The socket that nginx asks at: see controller.h and include/bk_lookup.h.
 *
 * What comes in holds tokens, so nobody else may take this place: the folder
 * must be one in which only this user (or root) can make files.  Whoever may
 * connect can only ask; he is let go at his first wrong word.  Answers that a
 * client does not take are lost: it asks again.
 */

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "controller.h"


#define CTL_CLIENTS    512
#define CTL_BATCH      100          /* messages of a client in one turn */
#define CTL_BACKLOG    128
#define CTL_NEW        ".new"


/* a worker process of nginx */
struct ctl_client_s {
    ctl_client_t  *prev, *next;
    ctl_t         *ctl;
    uint64_t       number;
    bk_watch_t    *watch;
    int            fd;
};


static int ctl_door_group(ctl_t *ctl, gid_t *gid, bk_err_t *err);
static int ctl_door_folder(ctl_t *ctl, gid_t gid, bk_err_t *err);
static int ctl_door_listen(ctl_t *ctl, gid_t gid, bk_err_t *err);
static int ctl_door_bind(int fd, const char *path);
static void ctl_door_accept(int fd, int events, void *data);
static void ctl_door_read(int fd, int events, void *data);
static int ctl_door_good(const bk_lookup_ask_t *ask, ssize_t n);
static void ctl_door_close(ctl_client_t *c);


int
ctl_door_open(ctl_t *ctl, bk_err_t *err)
{
    gid_t  gid = (gid_t) -1;

    if (ctl_door_group(ctl, &gid, err) != 0
        || ctl_door_folder(ctl, gid, err) != 0
        || ctl_door_listen(ctl, gid, err) != 0)
    {
        return -1;
    }

    ctl->watch = ctl->host->watch_new(ctl->host, ctl->fd, BK_READ,
                                      ctl_door_accept, ctl);

    return 0;
}


static int
ctl_door_group(ctl_t *ctl, gid_t *gid, bk_err_t *err)
{
    struct group  *g;

    if (ctl->conf.group[0] == '\0') {
        return 0;
    }

    g = getgrnam(ctl->conf.group);
    if (g == NULL) {
        return bk_err_set(err, 400, "NoGroup", "there is no group \"%.60s\"",
                          ctl->conf.group);
    }

    *gid = g->gr_gid;

    return 0;
}


/* Made as it should be, or taken as it is when it is good enough. */

static int
ctl_door_folder(ctl_t *ctl, gid_t gid, bk_err_t *err)
{
    int           rc = 0;
    char         *folder;
    struct stat   st;

    folder = strdup(ctl->conf.socket);
    if (folder == NULL) {
        abort();
    }

    strrchr(folder, '/')[0] = '\0';

    if (mkdir(folder, 0700) == 0) {
        if (gid != (gid_t) -1
            && (chown(folder, (uid_t) -1, gid) != 0
                || chmod(folder, 0750) != 0))
        {
            rc = bk_err_set(err, 500, "BadFolder", "%.300s cannot be given to "
                            "its group: %s", folder, strerror(errno));
        }

    } else if (errno != EEXIST) {
        rc = bk_err_set(err, 500, "BadFolder", "%.300s cannot be made: %s",
                        folder, strerror(errno));

    } else if (lstat(folder, &st) != 0 || !S_ISDIR(st.st_mode)) {
        rc = bk_err_set(err, 500, "BadFolder", "%.300s is no folder", folder);

    } else if ((st.st_uid != geteuid() && st.st_uid != 0)
               || (st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
    {
        rc = bk_err_set(err, 500, "BadFolder", "others can make files in "
                        "%.300s: tokens are sent to a socket there", folder);
        bk_err_hint(err, "give the option socket a folder of its own");
    }

    free(folder);

    return rc;
}


/* It gets its name when it can be used: nobody finds half of it. */

static int
ctl_door_listen(ctl_t *ctl, gid_t gid, bk_err_t *err)
{
    int   fd;
    char  path[sizeof(((struct sockaddr_un *) 0)->sun_path)];

    snprintf(path, sizeof(path), "%s" CTL_NEW, ctl->conf.socket);

    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd == -1 || ctl_door_bind(fd, path) != 0
        || (gid != (gid_t) -1 && chown(path, (uid_t) -1, gid) != 0)
        || chmod(path, gid != (gid_t) -1 ? 0660 : 0600) != 0
        || listen(fd, CTL_BACKLOG) != 0
        || rename(path, ctl->conf.socket) != 0)
    {
        (void) bk_err_set(err, 500, "BadSocket", "no socket %.200s: %s",
                          ctl->conf.socket, strerror(errno));

        if (fd != -1) {
            (void) close(fd);
            (void) unlink(path);
        }

        return -1;
    }

    ctl->fd = fd;

    return 0;
}


static int
ctl_door_bind(int fd, const char *path)
{
    int                 rc;
    mode_t              mask;
    struct sockaddr_un  sun;

    memset(&sun, 0, sizeof(sun));
    sun.sun_family = AF_UNIX;
    snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);

    (void) unlink(path);

    mask = umask(0177);
    rc = bind(fd, (struct sockaddr *) &sun, sizeof(sun));
    (void) umask(mask);

    return rc;
}


static void
ctl_door_accept(int fd, int events, void *data)
{
    int            conn;
    ctl_t         *ctl = data;
    ctl_client_t  *c;

    (void) events;

    for ( ;; ) {
        conn = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (conn == -1) {
            return;
        }

        if (ctl->nclients == CTL_CLIENTS) {
            (void) close(conn);
            continue;
        }

        c = calloc(1, sizeof(ctl_client_t));
        if (c == NULL) {
            abort();
        }

        c->ctl = ctl;
        c->fd = conn;
        c->number = ++ctl->last_client;
        c->watch = ctl->host->watch_new(ctl->host, conn, BK_READ,
                                        ctl_door_read, c);

        DL_APPEND(ctl->clients, c);
        ctl->nclients++;
    }
}


static void
ctl_door_read(int fd, int events, void *data)
{
    ssize_t           n;
    unsigned          i;
    ctl_client_t     *c = data;
    bk_lookup_ask_t   ask;

    (void) events;

    for (i = 0; i < CTL_BATCH; i++) {

        /* MSG_TRUNC: how long it was, and not how much of it there is */
        n = recv(fd, &ask, sizeof(ask), MSG_DONTWAIT | MSG_TRUNC);

        if (n == -1 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }

        if (n <= 0) {
            ctl_door_close(c);
            return;
        }

        if (!ctl_door_good(&ask, n)) {
            if (c->ctl->bad_asks++ == 0) {
                c->ctl->host->log(c->ctl->host, BK_LOG_WARN, "%s: a question "
                                  "that no gateway asks; is nginx's module of "
                                  "another version?", c->ctl->conf.socket);
            }

            ctl_door_close(c);
            break;
        }

        ctl_row_ask(c->ctl, c->number, &ask);
    }

    explicit_bzero(&ask, sizeof(ask));
}


static int
ctl_door_good(const bk_lookup_ask_t *ask, ssize_t n)
{
    uint32_t  i;

    if (n != (ssize_t) sizeof(bk_lookup_ask_t)
        || memcmp(ask->magic, BK_LOOKUP_MAGIC, BK_LOOKUP_MAGIC_LEN) != 0
        || ask->token_len == 0 || ask->token_len > BK_LOOKUP_TOKEN_LEN)
    {
        return 0;
    }

    for (i = 0; i < ask->token_len; i++) {
        if (!((ask->token[i] >= 'A' && ask->token[i] <= 'Z')
              || (ask->token[i] >= 'a' && ask->token[i] <= 'z')
              || (ask->token[i] >= '0' && ask->token[i] <= '9')
              || ask->token[i] == '-' || ask->token[i] == '_'))
        {
            return 0;
        }
    }

    return 1;
}


void
ctl_door_answer(ctl_t *ctl, uint64_t client, const uint8_t *hash, int verdict,
    const char *text)
{
    size_t               len = strlen(text);
    ctl_client_t        *c;
    bk_lookup_answer_t   answer;

    DL_FOREACH(ctl->clients, c) {
        if (c->number == client) {
            break;
        }
    }

    if (c == NULL) {
        return;
    }

    if (len >= BK_LOOKUP_TEXT_LEN) {
        len = BK_LOOKUP_TEXT_LEN - 1;
    }

    memset(&answer, 0, sizeof(answer));
    memcpy(answer.magic, BK_LOOKUP_MAGIC, BK_LOOKUP_MAGIC_LEN);
    memcpy(answer.hash, hash, BK_LOOKUP_HASH_LEN);
    memcpy(answer.text, text, len);
    answer.text_len = (uint32_t) len;
    answer.verdict = (uint32_t) verdict;

    (void) send(c->fd, &answer, sizeof(answer), MSG_DONTWAIT | MSG_NOSIGNAL);
}


static void
ctl_door_close(ctl_client_t *c)
{
    ctl_t  *ctl = c->ctl;

    DL_DELETE(ctl->clients, c);
    ctl->nclients--;

    ctl->host->watch_free(&c->watch);
    (void) close(c->fd);
    free(c);
}


void
ctl_door_free(ctl_t *ctl)
{
    while (ctl->clients != NULL) {
        ctl_door_close(ctl->clients);
    }

    if (ctl->watch != NULL) {
        ctl->host->watch_free(&ctl->watch);
    }

    /* its name stays: the one who comes next may be there already */

    if (ctl->fd != -1) {
        (void) close(ctl->fd);
        ctl->fd = -1;
    }
}
