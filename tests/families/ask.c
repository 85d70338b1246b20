/* Many questions, and a look at each answer. */
#include "families/ask.h"

#include <chime/clock.h>
#include <chime/connect.h>
#include <chime/error.h>
#include <chime/rdm.h>
#include <chime/sock.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define STAMP 24               /* bytes of ctime */
#define WINDOW 16              /* messages on their way at once */
#define LINE 32                /* the longest question */
#define LIMIT (60 * CHIME_SEC) /* for one answer: what TCP under RDS loses again and again comes late */

bool trouble(struct trouble *t, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(t->why, sizeof t->why, fmt, ap);
	va_end(ap);
	return false;
}

static size_t question(char out[LINE], unsigned n)
{
	return (size_t)snprintf(out, LINE, "question %u.", n);
}

/* ---- by the library ---- */

static bool ask_stream(chime_sock *s, unsigned count, struct trouble *t)
{
	for (unsigned i = 0; i < count; i++) {
		char q[LINE], a[STAMP + LINE];
		size_t len = question(q, i);
		int err = chime_sendall(s, q, len, 0, NULL);
		if (err < 0)
			return trouble(t, "sending question %u: %s", i, chime_strerror(err));
		for (size_t got = 0; got < STAMP + len;) {
			ssize_t n = chime_recv(s, a + got, STAMP + len - got, 0);
			if (n <= 0)
				return trouble(t, "answer %u: %s", i, n ? chime_strerror((int)n) : "the end");
			got += (size_t)n;
		}
		if (memcmp(a + STAMP, q, len))
			return trouble(t, "answer %u is \"%.*s\"", i, (int)(STAMP + len), a);
	}
	return true;
}

/* What is in a raw packet, behind its IPv4 header; *len is less then. */
static char *content(const chime_sock *s, char *packet, ssize_t *len)
{
	ssize_t header = chime_type(s) == SOCK_RAW && chime_family(s) == AF_INET ? (packet[0] & 15) * 4 : 0;
	if (header > *len)
		header = *len;
	*len -= header;
	return packet + header;
}

/* Takes one answer. */
static bool hear(chime_sock *s, unsigned count, unsigned char *heard, struct trouble *t)
{
	char packet[60 + STAMP + LINE + 1], *a;
	unsigned n;
	int end = 0;
	ssize_t len;
	do {
		len = chime_recv(s, packet, sizeof packet - 1, 0);
		if (len < 0)
			return trouble(t, "answer: %s", chime_strerror((int)len));
		packet[len] = 0;
		a = content(s, packet, &len);
		/* on loopback a raw socket hears the questions too, its own among them */
	} while (chime_type(s) == SOCK_RAW && !strncmp(a, "question ", 9));
	if (len <= STAMP || sscanf(a + STAMP, "question %u.%n", &n, &end) != 1 || STAMP + end != (int)len || n >= count)
		return trouble(t, "an answer of %zd bytes is \"%s\"", len, a);
	if (heard[n]++)
		return trouble(t, "question %u was answered twice", n);
	return true;
}

static bool ask_messages(chime_sock *s, unsigned count, struct trouble *t)
{
	unsigned char *heard = calloc(count, 1);
	unsigned asked = 0, answered = 0;
	bool good = heard;
	while (good && answered < count) {
		if (asked < count && asked - answered < WINDOW) {
			char q[LINE];
			int err = (int)chime_send(s, q, question(q, asked), 0);
			if (err < 0)
				good = trouble(t, "sending question %u: %s", asked, chime_strerror(err));
			asked++;
			continue;
		}
		good = hear(s, count, heard, t);
		answered += good;
	}
	free(heard);
	if (!good) {
		char why[sizeof t->why];
		memcpy(why, t->why, sizeof why);
		trouble(t, "%.300s (%u asked, %u answered)", why, asked, answered);
	}
	return good;
}

static bool hear_reliable(chime_rdm *r, unsigned count, unsigned char *heard, struct trouble *t)
{
	struct chime_rdm_event ev;
	char text[STAMP + LINE + 1];
	unsigned n;
	do {
		int err = chime_rdm_receive(r, &ev);
		if (err < 0)
			return trouble(t, "answer: %s", chime_strerror(err));
		if (ev.kind == CHIME_RDM_UNDELIVERED)
			return trouble(t, "message %u was not delivered: %s", ev.id, chime_strerror(ev.why));
	} while (ev.kind != CHIME_RDM_MESSAGE);
	snprintf(text, sizeof text, "%.*s", (int)ev.len, (const char *)ev.data);
	if (ev.len <= STAMP || sscanf(text + STAMP, "question %u.", &n) != 1 || n >= count)
		return trouble(t, "an answer of %zu bytes is \"%s\"", ev.len, text);
	if (heard[n]++)
		return trouble(t, "question %u was answered twice", n);
	return true;
}

static bool ask_reliable(const chime_endpoint *e, unsigned count, struct trouble *t)
{
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	unsigned char *heard = calloc(count, 1);
	unsigned asked = 0, answered = 0;
	chime_rdm *r = NULL;
	config.timeout_ns = LIMIT;
	config.why = t->why;
	config.why_size = sizeof t->why;
	bool good = heard && chime_rdm_connect(&r, e, &config) == 0;
	while (good && answered < count) {
		if (asked < count && asked - answered < WINDOW) {
			char q[LINE];
			int err = chime_rdm_send(r, q, question(q, asked), NULL, NULL);
			good = err == 0 || trouble(t, "sending question %u: %s", asked, chime_strerror(err));
			asked++;
			continue;
		}
		good = hear_reliable(r, count, heard, t);
		answered += good;
	}
	chime_rdm_free(&r);
	free(heard);
	return good;
}

bool ask_by_library(const char *endpoint, unsigned count, struct trouble *t)
{
	struct chime_connect_config config = CHIME_CONNECT_CONFIG_INIT;
	struct chime_endpoint_error error = { 0 };
	chime_endpoint e;
	chime_sock *s;
	config.timeout_ns = LIMIT;
	config.why = t->why;
	config.why_size = sizeof t->why;
	if (chime_endpoint_parse(&e, endpoint, NULL, NULL, &error) < 0)
		return trouble(t, "%s", error.message);
	if (e.scheme == CHIME_RDM || e.scheme == CHIME_SCTP_SEQPACKET)
		return ask_reliable(&e, count, t);
	if (chime_connect_endpoint(&s, &e, &config) < 0)
		return false;
	chime_set_timeout(s, LIMIT);
	bool good = chime_scheme_info(e.scheme)->messages ? ask_messages(s, count, t) : ask_stream(s, count, t);
	chime_free(&s);
	return good;
}

/* ---- by the program ---- */

static int run_talk(const char *program, const char *endpoint, const char *in, const char *out, const char *said)
{
	int status = 0;
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (dup2(open(in, O_RDONLY | O_CLOEXEC), 0) == 0 &&
		    dup2(open(out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), 1) == 1 &&
		    dup2(open(said, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), 2) == 2)
			execl(program, "chime", "talk", "--timeout", "60", endpoint, (char *)NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static bool write_questions(const char *path, unsigned count)
{
	FILE *f = fopen(path, "we");
	for (unsigned i = 0; f && i < count; i++) {
		char q[LINE];
		question(q, i);
		fprintf(f, "%s\n", q);
	}
	return f && fclose(f) == 0;
}

static bool read_answers(const char *path, unsigned count, struct trouble *t)
{
	char line[256], q[LINE];
	unsigned n = 0;
	bool good = true;
	FILE *f = fopen(path, "re");
	if (!f)
		return trouble(t, "%s: %s", path, strerror(errno));
	for (; good && fgets(line, sizeof line, f); n++) {
		size_t len = strcspn(line, "\n");
		line[len] = 0;
		question(q, n);
		if (len <= STAMP || strcmp(line + STAMP, q))
			good = trouble(t, "answer %u is \"%s\"", n, line);
	}
	fclose(f);
	return good && (n == count || trouble(t, "%u answers to %u questions", n, count));
}

/* What it complained of, on one line. */
static void read_complaint(const char *path, char *text, int size)
{
	FILE *f = fopen(path, "re");
	size_t n = f ? fread(text, 1, (size_t)size - 1, f) : 0;
	text[n] = 0;
	for (char *p = strchr(text, '\n'); p; p = strchr(p, '\n'))
		*p = ' ';
	if (f)
		fclose(f);
}

bool ask_by_talk(const char *program, const char *endpoint, unsigned count, const char *dir, struct trouble *t)
{
	char in[256], out[256], said[256], complaint[300];
	snprintf(said, sizeof said, "%s/said", dir);
	snprintf(in, sizeof in, "%s/questions", dir);
	snprintf(out, sizeof out, "%s/answers", dir);
	if (!write_questions(in, count))
		return trouble(t, "%s: %s", in, strerror(errno));
	int code = run_talk(program, endpoint, in, out, said);
	read_complaint(said, complaint, sizeof complaint);
	bool good = code == 0 || trouble(t, "chime talk ended with %d: %s", code, complaint);
	good = good && read_answers(out, count, t);
	unlink(in);
	unlink(out);
	unlink(said);
	return good;
}
