/*
 * chime/stream.h - a buffered stream over a socket: Python's makefile(), with lines.
 *
 * The stream borrows the socket, which must outlive it, and waits as the socket does. Unlike Python's, it can be used on
 * after a limit has passed: what came stays in the buffer. One thread at a time for reading and one for writing.
 */
#ifndef CHIME_STREAM_H
#define CHIME_STREAM_H

#include <chime/sock.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct chime_stream chime_stream;

#define CHIME_STREAM_BUFFER 8192

/* buffering: bytes for each direction; 0 is CHIME_STREAM_BUFFER. Allocates both here, and nothing later. -ENOMEM. */
CHIME_API int chime_stream_new(chime_stream **out, chime_sock *s, size_t buffering);

/*
 * Flushes and gives the memory back, *st becomes NULL; the socket stays open. 0 or the flush's error. NULL is fine.
 */
CHIME_API int chime_stream_free(chime_stream **st);

/* Up to len bytes, at least one, waiting only if the buffer is empty; 0 at the end. */
CHIME_API ssize_t chime_stream_read(chime_stream *st, void *buf, size_t len);
/* Exactly len bytes or CHIME_EEOF; after an error *got bytes have been stored in buf. */
CHIME_API int chime_stream_read_exact(chime_stream *st, void *buf, size_t len, size_t *got);
/*
 * One line with its newline, NUL-terminated in buf (size counts the NUL). The last line may lack its newline. Its length; 0
 * at the end; CHIME_ETOOLONG: no newline within size - 1 bytes, none of which were taken out. After CHIME_ETIMEOUT
 * or -EAGAIN the part of the line that came is kept for the next call. Lines are at most the buffer's size. Each receive has the socket's
 * limit for itself: a line that comes bit by bit may take several.
 */
CHIME_API ssize_t chime_stream_read_line(chime_stream *st, char *buf, size_t size);
/* How many bytes can be read without waiting; poll(2) does not know of them. */
CHIME_API size_t chime_stream_buffered(const chime_stream *st);

/*
 * Takes all of it, sending as the buffer fills, until an error comes or a limit passes. 0 or the error; *taken (may be NULL) bytes are taken
 * and will not be sent twice.
 */
CHIME_API int chime_stream_write(chime_stream *st, const void *buf, size_t len, size_t *taken);
/* The text goes in whole or, with an error, not at all; it must be shorter than the buffer: CHIME_ETOOLONG. */
CHIME_API int chime_stream_printf(chime_stream *st, const char *fmt, ...) CHIME_PRINTF(2, 3);
CHIME_API int chime_stream_flush(chime_stream *st);

#ifdef __cplusplus
}
#endif

#endif
