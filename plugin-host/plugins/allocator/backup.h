/* POST /api/v1/journal/backup: a copy of the journal in the state folder. */

#ifndef BK_BACKUP_H_INCLUDED
#define BK_BACKUP_H_INCLUDED

#include "allocator.h"

/* the route; before the journal is closed: bk_backup_stop() */
int bk_backup_add(bk_allocator_t *a, bk_err_t *err);
/* answers whoever waits; the copy itself ends with the journal */
void bk_backup_stop(bk_allocator_t *a);
void bk_backup_free(bk_allocator_t *a);

#endif /* BK_BACKUP_H_INCLUDED */
