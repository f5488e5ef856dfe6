/* Who asks?  See identity.h. */

#include "identity.h"


void
bk_identity_answer(bk_query_t *q, const bk_identity_t *id,
    const bk_err_t *err)
{
    (void) q;
    (void) id;
    (void) err;
}
