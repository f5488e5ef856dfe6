/*
 * Has nginx read its files again, with a command of the configuration
 * (gateway.reload): run without a shell, one at a time, with nothing on its
 * stdin, its output in the log, and a deadline.  One that fails is tried
 * again, later and later.  Used by main.c; nothing here waits.
 */

#ifndef BK_RELOAD_H_INCLUDED
#define BK_RELOAD_H_INCLUDED

#include <jansson.h>
#include <stdint.h>


typedef struct bk_reload_s  bk_reload_t;

struct event_base;

/* argv: ended by NULL, borrowed.  done: it succeeded, and was not wanted
 * again meanwhile. */
bk_reload_t *bk_reload_new(struct event_base *base, const char *const *argv,
    uint64_t timeout_ms, void (*done)(void *data), void *data);
void bk_reload_free(bk_reload_t **r);

/* Soon; one that runs is run again after that. */
void bk_reload_want(bk_reload_t *r);

/* No more: what runs is left to itself. */
void bk_reload_stop(bk_reload_t *r);

/* {"state": "ok", "pending", "running", "failed"; "error", "retryAt", "at"};
 * of NULL: {"state": "none"}.  The caller frees. */
json_t *bk_reload_show(const bk_reload_t *r);
/* One word or sentence for /readyz. */
const char *bk_reload_health(const bk_reload_t *r);

#endif /* BK_RELOAD_H_INCLUDED */
