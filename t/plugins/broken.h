/* What the broken plugins have in common: callbacks that do nothing. */

#ifndef BROKEN_H_INCLUDED
#define BROKEN_H_INCLUDED

#include "bk_plugin.h"


static inline int
broken_create(const bk_host_t *host, void **ctx, bk_err_t *err)
{
    (void) host;
    (void) err;

    *ctx = NULL;

    return 0;
}


static inline int
broken_start(void *ctx, bk_err_t *err)
{
    (void) ctx;
    (void) err;

    return 0;
}


static inline void
broken_stop(void *ctx)
{
    (void) ctx;
}


/* The entry that BK_PLUGIN() would make, with other numbers. */
#define BROKEN_PLUGIN(p, major, minor, size)                                  \
    __attribute__((visibility("default")))                                   \
    const bk_plugin_t *bk_plugin_entry(void);                                \
                                                                             \
    const bk_plugin_t *                                                      \
    bk_plugin_entry(void)                                                    \
    {                                                                        \
        (p).abi_major = (major);                                             \
        (p).abi_minor = (minor);                                             \
        (p).struct_size = (uint32_t) (size);                                 \
        return &(p);                                                         \
    }

#endif /* BROKEN_H_INCLUDED */
