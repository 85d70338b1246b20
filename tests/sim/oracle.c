/* What a client may get: every byte it sent, once, in order, with stamps that are true. */
#include "sim/world.h"

#include <errno.h>
#include <string.h>

unsigned char payload(const struct client *c, uint64_t i)
{
	uint64_t h = (i + 1) * 0x9e3779b97f4a7c15u ^ (uint64_t)c->number << 32;
	h = (h ^ h >> 29) * 0xbf58476d1ce4e5b9u;
	h ^= h >> 32;
	if (c->place->answers == STAMP && c->place->stamp.frame == 1 &&
	    h % (c->place->long_lines ? 8192 : 64) < 1 + c->number % 4)
		return '\n';
	return (unsigned char)('a' + h % 26);
}

/* The i-th message begins with its number, in letters. */
size_t message_fill(const struct client *c, uint64_t i, size_t len, unsigned char *to)
{
	uint64_t n = i;
	for (size_t k = 0; k < len; k++, n /= 26)
		to[k] = k < 5 ? (unsigned char)('a' + n % 26) : payload(c, i * 1000 + k);
	return len;
}

static bool stamp_begins(unsigned char byte)
{
	return (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z');
}

/* A stamp was read after the receipt r, and before the server's clock went on from there. */
static bool stamp_fits(const struct client *c, const struct sim_receipt *r)
{
	int64_t p = c->stamp_precision_ns;
	return c->stamp_ns >= r->from_ns / p * p && c->stamp_ns <= r->to_ns / p * p;
}

static bool stamp_true(const struct client *c, const struct sim_view *v, unsigned first)
{
	/* What came behind it, after cancel(), may have been put together with it: then the stamp is of the later one. */
	for (unsigned i = first; i < v->receipt_count; i++) {
		if (i > first && !v->receipts[i].over)
			break;
		if (stamp_fits(c, &v->receipts[i]))
			return true;
	}
	return false;
}

static void check_stamp(struct client *c, const struct sim_view *v, unsigned first)
{
	if (stamp_true(c, v, first))
		return;
	breach(c->world,
	       "client %u: a stamp of %lld.%09lld is not of its receive, which was %lld.%09lld to %lld.%09lld",
	       c->number, (long long)(c->stamp_ns / CHIME_SEC), (long long)(c->stamp_ns % CHIME_SEC),
	       (long long)(v->receipts[first].from_ns / CHIME_SEC), (long long)(v->receipts[first].from_ns % CHIME_SEC),
	       (long long)(v->receipts[first].to_ns / CHIME_SEC), (long long)(v->receipts[first].to_ns % CHIME_SEC));
}

/* The chunk from chunk_at to back is whole; last: none follows. */
static void chunk_ends(struct client *c, bool last)
{
	struct sim_view v;
	const struct chime_stamp_config *config = &c->place->stamp;
	uint64_t len = c->back - c->chunk_at;
	sim_view(&c->world->sim, c->peer, &v);
	if (!c->stamped)
		return;
	if (len == 0)
		breach(c->world, "client %u: a stamp of nothing, at byte %llu", c->number, (unsigned long long)c->back);
	unsigned i = c->receipt;
	while (i < v.receipt_count && v.receipts[i].end < c->back) {
		/* it goes over the end of a receive: never in chunks, but of what was put together */
		if (config->frame == 0 && v.receipts[i].end > c->chunk_at &&
		    (i + 1 == v.receipt_count || !v.receipts[i + 1].over))
			breach(c->world,
			       "client %u: a chunk of %llu from byte %llu goes over the end of a receive at %llu",
			       c->number, (unsigned long long)len, (unsigned long long)c->chunk_at,
			       (unsigned long long)v.receipts[i].end);
		i++;
	}
	if (i == v.receipt_count)
		breach(c->world, "client %u: answered before it was received", c->number);
	c->receipt = i;
	bool cut = len == (uint64_t)config->chunk;
	bool line = config->frame == 1 && payload(c, c->back - 1) == '\n';
	bool at_end = v.receipts[i].end == c->back && (config->frame == 0 || last);
	if (len > (uint64_t)config->chunk || !(cut || line || at_end))
		breach(c->world, "client %u: a chunk of %llu bytes, from %llu to %llu, ends nowhere (chunk %lld, %s)",
		       c->number, (unsigned long long)len, (unsigned long long)c->chunk_at, (unsigned long long)c->back,
		       (long long)config->chunk, config->frame ? "lines" : "as they come");
	check_stamp(c, &v, i);
	c->chunk_at = c->back;
	c->stamped = false;
}

static void expect_byte(struct client *c, unsigned char byte)
{
	if (c->back >= c->written)
		breach(c->world, "client %u: got '%c' (%u), sent nothing more than %llu bytes", c->number, byte, byte,
		       (unsigned long long)c->written);
	if (byte != payload(c, c->back))
		breach(c->world, "client %u: byte %llu came back as '%c' (%u), it was '%c' (%u)", c->number,
		       (unsigned long long)c->back, byte, byte, payload(c, c->back), payload(c, c->back));
	c->back++;
}

void oracle_bytes(struct client *c, const unsigned char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (c->place->answers != STAMP) {
			expect_byte(c, bytes[i]);
			continue;
		}
		if (c->tail_len == 0 && !stamp_begins(bytes[i])) {
			if (!c->stamped)
				breach(c->world, "client %u: a chunk without a stamp, at byte %llu", c->number,
				       (unsigned long long)c->back);
			if (c->place->stamp.frame == 1 && c->back > c->chunk_at && payload(c, c->back - 1) == '\n')
				breach(c->world, "client %u: two lines with one stamp", c->number);
			expect_byte(c, bytes[i]);
			continue;
		}
		chunk_ends(c, false);
		c->tail[c->tail_len++] = bytes[i];
		bool utc;
		int n = chime_stamp_read(c->tail, c->tail_len, (enum chime_stamp_format)c->place->stamp.format,
					 &c->stamp_ns, &utc, &c->stamp_precision_ns);
		if (n == -EAGAIN)
			continue;
		if (n != (int)c->tail_len)
			breach(c->world, "client %u: no stamp: %.*s", c->number, (int)c->tail_len, (char *)c->tail);
		c->tail_len = 0;
		c->stamped = true;
	}
}

/* Whether the i-th message may be lost without the end of all. */
static bool may_be_lost(const struct client *c)
{
	return c->place->type == SOCK_DGRAM || c->world->sim.weather.enobufs;
}

void oracle_message(struct client *c, const unsigned char *bytes, size_t len)
{
	static unsigned char wanted[CHIME_MESSAGE_MAX + 100];
	struct sim_view v;
	bool utc, stamp = c->place->answers == STAMP;
	int n = 0;
	sim_view(&c->world->sim, c->peer, &v);
	if (stamp) {
		n = chime_stamp_read(bytes, len, (enum chime_stamp_format)c->place->stamp.format, &c->stamp_ns, &utc,
				     &c->stamp_precision_ns);
		if (n <= 0)
			breach(c->world, "client %u: a message without a stamp", c->number);
	}
	size_t body = len - (size_t)n;
	uint64_t i = c->back, first = UINT64_MAX;
	for (; i < v.received; i++) {
		if (c->lens[i] & SILENT)
			continue;
		if (first == UINT64_MAX)
			first = i;
		if (c->lens[i] == body && !memcmp(bytes + n, wanted, message_fill(c, i, body, wanted)) &&
		    (!stamp || !may_be_lost(c) || stamp_true(c, &v, (unsigned)i)))
			break;
		if (!may_be_lost(c))
			i = v.received;
	}
	if (i >= v.received)
		breach(c->world,
		       "client %u: an answer of %zu bytes to none of the messages from %llu to %llu (the next has %u)",
		       c->number, body, (unsigned long long)c->back, (unsigned long long)v.received,
		       first == UINT64_MAX ? 0 : c->lens[first]);
	if (stamp)
		check_stamp(c, &v, (unsigned)i);
	c->back = i + 1;
}

void oracle_skip(struct client *c)
{
	while (c->lens && c->back < c->written && c->lens[c->back] & SILENT)
		c->back++;
}

uint64_t oracle_owed(const struct client *c)
{
	if (c->world->stopped_ns && !c->ended_at_stop)
		return c->at_stop;
	return c->written;
}

void oracle_end(struct client *c)
{
	struct sim_view v;
	sim_view(&c->world->sim, c->peer, &v);
	if (c->tail_len)
		breach(c->world, "client %u: it ends within a stamp", c->number);
	if (c->place->type == SOCK_STREAM && c->place->answers == STAMP)
		chunk_ends(c, true);
	oracle_skip(c);
	if (c->back < oracle_owed(c) && (c->place->type == SOCK_STREAM || !may_be_lost(c)))
		breach(c->world, "client %u: only %llu of %llu came back before the end (%llu sent, %llu received)",
		       c->number, (unsigned long long)c->back, (unsigned long long)oracle_owed(c),
		       (unsigned long long)c->written, (unsigned long long)v.received);
}
