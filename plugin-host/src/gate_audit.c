/*
 * Lines of the audit log: what the gate refused, what handlers say, and what
 * changed something although its handler said nothing.  Who is refused again
 * and again cannot fill the disk with it.  See gate.h.
 */

#include <stdio.h>
#include <string.h>

#include "gate_int.h"
#include "log.h"


#define BK_GATE_MEMBERS_MAX  16384


static const char *bk_gate_known_by(const bk_caller_t *c, size_t *len);
static void bk_gate_line_str(json_t *line, const char *key,
    const char *value);


/* A look that was not refused has no line: there are very many, and they
 * change nothing. */

void
bk_gate_answered(void *caller, int status, const char *reason)
{
    int           refused = status == 401 || status == 403;
    json_t       *line;
    const char   *method, *what;
    bk_caller_t  *c = caller;

    method = bk_httpd_method(c->request);

    if (c->gate->core->audit == NULL || c->audited
        || (!refused && (strcmp(method, "GET") == 0
                         || strcmp(method, "HEAD") == 0)))
    {
        return;
    }

    what = c->verb == BK_VERB_ANY ? "ask" : bk_verb_name(c->verb);

    if (refused || c->who == NULL) {
        line = bk_gate_refused(c, what, refused ? "refused" : "failed");

        if (line == NULL) {
            return;
        }

    } else {
        line = bk_gate_line(c, c->request, what,
                            status < 400 ? "done" : "failed");
    }

    json_object_set_new(line, "status", json_integer(status));
    bk_gate_line_str(line, "reason", reason);
    bk_audit_write(c->gate->core->audit, line);
}


json_t *
bk_gate_refused(bk_caller_t *c, const char *what, const char *outcome)
{
    size_t           len;
    unsigned         hash;
    bk_gate_t       *g = c->gate;
    const char      *key;
    struct timeval   tv = { 1, 0 };

    key = bk_gate_known_by(c, &len);
    HASH_VALUE(key, len, hash);
    hash %= BK_GATE_CALLERS;

    if (!evtimer_pending(g->second, NULL) && evtimer_add(g->second, &tv) != 0) {
        abort();
    }

    if (g->refused[hash] == BK_GATE_REFUSED) {
        g->left_out++;
        return NULL;
    }

    g->refused[hash]++;

    return bk_gate_line(c, c->request, what, outcome);
}


/* A name; or an address without its port, which is new each time. */

static const char *
bk_gate_known_by(const bk_caller_t *c, size_t *len)
{
    const char  *key, *port;

    key = c->who != NULL ? c->who->name : bk_httpd_forwarded(c->request);

    if (key != NULL) {
        *len = strlen(key);
        return key;
    }

    key = bk_httpd_client(c->request);
    port = strrchr(key, ':');
    *len = port != NULL ? (size_t) (port - key) : strlen(key);

    return key;
}


/* It is over; or the gate is. */

void
bk_gate_second(evutil_socket_t fd, short what, void *gate)
{
    json_t     *line;
    bk_gate_t  *g = gate;

    (void) fd;
    (void) what;

    if (g->left_out > 0) {
        line = bk_gate_line(NULL, NULL, "ask", "refused");
        json_object_set_new(line, "leftOut", json_integer(g->left_out));
        bk_audit_write(g->core->audit, line);
    }

    g->stats.left_out += g->left_out;
    g->left_out = 0;
    memset(g->refused, 0, sizeof(g->refused));
}


void
bk_gate_audit(bk_gate_t *g, bk_request_t *r, const char *what,
    const char *outcome, bk_str_t members)
{
    char         *text;
    json_t       *line, *more;
    bk_caller_t  *c = r != NULL ? bk_httpd_caller(r) : NULL;
    bk_caller_t   open = { .gate = g, .request = r };

    if (c != NULL) {
        c->audited = 1;
    }

    if (g->core->audit == NULL) {
        return;
    }

    /* of an open route, where anybody may try what he likes */
    line = c == NULL && r != NULL && strcmp(outcome, "failed") == 0
           ? bk_gate_refused(&open, what, outcome)
           : bk_gate_line(c, r, what, outcome);

    if (line == NULL) {
        return;
    }

    if (members.len > 0 && members.len <= BK_GATE_MEMBERS_MAX) {
        text = malloc(members.len + 2);
        if (text == NULL) {
            abort();
        }

        /* whatever it is, it cannot end the line or change what is ours */
        text[0] = '{';
        memcpy(text + 1, members.data, members.len);
        text[members.len + 1] = '}';
        more = json_loadb(text, members.len + 2, 0, NULL);
        free(text);

        if (json_is_object(more)) {
            /* of what they are about the handler knows more */
            json_object_del(line, json_object_get(more, "pool") != NULL
                                  ? "pool" : "");
            json_object_update_missing(line, more);

        } else {
            bk_log(BK_LOG_ERROR, "audit", "%s: what was to be written is no "
                   "JSON", what);
        }

        json_decref(more);
    }

    bk_audit_write(g->core->audit, line);
}


/* The route's pattern, not its path: somebody may put a token there. */

json_t *
bk_gate_line(bk_caller_t *c, const bk_request_t *r, const char *what,
    const char *outcome)
{
    char     request[300];
    json_t  *line = json_object();

    bk_gate_line_str(line, "what", what);
    bk_gate_line_str(line, "outcome", outcome);

    if (c != NULL) {
        bk_gate_line_str(line, "who", c->who != NULL ? c->who->name : NULL);
        bk_gate_line_str(line, "source",
                         c->who != NULL ? c->who->source : NULL);
        bk_gate_line_str(line, "rule", c->rule);
        bk_gate_line_str(line, "pool", c->pool);
    }

    if (r != NULL) {
        bk_gate_line_str(line, "client", bk_httpd_client(r));
        bk_gate_line_str(line, "forwardedFor", bk_httpd_forwarded(r));
        snprintf(request, sizeof(request), "%s %s", bk_httpd_method(r),
                 bk_httpd_pattern(r));
        bk_gate_line_str(line, "request", request);
    }

    return line;
}


static void
bk_gate_line_str(json_t *line, const char *key, const char *value)
{
    if (value != NULL && value[0] != '\0') {
        json_object_set_new(line, key, json_string(value));
    }
}
