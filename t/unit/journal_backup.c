/* Backups of the journal while it is written.  Prints TAP. */

#include "journal_test.h"


#define FIRST  20000
#define LAST   (2 * FIRST)


static int            done, finished, failed;
static char           reason[48], path[128];
static unsigned       next;
static bk_journal_t  *j;


static void
count(void *data, const bk_err_t *err)
{
    (void) data;
    done++;
    failed += err != NULL;
}


/*
 * One more as soon as one is there, as long as the backup is under way; an
 * end to that, if the backup has none because of it.
 */

static void
load(void *data, const bk_err_t *err)
{
    count(data, err);

    if (!finished && next < LAST) {
        bk_journal_insert(j, row(next++), load, NULL);
    }
}


static void
over(void *data, const bk_err_t *err)
{
    (void) data;
    finished++;
    reason[0] = '\0';

    if (err != NULL) {
        (void) snprintf(reason, sizeof(reason), "%s", err->reason);
        printf("# %s\n", err->text);
    }
}


static int
add(const bk_row_t *r, void *data)
{
    (void) r;
    ++*(unsigned *) data;
    return 0;
}


static unsigned
rows(void)
{
    unsigned  n = 0;
    bk_err_t  err;

    return bk_journal_each(j, UINT64_MAX >> 1, 1, add, &n, &err) == 0 ? n : 0;
}


static void
test_load(unsigned before)
{
    int          again;
    unsigned     during;
    struct stat  st;

    bk_journal_insert(j, row(next++), load, NULL);
    done = 0;
    bk_journal_backup(j, path, over, NULL);
    bk_journal_backup(j, path, over, NULL);
    again = finished;
    ok(again == 1 && strcmp(reason, "BackupRunning") == 0,
       "one at a time");

    finished = 0;
    ok(until(&finished, 1) && reason[0] == '\0', "a backup");
    during = (unsigned) done;
    bk_journal_sync(j, over, NULL);
    finished = 0;
    (void) until(&finished, 1);
    ok(failed == 0 && during > 0, "the journal is written meanwhile");
    printf("# %u before, %u meanwhile\n", before, during);
    ok(rows() >= before + during, "all of it is there");
    ok(during < LAST - FIRST - 1, "it does not begin anew with each change");

    ok(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600
       && st.st_size > 100 * (long) before, "the copy is private");

    finished = 0;
    bk_journal_backup(j, path, over, NULL);
    (void) until(&finished, 1);
    ok(strcmp(reason, "BackupExists") == 0, "none is replaced");

    finished = 0;
    disk_set(DISK_FULL);
    (void) strcat(path, ".2");
    bk_journal_backup(j, path, over, NULL);
    (void) until(&finished, 1);
    disk_set(DISK_GOOD);
    ok(strcmp(reason, "BackupFailed") == 0 && stat(path, &st) != 0,
       "no space: no file");
    (void) strcat(path, ".new");
    ok(stat(path, &st) != 0, "and no part of one");
}


int
main(void)
{
    unsigned  before, n;
    char      from[128], to[128];

    folder();
    host_start();
    j = opened();

    for (next = 0; next < FIRST; next++) {
        bk_journal_insert(j, row(next), count, NULL);

        if (next % 5000 == 4999) {
            (void) until(&done, (int) next + 1);
        }
    }

    before = next;
    (void) snprintf(path, sizeof(path), "%s/copy.db", dir);
    (void) snprintf(from, sizeof(from), "%s/copy.db", dir);
    (void) snprintf(to, sizeof(to), "%s/journal.db", dir);
    test_load(before);
    n = rows();

    /* one that is under way when it closes */
    (void) snprintf(path, sizeof(path), "%s/last.db", dir);
    finished = 0;
    bk_journal_backup(j, path, over, NULL);
    bk_journal_close(&j);
    ok(finished == 1, "closing tells of it");

    ok(rename(from, to) == 0, "the copy in its place");
    j = opened();
    ok(j != NULL && rows() >= before && rows() < n, "it opens, and has all "
       "that was there");
    bk_journal_close(&j);

    host_end();
    folder_remove();
    printf("1..%d\n", checks);

    return bad != 0;
}
