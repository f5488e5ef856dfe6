/*
 * Peers of unix sockets as identities: name "unix:USER", claims {"uid",
 * "gid", "user", "groups"}.  The kernel says uid, gid and groups; names are
 * those of /etc/passwd and /etc/group alone, since asking further (LDAP, SSSD)
 * would block the loop: a user that is not there is "unix:#UID".
 */

#ifndef BK_PEER_H_INCLUDED
#define BK_PEER_H_INCLUDED

#include <sys/types.h>

#include "access.h"


typedef struct bk_peers_s  bk_peers_t;

bk_peers_t *bk_peers_new(void);
void bk_peers_free(bk_peers_t **ps);

/* NULL: fd is no unix socket.  The caller unrefs. */
bk_who_t *bk_peers_get(bk_peers_t *ps, int fd);
/* the same, of what the kernel said */
bk_who_t *bk_peers_who(bk_peers_t *ps, uid_t uid, gid_t gid,
    const gid_t *groups, size_t n);

#endif /* BK_PEER_H_INCLUDED */
