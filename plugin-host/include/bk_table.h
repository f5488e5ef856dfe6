/*
 * The route table: a fixed-size file on tmpfs through which plugin-host tells
 * nginx which token goes to which worker.
 *
 * This header is the layout and nothing else: no functions, no dependencies.
 * plugin-host/doc/table.md is its other half (offsets, protocol, failure
 * cases); a test compares the two.  A change of any size, offset or meaning
 * is a new BK_TABLE_MAGIC, here and in the document, in one commit.
 *
 * Only plugin-host/src/table.c writes the file.  Readers map it PROT_READ and
 * go through bk_table_read.h.
 */

#ifndef BK_TABLE_H_INCLUDED
#define BK_TABLE_H_INCLUDED

#include <stdint.h>


/* The last character is the layout version. */
#define BK_TABLE_MAGIC          "BKROUTE1"
#define BK_TABLE_MAGIC_LEN      8

#define BK_TABLE_ENDIAN         0x01020304u

/* Header states. */
#define BK_TABLE_BUILDING       1   /* being filled for the first time */
#define BK_TABLE_LIVE           2
#define BK_TABLE_RETIRED        3   /* replaced: open the path again */

/*
 * A reader that finds a bit in flags_incompat that it does not know must not
 * use the table; unknown bits in flags_compat may be ignored.
 */
#define BK_TABLE_INCOMPAT_KNOWN 0u

#define BK_TABLE_HEADER_SIZE    512
#define BK_TABLE_BUCKET_SLOTS   8   /* one cache line */

#define BK_TABLE_HASH_LEN       32  /* SHA-256 */
#define BK_TABLE_NAME_LEN       256 /* worker name, 255 bytes and NUL */
#define BK_TABLE_POOL_LEN       320 /* namespace/name, 317 bytes at most */
#define BK_TABLE_TLS_NAME_LEN   256
#define BK_TABLE_MESSAGE_LEN    200 /* what a worker said last */
#define BK_TABLE_TEXT_LEN       184 /* why an allocation ended */
#define BK_TABLE_ARCH_LEN       16

/* Largest geometry that readers accept: bounds every multiplication. */
#define BK_TABLE_MAX_ENTRIES    (1u << 26)
#define BK_TABLE_MAX_WORKERS    (1u << 20)
#define BK_TABLE_MAX_POOLS      (1u << 16)

/* "No such thing" for bk_table_ref_t.index. */
#define BK_TABLE_NONE           0xffffffffu

/* Allocation states; values are part of the layout. */
#define BK_ALLOC_FREE           0   /* the slot holds nothing */
#define BK_ALLOC_QUEUED         1
#define BK_ALLOC_STARTING       2
#define BK_ALLOC_READY          3
#define BK_ALLOC_DRAINING       4
#define BK_ALLOC_EXPIRED        5   /* this and all above are ended */
#define BK_ALLOC_RELEASED       6
#define BK_ALLOC_REVOKED        7
#define BK_ALLOC_FAILED         8
#define BK_ALLOC_STATES         9

#define bk_alloc_ended(state)   ((state) >= BK_ALLOC_EXPIRED)

/* Allocation flags. */
#define BK_ALLOC_KEY_BOUND      0x01    /* entry key_hash must match */
#define BK_ALLOC_FLAGS_KNOWN    0x01

/* Worker states. */
#define BK_WORKER_FREE          0
#define BK_WORKER_STOPPED       1   /* not running, can be started */
#define BK_WORKER_STARTING      2
#define BK_WORKER_READY         3
#define BK_WORKER_DRAINING      4
#define BK_WORKER_FAILED        5
#define BK_WORKER_STATES        6

/* Pool states and flags. */
#define BK_POOL_FREE            0
#define BK_POOL_USED            1
#define BK_POOL_SHARED          0x01    /* workers take many allocations */

/* Address families: our own numbers, not the system's. */
#define BK_TABLE_INET           4
#define BK_TABLE_INET6          6


/*
 * A reference to a slot of the pool, worker or text array.  It is good only
 * while the slot's generation equals gen: slots are used again.
 */
typedef struct {
    uint32_t  index;
    uint32_t  gen;
} bk_table_ref_t;


/* The file begins with this.  Offsets are from the start of the file. */
typedef struct {
    char      magic[BK_TABLE_MAGIC_LEN];
    uint32_t  header_size;      /* BK_TABLE_HEADER_SIZE */
    uint32_t  endian;           /* BK_TABLE_ENDIAN as the writer stores it */
    uint64_t  total_size;       /* of the file, bytes */
    uint32_t  flags_compat;
    uint32_t  flags_incompat;

    /* Sizes of the structures below, as the writer was compiled. */
    uint32_t  bucket_size;
    uint32_t  entry_size;
    uint32_t  worker_size;
    uint32_t  pool_size;
    uint32_t  text_size;
    uint32_t  pad0;

    uint32_t  nbuckets;
    uint32_t  nentries;
    uint32_t  nworkers;
    uint32_t  npools;
    uint32_t  ntexts;
    uint32_t  pad1;

    uint64_t  buckets_offset;
    uint64_t  entries_offset;
    uint64_t  workers_offset;
    uint64_t  pools_offset;
    uint64_t  texts_offset;

    uint8_t   reserved0[72];

    /* All below changes while readers look: 64-bit atomic words. */
    uint64_t  state;            /* BK_TABLE_BUILDING, ... */
    uint64_t  generation;       /* +1 with every writer that took over */
    uint64_t  writer_pid;
    uint64_t  writer_start_ms;  /* Unix time, milliseconds */
    uint64_t  heartbeat_ms;     /* Unix time, milliseconds; about once a second */
    uint64_t  live;             /* allocations not ended, for people to read */
    uint64_t  ended;            /* ended ones that are still kept */
    uint8_t   reserved1[8];

    /*
     * revision: +1 after something that a reader may hold on to ended or
     * changed (allocation, worker, pool).  additions: +1 after a new
     * allocation can be found.  Each is stored after what it announces.
     */
    uint64_t  revision;
    uint64_t  additions;
    uint8_t   reserved2[240];
} bk_table_header_t;


/*
 * The index: buckets of eight words.  A word is 0 (empty) or
 * tag << 32 | entry index + 1.  A token's two buckets and its tag come from
 * its SHA-256: see bk_table_read.h.  An entry's word stays where it is while
 * the entry lives.
 */
typedef struct {
    uint64_t  slot[BK_TABLE_BUCKET_SLOTS];
} bk_table_bucket_t;


/* One of the two copies of an allocation; copied as 64-bit words. */
typedef struct {
    uint64_t        expires_ms;     /* Unix time, milliseconds; 0: never */
    uint64_t        changed_ms;     /* when it got this state */
    bk_table_ref_t  pool;
    bk_table_ref_t  worker;         /* index BK_TABLE_NONE: none yet */
    bk_table_ref_t  text;           /* reason; index BK_TABLE_NONE: none */
    uint8_t         state;          /* BK_ALLOC_* */
    uint8_t         flags;          /* BK_ALLOC_KEY_BOUND */
    uint16_t        pad0;
    uint32_t        pad1;
} bk_table_alloc_t;


/*
 * An allocation.  seq counts changes; seq & 1 is the current copy.  key
 * changes only while the current copy says BK_ALLOC_FREE, key_hash also when
 * its client gets another key: amid that it fits no key at all.
 */
typedef struct {
    uint8_t           key[BK_TABLE_HASH_LEN];       /* SHA-256(token) */
    uint8_t           key_hash[BK_TABLE_HASH_LEN];  /* SHA-256(SPKI) */
    uint64_t          seq;
    bk_table_alloc_t  copy[2];
    uint8_t           reserved[24];
} bk_table_entry_t;


typedef struct {
    uint32_t  gen;              /* never 0 for a slot in use */
    uint8_t   state;            /* BK_WORKER_* */
    uint8_t   family;           /* BK_TABLE_INET, BK_TABLE_INET6 */
    uint16_t  port;             /* host byte order */
    uint8_t   addr[16];         /* network byte order; IPv4: the first four */
    bk_table_ref_t  pool;
    uint16_t  name_len;
    uint16_t  tls_name_len;
    uint16_t  message_len;
    uint16_t  arch_len;
    char      name[BK_TABLE_NAME_LEN];
    char      tls_name[BK_TABLE_TLS_NAME_LEN];
    char      message[BK_TABLE_MESSAGE_LEN];
    char      arch[BK_TABLE_ARCH_LEN];
} bk_table_worker_data_t;


typedef struct {
    uint64_t                seq;
    bk_table_worker_data_t  copy[2];
    uint8_t                 reserved[8];
} bk_table_worker_t;


typedef struct {
    uint32_t  gen;
    uint8_t   state;            /* BK_POOL_* */
    uint8_t   flags;            /* BK_POOL_SHARED */
    uint16_t  name_len;
    char      name[BK_TABLE_POOL_LEN];
} bk_table_pool_data_t;


typedef struct {
    uint64_t              seq;
    bk_table_pool_data_t  copy[2];
    uint8_t               reserved[40];
} bk_table_pool_t;


/*
 * A reason, shared by all allocations that ended with the same words.  It
 * does not change while anything refers to it; gen is stored last.
 */
typedef struct {
    uint64_t  gen;              /* low 32 bits compare with the reference */
    char      text[BK_TABLE_TEXT_LEN];  /* NUL-padded */
} bk_table_text_t;


#define BK_TABLE_ASSERT(what)   _Static_assert(what, #what)

BK_TABLE_ASSERT(sizeof(bk_table_ref_t) == 8);
BK_TABLE_ASSERT(sizeof(bk_table_header_t) == BK_TABLE_HEADER_SIZE);
BK_TABLE_ASSERT(sizeof(bk_table_bucket_t) == 64);
BK_TABLE_ASSERT(sizeof(bk_table_alloc_t) == 48);
BK_TABLE_ASSERT(sizeof(bk_table_entry_t) == 192);
BK_TABLE_ASSERT(sizeof(bk_table_worker_data_t) == 768);
BK_TABLE_ASSERT(sizeof(bk_table_worker_t) == 1552);
BK_TABLE_ASSERT(sizeof(bk_table_pool_data_t) == 328);
BK_TABLE_ASSERT(sizeof(bk_table_pool_t) == 704);
BK_TABLE_ASSERT(sizeof(bk_table_text_t) == 192);

BK_TABLE_ASSERT(__builtin_offsetof(bk_table_header_t, total_size) == 16);
BK_TABLE_ASSERT(__builtin_offsetof(bk_table_header_t, nbuckets) == 56);
BK_TABLE_ASSERT(__builtin_offsetof(bk_table_header_t, buckets_offset) == 80);
BK_TABLE_ASSERT(__builtin_offsetof(bk_table_header_t, state) == 192);
BK_TABLE_ASSERT(__builtin_offsetof(bk_table_header_t, revision) == 256);
BK_TABLE_ASSERT(__builtin_offsetof(bk_table_entry_t, seq) == 64);
BK_TABLE_ASSERT(__builtin_offsetof(bk_table_entry_t, copy) == 72);

#endif /* BK_TABLE_H_INCLUDED */
