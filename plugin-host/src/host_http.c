/*
 * What plugins may call, of HTTP, access and audit: the part of bk_host_t that
 * stands on httpd.h and gate.h.  Thin, as host_api.c.
 */

#include <string.h>

#include "gate.h"


int
bk_host_http_route(const bk_host_t *h, int which, const char *method,
    const char *pattern, bk_http_pt handler, void *data, bk_err_t *err)
{
    return bk_httpd_route_for(bk_inst(h)->core->httpd, which, method, pattern,
                              which == BK_HTTP_API ? BK_VERB_ADMIN
                                                   : BK_VERB_NONE,
                              handler, data, bk_inst(h)->label, err);
}


int
bk_host_http_route_for(const bk_host_t *h, const char *method,
    const char *pattern, int verb, bk_http_pt handler, void *data,
    bk_err_t *err)
{
    return bk_httpd_route_for(bk_inst(h)->core->httpd, BK_HTTP_API, method,
                              pattern, verb, handler, data, bk_inst(h)->label,
                              err);
}


int
bk_host_http_identity(bk_request_t *r, bk_identity_t *out)
{
    const bk_who_t  *who = bk_gate_who(r);

    if (who == NULL) {
        return -1;
    }

    out->name = (bk_str_t) { who->name, strlen(who->name) };
    out->source = (bk_str_t) { who->source, strlen(who->source) };
    out->claims = (bk_str_t) { who->text, strlen(who->text) };
    out->until_ms = who->until_ms;

    return 0;
}


int
bk_host_http_allowed(bk_request_t *r, int verb, bk_str_t pool,
    bk_decision_t *out, size_t size, bk_err_t *err)
{
    int             rc;
    bk_decision_t   d;

    rc = bk_gate_allowed(r, verb, pool, &d, err);

    if (out != NULL) {
        memset(out, 0, size);
        memcpy(out, &d, size < sizeof(d) ? size : sizeof(d));
    }

    return rc;
}


void
bk_host_audit(const bk_host_t *h, bk_request_t *r, const char *what,
    const char *outcome, bk_str_t members)
{
    bk_gate_audit(bk_inst(h)->core->gate, r, what, outcome, members);
}
