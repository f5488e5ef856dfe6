/*
 * Between the files of the client (k8s.h); nobody else includes this.
 *
 * k8s_conf.c knows the server, k8s_client.c asks it, k8s_watch.c and
 * k8s_lease.c use those.
 */

#ifndef K8S_INT_H_INCLUDED
#define K8S_INT_H_INCLUDED

#include "k8s.h"


/* --- k8s_conf.c --------------------------------------------------------- */

/* In a Pod: dir has token, ca.crt and namespace; host and port are those of
 * KUBERNETES_SERVICE_*.  404 NoKubernetes where any is missing. */
int k8s_conf_pod(k8s_conf_t **conf, const char *dir, const char *host,
    const char *port, bk_err_t *err);
/* a kubeconfig's text; file: its name, and the folder of what it names */
int k8s_conf_parse(k8s_conf_t **conf, const char *file, const char *text,
    size_t len, const char *context, bk_err_t *err);
/* Sets who we are and whom we trust.  What is pointed to is c's, and goes with
 * it. */
void k8s_conf_fill(const k8s_conf_t *c, bk_fetch_req_t *req);


/* --- k8s_ask.c, k8s_client.c --------------------------------------------- */

const bk_host_t *k8s_host(const k8s_t *k);

/* "/api/v1/namespaces/NS/pods/NAME/SUB" of what is not NULL, escaped, to be
 * freed */
char *k8s_path(const k8s_kind_t *kind, const char *ns, const char *name,
    const char *sub);

/* Sends *req to a path and a query (or NULL) of the server; gone: the name of
 * which it may be said that there is no such (404) and this is good, or NULL;
 * part: NULL, or it is a stream. */
k8s_req_t *k8s_ask(k8s_t *k, const char *path, const char *query,
    bk_fetch_req_t *req, const char *gone, bk_fetch_part_pt part,
    k8s_done_pt done, void *data);

/*
 * GET of a path with its query, whose answer comes in parts (k8s_split.c
 * takes them), as long as it takes: a page of a list, a watch.  30 s to its
 * head; silence_ms: between two bytes, 0: no limit.  part is called with len
 * 0 once, when the head has come and says 200: a watch of what does not change
 * has no byte for a long time, and is connected nevertheless.  part returns -1
 * to end it: done() is told status 0 and the text "stopped".  A good end:
 * status 200 with obj NULL.  part may cancel it.
 */
k8s_req_t *k8s_stream(k8s_t *k, const char *path, uint64_t silence_ms,
    bk_fetch_part_pt part, k8s_done_pt done, void *data);


/* --- k8s_text.c ---------------------------------------------------------- */

/* a member that is a string; "": it is none, or obj is no object */
const char *k8s_text(const json_t *obj, const char *key);
/* a value of a query, escaped; to be freed */
char *k8s_query(const char *s);
/* below n, for jitter */
unsigned k8s_random(unsigned n);

#endif /* K8S_INT_H_INCLUDED */
