/*
 * Property: whatever comes through a socket in whatever pieces, and however it is read (lines, exact numbers of bytes, what there is), a
 * buffered stream gives each byte once and in order; a line ends with its newline or where the stream ends. The first byte is the
 * buffer's size; each piece has a byte in front that says how long it is and one that says how to read.
 */
#include "fuzz/fuzz.h"
#include "net/edge.h"

#include <chime/stream.h>

#include <errno.h>

struct run {
	chime_sock *p[2];
	chime_stream *st;
	uint8_t sent[4096], got[4096];
	size_t sent_len, got_len;
};

static void take(struct run *r, const void *bytes, ssize_t n)
{
	MUST(n >= 0 && r->got_len + (size_t)n <= r->sent_len);
	memcpy(r->got + r->got_len, bytes, (size_t)n);
	r->got_len += (size_t)n;
}

/* Reads once. Whether anything came. */
static bool read_once(struct run *r, uint8_t how)
{
	char buf[EDGE_ROOM / 256];
	size_t before = r->got_len, got = 0, size = how / 4u % 32 + 1;
	ssize_t n;
	switch (how % 4) {
	case 0:
		n = chime_stream_read(r->st, buf, size);
		MUST(n <= (ssize_t)size);
		if (n > 0)
			take(r, buf, n);
		break;
	case 1:
		n = chime_stream_read_exact(r->st, buf, size, &got);
		MUST(got <= size && (n != 0 || got == size));
		take(r, buf, (ssize_t)got);
		break;
	default:
		n = chime_stream_read_line(r->st, buf, size + 1);
		if (n > 0) {
			MUST(n <= (ssize_t)size && buf[n] == 0);
			MUST(!memchr(buf, '\n', (size_t)n - 1));
			take(r, buf, n);
		} else if (n == CHIME_ETOOLONG) {
			n = chime_stream_read(r->st, buf, 1);
			MUST(n == 1);
			take(r, buf, n);
		}
	}
	return r->got_len > before;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static struct run r;
	if (len < 1 || len > 2000)
		return 0;
	r.sent_len = r.got_len = 0;
	MUST(chime_socketpair(r.p, AF_UNIX, SOCK_STREAM, 0) == 0);
	MUST(chime_set_timeout(r.p[1], 0) == 0);
	MUST(chime_stream_new(&r.st, r.p[1], bytes[0] + 1u) == 0);
	for (size_t at = 1; at + 2 <= len;) {
		size_t piece = bytes[at] % 64, left = len - at - 2;
		uint8_t how = bytes[at + 1];
		piece = piece < left ? piece : left;
		MUST(chime_sendall(r.p[0], bytes + at + 2, piece, 0, NULL) == 0);
		memcpy(r.sent + r.sent_len, bytes + at + 2, piece);
		r.sent_len += piece;
		at += 2 + piece;
		read_once(&r, how);
	}
	chime_close(r.p[0]);
	for (uint8_t how = bytes[0]; read_once(&r, how) || read_once(&r, 0); how++)
		;
	MUST(r.got_len == r.sent_len && !memcmp(r.got, r.sent, r.sent_len));
	MUST(chime_stream_free(&r.st) == 0);
	chime_free(&r.p[0]);
	chime_free(&r.p[1]);
	return 0;
}
