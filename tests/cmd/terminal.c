/* chime talk on a terminal, as a person sees it. */
#include "program.h"

#include <chime/connect.h>
#include <chime/rdm.h>
#include <chime/stamp.h>

#include <pthread.h>

#define CTRL_C "\003"
#define CTRL_D "\004"
#define UP "\033[A"

struct session {
	struct program server, talk;
	size_t seen; /* of what the terminal showed */
};

static void session_open(struct session *s, const char *endpoint, const char *option)
{
	char at[256];
	serve(&s->server, endpoint, at);
	if (option)
		START_TERMINAL(&s->talk, "talk", option, at);
	else
		START_TERMINAL(&s->talk, "talk", at);
	s->seen = program_expect(&s->talk, &s->talk.said, 0, ">>:");
}

/* Waits for text behind what was seen. */
static void expect(struct session *s, const char *text)
{
	s->seen = program_expect(&s->talk, &s->talk.said, s->seen, text);
}

static void session_close(struct session *s, int code)
{
	CHECK_EQ(program_wait(&s->talk), code);
	program_forget(&s->talk);
	server_end(&s->server);
}

/* The answer to text, a stamp and the text, then the prompt. Anything else in between fails. */
static void expect_answer(struct session *s, const char *text)
{
	char stamp[CHIME_STAMP_MAX], line[256];
	size_t n = chime_stamp_write(stamp, chime_now_real(), CHIME_STAMP_CTIME, false);
	snprintf(line, sizeof line, "\r\n%.*s", 11, stamp); /* the day: the rest may be another second's */
	expect(s, line);
	size_t at = s->seen - 11;
	snprintf(line, sizeof line, "%s\r\n", text);
	expect(s, line);
	CHECK_EQ(s->seen - strlen(line) - at, n);
	expect(s, ">>:");
}

/* The tutorial's session: a prompt, i, the stamp and i; several words too; ctrl-D ends with 0. */
TEST(a_line_is_answered_at_the_prompt)
{
	struct session s = { 0 };
	session_open(&s, "tcp://127.0.0.1:0", NULL);
	program_type(&s.talk, "i\r");
	expect_answer(&s, "i");
	program_type(&s.talk, "several words in one\r");
	expect_answer(&s, "several words in one");
	program_type(&s.talk, CTRL_D);
	session_close(&s, 0);
}

/* An empty line ends, with 0. */
TEST(an_empty_line_ends)
{
	struct session s = { 0 };
	session_open(&s, own("unix"), NULL);
	program_type(&s.talk, "i\r");
	expect_answer(&s, "i");
	program_type(&s.talk, "\r");
	session_close(&s, 0);
}

/* Ctrl-C ends the program as the signal does, and the terminal is as it was before. */
TEST(ctrl_c_ends_and_restores)
{
	struct session s = { 0 };
	struct termios before, after;
	char at[256];
	int other;
	serve(&s.server, "tcp://127.0.0.1:0", at);
	START_TERMINAL(&s.talk, "talk", at);
	CHECK_EQ(tcgetattr(s.talk.out, &before), 0); /* maybe after it was changed: what counts is these two flags */
	program_expect(&s.talk, &s.talk.said, 0, ">>:");
	CHECK_EQ(tcgetattr(s.talk.out, &after), 0);
	CHECK_EQ(after.c_lflag & ICANON, 0);
	program_type(&s.talk, "abc" CTRL_C);
	other = dup(s.talk.out);
	CHECK_EQ(program_wait(&s.talk), 128 + SIGINT);
	CHECK_EQ(tcgetattr(other, &after), 0);
	CHECK_EQ(after.c_lflag & (ICANON | ECHO), ICANON | ECHO);
	close(other);
	program_forget(&s.talk);
	server_end(&s.server);
}

/* Ctrl-C while an answer is awaited ends at once. */
TEST(ctrl_c_ends_waiting)
{
	struct session s = { 0 };
	char at[256];
	START(&s.server, "serve", "discard=tcp://127.0.0.1:0");
	server_endpoint(&s.server, 0, at);
	START_TERMINAL(&s.talk, "talk", "--timeout=1h", at);
	s.seen = program_expect(&s.talk, &s.talk.said, 0, ">>:");
	program_type(&s.talk, "i\r");
	expect(&s, "i\r\n");
	program_type(&s.talk, CTRL_C);
	session_close(&s, 128 + SIGINT);
}

/* chime serve of reliable messages by libusrsctp, and talk on a terminal: lines, history, and ctrl-D. */
static void reliable_session(const char *endpoint)
{
	struct session s = { 0 };
	char at[256];
	if (chime_rdm_available(CHIME_RDM_USER) < 0)
		SKIP("this build has no libusrsctp");
	START(&s.server, "serve", endpoint);
	server_endpoint(&s.server, 0, at);
	at[strcspn(at, " ")] = 0;
	START_TERMINAL(&s.talk, "talk", at);
	s.seen = program_expect(&s.talk, &s.talk.said, 0, ">>:");
	program_type(&s.talk, "i\r");
	expect_answer(&s, "i");
	program_type(&s.talk, "several words in one\r");
	expect_answer(&s, "several words in one");
	program_type(&s.talk, UP " again\r");
	expect_answer(&s, "several words in one again");
	program_type(&s.talk, CTRL_D);
	session_close(&s, 0);
}

/* The tutorial's session on reliable messages, unordered and ordered, on both families. */
TEST(reliable_messages_are_answered_at_the_prompt)
{
	reliable_session("rdm://127.0.0.1:0?udp=0&carrier=user");
	reliable_session("sctp+seqpacket://[::1]:0?udp=0&carrier=user");
}

/* That the server has gone is said at once, in the middle of a line, and ends the program. */
TEST(the_servers_going_is_said_in_mid_line)
{
	struct session s = { 0 };
	session_open(&s, "tcp://127.0.0.1:0", NULL);
	program_expect(&s.server, &s.server.said, 0, "...connected from: "); /* else it may end before it knows of us */
	program_type(&s.talk, "half a li");
	expect(&s, "half a li");
	server_end(&s.server);
	expect(&s, "closed the connection");
	CHECK_EQ(program_wait(&s.talk), 0);
	program_forget(&s.talk);
}

/* A server that is killed says nothing by itself; the reset or end that the system sends is said as well. */
TEST(a_killed_server_is_said)
{
	struct session s = { 0 };
	session_open(&s, "tcp://127.0.0.1:0", NULL);
	kill(s.server.pid, SIGKILL);
	expect(&s, "the connection");
	CHECK_IN(program_wait(&s.talk), 0, 1);
	CHECK_EQ(program_wait(&s.server), 128 + SIGKILL);
	program_forget(&s.talk);
	program_forget(&s.server);
}

/* The arrow brings back earlier lines, which can be edited. */
TEST(history_comes_back)
{
	struct session s = { 0 };
	session_open(&s, "tcp://127.0.0.1:0", NULL);
	program_type(&s.talk, "first\r");
	expect_answer(&s, "first");
	program_type(&s.talk, "second\r");
	expect_answer(&s, "second");
	program_type(&s.talk, UP UP "ly\r");
	expect_answer(&s, "firstly");
	program_type(&s.talk, CTRL_D);
	session_close(&s, 0);
}

/* A character of several bytes is one to the backspace, and reaches the server whole. */
TEST(utf8_is_edited_by_characters)
{
	struct session s = { 0 };
	session_open(&s, "tcp://127.0.0.1:0", NULL);
	program_type(&s.talk, "\xe4\xb8\xad\xe6\x96\x87\x7f\xc3\xa9\r"); /* zhong wen, backspace, e acute */
	expect_answer(&s, "\xe4\xb8\xad\xc3\xa9");
	program_type(&s.talk, CTRL_D);
	session_close(&s, 0);
}

/* A long line, which the server cuts into chunks, is answered in one piece, and the next answer is the next line's. */
TEST(long_lines_are_never_one_answer_late)
{
	struct session s = { 0 };
	char line[3002];
	memset(line, 'x', 3000);
	strcpy(line + 3000, "\r");
	session_open(&s, "tcp://127.0.0.1:0", NULL);
	program_type(&s.talk, line);
	expect(&s, "\r\n");
	expect(&s, ">>:");
	program_type(&s.talk, "i\r");
	expect_answer(&s, "i");
	program_type(&s.talk, CTRL_D);
	session_close(&s, 0);
}

/* What is typed while an answer is awaited is not lost. */
TEST(typing_ahead_is_kept)
{
	struct session s = { 0 };
	session_open(&s, "tcp://127.0.0.1:0", NULL);
	program_type(&s.talk, "one\rtwo\rthree\r" CTRL_D);
	static const char *const lines[] = { "one", "two", "three" };
	for (size_t i = 0; i < 3; i++) {
		char answer[64], stamp[CHIME_STAMP_MAX];
		chime_stamp_write(stamp, chime_now_real(), CHIME_STAMP_CTIME, false);
		snprintf(answer, sizeof answer, "%.10s", stamp);
		expect(&s, answer);
		snprintf(answer, sizeof answer, "%s\r\n", lines[i]);
		size_t at = s.seen;
		expect(&s, answer);
		CHECK_EQ(s.seen - at, 14 + strlen(answer));
	}
	session_close(&s, 0);
}

/* A ctrl-D that is typed while an answer is awaited ends when it has been told. */
TEST(ctrl_d_typed_ahead_ends)
{
	struct session s = { 0 };
	char at[256];
	START(&s.server, "serve", "discard=tcp://127.0.0.1:0");
	server_endpoint(&s.server, 0, at);
	START_TERMINAL(&s.talk, "talk", "--timeout=500ms", at);
	s.seen = program_expect(&s.talk, &s.talk.said, 0, ">>:");
	program_type(&s.talk, "i\r");
	expect(&s, "i\r\n");
	program_type(&s.talk, CTRL_D);
	expect(&s, "no answer within");
	session_close(&s, 0);
}

/* No answer in time is said, and the prompt comes back. */
TEST(no_answer_is_said_and_goes_on)
{
	struct session s = { 0 };
	char at[256];
	START(&s.server, "serve", "discard=tcp://127.0.0.1:0");
	server_endpoint(&s.server, 0, at);
	START_TERMINAL(&s.talk, "talk", "--timeout=200ms", at);
	s.seen = program_expect(&s.talk, &s.talk.said, 0, ">>:");
	program_type(&s.talk, "i\r");
	expect(&s, "no answer within 0.2s");
	expect(&s, ">>:");
	program_type(&s.talk, CTRL_D);
	session_close(&s, 0);
}

/* --rtt adds a line to each answer. */
TEST(rtt_follows_the_answer)
{
	struct session s = { 0 };
	session_open(&s, "tcp://127.0.0.1:0", "--rtt");
	program_type(&s.talk, "i\r");
	expect(&s, "i\r\nrtt ");
	expect(&s, ">>:");
	program_type(&s.talk, CTRL_D);
	session_close(&s, 0);
}

/* ---- servers of our own ---- */

struct late_server {
	chime_sock *sock;
	pthread_t thread;
	char endpoint[64];
};

/* Answers the first datagram only after the second has come, then the second. */
static void *answer_late(void *arg)
{
	struct late_server *s = arg;
	char first[128], second[128];
	chime_addr from;
	size_t stamp = chime_stamp_write(first, chime_now_real(), CHIME_STAMP_CTIME, false);
	memcpy(second, first, stamp);
	ssize_t n = chime_recvfrom(s->sock, first + stamp, 64, 0, &from);
	ssize_t m = chime_recvfrom(s->sock, second + stamp, 64, 0, &from);
	chime_sendto(s->sock, first, stamp + (size_t)n, 0, &from);
	chime_sendto(s->sock, second, stamp + (size_t)m, 0, &from);
	return NULL;
}

/* A datagram answer that comes too late is labelled with its line, and not shown for the next one's. */
TEST(late_datagrams_are_labelled)
{
	struct late_server server = { 0 };
	struct session s = { 0 };
	chime_addr at;
	CHECK_EQ(chime_open(&server.sock, AF_INET, SOCK_DGRAM, 0), 0);
	CHECK_EQ(chime_addr_ip(&at, AF_INET, "127.0.0.1", 0), 0);
	CHECK_EQ(chime_bind(server.sock, &at), 0);
	CHECK_EQ(chime_getsockname(server.sock, &at), 0);
	snprintf(server.endpoint, sizeof server.endpoint, "udp://127.0.0.1:%d", chime_addr_port(&at));
	CHECK_EQ(pthread_create(&server.thread, NULL, answer_late, &server), 0);
	START_TERMINAL(&s.talk, "talk", "--timeout=300ms", server.endpoint);
	s.seen = program_expect(&s.talk, &s.talk.said, 0, ">>:");
	program_type(&s.talk, "early\r");
	expect(&s, "no answer within");
	expect(&s, ">>:");
	program_type(&s.talk, "later\r");
	expect(&s, "late answer to 'early': ");
	expect(&s, "early\r\n");
	expect(&s, "later\r\n");
	expect(&s, ">>:");
	program_type(&s.talk, CTRL_D);
	CHECK_EQ(program_wait(&s.talk), 0);
	pthread_join(server.thread, NULL);
	chime_free(&server.sock);
	program_forget(&s.talk);
}

/* The same of reliable messages: the first is answered only when the second has come, and behind it. */
static void *answer_reordered(void *arg)
{
	chime_rdm *r = arg;
	struct chime_rdm_event ev;
	struct chime_rdm_peer peer;
	char answers[2][128];
	size_t lens[2];
	for (unsigned n = 0; n < 2;) {
		if (chime_rdm_receive(r, &ev) < 0)
			return NULL;
		if (ev.kind != CHIME_RDM_MESSAGE || ev.len > 64)
			continue;
		peer = ev.peer;
		lens[n] = chime_stamp_write(answers[n], chime_now_real(), CHIME_STAMP_CTIME, false);
		memcpy(answers[n] + lens[n], ev.data, ev.len);
		lens[n++] += ev.len;
	}
	chime_rdm_send(r, answers[1], lens[1], &peer, NULL);
	chime_rdm_send(r, answers[0], lens[0], &peer, NULL);
	chime_rdm_flush(r, 5 * CHIME_SEC);
	while (chime_rdm_receive(r, &ev) == 0) /* until it is closed */
		;
	return NULL;
}

/* A reliable answer that comes late, and behind the next one's, is labelled with its line. */
TEST(late_reliable_messages_are_labelled)
{
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	struct session s = { 0 };
	chime_rdm *r = NULL;
	chime_endpoint e;
	pthread_t thread;
	char text[CHIME_ENDPOINT_TEXT];
	if (chime_rdm_available(CHIME_RDM_USER) < 0)
		SKIP("this build has no libusrsctp");
	CHECK_EQ(chime_endpoint_parse(&e, "rdm://127.0.0.1:0?udp=0&carrier=user", NULL, NULL, NULL), 0);
	CHECK_EQ(chime_rdm_serve(&r, &e, &config), 0);
	CHECK_EQ(pthread_create(&thread, NULL, answer_reordered, r), 0);
	chime_endpoint_print(&e, text, sizeof text);
	START_TERMINAL(&s.talk, "talk", "--timeout=2s", text);
	s.seen = program_expect(&s.talk, &s.talk.said, 0, ">>:");
	program_type(&s.talk, "early\r");
	expect(&s, "no answer within");
	expect(&s, ">>:");
	program_type(&s.talk, "later\r");
	expect(&s, "later\r\n"); /* as it was typed */
	expect(&s, "later\r\n");
	expect(&s, "late answer to 'early': ");
	expect(&s, "early\r\n");
	program_type(&s.talk, CTRL_D);
	CHECK_EQ(program_wait(&s.talk), 0);
	chime_rdm_close(r, 0);
	pthread_join(thread, NULL);
	chime_rdm_free(&r);
	program_forget(&s.talk);
}

struct stream_server {
	chime_sock *listener;
	pthread_t thread;
	char endpoint[64];
	const char *greeting;
};

/* Greets with what has control bytes, once a byte came; then ends with the peer. */
static void *greet(void *arg)
{
	struct stream_server *s = arg;
	chime_sock *c = NULL;
	char buf[64];
	if (chime_accept(s->listener, &c, NULL) == 0) {
		chime_sendall(c, s->greeting, strlen(s->greeting), 0, NULL);
		while (chime_recv(c, buf, sizeof buf, 0) > 0)
			;
	}
	chime_free(&c);
	return NULL;
}

/* What a server says unasked is shown at once, its control bytes escaped, and the line being typed is drawn again. */
TEST(unasked_words_are_shown_in_mid_line)
{
	struct stream_server server = { .greeting = "Hi\033[2J\a!\n" };
	struct session s = { 0 };
	chime_addr at;
	CHECK_EQ(chime_create_server(&server.listener, AF_INET, "127.0.0.1", 0, 5, false, false), 0);
	CHECK_EQ(chime_getsockname(server.listener, &at), 0);
	snprintf(server.endpoint, sizeof server.endpoint, "tcp://127.0.0.1:%d", chime_addr_port(&at));
	START_TERMINAL(&s.talk, "talk", server.endpoint);
	s.seen = program_expect(&s.talk, &s.talk.said, 0, ">>:");
	program_type(&s.talk, "typed");
	expect(&s, "typed");
	CHECK_EQ(pthread_create(&server.thread, NULL, greet, &server), 0);
	expect(&s, "unasked: Hi\\x1b[2J\\x07!\r\n");
	expect(&s, ">>:typed");
	program_type(&s.talk, CTRL_C);
	CHECK_EQ(program_wait(&s.talk), 128 + SIGINT);
	pthread_join(server.thread, NULL);
	chime_free(&server.listener);
	program_forget(&s.talk);
}

/* ---- job control ---- */

/* A shell in small: chime talk as a job behind another program, as in "sudo chime talk" or ./run. It does what it is told. */
struct shell {
	struct program talk; /* .pid is the shell's */
	int orders;
	pid_t job; /* chime talk's own */
};

/* The shell itself: 'z' stops the job with the terminal taken from it before, 'Z' without; then 'f' lets it go on. */
static _Noreturn void shell_run(int orders, int tells, const char *at)
{
	struct program p = { 0 };
	int status = 0;
	char order;
	signal(SIGTTOU, SIG_IGN);
	pid_t job = fork();
	if (job == 0) {
		setpgid(0, 0);
		tcsetpgrp(0, getpid());
		signal(SIGTTOU, SIG_DFL);
		pid_t talk = fork();
		if (talk == 0)
			program_exec(&p, (const char *const[]){ "talk", at, NULL });
		bool told = write(tells, &talk, sizeof talk) == sizeof talk;
		waitpid(talk, &status, 0);
		_exit(told && WIFEXITED(status) ? WEXITSTATUS(status) : 99);
	}
	while (read(orders, &order, 1) == 1) {
		if (order == 'z')
			tcsetpgrp(0, getpid());
		kill(-job, SIGTSTP);
		waitpid(job, &status, WUNTRACED);
		if (write(tells, "s", 1) != 1 || read(orders, &order, 1) != 1)
			break;
		tcsetpgrp(0, job);
		kill(-job, SIGCONT);
	}
	waitpid(job, &status, 0);
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 98);
}

static int shell_open(struct shell *s, const char *at)
{
	struct winsize size = { .ws_row = 24, .ws_col = 80 };
	int orders[2], tells[2], master;
	pipe_on_exec_closed(orders);
	pipe_on_exec_closed(tells);
	s->talk.pid = forkpty(&master, NULL, NULL, &size);
	CHECK(s->talk.pid >= 0);
	if (s->talk.pid == 0) {
		close(orders[1]);
		setenv("TERM", "xterm", 1);
		setenv("HOME", "/nonexistent", 1);
		shell_run(orders[0], tells[1], at);
	}
	close(orders[0]);
	close(tells[1]);
	s->talk.in = s->talk.out = master;
	s->talk.err = -1;
	s->orders = orders[1];
	CHECK_EQ(read(tells[0], &s->job, sizeof s->job), sizeof s->job);
	return tells[0];
}

/* Whether the process is stopped. */
static bool stopped(pid_t pid)
{
	char path[64], text[256] = "";
	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	FILE *f = fopen(path, "re");
	CHECK(f != NULL);
	CHECK(fread(text, 1, sizeof text - 1, f) > 0);
	fclose(f);
	const char *state = strrchr(text, ')');
	return state && state[2] == 'T';
}

/* Ctrl-Z and fg, whoever is the first to notice, the shell or we: the job stops once and goes on with the line as it was. */
TEST(stopped_and_back_in_the_foreground)
{
	static const char orders[] = "zZzZ";
	struct program server = { 0 };
	struct session s = { 0 };
	struct shell shell = { 0 };
	char at[256], word;
	serve(&server, "tcp://127.0.0.1:0", at);
	int tells = shell_open(&shell, at);
	s.talk = shell.talk;
	s.seen = program_expect(&s.talk, &s.talk.said, 0, ">>:");
	for (int i = 0; orders[i]; i++) {
		program_type(&s.talk, "be");
		expect(&s, "be");
		CHECK_EQ(write(shell.orders, &orders[i], 1), 1);
		CHECK_EQ(read(tells, &word, 1), 1);
		int64_t end = test_now() + PROGRAM_LIMIT;
		while (!stopped(shell.job) && test_now() < end)
			poll(NULL, 0, 1);
		CHECK(stopped(shell.job));
		CHECK_EQ(write(shell.orders, "f", 1), 1);
		expect(&s, "be");
		program_type(&s.talk, "hind\r");
		expect_answer(&s, "behind");
	}
	program_type(&s.talk, CTRL_D);
	close(shell.orders);
	CHECK_EQ(program_wait(&s.talk), 0);
	program_forget(&s.talk);
	close(tells);
	server_end(&server);
}

TEST_MAIN()
