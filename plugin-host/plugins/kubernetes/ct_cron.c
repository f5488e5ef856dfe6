/* Schedules: see ct_cron.h. */

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "bk_err.h"
#include "ct_cron.h"


#define CT_CRON_DAYS  (8 * 366)     /* 29 February, also around 2100 */
#define CT_CRON_DAY   (24 * 60 * 60)


static const char *ct_cron_zone(const char *s, bk_err_t *err);
static int ct_cron_skip(const char **s, const char *word);
static int ct_cron_field(const char **s, unsigned min, unsigned max,
    const char *const *names, uint64_t *out);
static int ct_cron_part(const char *s, size_t n, unsigned min, unsigned max,
    const char *const *names, uint64_t *out);
static int ct_cron_number(const char **s, const char *end, unsigned min,
    const char *const *names, unsigned *out);
static uint64_t ct_cron_find(const ct_cron_t *c, uint64_t now, int step);
static int ct_cron_day(const ct_cron_t *c, time_t day);


static const char *const  ct_cron_months[] = {
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct",
    "nov", "dec", NULL
};

static const char *const  ct_cron_weekdays[] = {
    "sun", "mon", "tue", "wed", "thu", "fri", "sat", NULL
};


int
ct_cron_read(const char *s, ct_cron_t *out, bk_err_t *err)
{
    int          i, all[2];
    uint64_t     set;
    const char  *p;

    memset(out, 0, sizeof(ct_cron_t));

    if (strlen(s) > CT_CRON_MAX) {
        return bk_err_set(err, 400, "BadSchedule", "a schedule has at most "
                          "%d bytes", CT_CRON_MAX);
    }

    p = ct_cron_zone(s, err);
    if (p == NULL) {
        return -1;
    }

    for (i = 0; i < 5; i++) {
        static const struct {
            unsigned            min, max;
            const char *const  *names;
        } fields[] = {
            { 0, 59, NULL }, { 0, 23, NULL }, { 1, 31, NULL },
            { 1, 12, ct_cron_months }, { 0, 7, ct_cron_weekdays }
        };

        p += strspn(p, " \t");

        if (i == 2 || i == 4) {
            all[i == 4] = *p == '*' || *p == '?';
        }

        if (ct_cron_field(&p, fields[i].min, fields[i].max, fields[i].names,
                          &set) != 0)
        {
            return bk_err_set(err, 400, "BadSchedule", "\"%.*s\" is no "
                              "schedule: minute, hour, day, month, weekday",
                              CT_CRON_MAX, s);
        }

        switch (i) {
        case 0:
            out->minutes = set;
            break;
        case 1:
            out->hours = (uint32_t) set;
            break;
        case 2:
            out->days = (uint32_t) set;
            break;
        case 3:
            out->months = (uint32_t) set;
            break;
        default:
            /* 7 is Sunday as well */
            out->weekdays = (uint32_t) ((set | set >> 7) & 0x7f);
        }
    }

    if (p[strspn(p, " \t")] != '\0') {
        return bk_err_set(err, 400, "BadSchedule", "a schedule has five "
                          "fields");
    }

    /* as cron does it: when both say something, one of them is enough */
    out->either = !all[0] && !all[1];

    return 0;
}


static const char *
ct_cron_zone(const char *s, bk_err_t *err)
{
    size_t                    i, n;
    const char               *p = s;
    static const char *const  zones[] = { "UTC", "GMT", "Etc/UTC", NULL };

    ct_cron_skip(&p, "CRON_");

    if (!ct_cron_skip(&p, "TZ=")) {
        return s;
    }

    n = strcspn(p, " \t");

    for (i = 0; zones[i] != NULL; i++) {
        if (strlen(zones[i]) == n && memcmp(p, zones[i], n) == 0) {
            return p + n;
        }
    }

    bk_err_set(err, 400, "BadSchedule", "time zone %.*s is not known here: "
               "give the time in UTC", (int) n, p);

    return NULL;
}


static int
ct_cron_skip(const char **s, const char *word)
{
    const char  *p;

    for (p = *s; *word != '\0'; p++, word++) {
        if (*p != *word) {
            return 0;
        }
    }

    *s = p;

    return 1;
}


/* "1,5-7,*" + "/2" */

static int
ct_cron_field(const char **s, unsigned min, unsigned max,
    const char *const *names, uint64_t *out)
{
    size_t       n;
    const char  *p = *s;

    *out = 0;

    for ( ;; ) {
        n = strcspn(p, ", \t");

        if (ct_cron_part(p, n, min, max, names, out) != 0) {
            return -1;
        }

        p += n;

        if (*p != ',') {
            break;
        }

        p++;
    }

    *s = p;

    return 0;
}


static int
ct_cron_part(const char *s, size_t n, unsigned min, unsigned max,
    const char *const *names, uint64_t *out)
{
    unsigned     from, to, step = 1;
    const char  *p = s, *end = s + n;

    if (p < end && (*p == '*' || *p == '?')) {
        from = min;
        to = max;
        p++;

    } else {
        if (ct_cron_number(&p, end, min, names, &from) != 0) {
            return -1;
        }

        to = from;

        if (p < end && *p == '-') {
            p++;

            if (ct_cron_number(&p, end, min, names, &to) != 0) {
                return -1;
            }

        } else if (p < end && *p == '/') {
            to = max;
        }
    }

    if (p < end && *p == '/') {
        p++;

        if (ct_cron_number(&p, end, 0, NULL, &step) != 0 || step == 0) {
            return -1;
        }
    }

    if (p != end || from < min || to > max || from > to) {
        return -1;
    }

    for ( ; from <= to; from += step) {
        *out |= UINT64_C(1) << from;
    }

    return 0;
}


/* min is what the first of names is */

static int
ct_cron_number(const char **s, const char *end, unsigned min,
    const char *const *names, unsigned *out)
{
    unsigned     i;
    const char  *p = *s;

    for (i = 0; names != NULL && names[i] != NULL; i++) {
        if (end - p >= 3 && strncasecmp(p, names[i], 3) == 0) {
            *out = min + i;
            *s = p + 3;
            return 0;
        }
    }

    for (*out = 0; p < end && *p >= '0' && *p <= '9' && *out < 1000; p++) {
        *out = *out * 10 + (unsigned) (*p - '0');
    }

    if (p == *s) {
        return -1;
    }

    *s = p;

    return 0;
}


uint64_t
ct_cron_last(const ct_cron_t *c, uint64_t now)
{
    return ct_cron_find(c, now, -1);
}


uint64_t
ct_cron_next(const ct_cron_t *c, uint64_t now)
{
    return ct_cron_find(c, now, 1);
}


/* Day by day, and in the first one only what is on the right side of now. */

static uint64_t
ct_cron_find(const ct_cron_t *c, uint64_t now, int step)
{
    int     i, k, m, first;
    time_t  day, t = (time_t) (now / 1000);

    day = t - t % CT_CRON_DAY;
    first = (int) (t % CT_CRON_DAY / 60);

    for (i = 0; i < CT_CRON_DAYS; i++, day += step * CT_CRON_DAY) {
        if (!ct_cron_day(c, day)) {
            continue;
        }

        for (k = 0; k < 24 * 60; k++) {
            m = step > 0 ? k : 24 * 60 - 1 - k;

            if (i == 0 && (step > 0 ? m <= first : m > first)) {
                continue;
            }

            if ((c->hours >> (m / 60) & 1) && (c->minutes >> (m % 60) & 1)) {
                return (uint64_t) (day + m * 60) * 1000;
            }
        }
    }

    return 0;
}


static int
ct_cron_day(const ct_cron_t *c, time_t day)
{
    int        mday, wday;
    struct tm  tm;

    gmtime_r(&day, &tm);

    mday = c->days >> tm.tm_mday & 1;
    wday = c->weekdays >> tm.tm_wday & 1;

    return (c->months >> (tm.tm_mon + 1) & 1)
           && (c->either ? mday || wday : mday && wday);
}
