/*
 * When a schedule of five fields says now: minute, hour, day of the month,
 * month, day of the week, as in crontab(5); UTC, which "TZ=UTC " before them
 * may say.
 */

#ifndef CT_CRON_H_INCLUDED
#define CT_CRON_H_INCLUDED

#include <stdint.h>

#include "bk_plugin.h"


#define CT_CRON_MAX  128        /* bytes of a schedule */

/* Sets of bits. */
typedef struct {
    uint64_t  minutes;          /* 0 to 59 */
    uint32_t  hours;            /* 0 to 23 */
    uint32_t  days;             /* 1 to 31 */
    uint32_t  months;           /* 1 to 12 */
    uint32_t  weekdays;         /* 0 to 6, 0 is Sunday */
    int       either;           /* days or weekdays: both were given */
} ct_cron_t;

/* -1: 400 BadSchedule */
int ct_cron_read(const char *s, ct_cron_t *out, bk_err_t *err);
/* The last time that is not after now, and the first that is; Unix time in ms.
 * 0: none in eight years. */
uint64_t ct_cron_last(const ct_cron_t *c, uint64_t now);
uint64_t ct_cron_next(const ct_cron_t *c, uint64_t now);

#endif /* CT_CRON_H_INCLUDED */
