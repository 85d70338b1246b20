/* What a client may get: every byte it sent, once, in order, with a stamp that was read after it was sent and before now. */
#include "soak/soak.h"

#include <errno.h>
#include <string.h>

#define CHUNK 1024 /* the server's default */

static uint32_t mix(uint32_t h)
{
	h = (h ^ h >> 16) * 0x7feb352du;
	h = (h ^ h >> 15) * 0x846ca68bu;
	return h ^ h >> 16;
}

/* Letters, so that stamps can be told apart; lines have newlines too, and what is echoed has every byte. */
unsigned char payload(const struct client *c, uint64_t i)
{
	uint32_t h = mix(c->seed + (uint32_t)i);
	if (c->place->echo)
		return (unsigned char)h;
	if (c->place->lines && h % 64 == 0)
		return '\n';
	return (unsigned char)('a' + h % 26);
}

/* Each begins with its number, if it is long enough. */
void message_fill(const struct client *c, const struct message *m, unsigned char *to)
{
	uint32_t n = m->number;
	for (uint32_t i = 0; i < m->len; i++, n /= 26)
		to[i] = i < 6 ? (unsigned char)('a' + n % 26) : payload(c, m->number + i);
}

/* ---- stamps ---- */

static void check_stamp(const struct client *c, int64_t stamp_ns, int64_t precision_ns, int64_t sent_ns)
{
	int64_t now = real_ns();
	counts.stamps++;
	if (stamp_ns < sent_ns / precision_ns * precision_ns || stamp_ns > now)
		fail(c, "a stamp of %lld, sent at %lld, now it is %lld", (long long)stamp_ns, (long long)sent_ns,
		     (long long)now);
}

void answer_sent(struct client *c, int64_t at_ns)
{
	unsigned i = (c->send_first + c->send_count) % SENDS;
	if (c->send_count == SENDS) { /* the two last ones become one, as of the earlier: less strict, never wrong */
		c->sends[(i + SENDS - 1) % SENDS].end = c->written;
		return;
	}
	c->sends[i].end = c->written;
	c->sends[i].at_ns = at_ns;
	c->send_count++;
}

/* The stamp in front of the bytes from chunk_at to back is of a time when the last of them had been sent. */
static void chunk_ends(struct client *c)
{
	int64_t precision = c->place->format == CHIME_STAMP_CTIME ? 1000000000 : 1;
	if (!c->stamped)
		return;
	if (c->back == c->chunk_at)
		fail(c, "a stamp of nothing, at byte %llu", (unsigned long long)c->back);
	if (c->back - c->chunk_at > CHUNK)
		fail(c, "a chunk of %llu bytes", (unsigned long long)(c->back - c->chunk_at));
	while (c->send_count && c->sends[c->send_first].end < c->back) {
		c->send_first = (c->send_first + 1) % SENDS;
		c->send_count--;
	}
	if (!c->send_count)
		fail(c, "more came back than was sent");
	check_stamp(c, c->stamp_ns, precision, c->sends[c->send_first].at_ns);
	c->chunk_at = c->back;
	c->stamped = false;
}

static void expect_byte(struct client *c, unsigned char byte)
{
	if (c->back >= c->written)
		fail(c, "byte %u came back, and no more than %llu were sent", byte, (unsigned long long)c->written);
	if (byte != payload(c, c->back))
		fail(c, "byte %llu came back as %u, it was %u", (unsigned long long)c->back, byte, payload(c, c->back));
	c->back++;
}

void answer_bytes(struct client *c, const unsigned char *bytes, size_t len)
{
	counts.bytes += len;
	for (size_t i = 0; i < len; i++) {
		bool stamp = (bytes[i] >= '0' && bytes[i] <= '9') || (bytes[i] >= 'A' && bytes[i] <= 'Z');
		if (c->place->echo || (c->tail_len == 0 && !stamp)) {
			if (!c->place->echo && !c->stamped)
				fail(c, "a chunk without a stamp, at byte %llu", (unsigned long long)c->back);
			if (c->place->lines && c->back > c->chunk_at && payload(c, c->back - 1) == '\n')
				fail(c, "two lines with one stamp, at byte %llu", (unsigned long long)c->back);
			expect_byte(c, bytes[i]);
			continue;
		}
		if (c->tail_len == 0)
			chunk_ends(c);
		c->tail[c->tail_len++] = bytes[i];
		bool utc;
		int64_t precision;
		int n = chime_stamp_read(c->tail, c->tail_len, c->place->format, &c->stamp_ns, &utc, &precision);
		if (n == -EAGAIN && c->tail_len < sizeof c->tail)
			continue;
		if (n != (int)c->tail_len)
			fail(c, "no stamp: %.*s", (int)c->tail_len, (char *)c->tail);
		c->tail_len = 0;
		c->stamped = true;
	}
}

void answer_end(struct client *c)
{
	if (c->tail_len)
		fail(c, "the stream ends within a stamp");
	if (c->back != c->written)
		fail(c, "the stream ends after %llu of %llu bytes", (unsigned long long)c->back,
		     (unsigned long long)c->written);
	if (!c->place->echo)
		chunk_ends(c);
	counts.answers++;
}

/* ---- messages ---- */

void answer_message(struct client *c, const unsigned char *bytes, size_t len)
{
	static unsigned char wanted[65536];
	int64_t stamp_ns, precision_ns;
	bool utc;
	int n = chime_stamp_read(bytes, len, c->place->format, &stamp_ns, &utc, &precision_ns);
	counts.bytes += len;
	if (n <= 0)
		fail(c, "a message of %zu bytes without a stamp", len);
	/* Those in front of it are lost, if they may be; or must not be answered; or, over IP, have been overtaken. */
	bool in_order = c->role != DATAGRAM;
	unsigned i = 0;
	for (;; i++) {
		if (i == c->message_count)
			fail(c, "an answer of %zu bytes to nothing that was sent", len - (size_t)n);
		struct message *m = &c->messages[i];
		bool it_is = !m->silent && m->len == len - (size_t)n;
		if (it_is)
			message_fill(c, m, wanted);
		if (it_is && !memcmp(bytes + n, wanted, m->len))
			break;
		if (!in_order)
			continue;
		if (!m->silent && c->place->type != SOCK_DGRAM)
			fail(c, "message %u of %u bytes came back as another, of %zu", m->number, m->len,
			     len - (size_t)n);
		*(m->silent ? &counts.silent : &counts.lost) += 1;
	}
	check_stamp(c, stamp_ns, precision_ns, c->messages[i].at_ns);
	counts.answers++;
	unsigned first = in_order ? 0 : i;
	memmove(c->messages + first, c->messages + i + 1, (c->message_count - i - 1) * sizeof *c->messages);
	c->message_count -= i + 1 - first;
}
