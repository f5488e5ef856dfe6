/*
 * The answer of allocate: the one place where a token and a key leave us.
 */

#include <stdio.h>
#include <string.h>

#include "allocator.h"


void
bk_answer(const bk_waiter_t *w, const bk_alloc_info_t *info)
{
    char              id[BK_ID_LEN + 1], *p;
    char              text[BK_TABLE_NAME_LEN];
    bk_buf_t          b;
    bk_str_t          endpoint;
    const bk_host_t  *h;
    bk_worker_info_t  worker;

    h = w->a->host;
    b = (bk_buf_t) { NULL, 0, 0 };

    bk_buf_str(&b, "id", bk_token_id(w->row.hash, id));
    bk_buf_str(&b, "state", bk_state_name(info->state));
    bk_buf_str(&b, "poolName", w->row.pool);
    bk_buf_str(&b, "workerName", w->row.worker);
    bk_buf_str(&b, "token", w->token);

    text[0] = '\0';

    if (h->worker_find(h, bk_str(w->row.pool), bk_str(w->row.worker),
                       &worker) == 0
        && worker.endpoint.len > 0)
    {
        (void) snprintf(text, sizeof(text), "tcp://%.*s",
                        (int) worker.endpoint.len, worker.endpoint.data);
    }

    bk_buf_str(&b, "endpoint", text);

    endpoint = h->gateway_endpoint(h);
    bk_str_copy(text, sizeof(text), endpoint);
    bk_buf_str(&b, "gatewayEndpoint", text);

    /* the host part of tcp://host:port or tcp://[address]:port */
    p = strstr(text, "://");
    p = p == NULL ? text : p + 3;

    if (*p == '[') {
        p++;
        p[strcspn(p, "]")] = '\0';

    } else if (strrchr(p, ':') != NULL) {
        *strrchr(p, ':') = '\0';
    }

    bk_buf_str(&b, "tlsServerName", p);
    bk_buf_time(&b, "expiresAt", w->row.expires_ms);
    bk_buf_base64(&b, "caCert", (bk_str_t) { w->ca.data, w->ca.len });
    bk_buf_base64(&b, "clientCert", (bk_str_t) { w->cert.data, w->cert.len });

    if (w->csr == NULL) {
        bk_buf_base64(&b, "clientKey",
                      (bk_str_t) { w->key.data, w->key.len });
    }

    bk_buf_add(&b, "}\n", 2);

    h->http_reply(w->r, 200, "application/json",
                  (bk_str_t) { b.data, b.len });

    bk_buf_free(&b);
}
