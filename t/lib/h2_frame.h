/*
 * The head of an HTTP/2 frame, as the stand-in workers and clients write and
 * read it.
 */

#ifndef H2_FRAME_H_INCLUDED
#define H2_FRAME_H_INCLUDED

#include <stddef.h>
#include <stdint.h>


#define H2_HEAD         9

#define H2_DATA         0
#define H2_HEADERS      1
#define H2_SETTINGS     4
#define H2_PING         6
#define H2_GOAWAY       7

#define H2_ACK          1
#define H2_END_STREAM   1
#define H2_END_HEADERS  4

#define H2_PREFACE      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define H2_PREFACE_LEN  (sizeof(H2_PREFACE) - 1)


static inline void
h2_head(uint8_t *p, size_t len, unsigned type, unsigned flags,
    uint32_t stream)
{
    p[0] = (uint8_t) (len >> 16);
    p[1] = (uint8_t) (len >> 8);
    p[2] = (uint8_t) len;
    p[3] = (uint8_t) type;
    p[4] = (uint8_t) flags;
    p[5] = (uint8_t) (stream >> 24);
    p[6] = (uint8_t) (stream >> 16);
    p[7] = (uint8_t) (stream >> 8);
    p[8] = (uint8_t) stream;
}


static inline size_t
h2_length(const uint8_t *p)
{
    return (size_t) p[0] << 16 | (size_t) p[1] << 8 | p[2];
}


static inline uint32_t
h2_stream(const uint8_t *p)
{
    return (uint32_t) p[5] << 24 | (uint32_t) p[6] << 16
           | (uint32_t) p[7] << 8 | p[8];
}

#endif /* H2_FRAME_H_INCLUDED */
