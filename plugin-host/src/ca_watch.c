/*
 * The files of issuers, watched: Kubernetes swaps a symbolic link in their
 * folder, others rename files into it.  A pair that is not good changes
 * nothing, and is said once.
 */

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "ca_int.h"
#include "bk_err.h"
#include "log.h"


/* both files of a pair are there when it is quiet again */
#define BK_WATCH_SETTLE_US  200000
/* what inotify does not see: another mount, a network file system */
#define BK_WATCH_LOOK_S     60

#define BK_WATCH_EVENTS     (IN_CREATE | IN_CLOSE_WRITE | IN_MOVED_TO         \
                             | IN_MOVED_FROM | IN_DELETE)


struct bk_ca_watch_s {
    bk_ca_t       *ca;
    int            fd;
    struct event  *changed;
    struct event  *settled;
};


static void bk_watch_folder(bk_ca_watch_t *w, const char *path);
static void bk_watch_files(bk_ca_watch_t *w, const bk_ca_files_t *files);
static void bk_watch_changed(evutil_socket_t fd, short what, void *data);
static void bk_watch_settled(evutil_socket_t fd, short what, void *data);
static int bk_watch_take(bk_ca_t *ca, bk_authority_t *a);
static void bk_watch_trouble(bk_authority_t *a, const bk_err_t *err);


bk_ca_watch_t *
bk_ca_watch_new(bk_ca_t *ca, struct event_base *base)
{
    bk_ca_watch_t   *w;
    struct timeval   tv = { BK_WATCH_LOOK_S, 0 };

    w = calloc(1, sizeof(bk_ca_watch_t));
    if (w == NULL) {
        abort();
    }

    w->ca = ca;
    w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    w->settled = event_new(base, -1, 0, bk_watch_settled, w);

    if (w->settled == NULL || event_add(w->settled, &tv) != 0) {
        abort();
    }

    if (w->fd == -1) {
        bk_log(BK_LOG_WARN, "ca", "the issuers' files cannot be watched: they "
               "are looked at once in %d s", BK_WATCH_LOOK_S);
        return w;
    }

    bk_watch_files(w, ca->gateway.issuer);
    bk_watch_files(w, ca->worker.issuer);

    w->changed = event_new(base, w->fd, EV_READ | EV_PERSIST,
                           bk_watch_changed, w);
    if (w->changed == NULL || event_add(w->changed, NULL) != 0) {
        abort();
    }

    return w;
}


void
bk_ca_watch_free(bk_ca_watch_t **wp)
{
    bk_ca_watch_t  *w = *wp;

    if (w == NULL) {
        return;
    }

    *wp = NULL;
    event_free(w->settled);

    if (w->changed != NULL) {
        event_free(w->changed);
    }

    if (w->fd != -1) {
        close(w->fd);
    }

    free(w);
}


static void
bk_watch_files(bk_ca_watch_t *w, const bk_ca_files_t *files)
{
    if (files == NULL) {
        return;
    }

    bk_watch_folder(w, files->cert);
    bk_watch_folder(w, files->key);

    if (files->ca != NULL) {
        bk_watch_folder(w, files->ca);
    }
}


/* A folder that is added again is the same watch. */

static void
bk_watch_folder(bk_ca_watch_t *w, const char *path)
{
    char  dir[PATH_MAX], *slash;

    snprintf(dir, sizeof(dir), "%s", path);
    slash = strrchr(dir, '/');
    slash[slash == dir ? 1 : 0] = '\0';

    if (inotify_add_watch(w->fd, dir, BK_WATCH_EVENTS | IN_ONLYDIR) == -1) {
        bk_log(BK_LOG_WARN, "ca", "%s cannot be watched: its files are looked "
               "at once in %d s", dir, BK_WATCH_LOOK_S);
    }
}


static void
bk_watch_changed(evutil_socket_t fd, short what, void *data)
{
    char             buf[4096];
    bk_ca_watch_t   *w = data;
    struct timeval   tv = { 0, BK_WATCH_SETTLE_US };

    (void) what;

    while (read(fd, buf, sizeof(buf)) > 0) {
        /* what changed is found by looking at the files */
    }

    event_add(w->settled, &tv);
}


static void
bk_watch_settled(evutil_socket_t fd, short what, void *data)
{
    bk_err_t         err;
    bk_ca_watch_t   *w = data;
    struct timeval   tv = { BK_WATCH_LOOK_S, 0 };

    (void) fd;
    (void) what;

    bk_ca_reread(w->ca);

    if (bk_ca_tls(w->ca, &err) != 0) {
        bk_log_err(BK_LOG_ERROR, "ca", &err);
    }

    bk_ca_tell(w->ca);
    event_add(w->settled, &tv);
}


void
bk_ca_reread(bk_ca_t *ca)
{
    (void) bk_watch_take(ca, &ca->gateway);
    (void) bk_watch_take(ca, &ca->worker);
}


static int
bk_watch_take(bk_ca_t *ca, bk_authority_t *a)
{
    int                    rc;
    bk_err_t               err;
    bk_signer_t            next;
    const bk_authority_t  *other;

    if (a->issuer == NULL) {
        return 0;
    }

    memset(&next, 0, sizeof(next));
    other = a == &ca->gateway ? &ca->worker : &ca->gateway;

    if (bk_ca_external(ca, a->name, a->issuer, &next, &err) != 0) {
        bk_watch_trouble(a, &err);
        return -1;
    }

    if (X509_cmp(next.cert, a->now.cert) == 0
        && strcmp(next.trust, a->now.trust) == 0
        && strcmp(next.chain, a->now.chain) == 0)
    {
        bk_signer_clear(&next);
        a->trouble[0] = '\0';
        return 0;
    }

    if (bk_ca_apart(next.trust, other->trust, &err) != 0) {
        bk_signer_clear(&next);
        bk_watch_trouble(a, &err);
        return -1;
    }

    rc = bk_authority_switch(ca, a, &next, &err);

    if (rc != 0) {
        bk_watch_trouble(a, &err);
        return -1;
    }

    a->trouble[0] = '\0';
    bk_log(BK_LOG_INFO, "ca", "the %s authority's issuer has a new "
           "certificate: it signs from now on%s", a->name,
           a->late.cert != NULL ? ", when nginx is reloaded" : "");

    return 0;
}


static void
bk_watch_trouble(bk_authority_t *a, const bk_err_t *err)
{
    if (strcmp(a->trouble, err->text) == 0) {
        return;
    }

    snprintf(a->trouble, sizeof(a->trouble), "%s", err->text);
    bk_log(BK_LOG_ERROR, "ca", "%s%s%s%s; nothing was changed", err->text,
           err->hint[0] ? " (" : "", err->hint, err->hint[0] ? ")" : "");
}
