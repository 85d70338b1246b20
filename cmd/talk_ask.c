/* Asking: a line goes out and its answer comes in, in one poll loop; and hearing what nobody asked for. */
#include "talk.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define PIECE 65536
#define MESSAGE (CHIME_MESSAGE_MAX + CHIME_STAMP_MAX)
#define OWED_MAX (1u << 20) /* bytes of unanswered lines beyond which nobody believes in their answers */

#define AGAIN_MS 20 /* until a message that the server's queue had no room for is sent again */

/* A plain answer is over when nothing came for so long: behind a newline, and elsewhere. */
#define QUIET_LINE (50 * CHIME_MSEC)
#define QUIET (200 * CHIME_MSEC)
/* No more answers are awaited from many when so long none came. */
#define QUIET_MANY (300 * CHIME_MSEC)

struct asking {
	struct talk *t;
	const char *line;
	size_t len, sent;
	bool again;
	int64_t begin_ns, deadline_ns, limit_ns, heard_ns; /* monotonic */
	struct asked result;
};

static int64_t deadline_after(int64_t now_ns, int64_t limit_ns)
{
	return limit_ns == CHIME_FOREVER ? INT64_MAX : now_ns + limit_ns;
}

static void progress(struct asking *q)
{
	q->heard_ns = chime_now_mono();
	q->deadline_ns = deadline_after(q->heard_ns, q->t->opts.timeout_ns);
}

static bool ended(struct asking *q, enum asked_end end, int err)
{
	q->result.end = end;
	q->result.err = err;
	q->result.rtt_ns = chime_now_mono() - q->begin_ns;
	q->result.got_ns = chime_now_real();
	return true;
}

/* ---- messages: whose answer is this? ---- */

static void late_remember(struct talk *t)
{
	struct late *l;
	unsigned char *copy = malloc(t->answer.line_len + 1);
	if (!copy)
		return;
	memcpy(copy, t->answer.line, t->answer.line_len);
	if (t->late_count == TALK_LATE) {
		free(t->late[0].line);
		t->late_count--;
		memmove(t->late, t->late + 1, t->late_count * sizeof *t->late);
	}
	l = &t->late[t->late_count++];
	l->line = copy;
	l->len = t->answer.line_len;
}

static void late_forget(struct talk *t, unsigned n)
{
	free(t->late[n].line);
	memmove(t->late + n, t->late + n + 1, sizeof *t->late * (--t->late_count - n));
}

/* Whether bytes are what a server of stamps answers to line. */
static bool answers(const void *bytes, size_t len, const void *line, size_t line_len)
{
	struct answer probe;
	unsigned char *room;
	answer_init(&probe);
	bool yes = answer_begin(&probe, line, line_len) == 0 && (room = answer_room(&probe, len + 1)) != NULL;
	if (yes) {
		memcpy(room, bytes, len);
		yes = answer_took(&probe, len) == ANSWER_WHOLE;
	}
	answer_free(&probe);
	return yes;
}

/* The remembered message that this answers, or -1. */
static int late_find(const struct talk *t, const void *bytes, size_t len)
{
	for (unsigned i = 0; i < t->late_count; i++)
		if (answers(bytes, len, t->late[i].line, t->late[i].len))
			return (int)i;
	return -1;
}

static void tell_late(struct talk *t, unsigned n, const void *bytes, size_t len, talk_say_fn *say, void *arg)
{
	char label[96], who[TALK_WHO];
	const struct late *l = &t->late[n];
	snprintf(label, sizeof label, "late answer to '%.*s%s'", (int)(l->len < 40 ? l->len : 40),
		 (const char *)l->line, l->len < 40 ? "" : "...");
	for (char *p = label; *p; p++)
		if ((unsigned char)*p < 32 || *p == 127)
			*p = '?';
	say(arg, talk_wire_who(t, label, who, sizeof who), bytes, len);
	late_forget(t, n);
}

/* One answer of many, and perhaps not the last. */
static void show_one(struct asking *q)
{
	ended(q, ASKED_ANSWERED, 0);
	talk_show_one(q->t);
	if (q->t->opts.rtt)
		talk_show_rtt(stderr, q->t, &q->result);
	q->result.shown++;
}

/*
 * A message came while one is awaited. The same line may have been sent before, in vain: then a stamp older than this sending
 * (by our clocks, and as exactly as the stamp is) belongs to the former.
 */
static bool judge_message(struct asking *q, size_t n)
{
	struct talk *t = q->t;
	struct answer *a = &t->answer;
	char who[TALK_WHO];
	enum answer_verdict verdict = answer_took(a, n);
	int late = late_find(t, a->bytes, a->len);
	if (verdict == ANSWER_WHOLE && late >= 0 && a->found != ANSWER_ECHO) {
		const struct answer_reading *r = &a->reading[a->found];
		if (r->time_ns + r->precision_ns > q->result.sent_ns)
			late = -1;
	} else if (verdict == ANSWER_WHOLE && !t->wire.former) {
		late = -1;
	}
	if (late < 0 && !t->wire.former && (verdict == ANSWER_WHOLE || a->known < 0)) {
		if (!t->wire.many)
			return ended(q, ASKED_ANSWERED, 0);
		show_one(q);
	} else if (late >= 0) {
		tell_late(t, (unsigned)late, a->bytes, a->len, talk_say, NULL);
	} else {
		talk_say(NULL, talk_wire_who(t, "not an answer to this", who, sizeof who), a->bytes, a->len);
	}
	a->len = 0;
	memset(a->reading, 0, sizeof a->reading);
	return false;
}

/* ---- one turn of the loop; each returns whether asking has ended ---- */

/* The line was not delivered. If the server's queue is full, it goes out once more, after a while. */
static bool came_back(struct asking *q, int why)
{
	if (why != -EAGAIN)
		return ended(q, ASKED_FAILED, why);
	poll(NULL, 0, AGAIN_MS);
	q->sent = 0;
	return false;
}

static bool receive(struct asking *q)
{
	struct talk *t = q->t;
	size_t want = t->scheme->messages ? MESSAGE : PIECE;
	unsigned char *room = answer_room(&t->answer, want);
	if (!room)
		return ended(q, ASKED_FAILED, -ENOMEM);
	ssize_t n = t->scheme->messages ? talk_wire_recv(t, room, want) : chime_recv(t->sock, room, want, 0);
	if (n == -EAGAIN || n == -EINTR)
		return false;
	if (n >= 0 && t->wire.returned)
		return came_back(q, t->wire.returned);
	if (n < 0)
		return ended(q, n == -ECONNRESET && !t->scheme->messages ? ASKED_GONE : ASKED_FAILED, (int)n);
	if (n == 0 && t->scheme->connected) {
		/* an answer whose end nothing else tells is ended by this, and the going is told when it matters */
		bool told = !t->scheme->messages && q->sent == q->len && t->answer.len && !answer_sure(&t->answer);
		return ended(q, told ? ASKED_ANSWERED : ASKED_GONE, 0);
	}
	progress(q);
	if (t->scheme->messages)
		return judge_message(q, (size_t)n);
	return answer_took(&t->answer, (size_t)n) == ANSWER_WHOLE && q->sent == q->len && ended(q, ASKED_ANSWERED, 0);
}

static bool send_more(struct asking *q)
{
	ssize_t n = talk_wire_send(q->t, q->line + q->sent, q->len - q->sent);
	if (n == -EAGAIN || n == -EINTR)
		return false;
	if (n == -ECONNREFUSED && !q->again) { /* told late, of a message before this one; telling it took it away */
		q->again = true;
		return send_more(q);
	}
	/* a server that has closed may have answered before: what is there is still read, and then its end */
	if (n < 0 && !q->t->scheme->messages) {
		q->sent = q->len;
		return false;
	}
	if (n < 0)
		return ended(q, ASKED_FAILED, (int)n);
	q->sent += (size_t)n;
	progress(q);
	return false;
}

/* When to stop waiting: the limit, or for an answer whose end nothing tells a pause in it. */
static int64_t wait_end(const struct asking *q, bool *pause)
{
	const struct answer *a = &q->t->answer;
	*pause = q->result.shown > 0;
	if (*pause) /* however long more come: no longer than for one */
		return q->heard_ns + QUIET_MANY < q->limit_ns ? q->heard_ns + QUIET_MANY : q->limit_ns;
	if (q->sent < q->len || !a->len || answer_sure(a))
		return q->deadline_ns;
	int64_t end = q->heard_ns + (a->bytes[a->len - 1] == '\n' ? QUIET_LINE : QUIET);
	*pause = end < q->deadline_ns;
	return *pause ? end : q->deadline_ns;
}

static bool turn(struct asking *q)
{
	bool pause;
	struct pollfd p[2] = { { q->t->fd, POLLIN, 0 }, { q->t->signal_fd, POLLIN, 0 } };
	int64_t end = wait_end(q, &pause), now = chime_now_mono();
	int64_t left_ms = end == INT64_MAX ? -1 : end > now ? (end - now + CHIME_MSEC - 1) / CHIME_MSEC : 0;
	if (q->sent < q->len)
		p[0].events |= POLLOUT;
	int n = poll(p, 2, left_ms > 3600000 ? 3600000 : (int)left_ms);
	if (n < 0)
		return errno != EINTR && ended(q, ASKED_FAILED, -errno);
	if (n == 0)
		return chime_now_mono() >= end && ended(q, pause ? ASKED_ANSWERED : ASKED_TIMEOUT, 0);
	if (p[1].revents && !q->t->take_signal(q->t->take_signal_arg))
		return ended(q, ASKED_SIGNAL, 0);
	if (p[0].revents & ~POLLOUT && receive(q))
		return true;
	/* Of reliable messages one descriptor says all, as readable. */
	return p[0].revents & (POLLOUT | POLLERR | (q->t->rdm ? POLLIN : 0)) && q->sent < q->len && send_more(q);
}

struct asked talk_ask(struct talk *t, const char *line, size_t len)
{
	struct asking q = { .t = t, .line = line, .len = len };
	bool extend = t->owed && t->answer.line_len < OWED_MAX;
	int err = extend ? answer_extend(&t->answer, line, len) : answer_begin(&t->answer, line, len);
	if (err < 0)
		return (struct asked){ .end = ASKED_FAILED, .err = err };
	q.result.late = extend;
	q.result.sent_ns = chime_now_real();
	q.begin_ns = chime_now_mono();
	q.heard_ns = q.begin_ns;
	q.deadline_ns = q.limit_ns = deadline_after(q.begin_ns, t->opts.timeout_ns);
	if (!send_more(&q))
		while (!turn(&q))
			;
	t->owed = false;
	if (q.result.end == ASKED_ANSWERED && t->answer.found >= 0 && t->answer.found != ANSWER_ECHO)
		t->answer.known = t->answer.found;
	if (q.result.end == ASKED_TIMEOUT && t->scheme->messages)
		late_remember(t);
	else if (q.result.end == ASKED_TIMEOUT)
		t->owed = answer_verdict(&t->answer) == ANSWER_MORE;
	return q.result;
}

/* ---- unasked ---- */

/* More of the answer that is owed, on a stream. */
static void hear_owed(struct talk *t, const unsigned char *bytes, size_t n, talk_say_fn *say, void *arg)
{
	struct answer *a = &t->answer;
	unsigned char *room = answer_room(a, n);
	if (!room)
		return;
	memcpy(room, bytes, n);
	enum answer_verdict verdict = answer_took(a, n);
	if (verdict == ANSWER_MORE)
		return;
	t->owed = false;
	say(arg, verdict == ANSWER_WHOLE ? "late answer" : "unasked", a->bytes, a->len);
}

enum heard talk_hear(struct talk *t, talk_say_fn *say, void *arg, int *err)
{
	unsigned char *bytes = malloc(MESSAGE);
	enum heard heard = HEARD_NOTHING;
	char who[TALK_WHO];
	*err = 0;
	for (;;) {
		ssize_t n = !bytes                ? -ENOMEM
			    : t->scheme->messages ? talk_wire_recv(t, bytes, MESSAGE)
						  : chime_recv(t->sock, bytes, MESSAGE, 0);
		int late;
		if (n == -EAGAIN || n == -EINTR)
			break;
		if (n >= 0 && t->wire.returned)
			continue; /* a line that nobody waits for any more */
		if (n == 0 && t->scheme->connected) {
			heard = HEARD_GONE;
			break;
		}
		if (n < 0) {
			heard = n == -ECONNRESET && !t->scheme->messages ? HEARD_GONE : HEARD_FAILED;
			*err = (int)n;
			break;
		}
		if (t->owed)
			hear_owed(t, bytes, (size_t)n, say, arg);
		else if (t->scheme->messages && (late = late_find(t, bytes, (size_t)n)) >= 0)
			tell_late(t, (unsigned)late, bytes, (size_t)n, say, arg);
		else
			say(arg,
			    talk_wire_who(t, t->wire.echo && !t->wire.former ? "another answer" : "unasked", who,
					  sizeof who),
			    bytes, (size_t)n);
		heard = HEARD_SAID;
	}
	free(bytes);
	return heard;
}
