/*
 * One allocation, with all that is known of it, and its history.
 */

#include <string.h>

#include "allocator.h"


static int bk_show_line(const bk_history_t *line, void *data);


/* GET /api/v1/allocations/ID, also with ?watch=1 */

void
bk_show_http(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    bk_allocator_t *a = data;

    char              id[BK_ID_LEN + 1], text[8];
    uint8_t           hash[BK_TABLE_HASH_LEN];
    bk_buf_t          b, lines;
    bk_err_t          err;
    bk_row_t          row;
    bk_count_t        count;
    bk_record_t      *rec;
    const bk_host_t  *h;

    h = a->host;
    err = (bk_err_t) { 0 };

    if (bk_own_find(a, r, info->param, BK_VERB_LIST, hash, &row, &err) != 0) {
        h->http_fail(r, &err);
        return;
    }

    if (h->http_query(r, "watch", text, sizeof(text)) == 0
        && strcmp(text, "0") != 0 && strcmp(text, "false") != 0)
    {
        bk_watch_begin(a, r, hash);
        return;
    }

    b = (bk_buf_t) { NULL, 0, 0 };
    lines = b;

    bk_show_members(a, &row, &b);
    rec = bk_record_find(a->records, hash);

    if (rec != NULL) {
        bk_answer_waits(a, rec, &b);
    }

    bk_buf_number(&b, "connections",
                  bk_ending_count(a, bk_token_id(hash, id), &count));

    if (bk_journal_history(a->journal, hash, bk_show_line, &lines, &err)
        != 0)
    {
        bk_buf_free(&lines);
        bk_buf_free(&b);
        h->http_fail(r, &err);
        return;
    }

    bk_buf_key(&b, "history");
    bk_buf_add(&b, "[", 1);

    if (lines.len > 0) {
        bk_buf_add(&b, lines.data, lines.len);
    }

    bk_buf_add(&b, "]}\n", 3);

    h->http_reply(r, 200, "application/json", (bk_str_t) { b.data, b.len });

    bk_buf_free(&lines);
    bk_buf_free(&b);
}


static int
bk_show_line(const bk_history_t *line, void *data)
{
    bk_buf_t *lines = data;

    bk_buf_t  b;

    b = (bk_buf_t) { NULL, 0, 0 };

    bk_buf_time(&b, "at", line->when_ms);
    bk_buf_str(&b, "what", line->what);
    bk_buf_str(&b, "who", line->who == NULL ? "" : line->who);
    bk_buf_str(&b, "text", line->text == NULL ? "" : line->text);

    bk_buf_add(lines, ",", lines->len > 0);
    bk_buf_add(lines, b.data, b.len);
    bk_buf_add(lines, "}", 1);
    bk_buf_free(&b);

    return 0;
}


void
bk_show_members(bk_allocator_t *a, const bk_row_t *row, bk_buf_t *b)
{
    char              id[BK_ID_LEN + 1];
    bk_record_t      *rec;
    bk_alloc_info_t   info;

    rec = bk_record_find(a->records, row->hash);

    bk_buf_str(b, "id", bk_token_id(row->hash, id));
    bk_buf_str(b, "state", bk_state_name(row->state));
    bk_buf_str(b, "reason", row->reason);

    if (rec != NULL) {
        bk_answer_queue(a, rec, b);
    }

    bk_buf_str(b, "pool", row->pool);
    bk_buf_str(b, "worker", row->worker);
    bk_buf_str(b, "owner", row->owner);
    bk_buf_str(b, "rule", row->rule);
    bk_buf_str(b, "jobId", row->job_id);
    bk_buf_bool(b, "untrusted", row->untrusted);

    if (row->created_ms > 0) {
        bk_buf_time(b, "createdAt", row->created_ms);
    }

    bk_buf_time(b, "expiresAt", row->expires_ms);
    bk_buf_time(b, "changedAt", row->changed_ms);
    bk_buf_bool(b, "keyBound",
                row->spki_len > 0
                || (a->host->alloc_find(a->host, row->hash, &info) == 0
                    && info.key_hash != NULL));
}
