/*
 * Signals that end bkctl, through a descriptor: so that whatever it waits for
 * can be given back before it goes.
 */

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "bkctl.h"


int
bk_signals_open(sigset_t *old)
{
    int               fd;
    size_t            i;
    sigset_t          mask;
    struct sigaction  sa;
    static const int  signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT,
                                    SIGUSR1, SIGUSR2 };

    sigemptyset(&mask);
    signal(SIGCHLD, SIG_DFL);
    sigaddset(&mask, SIGCHLD);

    for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        if (sigaction(signals[i], NULL, &sa) == 0
            && sa.sa_handler != SIG_IGN)
        {
            sigaddset(&mask, signals[i]);
        }
    }

    sigprocmask(SIG_BLOCK, &mask, old);
    fd = signalfd(-1, &mask, SFD_CLOEXEC|SFD_NONBLOCK);

    if (fd == -1) {
        bk_out_error("cannot watch for signals: %s", strerror(errno));
    }

    return fd;
}


int
bk_signals_take(int fd)
{
    int                      signo;
    struct signalfd_siginfo  si;

    signo = 0;

    while (read(fd, &si, sizeof(si)) == sizeof(si)) {
        if (si.ssi_signo != SIGCHLD) {
            signo = (int) si.ssi_signo;
        }
    }

    return signo;
}


void
bk_signals_close(int *fd, const sigset_t *old)
{
    if (*fd != -1) {
        close(*fd);
        *fd = -1;
        sigprocmask(SIG_SETMASK, old, NULL);
    }
}


int
bk_signals_die(int signo)
{
    signal(signo, SIG_DFL);
    raise(signo);

    return 128 + signo;
}
