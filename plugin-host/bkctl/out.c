/*
 * Everything that people read: errors, progress, tables.
 *
 * The only file that knows whether there is a terminal.  What came from the
 * API or the route table is cleaned of control bytes before it is shown to
 * one.  Machine output (JSON) is a function of its own.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bk_duration.h"
#include "bkctl.h"


#define BK_CELL_MAX        120
#define BK_PROGRESS_FIRST  1000     /* ms; quick answers show nothing */
#define BK_PROGRESS_PLAIN  5000     /* between lines where no terminal is */


struct bk_rows_s {
    int      columns;
    size_t   n, alloc;
    char   **cells;
};


static void bk_out_line(const char *what, const char *fmt, va_list ap)
    __attribute__((format(printf, 2, 0)));
static int bk_out_colour(FILE *f);
static const char *bk_out_state_colour(const char *state);


void
bk_out_error(const char *fmt, ...)
{
    va_list  ap;

    va_start(ap, fmt);
    bk_out_line("bkctl: ", fmt, ap);
    va_end(ap);
}


void
bk_out_hint(const char *fmt, ...)
{
    va_list  ap;

    va_start(ap, fmt);
    bk_out_line("       ", fmt, ap);
    va_end(ap);
}


void
bk_out_note(const char *fmt, ...)
{
    va_list  ap;

    va_start(ap, fmt);
    bk_out_line("", fmt, ap);
    va_end(ap);
}


static void
bk_out_line(const char *what, const char *fmt, va_list ap)
{
    char  text[1200];

    vsnprintf(text, sizeof(text), fmt, ap);
    fprintf(stderr, "%s%s\n", what, bk_out_clean(text));
}


char *
bk_out_clean(char *s)
{
    char  *p;

    for (p = s; *p; p++) {
        if ((unsigned char) *p < 0x20 || *p == 0x7f) {
            *p = '?';
        }
    }

    return s;
}


const char *
bk_out_string(const json_t *object, const char *key)
{
    const char  *s;

    s = json_string_value(json_object_get(object, key));

    return s ? s : "";
}


const char *
bk_out_text(const json_t *object, const char *key)
{
    static char  text[1024];

    snprintf(text, sizeof(text), "%s", bk_out_string(object, key));

    return bk_out_clean(text);
}


long long
bk_out_number(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}


int
bk_out_json(const json_t *json)
{
    json_dumpf(json, stdout, JSON_INDENT(2)|JSON_ENCODE_ANY);
    putchar('\n');

    return bk_out_flush();
}


int
bk_out_flush(void)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        bk_out_error("cannot write the output: %s", strerror(errno));
        return BK_EXIT_FAILED;
    }

    return BK_EXIT_OK;
}


int
bk_out_tty(void)
{
    return isatty(STDOUT_FILENO);
}


static int
bk_out_colour(FILE *f)
{
    const char  *no, *term;

    no = getenv("NO_COLOR");
    term = getenv("TERM");

    return isatty(fileno(f)) && (no == NULL || *no == '\0')
           && term != NULL && strcmp(term, "dumb") != 0;
}


/* --- tables --- */

bk_rows_t *
bk_rows_new(int columns)
{
    bk_rows_t  *rows;

    rows = calloc(1, sizeof(bk_rows_t));

    if (rows == NULL) {
        abort();
    }

    rows->columns = columns;

    return rows;
}


void
bk_rows_add(bk_rows_t *rows, const char *const *cells)
{
    int   i;
    char  cell[BK_CELL_MAX * 2];

    if (rows->n + (size_t) rows->columns > rows->alloc) {
        rows->alloc = rows->alloc * 2 + (size_t) rows->columns * 16;
        rows->cells = realloc(rows->cells, rows->alloc * sizeof(char *));

        if (rows->cells == NULL) {
            abort();
        }
    }

    for (i = 0; i < rows->columns; i++) {
        snprintf(cell, sizeof(cell), "%s",
                 cells[i] && *cells[i] ? cells[i] : "-");

        rows->cells[rows->n] = strdup(bk_out_clean(cell));

        if (rows->cells[rows->n++] == NULL) {
            abort();
        }
    }
}


void
bk_rows_print(const bk_rows_t *rows)
{
    int          c, colour;
    size_t       i, len, width[16] = { 0 };
    const char  *paint, *cell;

    colour = bk_out_colour(stdout);

    for (i = 0; i < rows->n; i++) {
        c = (int) (i % (size_t) rows->columns);
        len = strlen(rows->cells[i]);

        if (len > width[c] && len <= BK_CELL_MAX) {
            width[c] = len;
        }
    }

    for (i = 0; i < rows->n; i++) {
        c = (int) (i % (size_t) rows->columns);
        cell = rows->cells[i];
        paint = colour && i >= (size_t) rows->columns
                ? bk_out_state_colour(cell) : NULL;

        if (paint) {
            fputs(paint, stdout);
        }

        fputs(cell, stdout);

        if (paint) {
            fputs("\033[0m", stdout);
        }

        if (c == rows->columns - 1) {
            putchar('\n');
            continue;
        }

        for (len = strlen(cell); len < width[c] + 2; len++) {
            putchar(' ');
        }
    }
}


void
bk_rows_free(bk_rows_t **rows)
{
    size_t  i;

    for (i = 0; i < (*rows)->n; i++) {
        free((*rows)->cells[i]);
    }

    free((*rows)->cells);
    free(*rows);
    *rows = NULL;
}


static const char *
bk_out_state_colour(const char *state)
{
    if (strcmp(state, "ready") == 0 || strcmp(state, "ok") == 0
        || strcmp(state, "live") == 0)
    {
        return "\033[32m";
    }

    if (strcmp(state, "failed") == 0 || strcmp(state, "revoked") == 0
        || strncmp(state, "cut", 3) == 0 || strncmp(state, "refused", 7) == 0)
    {
        return "\033[31m";
    }

    if (strcmp(state, "starting") == 0 || strcmp(state, "queued") == 0
        || strcmp(state, "draining") == 0 || strcmp(state, "held") == 0
        || strcmp(state, "connecting") == 0)
    {
        return "\033[33m";
    }

    return NULL;
}


/* --- progress --- */

void
bk_progress_start(bk_progress_t *p, const char *fmt, ...)
{
    va_list  ap;

    memset(p, 0, sizeof(bk_progress_t));

    va_start(ap, fmt);
    vsnprintf(p->text, sizeof(p->text), fmt, ap);
    va_end(ap);

    bk_out_clean(p->text);
    p->start_ms = bk_now_ms();
    p->next_ms = p->start_ms + BK_PROGRESS_FIRST;
}


void
bk_progress_tick(bk_progress_t *p)
{
    char      took[32];
    uint64_t  now;

    now = bk_now_ms();

    if (now < p->next_ms) {
        return;
    }

    bk_progress_took(p, took, sizeof(took));

    if (isatty(STDERR_FILENO)) {
        fprintf(stderr, "\r%s%s%s ... %s\033[K", p->text,
                p->why[0] ? ": " : "", p->why, took);
        p->next_ms = now + 1000;

    } else {
        fprintf(stderr, "%s%s%s ... %s\n", p->text, p->why[0] ? ": " : "",
                p->why, took);
        p->next_ms = now + BK_PROGRESS_PLAIN;
    }

    fflush(stderr);
    p->shown = 1;
}


void
bk_progress_why(bk_progress_t *p, const char *fmt, ...)
{
    char     why[sizeof(p->why)];
    va_list  ap;

    va_start(ap, fmt);
    vsnprintf(why, sizeof(why), fmt, ap);
    va_end(ap);

    if (strcmp(bk_out_clean(why), p->why) != 0) {
        memcpy(p->why, why, sizeof(why));

        if (p->shown) {
            p->next_ms = 0;
        }
    }
}


void
bk_progress_now(bk_progress_t *p)
{
    p->next_ms = 0;
    bk_progress_tick(p);
}


char *
bk_progress_took(const bk_progress_t *p, char *buf, size_t size)
{
    bk_duration_format((bk_now_ms() - p->start_ms) / 1000 * 1000, buf, size);

    return buf;
}


void
bk_progress_end(bk_progress_t *p)
{
    if (p->shown && isatty(STDERR_FILENO)) {
        fputs("\r\033[K", stderr);
    }

    p->shown = 0;
}
