/* The tutorial's client, for a person: the prompt, a line, its answer; and the server's going said at once. */
#include "complain.h"
#include "talk.h"

#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include <wchar.h>

#define CTRL_D 4
#define HISTORY 1000 /* lines, in memory */

struct terminal {
	struct talk *talk;
	EditLine *el;
	History *history;
	sigset_t signals;
	mbstate_t state; /* of a character that comes byte by byte */
	bool typing;     /* a line is on the screen */
	int code;        /* how talking ends; -1: it goes on */
};

static const char *prompt(EditLine *el)
{
	(void)el;
	return ">>:";
}

/* A line that breaks into the one being typed, which is drawn again below it. */
static void say(void *arg, const char *label, const void *bytes, size_t len)
{
	struct terminal *m = arg;
	putchar('\n');
	fflush(stdout);
	talk_say(NULL, label, bytes, len);
	el_set(m->el, EL_REFRESH);
}

/* What the server does while a line is typed. false: talking is over. */
static bool listen_to_server(struct terminal *m)
{
	struct talk *t = m->talk;
	int err;
	switch (talk_hear(t, say, m, &err)) {
	case HEARD_NOTHING:
	case HEARD_SAID:
		return true;
	case HEARD_FAILED:
		if (t->scheme->messages && !t->scheme->connected) { /* nobody there; somebody may come back */
			const char *why = chime_strerror(err);
			say(m, t->name, why, strlen(why));
			return true;
		}
		putchar('\n');
		fflush(stdout);
		complain("talk", "%s: %s", t->name, chime_strerror(err));
		m->code = complain_exit(err);
		return false;
	case HEARD_GONE:
		break;
	}
	putchar('\n');
	fflush(stdout);
	complain("talk", err ? "%s reset the connection" : "%s closed the connection", t->name);
	m->code = err || t->owed ? EXIT_PEER : EXIT_DONE;
	return false;
}

/* Behind a stop: the terminal is ours again, and the line on it. */
static void resume(struct terminal *m)
{
	el_set(m->el, EL_PREP_TERM, 1);
	if (m->typing)
		el_set(m->el, EL_REFRESH);
}

/*
 * Gives the terminal back and stops. Where another program of our job is stopped before us (sudo, a script), the shell may have the
 * terminal by then: giving it back stops us already, and that we were let go on is told by a SIGCONT that is waiting.
 */
static void suspend(struct terminal *m)
{
	const struct timespec now = { 0, 0 };
	sigset_t stop, go, waiting;
	sigemptyset(&stop);
	sigaddset(&stop, SIGTSTP);
	sigemptyset(&go);
	sigaddset(&go, SIGCONT);
	el_set(m->el, EL_PREP_TERM, 0);
	sigpending(&waiting);
	if (!sigismember(&waiting, SIGCONT)) {
		raise(SIGTSTP);
		sigprocmask(SIG_UNBLOCK, &stop, NULL); /* it stops us here */
		sigprocmask(SIG_BLOCK, &stop, NULL);
	}
	sigtimedwait(&go, NULL, &now);
	resume(m);
}

/* Takes the signal that is waiting. false: it ends us. */
static bool take_signal(void *arg)
{
	struct terminal *m = arg;
	struct signalfd_siginfo info;
	if (read(m->talk->signal_fd, &info, sizeof info) != (ssize_t)sizeof info)
		return true;
	switch (info.ssi_signo) {
	case SIGWINCH:
		el_resize(m->el);
		return true;
	case SIGTSTP:
		suspend(m);
		return true;
	case SIGCONT: /* behind a stop that nobody can take: SIGSTOP */
		resume(m);
		return true;
	default:
		m->talk->ended_by = (int)info.ssi_signo;
		m->code = 128 + m->talk->ended_by;
		return false;
	}
}

/* Whether byte makes a character whole. What is none is dropped, but may have ended before this byte. */
static bool whole_character(struct terminal *m, char byte, wchar_t *out)
{
	size_t len = mbrtowc(out, &byte, 1, &m->state);
	if (len == (size_t)-1) {
		m->state = (mbstate_t){ 0 };
		len = mbrtowc(out, &byte, 1, &m->state);
	}
	if (len == (size_t)-1)
		m->state = (mbstate_t){ 0 };
	return len < (size_t)-2;
}

/* libedit's way to the next character: waits for the server and for signals too. */
static int read_character(EditLine *el, wchar_t *out)
{
	struct terminal *m;
	el_get(el, EL_CLIENTDATA, &m);
	for (;;) {
		struct pollfd p[3] = { { m->talk->fd, POLLIN, 0 },
				       { m->talk->signal_fd, POLLIN, 0 },
				       { STDIN_FILENO, POLLIN, 0 } };
		if (poll(p, 3, -1) < 0 && errno != EINTR)
			return -1;
		if (p[1].revents && !take_signal(m))
			return 0;
		if (p[0].revents && !listen_to_server(m))
			return 0;
		if (!p[2].revents)
			continue;
		char byte;
		ssize_t n = read(STDIN_FILENO, &byte, 1);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			return 0;
		if (byte ==
		    0) /* a ctrl-D typed while an answer was awaited: the terminal, not ours for a moment, made it this */
			byte = CTRL_D;
		if (whole_character(m, byte, out))
			return 1;
	}
}

/* Tells how asking ended. false: talking is over. */
static bool outcome(struct terminal *m, const struct asked *a)
{
	struct talk *t = m->talk;
	char limit[32];
	switch (a->end) {
	case ASKED_ANSWERED:
		if (!a->shown)
			talk_show_answer(t);
		if (t->opts.rtt && !a->shown)
			talk_show_rtt(stdout, t, a);
		return true;
	case ASKED_TIMEOUT:
		chime_duration_print(t->opts.timeout_ns, limit, sizeof limit);
		if (t->answer.len && !t->owed)
			talk_show_answer(t);
		complain("talk", t->answer.len ? "the answer stopped: nothing more for %s" : "no answer within %s%s",
			 limit, talk_silence_hint(t));
		return true;
	case ASKED_GONE:
		if (t->answer.len)
			talk_show_answer(t);
		complain("talk", "%s %s%s", t->name, a->err ? "reset the connection" : "closed the connection",
			 t->answer.len ? "" : " without an answer");
		m->code = EXIT_PEER;
		return false;
	case ASKED_FAILED:
		if (a->err == -EMSGSIZE)
			complain("talk", "a line of %zu bytes is too long for one message", t->answer.line_len);
		else
			complain("talk", "%s: %s", t->name, chime_strerror(a->err));
		if (t->scheme->messages && !t->scheme->connected)
			return true;
		if (a->err == -EMSGSIZE)
			return true;
		m->code = complain_exit(a->err);
		return false;
	case ASKED_SIGNAL:
		break;
	}
	return false;
}

static void talk_lines(struct terminal *m)
{
	while (m->code < 0) {
		int len = 0;
		HistEvent event;
		m->state = (mbstate_t){ 0 };
		m->typing = true;
		const char *line = el_gets(m->el, &len);
		m->typing = false;
		/* stays in libedit's mode while an answer is awaited: what is typed meanwhile is for the next prompt */
		el_set(m->el, EL_PREP_TERM, 1);
		if (m->code >= 0)
			break;
		if (!line || len <= 0) { /* ctrl-D */
			putchar('\n');
			m->code = EXIT_DONE;
			break;
		}
		size_t bare = (size_t)len - (line[len - 1] == '\n');
		if (bare == 0) {
			m->code = EXIT_DONE;
			break;
		}
		char *copy = strndup(line, bare);
		if (copy)
			history(m->history, &event, H_ENTER, copy);
		free(copy);
		struct asked asked = talk_ask(m->talk, line, m->talk->opts.newline ? (size_t)len : bare);
		if (!outcome(m, &asked))
			break;
	}
}

static bool terminal_open(struct terminal *m)
{
	static const int taken[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH };
	HistEvent event;
	sigemptyset(&m->signals);
	for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
		sigaddset(&m->signals, taken[i]);
	sigprocmask(SIG_BLOCK, &m->signals, NULL);
	m->talk->signal_fd = signalfd(-1, &m->signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (MB_CUR_MAX == 1) /* editing takes what is typed for UTF-8, also where the locale says nothing */
		setlocale(LC_CTYPE, "C.UTF-8");
	m->el = el_init("chime", stdin, stdout, stderr);
	m->history = history_init();
	m->talk->take_signal = take_signal;
	m->talk->take_signal_arg = m;
	if (m->talk->signal_fd < 0 || !m->el || !m->history)
		return false;
	history(m->history, &event, H_SETSIZE, HISTORY);
	history(m->history, &event, H_SETUNIQUE, 1);
	el_set(m->el, EL_CLIENTDATA, m);
	el_set(m->el, EL_PROMPT, prompt);
	el_set(m->el, EL_EDITOR, "emacs");
	el_set(m->el, EL_HIST, history, m->history);
	el_set(m->el, EL_GETCFN, read_character);
	el_source(m->el, NULL);
	el_set(m->el, EL_PREP_TERM, 1); /* before the prompt invites to type */
	return true;
}

static void terminal_close(struct terminal *m)
{
	if (m->history)
		history_end(m->history);
	if (m->el)
		el_end(m->el);
	if (m->talk->signal_fd >= 0)
		close(m->talk->signal_fd);
	m->talk->signal_fd = -1;
}

int talk_terminal(struct talk *t)
{
	struct terminal m = { .talk = t, .code = -1 };
	if (terminal_open(&m)) {
		talk_lines(&m);
	} else {
		complain("talk", "the terminal can't be used for editing");
		m.code = EXIT_SYSTEM;
	}
	terminal_close(&m);
	if (t->ended_by)
		putchar('\n');
	return m.code;
}
