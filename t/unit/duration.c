/*
 * Durations: what is taken, what is refused, and that what is printed can be
 * read back.  Prints TAP.
 */

#include <stdio.h>
#include <string.h>

#include "bk_duration.h"


static int  n, bad;


static void
ok(int good, const char *what, const char *detail)
{
    n++;

    if (!good) {
        bad++;
    }

    printf("%sok %d - %s %s\n", good ? "" : "not ", n, what, detail);
}


int
main(void)
{
    char      buf[64];
    size_t    i;
    uint64_t  ms;

    static const struct {
        const char  *text;
        uint64_t     ms;
    } good[] = {
        { "0", 0 }, { "90s", 90000 }, { "1h30m", 5400000 }, { "250ms", 250 },
        { "1.5h", 5400000 }, { "2d", 172800000 }, { "1m0.5s", 60500 },
        { "0s", 0 }, { "1h0m0s", 3600000 }, { "1500us", 2 },
        { "7000000ns", 7 }, { "36600d", 3162240000000 }
    };

    static const char *refused[] = {
        "", "5", "s", "-1s", "1x", "1h ", " 1h", "1.h", ".5h", "1h30", "1e3s",
        "1n", "1u", "1s1", "36601d", "36600d1ms", "999999999h",
        "1111111111111111111111111111111111s", "1s\n"
    };

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        ms = 1;
        ok(bk_duration_parse(good[i].text, strlen(good[i].text), &ms) == 0
           && ms == good[i].ms, "takes", good[i].text);
    }

    for (i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        ok(bk_duration_parse(refused[i], strlen(refused[i]), &ms) == -1,
           "refuses case", refused[i][0] == '1' ? "with digits" : "");
    }

    ok(bk_duration_parse("1h\0m", 4, &ms) == -1, "refuses", "a NUL inside");

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        bk_duration_format(good[i].ms / 1000 * 1000, buf, sizeof(buf));
        ok(good[i].ms < 1000 || (bk_duration_parse(buf, strlen(buf), &ms) == 0
                                 && ms == good[i].ms / 1000 * 1000),
           "reads back", buf);
    }

    printf("1..%d\n", n);

    return bad != 0;
}
