/* Reads an answer in every way it may be meant, and says when one of them has all of the line. */
#include "answer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STAMP_LIKELY 8 /* so many bytes that may begin a stamp are hardly anything else */

void answer_init(struct answer *a)
{
	*a = (struct answer){ .known = -1, .found = -1 };
}

void answer_free(struct answer *a)
{
	free(a->bytes);
	free(a->line);
	answer_init(a);
}

static bool grow(unsigned char **bytes, size_t *room, size_t want)
{
	size_t to = *room ? *room : 4096;
	while (to < want)
		to *= 2;
	if (to == *room)
		return true;
	unsigned char *more = realloc(*bytes, to);
	if (!more)
		return false;
	*bytes = more;
	*room = to;
	return true;
}

int answer_begin(struct answer *a, const void *line, size_t len)
{
	a->len = 0;
	a->line_len = 0;
	a->found = -1;
	memset(a->reading, 0, sizeof a->reading);
	return answer_extend(a, line, len);
}

int answer_extend(struct answer *a, const void *line, size_t len)
{
	if (!grow(&a->line, &a->line_room, a->line_len + len))
		return -ENOMEM;
	memcpy(a->line + a->line_len, line, len);
	a->line_len += len;
	return 0;
}

unsigned char *answer_room(struct answer *a, size_t want)
{
	return grow(&a->bytes, &a->room, a->len + want) ? a->bytes + a->len : NULL;
}

/* Spares the call for nearly every byte of a line. */
static bool may_begin_stamp(int format, unsigned char byte)
{
	return format == CHIME_STAMP_CTIME ? byte && strchr("MTWFS", byte) != NULL : byte >= '0' && byte <= '9';
}

/*
 * Reads one thing, a stamp or a byte of the line. false: it can't go on now. Two stamps never follow each other; a text that
 * could be both (the line has the same stamp at this place) is the line's.
 */
static bool step(struct answer *a, int format, struct answer_reading *r)
{
	const unsigned char *at = a->bytes + r->pos, *next = a->line + r->back;
	size_t rest = a->len - r->pos, left = a->line_len - r->back;
	bool same = left && *at == *next && (r->sure || format == ANSWER_ECHO);

	if (format != ANSWER_ECHO && !r->stamp && left && may_begin_stamp(format, *at)) {
		int64_t time_ns, precision_ns;
		bool zone_known;
		int n = chime_stamp_read(at, rest, (enum chime_stamp_format)format, &time_ns, &zone_known,
					 &precision_ns);
		if (n > 0 && !(same && left >= (size_t)n && !memcmp(at, next, (size_t)n))) {
			if (!r->sure) {
				r->time_ns = time_ns;
				r->precision_ns = precision_ns;
				r->zone_known = zone_known;
			}
			r->stamp = r->sure = true;
			r->pos += (size_t)n;
			return true;
		}
		bool ends_line = same && rest == left && !memcmp(at, next, rest);
		if (n == -EAGAIN && !ends_line)
			return false;
	}
	r->dead = !same;
	if (same) {
		r->stamp = false;
		r->pos++;
		r->back++;
	}
	return same;
}

enum answer_verdict answer_took(struct answer *a, size_t n)
{
	a->len += n;
	for (int f = 0; f <= ANSWER_ECHO; f++) {
		struct answer_reading *r = &a->reading[f];
		while (!r->dead && r->pos < a->len && step(a, f, r))
			;
	}
	return answer_verdict(a);
}

static bool whole(const struct answer *a, int format)
{
	const struct answer_reading *r = &a->reading[format];
	return !r->dead && r->pos == a->len && r->back == a->line_len && (r->sure || format == ANSWER_ECHO);
}

enum answer_verdict answer_verdict(struct answer *a)
{
	bool alive = false;
	if (a->known >= 0 && whole(a, a->known)) {
		a->found = a->known;
		return ANSWER_WHOLE;
	}
	for (int f = 0; f <= ANSWER_ECHO; f++) {
		if (whole(a, f)) {
			a->found = f;
			return ANSWER_WHOLE;
		}
		alive |= !a->reading[f].dead;
	}
	return alive ? ANSWER_MORE : ANSWER_PLAIN;
}

bool answer_sure(const struct answer *a)
{
	for (int f = 0; f < ANSWER_ECHO; f++)
		if (!a->reading[f].dead && (a->reading[f].sure || a->len >= STAMP_LIKELY))
			return true;
	return !a->reading[ANSWER_ECHO].dead && a->reading[ANSWER_ECHO].back > 0;
}
