/*
 * Schedules (plugins/kubernetes/ct_cron.c): when the last time was and the next
 * one is, and what is no schedule.
 */

#include <stdio.h>
#include <time.h>

#include "../../plugin-host/plugins/kubernetes/ct_cron.c"


typedef struct {
    const char  *what;
    const char  *schedule;
    const char  *now;
    const char  *last;
    const char  *next;
} case_t;


static int  checks;


/* 2026-11-21 is a Saturday */
static const case_t  cases[] = {
    { "every minute", "* * * * *", "2026-11-21T10:00:30Z",
      "2026-11-21T10:00:00Z", "2026-11-21T10:01:00Z" },
    { "now is the last time", "0 18 * * *", "2026-11-21T18:00:00Z",
      "2026-11-21T18:00:00Z", "2026-11-22T18:00:00Z" },
    { "on weekdays", "0 18 * * 1-5", "2026-11-21T20:00:00Z",
      "2026-11-20T18:00:00Z", "2026-11-23T18:00:00Z" },
    { "names, of any case", "30 6 * Jan-mar,DEC mOn", "2026-11-21T20:00:00Z",
      "2026-03-30T06:30:00Z", "2026-12-07T06:30:00Z" },
    { "steps", "*/20 8-18/5 * * *", "2026-11-21T08:30:00Z",
      "2026-11-21T08:20:00Z", "2026-11-21T08:40:00Z" },
    { "a step from somewhere", "50/5 0 * * *", "2026-11-21T00:51:00Z",
      "2026-11-21T00:50:00Z", "2026-11-21T00:55:00Z" },
    { "a list", "5,1,3 0 1,15 * ?", "2026-11-21T00:00:00Z",
      "2026-11-15T00:05:00Z", "2026-12-01T00:01:00Z" },
    { "a day of either kind", "0 0 1 * 0", "2026-11-21T00:00:00Z",
      "2026-11-15T00:00:00Z", "2026-11-22T00:00:00Z" },
    { "Sunday is 7 as well", "0 0 * * 7", "2026-11-21T00:00:00Z",
      "2026-11-15T00:00:00Z", "2026-11-22T00:00:00Z" },
    { "29 February", "0 0 29 2 *", "2026-11-21T00:00:00Z",
      "2024-02-29T00:00:00Z", "2028-02-29T00:00:00Z" },
    { "over a year's end", "59 23 31 12 *", "2026-11-21T00:00:00Z",
      "2025-12-31T23:59:00Z", "2026-12-31T23:59:00Z" },
    { "UTC", "TZ=UTC 0 0 * * *", "2026-11-21T10:00:00Z",
      "2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z" },
    { "UTC by its other name", "CRON_TZ=Etc/UTC\t0\t0 * * * ",
      "2026-11-21T10:00:00Z", "2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z" },
    { "never", "0 0 31 2 *", "2026-11-21T00:00:00Z", "never", "never" },

    { "nothing", "", NULL, NULL, NULL },
    { "four fields", "* * * *", NULL, NULL, NULL },
    { "six fields", "* * * * * *", NULL, NULL, NULL },
    { "a word", "@daily", NULL, NULL, NULL },
    { "minute 60", "60 * * * *", NULL, NULL, NULL },
    { "hour 24", "* 24 * * *", NULL, NULL, NULL },
    { "day 0", "* * 0 * *", NULL, NULL, NULL },
    { "month 13", "* * * 13 *", NULL, NULL, NULL },
    { "weekday 8", "* * * * 8", NULL, NULL, NULL },
    { "backwards", "* 9-8 * * *", NULL, NULL, NULL },
    { "step 0", "*/0 * * * *", NULL, NULL, NULL },
    { "no step", "*/ * * * *", NULL, NULL, NULL },
    { "an empty part", "1,,2 * * * *", NULL, NULL, NULL },
    { "a sign", "-1 * * * *", NULL, NULL, NULL },
    { "a number beyond all", "99999999999999999999 * * * *", NULL, NULL,
      NULL },
    { "a name where none is", "jan * * * *", NULL, NULL, NULL },
    { "more than a name", "* * * janx *", NULL, NULL, NULL },
    { "another time zone", "TZ=Europe/Berlin 0 0 * * *", NULL, NULL, NULL },
    { "a path for one", "TZ=../../etc/passwd 0 0 * * *", NULL, NULL, NULL },
    { "too long", "0                                                      "
      "                                                                      "
      " 0 * * *", NULL, NULL, NULL }
};


static uint64_t
ms(const char *s)
{
    struct tm  tm = { 0 };

    if (strptime(s, "%Y-%m-%dT%H:%M:%SZ", &tm) == NULL) {
        return 0;
    }

    return (uint64_t) timegm(&tm) * 1000;
}


static void
check(int good, const char *what, const char *detail)
{
    printf("%sok %d - %s%s%s\n", good ? "" : "not ", ++checks, what,
           detail[0] ? ": " : "", detail);
}


int
main(void)
{
    size_t         i;
    uint64_t       last, next;
    bk_err_t       err;
    ct_cron_t      c;
    const case_t  *k;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        k = &cases[i];
        err.reason[0] = '\0';

        if (k->now == NULL) {
            check(ct_cron_read(k->schedule, &c, &err) == -1
                  && err.code == 400 && strcmp(err.reason, "BadSchedule") == 0,
                  k->what, "is none");
            continue;
        }

        if (ct_cron_read(k->schedule, &c, &err) != 0) {
            check(0, k->what, err.text);
            continue;
        }

        last = ct_cron_last(&c, ms(k->now));
        next = ct_cron_next(&c, ms(k->now));
        check(last == ms(k->last), k->what, "last");
        check(next == ms(k->next), k->what, "next");
    }

    printf("1..%d\n", checks);

    return 0;
}
