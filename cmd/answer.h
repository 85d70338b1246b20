/*
 * answer.h - when is the answer to a line whole? Pure: bytes in, a verdict out.
 *
 * A server of stamps gives back what it got in pieces, a stamp in front of each; where it cut is up to the network. So what is
 * counted is the line's own bytes: the answer is whole with the last of them, wherever stamps stand between. The format of the
 * stamps is found out. A server that just echoes is counted in the same way. Any other answer is "plain": nothing tells its end.
 */
#ifndef CMD_ANSWER_H
#define CMD_ANSWER_H

#include <chime/stamp.h>

enum answer_verdict {
	ANSWER_MORE,  /* may become an answer of stamps, or an echo */
	ANSWER_WHOLE, /* it is one, and nothing is behind it */
	ANSWER_PLAIN, /* it is something else */
};

#define ANSWER_ECHO CHIME_STAMP_FORMATS /* a way of reading: no stamps at all */

/* One way of reading the bytes. */
struct answer_reading {
	size_t pos;                    /* bytes read */
	size_t back;                   /* bytes of the line that are back */
	bool dead;                     /* they can't be read so */
	bool stamp;                    /* the last thing read was a stamp */
	bool sure;                     /* one was read */
	int64_t time_ns, precision_ns; /* of the first stamp */
	bool zone_known;
};

struct answer {
	unsigned char *bytes; /* what came */
	size_t len, room;
	unsigned char *line; /* what was sent, a copy */
	size_t line_len, line_room;
	struct answer_reading reading[CHIME_STAMP_FORMATS + 1];
	int known; /* the format of this server's last answer, -1 */
	int found; /* whole: how it was read */
};

void answer_init(struct answer *a);
void answer_free(struct answer *a);

/* A line was sent: nothing has come of its answer. -ENOMEM. */
int answer_begin(struct answer *a, const void *line, size_t len);
/* Another was sent before the answer to the first was whole: theirs are awaited together. -ENOMEM. */
int answer_extend(struct answer *a, const void *line, size_t len);

/* Room for at least want more bytes behind .len; NULL: none. */
unsigned char *answer_room(struct answer *a, size_t want);
/* n bytes were put there. */
enum answer_verdict answer_took(struct answer *a, size_t n);
enum answer_verdict answer_verdict(struct answer *a);
/* More is to come for certain, or nearly: a stamp or an echo has begun. */
bool answer_sure(const struct answer *a);

#endif
