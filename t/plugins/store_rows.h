/* The file of t/plugins/store.c: its rows, as several programs share them. */

#ifndef STORE_ROWS_H_INCLUDED
#define STORE_ROWS_H_INCLUDED

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/queue.h>

#include "bk_plugin.h"


/* pool, worker, owner, job, metadata, reason, record */
#define STORE_TEXTS  7


typedef struct store_row_s  store_row_t;

/* As it is in the file, followed by the texts. */
typedef struct {
    uint8_t   hash[32];
    uint8_t   key_hash[32];
    uint64_t  created_ms;
    uint64_t  expires_ms;
    uint64_t  changed_ms;
    int32_t   has_key;
    int32_t   state;
    uint32_t  len[STORE_TEXTS];
    int32_t   worker;           /* 1: is about a worker: pool, worker, reason,
                                   changed_ms, state (trust) */
} store_fixed_t;

struct store_row_s {
    TAILQ_ENTRY(store_row_s)  link;
    store_fixed_t             f;
    char                     *text[STORE_TEXTS];
};

TAILQ_HEAD(store_rows_s, store_row_s);


static inline bk_str_t
store_str(const char *s)
{
    return (bk_str_t) { s, strlen(s) };
}


static inline store_row_t *
store_new(const store_fixed_t *f, const bk_str_t *texts)
{
    size_t        i;
    store_row_t  *row = calloc(1, sizeof(store_row_t));

    if (row == NULL) {
        abort();
    }

    row->f = *f;

    for (i = 0; i < STORE_TEXTS; i++) {
        row->f.len[i] = (uint32_t) texts[i].len;
        row->text[i] = strndup(texts[i].len > 0 ? texts[i].data : "",
                               texts[i].len);

        if (row->text[i] == NULL) {
            abort();
        }
    }

    return row;
}


static inline store_row_t *
store_copy(const store_row_t *row)
{
    size_t    i;
    bk_str_t  texts[STORE_TEXTS];

    for (i = 0; i < STORE_TEXTS; i++) {
        texts[i] = (bk_str_t) { row->text[i], row->f.len[i] };
    }

    return store_new(&row->f, texts);
}


static inline void
store_free(store_row_t *row)
{
    size_t  i;

    for (i = 0; i < STORE_TEXTS; i++) {
        free(row->text[i]);
    }

    free(row);
}


static inline void
store_clear(struct store_rows_s *rows)
{
    store_row_t  *row;

    while ((row = TAILQ_FIRST(rows)) != NULL) {
        TAILQ_REMOVE(rows, row, link);
        store_free(row);
    }
}


static inline store_row_t *
store_find(struct store_rows_s *rows, const store_row_t *row)
{
    store_row_t  *r;

    TAILQ_FOREACH(r, rows, link) {
        if (r->f.worker == row->f.worker
            && memcmp(r->f.hash, row->f.hash, 32) == 0
            && (!r->f.worker || (strcmp(r->text[0], row->text[0]) == 0
                                 && strcmp(r->text[1], row->text[1]) == 0)))
        {
            return r;
        }
    }

    return NULL;
}


static inline int
store_same(const store_row_t *a, const store_row_t *b)
{
    size_t  i;

    for (i = 0; i < STORE_TEXTS; i++) {
        if (strcmp(a->text[i], b->text[i]) != 0) {
            return 0;
        }
    }

    return memcmp(&a->f, &b->f, sizeof(a->f)) == 0;
}


static inline int
store_lock(const char *file)
{
    int   fd;
    char  path[600];

    snprintf(path, sizeof(path), "%s.lock", file);
    fd = open(path, O_RDWR|O_CREAT|O_CLOEXEC, 0600);

    if (fd == -1 || flock(fd, LOCK_EX) == -1) {
        abort();
    }

    return fd;
}


static inline void
store_load(const char *file, struct store_rows_s *rows)
{
    FILE           *in;
    char           *data[STORE_TEXTS];
    size_t          i;
    bk_str_t        texts[STORE_TEXTS];
    store_row_t    *row;
    store_fixed_t   f;

    TAILQ_INIT(rows);
    in = fopen(file, "re");

    while (in != NULL && fread(&f, sizeof(f), 1, in) == 1) {
        for (i = 0; i < STORE_TEXTS; i++) {
            data[i] = malloc(f.len[i] + 1);

            if (data[i] == NULL
                || (f.len[i] > 0 && fread(data[i], f.len[i], 1, in) != 1))
            {
                abort();
            }

            texts[i] = (bk_str_t) { data[i], f.len[i] };
        }

        row = store_new(&f, texts);
        TAILQ_INSERT_TAIL(rows, row, link);

        for (i = 0; i < STORE_TEXTS; i++) {
            free(data[i]);
        }
    }

    if (in != NULL) {
        fclose(in);
    }
}


static inline void
store_save(const char *file, struct store_rows_s *rows)
{
    char          path[600];
    FILE         *out;
    size_t        i;
    store_row_t  *row;

    snprintf(path, sizeof(path), "%s.new", file);
    out = fopen(path, "we");

    if (out == NULL) {
        abort();
    }

    TAILQ_FOREACH(row, rows, link) {
        fwrite(&row->f, sizeof(row->f), 1, out);

        for (i = 0; i < STORE_TEXTS; i++) {
            fwrite(row->text[i], row->f.len[i], 1, out);
        }
    }

    if (fclose(out) != 0 || rename(path, file) != 0) {
        abort();
    }
}

#endif /* STORE_ROWS_H_INCLUDED */
