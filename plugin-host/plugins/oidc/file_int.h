/* Between file.c (form) and file_check.c (sense). */

#ifndef BK_OIDC_FILE_INT_H_INCLUDED
#define BK_OIDC_FILE_INT_H_INCLUDED

#include "file.h"

/* Fills what is made of the document's strings. */
int oidc_file_check(oidc_file_t *f, bk_err_t *err);

#endif /* BK_OIDC_FILE_INT_H_INCLUDED */
