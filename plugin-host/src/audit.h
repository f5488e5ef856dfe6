/*
 * The audit log: who was let do what, one line of JSON each, in a file of its
 * own (audit.file).  Called by gate.c alone.  Never given a token; a line that
 * cannot be written is counted and said in the log, and nothing else happens:
 * no write can hold up or stop the host.
 */

#ifndef BK_AUDIT_H_INCLUDED
#define BK_AUDIT_H_INCLUDED

#include <jansson.h>

#include "bk_plugin.h"


typedef struct bk_audit_s  bk_audit_t;

/* Opened for appending, 0640. */
int bk_audit_new(bk_audit_t **a, const char *path, bk_err_t *err);
void bk_audit_free(bk_audit_t **a);
/* SIGUSR1: the file was moved away.  Fails: goes on with the one it has. */
int bk_audit_reopen(bk_audit_t *a, bk_err_t *err);

/* Takes line, an object; adds the time in front. */
void bk_audit_write(bk_audit_t *a, json_t *line);

/* Lines that are written, and that are not. */
void bk_audit_stats(const bk_audit_t *a, uint64_t *written, uint64_t *lost);

#endif /* BK_AUDIT_H_INCLUDED */
