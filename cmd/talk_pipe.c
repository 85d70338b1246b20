/* Lock-step: a line, its answer, the next. Answers alone on stdout, everything else on stderr. */
#include "complain.h"
#include "talk.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Standard input, cut into lines of any length and content. */
struct input {
	char *bytes;
	size_t first, used, room;
	bool end;
	enum heard heard; /* what the server did while a line was waited for */
	int err;
};

/*
 * Waits for input. Reliable messages are acknowledged by us, not by the kernel: their network is served meanwhile. false: the server
 * ended the conversation, or it failed.
 */
static bool wait_input(struct talk *t, struct input *in)
{
	struct pollfd p[2] = { { STDIN_FILENO, POLLIN, 0 }, { t->fd, POLLIN, 0 } };
	while (t->rdm && !p[0].revents) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			break;
		if (p[1].revents)
			in->heard = talk_hear(t, talk_say, NULL, &in->err);
		if (in->heard == HEARD_GONE || in->heard == HEARD_FAILED)
			return false;
	}
	return true;
}

/* The next line without its newline, valid until the next call: its length; -1 at the end; or -errno - 1. */
static ssize_t next_line(struct talk *t, struct input *in, char **line)
{
	size_t looked = 0;
	for (;;) {
		char *at = in->bytes + in->first;
		char *newline = in->used > looked ? memchr(at + looked, '\n', in->used - looked) : NULL;
		if (newline || (in->end && in->used)) {
			size_t len = newline ? (size_t)(newline - at) : in->used;
			in->first += len + (newline != NULL);
			in->used -= len + (newline != NULL);
			*line = at;
			return (ssize_t)len;
		}
		if (in->end)
			return -1;
		looked = in->used;
		if (in->first) {
			memmove(in->bytes, in->bytes + in->first, in->used);
			in->first = 0;
		}
		if (in->room - in->used < 65536) {
			size_t room = in->room ? in->room * 2 : 1u << 17;
			char *more = realloc(in->bytes, room);
			if (!more)
				return -ENOMEM - 1;
			in->bytes = more;
			in->room = room;
		}
		if (!wait_input(t, in))
			return 0;
		ssize_t n = read(STDIN_FILENO, in->bytes + in->used, in->room - in->used);
		if (n < 0 && errno != EINTR)
			return -errno - 1;
		in->end = n == 0;
		in->used += n > 0 ? (size_t)n : 0;
	}
}

/* Tells how asking ended. An exit code, or -1 to go on. */
static int outcome(struct talk *t, const struct asked *a)
{
	char limit[32];
	switch (a->end) {
	case ASKED_ANSWERED:
		if (!a->shown)
			talk_show_answer(t);
		if (ferror(stdout)) {
			complain("talk", "writing to standard output: %s", chime_strerror(-errno));
			return EXIT_SYSTEM;
		}
		if (t->opts.rtt && !a->shown)
			talk_show_rtt(stderr, t, a);
		return -1;
	case ASKED_TIMEOUT:
		if (t->answer.len)
			talk_show_answer(t);
		chime_duration_print(t->opts.timeout_ns, limit, sizeof limit);
		complain("talk",
			 t->answer.len ? "%s: the answer stopped: nothing more for %s" : "%s: no answer within %s%s",
			 t->name, limit, talk_silence_hint(t));
		return EXIT_PEER;
	case ASKED_GONE:
		if (t->answer.len)
			talk_show_answer(t);
		complain("talk", "%s %s%s", t->name, a->err ? "reset the connection" : "closed the connection",
			 t->answer.len ? "" : " without an answer");
		return EXIT_PEER;
	case ASKED_FAILED:
		if (a->err == -EMSGSIZE)
			complain("talk", "%s: a line of %zu bytes is too long for one message", t->name,
				 t->answer.line_len);
		else
			complain("talk", "%s: %s", t->name, chime_strerror(a->err));
		return complain_exit(a->err);
	case ASKED_SIGNAL:
		break;
	}
	return EXIT_DONE;
}

int talk_pipe(struct talk *t)
{
	struct input in = { 0 };
	int code = -1;
	while (code < 0) {
		char *line = NULL;
		int err;
		ssize_t len = next_line(t, &in, &line);
		if (len < -1) {
			complain("talk", "reading standard input: %s", chime_strerror((int)len + 1));
			code = EXIT_SYSTEM;
			break;
		}
		if (in.heard == HEARD_GONE || in.heard == HEARD_FAILED) {
			complain("talk", "%s: %s", t->name, in.err ? chime_strerror(in.err) : "closed the connection");
			code = in.err ? complain_exit(in.err) : EXIT_PEER;
			break;
		}
		if (len <= 0 || !line) {
			code = EXIT_DONE;
			break;
		}
		switch (talk_hear(t, talk_say, NULL, &err)) {
		case HEARD_GONE:
			complain("talk", "%s closed the connection", t->name);
			code = EXIT_PEER;
			continue;
		case HEARD_FAILED:
			complain("talk", "%s: %s", t->name, chime_strerror(err));
			code = complain_exit(err);
			continue;
		case HEARD_NOTHING:
		case HEARD_SAID:
			break;
		}
		if (t->opts.newline) /* there is room: a line without one is the last, and the buffer is never full */
			line[len++] = '\n';
		struct asked asked = talk_ask(t, line, (size_t)len);
		code = outcome(t, &asked);
	}
	free(in.bytes);
	return code;
}
