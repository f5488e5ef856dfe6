/*
 * The journal's write-ahead log after kill -9: as it is, cut short at any
 * place, with a byte changed anywhere.  A transaction that was answered is
 * there, or the journal is refused.  Prints TAP.
 */

#include <fcntl.h>

#include "journal_test.h"


#define ROUNDS  6
#define ROWS    20


static char  saved[64], logpath[96];


static void
count(void *data, const bk_err_t *err)
{
    *(int *) data += err == NULL;
}


/* Six transactions, and an end without a close. */

static void
child(void)
{
    int            i, round, done = 0;
    bk_journal_t  *j;

    host_start();
    j = opened();

    for (round = 0; round < ROUNDS; round++) {
        for (i = 0; i < ROWS; i++) {
            bk_journal_insert(j, row((unsigned) (round * ROWS + i)), count,
                              &done);
        }

        (void) until(&done, (round + 1) * ROWS);
    }

    _exit(0);
}


static void
shell(const char *fmt, const char *a, const char *b)
{
    char  command[256];

    (void) snprintf(command, sizeof(command), fmt, a, b);

    if (system(command) != 0) {
        printf("# failed: %s\n", command);
        bad++;
    }
}


static int
add(const bk_row_t *r, void *data)
{
    (void) r;
    ++*(int *) data;
    return 0;
}


/* How many rows there are; -1: it is refused. */

static int
rows(void)
{
    int            n = 0;
    bk_err_t       err;
    bk_journal_t  *j;

    host_start();
    j = NULL;

    if (bk_journal_open(&j, &host, dir, &err) != 0) {
        n = strstr(err.text, "journal.db-wal cannot be read") != NULL
            && strstr(err.hint, "good copy") != NULL ? -1 : -2;

    } else {
        (void) bk_journal_each(j, UINT64_MAX >> 1, 1, add, &n, &err);
        bk_journal_close(&j);
    }

    host_end();
    shell("rm -rf %1$s && cp -r %2$s %1$s", dir, saved);

    return n;
}


static void
test_changed(long size, int whole)
{
    int      fd, n, refused = 0, silent = 0, last = 0;
    long     at;
    uint8_t  byte;

    /* its header is written anew when all of it is in the file: see below */
    for (at = 32 + 100; at < size; at += 1999) {
        fd = open(logpath, O_RDWR);
        (void) !pread(fd, &byte, 1, at);
        byte ^= 0x10;
        (void) !lseek(fd, at, SEEK_SET);
        (void) !write(fd, &byte, 1);
        (void) close(fd);

        n = rows();
        refused += n == -1;
        silent += n >= 0 && n < whole - ROWS;
        last += n == whole - ROWS;
    }

    printf("# %d refused, %d lost the last one\n", refused, last);
    ok(refused > 3, "a byte changed: refused");
    ok(silent == 0, "and never taken for less than it was");
}


static void
test_cut(long size, int whole)
{
    int   n, odd = 0;
    long  at;

    for (at = size - 1; at > 0; at -= 3001) {
        if (truncate(logpath, at) != 0) {
            odd++;
        }

        n = rows();
        odd += n < 0 || n % ROWS != 0 || n > whole;
    }

    ok(odd == 0, "cut short: whole transactions, and it opens");
}


int
main(void)
{
    int          n, status;
    pid_t        pid;
    struct stat  st;

    folder();
    (void) snprintf(saved, sizeof(saved), "%.50s-saved", dir);
    (void) snprintf(logpath, sizeof(logpath), "%s/journal.db-wal", dir);

    pid = fork();

    if (pid == 0) {
        child();
    }

    (void) waitpid(pid, &status, 0);
    shell("cp -r %s %s", dir, saved);

    ok(stat(logpath, &st) == 0 && st.st_size > 10 * 4096, "there is a log");
    n = rows();
    ok(n == ROUNDS * ROWS, "as it is: all is there");

    test_changed(st.st_size, n);
    test_cut(st.st_size, n);

    folder_remove();
    shell("rm -rf %s%s", saved, "");
    printf("1..%d\n", checks);

    return bad != 0;
}
