/* Peers of unix sockets: see peer.h.  The few that there are, are kept until
 * one of the two files changes. */

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utlist.h>

#include "identity.h"
#include "peer.h"


#define BK_PEERS_MAX   256
#define BK_GROUPS_MAX  256      /* of a peer; more are not looked at */
#define BK_PEER_LINE   65536    /* of a file; longer ones are not */
#define BK_PEER_NOBODY 65534    /* of ids that have none in this namespace */


typedef struct bk_peer_s  bk_peer_t;

struct bk_peer_s {
    bk_peer_t  *next;
    bk_who_t   *who;
    uid_t       uid;
    gid_t       gid;
    size_t      n;
    gid_t       groups[BK_GROUPS_MAX];
};

struct bk_peers_s {
    bk_peer_t    *first;
    unsigned      count;
    struct stat   passwd;
    struct stat   group;
};


static void bk_peers_fresh(bk_peers_t *ps);
static void bk_peers_clear(bk_peers_t *ps);
static int bk_peers_same(const struct stat *a, const struct stat *b);
static bk_who_t *bk_peer_who(const bk_peer_t *p);
static int bk_peer_user(uid_t uid, char *name, size_t size);
static json_t *bk_peer_groups(const bk_peer_t *p);
static int bk_peer_in(const bk_peer_t *p, gid_t gid);


bk_peers_t *
bk_peers_new(void)
{
    bk_peers_t  *ps;

    ps = calloc(1, sizeof(bk_peers_t));
    if (ps == NULL) {
        abort();
    }

    return ps;
}


void
bk_peers_free(bk_peers_t **psp)
{
    bk_peers_t  *ps = *psp;

    if (ps != NULL) {
        *psp = NULL;
        bk_peers_clear(ps);
        free(ps);
    }
}


bk_who_t *
bk_peers_get(bk_peers_t *ps, int fd)
{
    int            family;
    gid_t          groups[BK_GROUPS_MAX];
    size_t         n;
    socklen_t      len = sizeof(family);
    struct ucred   cred;

    if (fd == -1
        || getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len) == -1
        || family != AF_UNIX)
    {
        return NULL;
    }

    len = sizeof(cred);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == -1
        || cred.uid == (uid_t) -1)
    {
        return NULL;
    }

    len = sizeof(groups);
    n = 0;

    /* ERANGE: in more groups than we look at; then it has none of them */
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) == 0) {
        n = len / sizeof(gid_t);
    }

    return bk_peers_who(ps, cred.uid, cred.gid, groups, n);
}


bk_who_t *
bk_peers_who(bk_peers_t *ps, uid_t uid, gid_t gid, const gid_t *groups,
    size_t n)
{
    bk_peer_t  *p;

    bk_peers_fresh(ps);

    n = n > BK_GROUPS_MAX ? BK_GROUPS_MAX : n;

    LL_FOREACH(ps->first, p) {
        if (p->uid == uid && p->gid == gid && p->n == n
            && (n == 0 || memcmp(p->groups, groups, n * sizeof(gid_t)) == 0))
        {
            return bk_who_ref(p->who);
        }
    }

    if (ps->count == BK_PEERS_MAX) {
        bk_peers_clear(ps);
    }

    p = calloc(1, sizeof(bk_peer_t));
    if (p == NULL) {
        abort();
    }

    p->uid = uid;
    p->gid = gid;
    p->n = n;

    if (n > 0) {
        memcpy(p->groups, groups, n * sizeof(gid_t));
    }

    p->who = bk_peer_who(p);
    LL_PREPEND(ps->first, p);
    ps->count++;

    return bk_who_ref(p->who);
}


static void
bk_peers_fresh(bk_peers_t *ps)
{
    struct stat  passwd, group;

    if (stat("/etc/passwd", &passwd) == -1) {
        memset(&passwd, 0, sizeof(passwd));
    }

    if (stat("/etc/group", &group) == -1) {
        memset(&group, 0, sizeof(group));
    }

    if (!bk_peers_same(&passwd, &ps->passwd)
        || !bk_peers_same(&group, &ps->group))
    {
        bk_peers_clear(ps);
        ps->passwd = passwd;
        ps->group = group;
    }
}


static int
bk_peers_same(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev
           && a->st_size == b->st_size
           && a->st_mtim.tv_sec == b->st_mtim.tv_sec
           && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}


static void
bk_peers_clear(bk_peers_t *ps)
{
    bk_peer_t  *p;

    while ((p = ps->first) != NULL) {
        ps->first = p->next;
        bk_who_unref(&p->who);
        free(p);
    }

    ps->count = 0;
}


static bk_who_t *
bk_peer_who(const bk_peer_t *p)
{
    char       user[128], name[160];
    json_t    *claims;
    bk_who_t  *who;

    claims = json_pack("{s:I, s:I, s:o}", "uid", (json_int_t) p->uid, "gid",
                       (json_int_t) p->gid, "groups", bk_peer_groups(p));

    if (bk_peer_user(p->uid, user, sizeof(user)) == 0) {
        json_object_set_new(claims, "user", json_string(user));
        snprintf(name, sizeof(name), "unix:%s", user);

    } else {
        /* no user can be called that */
        snprintf(name, sizeof(name), "unix:#%u", (unsigned) p->uid);
    }

    who = bk_who_make(name, "unix", claims);
    who->peer = 1;
    who->operator = p->uid == 0
                    || (p->uid == geteuid() && p->uid != BK_PEER_NOBODY);

    return who;
}


/* The first line of the file with this uid, as getpwuid() has it. */

static int
bk_peer_user(uid_t uid, char *name, size_t size)
{
    int             rc = -1;
    char           *line;
    FILE           *f;
    json_t         *valid;
    struct passwd   pw, *found;

    f = fopen("/etc/passwd", "re");
    line = malloc(BK_PEER_LINE);

    if (line == NULL) {
        abort();
    }

    while (f != NULL && fgetpwent_r(f, &pw, line, BK_PEER_LINE, &found) == 0) {
        if (pw.pw_uid != uid) {
            continue;
        }

        valid = json_string(pw.pw_name);

        if (pw.pw_name[0] != '\0' && pw.pw_name[0] != '#' && valid != NULL
            && strlen(pw.pw_name) < size)
        {
            strcpy(name, pw.pw_name);
            rc = 0;
        }

        json_decref(valid);
        break;
    }

    if (f != NULL) {
        fclose(f);
    }

    free(line);

    return rc;
}


/* Names of its groups, those without one as "#GID". */

static json_t *
bk_peer_groups(const bk_peer_t *p)
{
    int            i;
    char          *line, number[16];
    FILE          *f;
    gid_t          gid;
    uint8_t        known[BK_GROUPS_MAX + 1];
    json_t        *list = json_array();
    struct group   gr, *found;

    memset(known, 0, sizeof(known));
    f = fopen("/etc/group", "re");
    line = malloc(BK_PEER_LINE);

    if (line == NULL || list == NULL) {
        abort();
    }

    while (f != NULL && fgetgrent_r(f, &gr, line, BK_PEER_LINE, &found) == 0) {
        i = bk_peer_in(p, gr.gr_gid);

        if (i != -1 && gr.gr_name[0] != '#'
            && json_array_append_new(list, json_string(gr.gr_name)) == 0)
        {
            known[i] = 1;
        }
    }

    if (f != NULL) {
        fclose(f);
    }

    free(line);

    for (i = 0; i <= (int) p->n; i++) {
        gid = i < (int) p->n ? p->groups[i] : p->gid;

        if (!known[bk_peer_in(p, gid)]) {
            snprintf(number, sizeof(number), "#%u", (unsigned) gid);
            json_array_append_new(list, json_string(number));
            known[bk_peer_in(p, gid)] = 1;
        }
    }

    return list;
}


/* The first place of gid among its groups, where its own is the last. */

static int
bk_peer_in(const bk_peer_t *p, gid_t gid)
{
    size_t  i;

    for (i = 0; i < p->n; i++) {
        if (p->groups[i] == gid) {
            return (int) i;
        }
    }

    return p->gid == gid ? (int) p->n : -1;
}
