/*
 * SIGHUP: what can change while plugin-host runs, which is the access rules,
 * the log's level and format.  What is wrong changes nothing.  Called by
 * main.c, see host.h.
 */

#include <stdio.h>

#include "bk_err.h"
#include "host.h"
#include "log.h"


static void bk_again_doubt(const char *rule, const char *what, void *out);


void
bk_again(bk_core_t *core)
{
    bk_err_t      err;
    bk_conf_t    *fresh;
    bk_access_t  *access;

    if (bk_conf_new(&fresh, core->conf->path, &err) != 0) {
        bk_log(BK_LOG_ERROR, "host", "nothing was reloaded: %s", err.text);
        return;
    }

    if (bk_access_new(&access, fresh, &err) != 0) {
        bk_log(BK_LOG_ERROR, "host", "nothing was reloaded: %s", err.text);
        bk_conf_free(&fresh);
        return;
    }

    /* said under either level */
    if (fresh->log.level > bk_log_level()) {
        bk_log_set(fresh->log.level, core->conf->log.format);
    }

    bk_log(BK_LOG_INFO, "host", "access rules, log level and format were "
           "reloaded; all else of %s needs a restart, which touches no build. "
           "Files that plugins watch are read when they change",
           core->conf->path);

    bk_log_set(fresh->log.level, fresh->log.format);

    bk_access_free(&core->access);
    core->access = access;
    bk_access_keep(access, fresh);
    bk_again_doubts(access, NULL);

    if (core->ca != NULL) {
        bk_ca_look(core->ca);
    }
}


void
bk_again_doubts(const bk_access_t *access, FILE *out)
{
    bk_access_doubts(access, bk_again_doubt, out);
}


static void
bk_again_doubt(const char *rule, const char *what, void *out)
{
    if (out != NULL) {
        fprintf(out, "buildkit-plugin-host: warning: the access rule %s %s\n",
                rule, what);

    } else {
        bk_log(BK_LOG_WARN, "access", "rule %s %s", rule, what);
    }
}
