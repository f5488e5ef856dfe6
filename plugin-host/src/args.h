/* The arguments of buildkit-plugin-host, for main.c. */

#ifndef BK_ARGS_H_INCLUDED
#define BK_ARGS_H_INCLUDED


typedef struct {
    const char  *path;          /* of the configuration */
    int          test;
    int          again;         /* what a plugin ends begins anew */
    int          list;
} bk_args_t;


/* The exit status, or -1 to go on. */
int bk_args(int argc, char **argv, bk_args_t *args);

#endif /* BK_ARGS_H_INCLUDED */
