/* A buffered stream over a socket: what came stays in the buffer, whatever cuts a call short. */
#include "net/sock.h"

#include <chime/stream.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct chime_stream {
	chime_sock *sock;
	size_t size;            /* of each buffer */
	size_t in_at, in_end;   /* what can be read: in[in_at .. in_end) */
	size_t out_at, out_end; /* what is to be sent: out[out_at .. out_end) */
	unsigned char *in, *out;
};

int chime_stream_new(chime_stream **out, chime_sock *s, size_t buffering)
{
	size_t size = buffering ? buffering : CHIME_STREAM_BUFFER;
	*out = NULL;
	if (size > (SIZE_MAX - sizeof(chime_stream)) / 2)
		return -ENOMEM;
	chime_stream *st = malloc(sizeof(*st) + 2 * size);
	if (!st)
		return -ENOMEM;
	*st = (chime_stream){ .sock = s, .size = size, .in = (unsigned char *)(st + 1) };
	st->out = st->in + size;
	*out = st;
	return 0;
}

int chime_stream_free(chime_stream **st)
{
	if (!st || !*st)
		return 0;
	int err = chime_stream_flush(*st);
	free(*st);
	*st = NULL;
	return err;
}

/* ---- reading ---- */

/* Receives once into what room there is behind the bytes that are held; 0 at the end. There must be room. */
static ssize_t fill(chime_stream *st)
{
	if (st->in_at == st->in_end) {
		st->in_at = st->in_end = 0;
	} else if (st->in_end == st->size) {
		memmove(st->in, st->in + st->in_at, st->in_end - st->in_at);
		st->in_end -= st->in_at;
		st->in_at = 0;
	}
	ssize_t n = chime_recv(st->sock, st->in + st->in_end, st->size - st->in_end, 0);
	if (n > 0)
		st->in_end += (size_t)n;
	return n;
}

static size_t take(chime_stream *st, void *buf, size_t len)
{
	size_t n = chime_stream_buffered(st);
	if (n > len)
		n = len;
	if (n == 0)
		return 0;
	memcpy(buf, st->in + st->in_at, n);
	st->in_at += n;
	return n;
}

size_t chime_stream_buffered(const chime_stream *st)
{
	return st->in_end - st->in_at;
}

ssize_t chime_stream_read(chime_stream *st, void *buf, size_t len)
{
	if (len == 0)
		return 0;
	if (chime_stream_buffered(st) == 0) {
		if (len >= st->size)
			return chime_recv(st->sock, buf, len, 0);
		ssize_t n = fill(st);
		if (n <= 0)
			return n;
	}
	return (ssize_t)take(st, buf, len);
}

int chime_stream_read_exact(chime_stream *st, void *buf, size_t len, size_t *got)
{
	size_t more = 0, done = take(st, buf, len);
	int err = done < len ? chime_recv_exact(st->sock, (char *)buf + done, len - done, 0, &more) : 0;
	if (got)
		*got = done + more;
	return err;
}

ssize_t chime_stream_read_line(chime_stream *st, char *buf, size_t size)
{
	size_t seen = 0;
	if (size == 0)
		return -EINVAL;
	for (;;) {
		size_t have = chime_stream_buffered(st);
		const unsigned char *from = st->in + st->in_at;
		const unsigned char *newline = memchr(from + seen, '\n', have - seen);
		size_t len = newline ? (size_t)(newline - from) + 1 : have;
		if (len > size - 1 || (!newline && (have == size - 1 || have == st->size)))
			return CHIME_ETOOLONG;
		ssize_t n = newline ? 0 : fill(st);
		if (n < 0)
			return n;
		if (newline || n == 0) {
			len = take(st, buf, len);
			buf[len] = 0;
			return (ssize_t)len;
		}
		seen = have;
	}
}

/* ---- writing ---- */

int chime_stream_flush(chime_stream *st)
{
	size_t sent = 0;
	int err = 0;
	if (st->out_at < st->out_end)
		err = chime_sendall(st->sock, st->out + st->out_at, st->out_end - st->out_at, 0, &sent);
	st->out_at += sent;
	if (st->out_at == st->out_end)
		st->out_at = st->out_end = 0;
	return err;
}

/* Sends what is held, and moves what could not be sent to the front. */
static int make_room(chime_stream *st)
{
	int err = chime_stream_flush(st);
	if (st->out_at > 0) {
		memmove(st->out, st->out + st->out_at, st->out_end - st->out_at);
		st->out_end -= st->out_at;
		st->out_at = 0;
	}
	return err;
}

int chime_stream_write(chime_stream *st, const void *buf, size_t len, size_t *taken)
{
	size_t done = 0;
	int err = 0;
	while (err == 0 && done < len) {
		if (st->out_end == st->size)
			err = make_room(st);
		/* Where the limit passed, there may be room all the same; other errors are told before more is taken. */
		if (err < 0 && err != CHIME_ETIMEOUT && err != -EAGAIN)
			break;
		if (st->out_end == 0 && len - done >= st->size) {
			size_t sent = 0;
			err = chime_sendall(st->sock, (const char *)buf + done, len - done, 0, &sent);
			done += sent;
			break;
		}
		size_t n = st->size - st->out_end;
		if (n > len - done)
			n = len - done;
		memcpy(st->out + st->out_end, (const char *)buf + done, n);
		st->out_end += n;
		done += n;
		if (done == len && err < 0)
			err = 0;
	}
	if (taken)
		*taken = done;
	return err;
}

int chime_stream_printf(chime_stream *st, const char *fmt, ...)
{
	for (bool flushed = false;; flushed = true) {
		size_t room = st->size - st->out_end;
		va_list ap;
		va_start(ap, fmt);
		int n = vsnprintf((char *)st->out + st->out_end, room, fmt, ap);
		va_end(ap);
		if (n < 0)
			return -EINVAL;
		if ((size_t)n < room) {
			st->out_end += (size_t)n;
			return 0;
		}
		if (flushed)
			return CHIME_ETOOLONG;
		int err = chime_stream_flush(st);
		if (err < 0)
			return err;
	}
}
