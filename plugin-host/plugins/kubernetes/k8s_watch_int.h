/* Between k8s_watch.c and k8s_watch_take.c; nobody else includes this. */

#ifndef K8S_WATCH_INT_H_INCLUDED
#define K8S_WATCH_INT_H_INCLUDED

#include "bk_err.h"
#include "k8s_known.h"


#define K8S_VERSION_MAX     128
#define K8S_CONTINUE_MAX    8192


struct k8s_watch_s {
    k8s_t              *k8s;
    const bk_host_t    *host;
    k8s_watch_ops_t     ops;
    void               *data;
    char               *path;
    char               *selector;       /* escaped, or NULL */
    char               *fields;         /* the same */

    bk_timer_t         *timer;          /* of the next request */
    k8s_req_t          *req;            /* that is under way */
    k8s_split_t        *split;
    bk_err_t            err;            /* of what it says */
    int                 gone;           /* it said 410 */

    int                 watching;       /* or listing */
    int                 again;          /* to be listed anew */
    int                 whole;          /* without pages this time */
    int                 near;           /* a list that is as new as what is
                                           known will do */
    int                 doubt;          /* all of it is put */
    int                 synced;
    int                 told;           /* state() was called ... */
    uint64_t            told_ms;        /* ... then ... */
    char                why[K8S_WHY_MAX];   /* ... with that */
    unsigned            fails;          /* one behind the other */
    unsigned            empty;          /* watches without a word */
    char               *next_page;      /* "continue", or NULL */
    char                version[K8S_VERSION_MAX + 1];

    uint64_t            list;           /* its number */
    uint64_t            began_ms;       /* of this watch or list */
    uint64_t            got;            /* events of it */
    k8s_known_t        *known;
    k8s_watch_stats_t   stats;
};


/* What a splitter is told to do with what it finds: of a list, and of its
 * metadata before; of a watch; of what a list did not have. */
int k8s_watch_item(void *data, json_t *obj);
int k8s_watch_same(void *data, json_t *meta);
int k8s_watch_event(void *data, json_t *event);
void k8s_watch_swept(void *data, const char *ns, const char *name);

#endif /* K8S_WATCH_INT_H_INCLUDED */
