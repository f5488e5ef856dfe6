/* Is what is said of a worker or an allocation possible?  See model_int.h. */

#include <arpa/inet.h>
#include <string.h>

#include "bk_err.h"
#include "model_int.h"


static int bk_model_worker_addr(bk_table_worker_data_t *data, bk_str_t s,
    bk_err_t *err);
static int bk_model_worker_name_ok(bk_str_t name);
static size_t bk_model_worker_text(char *dst, size_t size, bk_str_t s);


int
bk_model_worker_fill(bk_table_worker_data_t *data,
    const bk_worker_info_t *info, bk_err_t *err)
{
    int  up;

    memset(data, 0, sizeof(bk_table_worker_data_t));

    if (!bk_model_worker_name_ok(info->name)) {
        return bk_err_set(err, 400, "BadWorkerName", "a worker's name is 1 to "
                          "253 letters, digits, '-', '_' and '.'");
    }

    if (info->state <= BK_WORKER_FREE || info->state >= BK_WORKER_STATES) {
        return bk_err_set(err, 400, "BadState", "%d is no state of a worker",
                          info->state);
    }

    if (info->tls_name.len >= BK_TABLE_TLS_NAME_LEN
        || (info->tls_name.len != 0
            && memchr(info->tls_name.data, '\0', info->tls_name.len) != NULL))
    {
        return bk_err_set(err, 400, "BadTlsName",
                          "the TLS name of worker %.*s is longer than %d bytes "
                          "or has a NUL", (int) info->name.len,
                          info->name.data, BK_TABLE_TLS_NAME_LEN - 1);
    }

    up = info->state == BK_WORKER_READY || info->state == BK_WORKER_DRAINING;

    if (up && (info->endpoint.len == 0 || info->tls_name.len == 0)) {
        return bk_err_set(err, 400, "NoEndpoint", "worker %.*s is up but has "
                          "no %s", (int) info->name.len, info->name.data,
                          info->endpoint.len == 0 ? "endpoint" : "TLS name");
    }

    if (info->endpoint.len != 0
        && bk_model_worker_addr(data, info->endpoint, err) != 0)
    {
        return -1;
    }

    data->state = (uint8_t) info->state;
    data->name_len = (uint16_t) info->name.len;
    memcpy(data->name, info->name.data, info->name.len);

    data->tls_name_len = (uint16_t)
        bk_model_worker_text(data->tls_name, BK_TABLE_TLS_NAME_LEN,
                             info->tls_name);
    data->message_len = (uint16_t)
        bk_model_worker_text(data->message, BK_TABLE_MESSAGE_LEN,
                             info->message);
    data->arch_len = (uint16_t)
        bk_model_worker_text(data->arch, BK_TABLE_ARCH_LEN, info->arch);

    return 0;
}


static int
bk_model_worker_addr(bk_table_worker_data_t *data, bk_str_t s, bk_err_t *err)
{
    char           buf[64], *host, *port, *end;
    unsigned long  n;

    if (s.len >= sizeof(buf)) {
        goto failed;
    }

    memcpy(buf, s.data, s.len);
    buf[s.len] = '\0';
    host = buf;

    port = strrchr(buf, ':');
    if (port == NULL || strlen(buf) != s.len) {
        goto failed;
    }

    *port++ = '\0';

    if (*host == '[') {
        end = strchr(++host, ']');
        if (end == NULL || end[1] != '\0') {
            goto failed;
        }

        *end = '\0';
        data->family = BK_TABLE_INET6;

        if (inet_pton(AF_INET6, host, data->addr) != 1) {
            goto failed;
        }

    } else {
        data->family = BK_TABLE_INET;

        if (inet_pton(AF_INET, host, data->addr) != 1) {
            goto failed;
        }
    }

    if (*port < '1' || *port > '9') {
        goto failed;
    }

    n = strtoul(port, &end, 10);
    if (*end != '\0' || n > 65535) {
        goto failed;
    }

    data->port = (uint16_t) n;

    return 0;

failed:

    return bk_err_set(err, 400, "BadEndpoint", "\"%.*s\" is no endpoint: it "
                      "must be a numeric ADDRESS:PORT or [ADDRESS]:PORT",
                      (int) (s.len < 80 ? s.len : 80), s.data);
}


static int
bk_model_worker_name_ok(bk_str_t name)
{
    size_t         i;
    unsigned char  c;

    if (name.len == 0 || name.len > 253) {
        return 0;
    }

    for (i = 0; i < name.len; i++) {
        c = (unsigned char) name.data[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
              || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.'))
        {
            return 0;
        }
    }

    return 1;
}


/* Cut to fit, at a UTF-8 boundary; control bytes become spaces. */

static size_t
bk_model_worker_text(char *dst, size_t size, bk_str_t s)
{
    size_t  i, len = s.len;

    if (len >= size) {
        for (len = size - 1; len > 0 && ((unsigned char) s.data[len] & 0xc0)
                                        == 0x80; len--)
        {
            /* void */
        }
    }

    for (i = 0; i < len; i++) {
        dst[i] = (unsigned char) s.data[i] < 0x20 || s.data[i] == 0x7f
                 ? ' ' : s.data[i];
    }

    return len;
}


int
bk_model_alloc_check(bk_model_t *m, const bk_alloc_info_t *info,
    const bk_alloc_t *a, bk_pool_t **pool, bk_worker_t **worker,
    bk_err_t *err)
{
    if (info->state <= BK_ALLOC_FREE || info->state >= BK_ALLOC_STATES) {
        return bk_err_set(err, 400, "BadState",
                          "%d is no state of an allocation", info->state);
    }

    *pool = bk_model_pool_get(m, info->pool);
    *worker = NULL;

    if (*pool == NULL) {
        return bk_err_set(err, 404, "PoolNotFound", "there is no pool %.*s",
                          (int) info->pool.len, info->pool.data);
    }

    if (info->worker.len == 0) {
        if (info->state == BK_ALLOC_QUEUED || bk_alloc_ended(info->state)) {
            return 0;
        }

        return bk_err_set(err, 400, "NoWorker", "an allocation that is %s "
                          "needs a worker", bk_alloc_state_name(info->state));
    }

    *worker = bk_model_worker_get(*pool, info->worker);

    if (*worker == NULL && !bk_alloc_ended(info->state)) {
        return bk_err_set(err, 404, "WorkerNotFound",
                          "there is no worker %.*s in pool %.*s",
                          (int) info->worker.len, info->worker.data,
                          (int) info->pool.len, info->pool.data);
    }

    /* one that cannot be used yet never will be: let it find another worker;
     * but who is on it stays, whatever its owner goes on saying */
    if (*worker != NULL && (*worker)->drained
        && (info->state == BK_ALLOC_QUEUED
            || (info->state == BK_ALLOC_STARTING
                && (a == NULL || a->worker != *worker
                    || a->state != BK_ALLOC_DRAINING))))
    {
        return bk_model_drain_refuse(*worker, err);
    }

    if (*worker != NULL && (*worker)->data.state == BK_WORKER_FAILED
        && !bk_alloc_ended(info->state))
    {
        return bk_err_set(err, 409, "WorkerFailed", "worker %.*s has failed: "
                          "%s", (int) info->worker.len, info->worker.data,
                          (*worker)->data.message_len
                              ? (*worker)->data.message : "no reason known");
    }

    return 0;
}


int
bk_model_alloc_fit(const bk_alloc_info_t *info, const bk_worker_t *w,
    uint64_t now)
{
    if (bk_alloc_ended(info->state)) {
        return info->state;
    }

    if (info->expires_ms != 0 && info->expires_ms <= now) {
        return BK_ALLOC_EXPIRED;
    }

    if (w == NULL) {
        return info->state;
    }

    if (w->drained
        && (info->state == BK_ALLOC_READY
            || info->state == BK_ALLOC_STARTING))
    {
        return BK_ALLOC_DRAINING;
    }

    if (info->state == BK_ALLOC_STARTING
        && w->data.state == BK_WORKER_READY)
    {
        return BK_ALLOC_READY;
    }

    if (info->state == BK_ALLOC_READY
        && (w->data.state == BK_WORKER_STARTING
            || w->data.state == BK_WORKER_STOPPED))
    {
        return BK_ALLOC_STARTING;
    }

    return info->state;
}
