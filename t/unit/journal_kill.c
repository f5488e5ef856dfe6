/*
 * kill -9 at each write and each sync of the journal, before it or in its
 * middle, and a power cut there, which takes what was not synced: what was
 * told to be done is there afterwards, and of each transaction all or
 * nothing.  Prints TAP.
 */

#include "journal_test.h"


#define ROUNDS  8
#define ROWS    60      /* with 8 kB each: the log goes into the file twice */

/* What is lost does not depend on sanitizers: with them every fifth. */
#ifdef __SANITIZE_ADDRESS__
#define EVERY   5
#else
#define EVERY   1
#endif


static int            done, lost, torn, unopened;
static int            told[2];      /* a pipe */
static bk_journal_t  *j;


static void
tell(void *data, const bk_err_t *err)
{
    char  round = (char) (intptr_t) data;

    done++;

    if (err == NULL && write(told[1], &round, 1) != 1) {
        _exit(3);
    }
}


/*
 * Each round is one transaction: new ones, each with a worker, another key
 * and a longer life, and the end of the last one's.
 */

static void
child(void)
{
    int        i, round;
    char       metadata[8000];
    uint8_t    key[91];
    bk_row_t   r;

    memset(metadata, 'm', sizeof(metadata) - 1);
    metadata[sizeof(metadata) - 1] = '\0';
    memset(key, 'n', sizeof(key));

    host_start();
    j = opened();

    if (j == NULL) {
        _exit(2);
    }

    for (round = 0; round < ROUNDS; round++) {
        for (i = 0; i < ROWS; i++) {
            r = *row((unsigned) (round * ROWS + i));
            r.metadata = metadata;
            bk_journal_insert(j, &r, tell, (void *) (intptr_t) round);
            bk_journal_place(j, r.hash, "placed", 3000000, 2, tell,
                             (void *) (intptr_t) round);
            bk_journal_rekey(j, r.hash, key, sizeof(key), tell,
                             (void *) (intptr_t) round);
            bk_journal_extend(j, r.hash, 4000000, 3, tell,
                              (void *) (intptr_t) round);

            if (round > 0) {
                bk_journal_end(j, row((unsigned) ((round - 1) * ROWS + i))
                               ->hash, BK_ALLOC_RELEASED, "", 5, tell,
                               (void *) (intptr_t) round);
            }
        }

        (void) until(&done, (round + 1) * 4 * ROWS + round * ROWS);
    }

    bk_journal_close(&j);
    _exit(0);
}


/* Placed, with its other key, renewed. */

static int
changed(const bk_row_t *r)
{
    return strcmp(r->worker, "placed") == 0 && r->spki_len == 91
           && r->spki[0] == 'n' && r->expires_ms == 4000000;
}


/* What the journal has of a round: rows that are as they were told, and ended
   ones. */

static void
look(int round, int *rows, int *ended)
{
    int        i;
    bk_row_t   r;
    bk_err_t   err;

    *rows = 0;
    *ended = 0;

    for (i = 0; i < ROWS; i++) {
        if (bk_journal_find(j, row((unsigned) (round * ROWS + i))->hash, &r,
                            &err)
            == 1)
        {
            ++*rows;
            torn += !changed(&r);
            *ended += r.state == BK_ALLOC_RELEASED;
        }
    }
}


static void
after(const int *seen)
{
    int  round, rows, ended, next, unused;

    host_start();
    j = opened();
    unopened += j == NULL;

    for (round = 0; j != NULL && round < ROUNDS; round++) {
        look(round, &rows, &ended);
        next = 0;

        if (round + 1 < ROUNDS) {
            look(round + 1, &next, &unused);
        }

        lost += seen[round] > 0 && rows != ROWS;
        lost += round + 1 < ROUNDS && seen[round + 1] > 0 && ended != ROWS;
        torn += rows != 0 && rows != ROWS;
        torn += ended != next;
    }

    bk_journal_close(&j);
    host_end();
}


/* 1: it came to its end */

static int
killed_at(int n, int how)
{
    int   seen[ROUNDS] = { 0 }, status;
    char  round;
    pid_t pid;

    folder();

    if (pipe(told) != 0) {
        exit(1);
    }

    pid = fork();

    if (pid == 0) {
        (void) close(told[0]);
        disk_calls = 0;
        disk_die = n;
        disk_how = how;
        srand((unsigned) n);
        child();
    }

    (void) close(told[1]);

    while (read(told[0], &round, 1) == 1) {
        seen[(int) round]++;
    }

    (void) close(told[0]);
    (void) waitpid(pid, &status, 0);

    after(seen);
    folder_remove();

    if (WIFEXITED(status) && WEXITSTATUS(status) != 0) {
        printf("# exit %d\n", WEXITSTATUS(status));
        unopened++;
    }

    return WIFEXITED(status);
}


int
main(void)
{
    int  how, n, points = 0, step;

    for (how = DISK_POWER_SOME; how >= DISK_BEFORE; how--) {
        step = how < DISK_POWER ? 1 : 4;

        /* many of the first, then every now and then */
        for (n = 1 + how % 2; !killed_at(n, how);
             n += step * EVERY * (n < 40 ? 2 : 97))
        {
            points++;

            if (unopened + lost + torn > 0) {
                break;
            }
        }
    }

    printf("# %d points\n", points);
    ok(points > 140 / EVERY, "it was killed at many points");
    ok(unopened == 0, "the journal can be opened after each");
    ok(lost == 0, "nothing that was told to be done is lost");
    ok(torn == 0, "a transaction is there, or it is not");
    printf("1..%d\n", checks);

    return bad != 0;
}
