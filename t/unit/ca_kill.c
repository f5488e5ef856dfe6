/*
 * A process that is killed at any one of its changes of the state folder
 * leaves authorities that start again: what was issued before verifies, what
 * nginx would read fits together, and what is issued afterwards is good for
 * whoever knows only the old authority.
 *
 * The changes are counted here: these functions are called in place of
 * libc's, and the process ends before the chosen one.
 */

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "ca_test.h"


#define KILLED  99

/* What fits together does not depend on sanitizers: with them every fifth. */
#ifdef __SANITIZE_ADDRESS__
#define EVERY   5
#else
#define EVERY   1
#endif


static int  ca_kill_at;         /* 0: never */
static int  ca_kill_n;


static void
ca_kill_count(void)
{
    if (ca_kill_at != 0 && ++ca_kill_n == ca_kill_at) {
        _exit(KILLED);
    }
}


int
rename(const char *from, const char *to)
{
    ca_kill_count();

    return (int) syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}


int
link(const char *from, const char *to)
{
    ca_kill_count();

    return (int) syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
}


int
unlink(const char *path)
{
    ca_kill_count();

    return (int) syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}


/* No power is lost here: nothing has to be on the disk. */

int
fsync(int fd)
{
    (void) fd;
    ca_kill_count();

    return 0;
}


/* Before that is a file that is begun. */

ssize_t
write(int fd, const void *data, size_t len)
{
    if (fd > 2) {
        ca_kill_count();
    }

    return syscall(SYS_write, fd, data, len);
}


/* 1: it was killed on the way; 0: it came to its end. */

static int
ca_kill_child(int at, void (*run)(void))
{
    int    status;
    pid_t  pid;

    fflush(stdout);
    pid = fork();

    if (pid == 0) {
        ca_kill_at = at;
        run();
        _exit(0);
    }

    if (pid == -1 || waitpid(pid, &status, 0) != pid) {
        perror("fork");
        exit(1);
    }

    if (!WIFEXITED(status)
        || (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != KILLED))
    {
        printf("# the child ended with %x at %d\n", (unsigned) status, at);
    }

    return WIFEXITED(status) && WEXITSTATUS(status) == KILLED;
}


static void
ca_kill_first(void)
{
    if (ca_test_open(1) == NULL) {
        _exit(1);
    }
}


static void
ca_kill_rotate(void)
{
    bk_ca_t   *ca = ca_test_open(1);
    bk_err_t   err;

    if (ca == NULL || bk_ca_rotate(ca, NULL, &err) != 0) {
        _exit(1);
    }
}


static void
ca_kill_retire(void)
{
    bk_ca_t   *ca = ca_test_open(1);
    bk_err_t   err;

    if (ca == NULL || bk_ca_retire(ca, NULL, 1, &err) != 0) {
        _exit(1);
    }

    bk_ca_reloaded(ca);
}


/* nginx' files as they are: a certificate, its key, and trust that verifies
 * it, at every moment. */

static int
ca_kill_fit(const char *name, const char *who)
{
    int        good = 0;
    char       path[40], *cert, *key, *trust;
    X509      *x;
    EVP_PKEY  *k;

    snprintf(path, sizeof(path), "tls/%s.pem", name);
    cert = ca_test_read(path);
    snprintf(path, sizeof(path), "tls/%s-key.pem", name);
    key = ca_test_read(path);
    snprintf(path, sizeof(path), "tls/%s-ca.pem", who);
    trust = ca_test_read(path);

    if (cert != NULL && key != NULL && trust != NULL) {
        x = bk_ca_pem_cert(cert);
        k = bk_ca_pem_key(key);
        good = x != NULL && k != NULL && X509_check_private_key(x, k) == 1
               && ca_test_verify(cert, trust, 0);
        X509_free(x);
        EVP_PKEY_free(k);
    }

    free(cert);
    free(key);
    free(trust);

    return good;
}


/* What was killed at each point leaves all of it good. */

static int
ca_kill_each(void (*run)(void), int before, const char *name)
{
    int        at, points = 0;
    int        fits = 0, starts = 0, old = 0, fresh = 0, known = 0;
    char      *cert = NULL, *trust = NULL, *now, *now_trust = NULL, text[120];
    bk_ca_t   *ca;
    bk_err_t   err;

    for (at = 1; at < 500; at += EVERY, points++) {

        ca_test_folder();

        if (before) {
            ca = ca_test_open(1);
            cert = ca_test_issue(ca, BK_CERT_CLIENT, 30, &trust);

            if (before == 2 && bk_ca_rotate(ca, NULL, &err) == 0) {
                free(cert);
                free(trust);
                cert = ca_test_issue(ca, BK_CERT_CLIENT, 30, NULL);
                trust = ca_test_read("ca/gateway-ca.pem");
            }

            bk_ca_free(&ca);
        }

        if (!ca_kill_child(at, run)) {
            ca_test_remove();
            break;
        }

        fits += !before || (ca_kill_fit("gateway", "gateway")
                            && ca_kill_fit("upstream", "worker"));
        ca = ca_test_open(1);

        if (ca != NULL) {
            starts++;
            now = ca_test_issue(ca, BK_CERT_CLIENT, 1, &now_trust);
            fresh += ca_test_verify(now, ca->gateway.trust, 0)
                     && ca_kill_fit("gateway", "gateway")
                     && ca_kill_fit("upstream", "worker");
            old += !before || ca_test_verify(cert, ca->gateway.trust, 0);
            known += !before || ca_test_verify(now, trust, 0);
            free(now);
            free(now_trust);
            bk_ca_free(&ca);
        }

        free(cert);
        free(trust);
        cert = trust = NULL;
        ca_test_remove();
    }

    free(cert);
    free(trust);

    snprintf(text, sizeof(text), "%s: killed at each of %d points", name,
             points);
    ok(points > 10 / EVERY && at < 499, text);
    ok(fits == points, "what nginx would read fits together");
    ok(starts == points, "it starts again");
    ok(fresh == points, "and issues what is good");
    ok(old == points, "what was issued before is good");
    ok(known == points, "who knows the old authority knows the new one");

    return 0;
}


int
main(void)
{
    ca_kill_each(ca_kill_first, 0, "first start");
    ca_kill_each(ca_kill_rotate, 1, "rotation");
    ca_kill_each(ca_kill_retire, 2, "retirement");

    printf("1..%d\n", ca_test_n);

    return 0;
}
