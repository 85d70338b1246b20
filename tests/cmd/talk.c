/*
 * chime talk in a pipe: lock-step, whole answers, exit codes; and --raw. Over 600 lines, because every part uses the servers that the test
 * plays, at its beginning.
 */
#include "program.h"

#include <chime/connect.h>
#include <chime/stamp.h>

#include <pthread.h>

/* ---- a server that does what its test says, in a thread ---- */

struct script {
	void (*run)(struct script *s, chime_sock *c); /* for the one connection that it accepts */
	chime_sock *listener;
	pthread_t thread;
	char endpoint[64];
};

static void *script_main(void *arg)
{
	struct script *s = arg;
	chime_sock *c = NULL;
	if (chime_accept(s->listener, &c, NULL) == 0)
		s->run(s, c);
	chime_free(&c);
	return NULL;
}

static void script_start(struct script *s, void (*run)(struct script *, chime_sock *))
{
	chime_addr at;
	s->run = run;
	CHECK_EQ(chime_create_server(&s->listener, AF_INET, "127.0.0.1", 0, 5, false, false), 0);
	CHECK_EQ(chime_getsockname(s->listener, &at), 0);
	snprintf(s->endpoint, sizeof s->endpoint, "tcp://127.0.0.1:%d", chime_addr_port(&at));
	CHECK_EQ(pthread_create(&s->thread, NULL, script_main, s), 0);
}

static void script_end(struct script *s)
{
	pthread_join(s->thread, NULL);
	chime_free(&s->listener);
}

/* ---- helpers ---- */

/* The stamp's length in front of text, which must be there. */
static size_t stamp_at(const char *text, size_t len, enum chime_stamp_format format)
{
	int64_t time_ns, precision_ns;
	bool zone_known;
	int n = chime_stamp_read(text, len, format, &time_ns, &zone_known, &precision_ns);
	if (n <= 0)
		fprintf(stderr, "no stamp: %.60s\n", text);
	CHECK(n > 0);
	return (size_t)n;
}

/* chime talk [option] endpoint with that input, to its end. */
static int ask(struct program *p, const char *option, const char *endpoint, const char *input)
{
	if (option)
		START(p, "talk", option, endpoint);
	else
		START(p, "talk", endpoint);
	program_type(p, input);
	return program_wait(p);
}

/* ---- lock-step ---- */

/* Each line has its answer on stdout before the next one is sent, and nothing else is said. */
TEST(a_line_then_its_answer)
{
	struct program server = { 0 }, p = { 0 };
	char at[256];
	size_t seen = 0;
	serve(&server, "tcp://127.0.0.1:0", at);
	START(&p, "talk", at);
	for (unsigned i = 0; i < 5; i++) {
		char line[32];
		snprintf(line, sizeof line, "line number %u\n", i);
		program_type(&p, line);
		size_t end = program_expect(&p, &p.said, seen, "\n");
		size_t stamp = stamp_at(p.said.bytes + seen, end - seen, CHIME_STAMP_CTIME);
		CHECK_EQ(end - seen - stamp, strlen(line));
		CHECK_MEM(p.said.bytes + seen + stamp, line, strlen(line));
		seen = end;
	}
	CHECK_EQ(program_wait(&p), 0);
	CHECK_EQ(p.said.len, seen);
	CHECK_STR(told(&p), "");
	program_forget(&p);
	server_end(&server);
}

/* Lines that are there all at once get one answer each, in order; an empty line ends, what is behind it is not sent. */
TEST(an_empty_line_ends)
{
	struct program server = { 0 }, p = { 0 };
	char at[256];
	serve(&server, "tcp://127.0.0.1:0", at);
	CHECK_EQ(ask(&p, NULL, at, "one\ntwo\n\nthree\n"), 0);
	const char *two = strchr(said(&p), '\n') + 1;
	CHECK_STR(said(&p) + 24 + 3, strstr(said(&p), "\n"));
	CHECK_STR(two + 24, "two\n");
	program_forget(&p);
	server_end(&server);
}

/* The last line may lack its newline; no input at all is no failure. */
TEST(the_last_line_needs_no_newline)
{
	struct program server = { 0 }, p = { 0 };
	char at[256];
	serve(&server, own("unix"), at);
	CHECK_EQ(ask(&p, NULL, at, "i"), 0);
	CHECK_STR(said(&p) + 24, "i\n");
	program_forget(&p);
	CHECK_EQ(ask(&p, NULL, at, ""), 0);
	CHECK_STR(said(&p), "");
	program_forget(&p);
	server_end(&server);
}

/* An answer is known to be whole in every format of the stamp, also where the line looks like one. */
TEST_LIMIT(every_format_is_recognised, 100)
{
	static const char *const formats[] = { "ctime", "rfc3339", "rfc3339ns", "unix", "unixns" };
	for (int f = 0; f < CHIME_STAMP_FORMATS; f++) {
		struct program server = { 0 }, p = { 0 };
		char endpoint[64], at[256];
		snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:0?format=%s", formats[f]);
		serve(&server, endpoint, at);
		int64_t took = INT64_MAX;
		for (int i = 0; i < 10 && took > 2000000000; i++) { /* the machine may be busy */
			int64_t before = test_now();
			program_forget(&p);
			CHECK_EQ(ask(&p, NULL, at, "1\nx\nTue Sep 13 19:11:20 2016\n1473765080\n1473765080123456789\n"),
				 0);
			took = test_now() - before;
		}
		CHECK_IN(took, 0, 2000000000); /* none was taken as over after a pause, or awaited in vain */
		const char *line = said(&p);
		static const char *const sent[] = { "1", "x", "Tue Sep 13 19:11:20 2016", "1473765080",
						    "1473765080123456789" };
		for (unsigned i = 0; i < 5; i++) {
			const char *end = strchr(line, '\n');
			CHECK(end != NULL);
			size_t len = (size_t)(end - line), text = strlen(sent[i]);
			CHECK(len > text);
			CHECK_MEM(end - text, sent[i], text);
			CHECK_EQ(stamp_at(line, len - text, (enum chime_stamp_format)f), len - text);
			line = end + 1;
		}
		CHECK_STR(told(&p), "");
		program_forget(&p);
		server_end(&server);
	}
}

/* A line of 1 MiB with every byte in it but the newline comes back whole, whatever pieces it was answered in. */
TEST_LIMIT(long_lines_come_back_whole, 40)
{
	enum {
		LEN = 1 << 20
	};
	struct program server = { 0 }, p = { 0 };
	char at[256], *line = malloc(LEN + 1), *back = malloc(LEN + 1);
	size_t n = 0, stamps = 0;
	for (size_t i = 0; i < LEN; i++) {
		line[i] = (char)test_random();
		if (line[i] == '\n')
			line[i] = 0;
	}
	line[LEN] = '\n';
	serve(&server, "tcp://127.0.0.1:0?format=rfc3339ns&utc=yes", at);
	char path[512];
	snprintf(path, sizeof path, "%s/line", test_dir());
	FILE *f = fopen(path, "w");
	CHECK_EQ(fwrite(line, 1, LEN + 1, f), LEN + 1);
	fclose(f);
	START(&p, "talk", at);
	/* the program must take its input and give its output at once: nobody reads here while writing */
	pid_t feeder = fork();
	if (feeder == 0) {
		program_say(&p, line, LEN + 1);
		_exit(0);
	}
	CHECK_EQ(program_wait(&p), 0);
	CHECK_EQ(waitpid(feeder, NULL, 0), feeder);
	for (size_t i = 0; i + 1 < p.said.len;) {
		int64_t t, precision;
		bool zone;
		int stamp = chime_stamp_read(p.said.bytes + i, p.said.len - i, CHIME_STAMP_RFC3339NS, &t, &zone,
					     &precision);
		if (stamp > 0) {
			i += (size_t)stamp;
			stamps++;
			continue;
		}
		CHECK(n < LEN);
		back[n++] = p.said.bytes[i++];
	}
	CHECK_EQ(n, LEN);
	CHECK_EQ(memcmp(line, back, LEN), 0);
	CHECK(stamps >= LEN / 1024);
	CHECK_STR(told(&p), "");
	free(line);
	free(back);
	program_forget(&p);
	server_end(&server);
}

/* Message sockets: a line is a message, its answer another. */
TEST_LIMIT(messages_work_too, 40)
{
	const char *endpoints[] = { "udp://127.0.0.1:0", "udp://[::1]:0", own("unix+dgram"), own("unix+seqpacket") };
	for (size_t i = 0; i < sizeof endpoints / sizeof *endpoints; i++) {
		struct program server = { 0 }, p = { 0 };
		char at[256];
		serve(&server, endpoints[i], at);
		CHECK_EQ(ask(&p, NULL, at, "first\nsecond\n"), 0);
		CHECK_STR(strchr(said(&p), '\n') + 1 + 24, "second\n");
		CHECK_MEM(said(&p) + 24, "first\n", 6);
		CHECK_STR(told(&p), "");
		program_forget(&p);
		server_end(&server);
	}
}

/* A line that no message can hold is said to be so, with 1. */
TEST(too_long_for_a_message)
{
	struct program server = { 0 }, p = { 0 };
	char at[256], *line = malloc(70002);
	memset(line, 'x', 70000);
	strcpy(line + 70000, "\n");
	serve(&server, "udp://127.0.0.1:0", at);
	CHECK_EQ(ask(&p, NULL, at, line), 1);
	CHECK(strstr(told(&p), "70000 bytes is too long") != NULL);
	CHECK_STR(said(&p), "");
	free(line);
	program_forget(&p);
	server_end(&server);
}

/* ---- who says no, and the code ---- */

/* Nobody there, no such name: 1, with a sentence that says which. */
TEST(the_peer_or_the_name_said_no)
{
	static const struct {
		const char *endpoint, *words;
	} cases[] = {
		{ "tcp://127.0.0.1:1", "refused" },
		{ "unix:/nonexistent/chime.sock", "no such file" },
		{ "tcp://name.invalid:9999", "name.invalid" },
		{ "udp://name.invalid:9999", "name.invalid" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct program p = { 0 };
		int code = ask(&p, NULL, cases[i].endpoint, "");
		if (code != 1 || !strstr(told(&p), cases[i].words))
			fprintf(stderr, "%s: %d: %s", cases[i].endpoint, code, told(&p));
		CHECK_EQ(code, 1);
		CHECK(strstr(told(&p), cases[i].words) != NULL);
		CHECK_STR(said(&p), "");
		program_forget(&p);
	}
}

/* A datagram to a port where nobody is: 1 as soon as the system says so, not after the limit. */
TEST(a_refused_datagram_is_1)
{
	struct program p = { 0 };
	int64_t before = test_now();
	CHECK_EQ(ask(&p, "--timeout=100s", "udp://127.0.0.1:1", "i\n"), 1);
	CHECK(strstr(told(&p), "refused") != NULL);
	CHECK_IN(test_now() - before, 0, 50000000000);
	program_forget(&p);
}

/* No answer within the limit is 1, after that limit and with its length in the sentence. */
TEST(no_answer_in_time_is_1)
{
	struct program server = { 0 }, p = { 0 };
	char at[256];
	START(&server, "serve", "discard=tcp://127.0.0.1:0");
	server_endpoint(&server, 0, at);
	int64_t before = test_now();
	CHECK_EQ(ask(&p, "--timeout=300ms", at, "i\n"), 1);
	CHECK_IN(test_now() - before, 300000000, 50000000000);
	CHECK(strstr(told(&p), "no answer within 0.3s; one that answers lines takes --newline\n") != NULL);
	CHECK_STR(said(&p), "");
	program_forget(&p);
	server_end(&server);
}

static void close_after_a_line(struct script *s, chime_sock *c)
{
	char buf[100];
	(void)s;
	(void)!chime_recv(c, buf, sizeof buf, 0);
}

/* The server's going before the answer is 1, and said. */
TEST(going_without_an_answer_is_1)
{
	struct script s = { 0 };
	struct program p = { 0 };
	script_start(&s, close_after_a_line);
	CHECK_EQ(ask(&p, NULL, s.endpoint, "i\n"), 1);
	CHECK(strstr(told(&p), "closed the connection without an answer") != NULL);
	script_end(&s);
	program_forget(&p);
}

static void answer_once_and_close(struct script *s, chime_sock *c)
{
	char buf[1100];
	(void)s;
	size_t stamp = chime_stamp_write(buf, chime_now_real(), CHIME_STAMP_CTIME, false);
	ssize_t n = chime_recv(c, buf + stamp, 1024, 0);
	chime_sendall(c, buf, stamp + (size_t)n, 0, NULL);
}

/* The server's going behind the last answer is no failure; behind the first of two lines it is. */
TEST(going_after_the_last_answer_is_0)
{
	for (unsigned lines = 1; lines <= 2; lines++) {
		struct script s = { 0 };
		struct program p = { 0 };
		script_start(&s, answer_once_and_close);
		CHECK_EQ(ask(&p, NULL, s.endpoint, lines == 1 ? "i\n" : "i\nj\n"), lines - 1);
		CHECK_STR(said(&p) + 24, "i\n");
		script_end(&s);
		program_forget(&p);
	}
}

/* ---- answers of other shapes ---- */

static void answer_in_pieces(struct script *s, chime_sock *c)
{
	char line[64];
	(void)s;
	ssize_t n = chime_recv(c, line, sizeof line, 0);
	struct timespec pause = { 0, 300000000 };
	chime_setsockopt_int(c, IPPROTO_TCP, 1 /* TCP_NODELAY */, 1);
	for (ssize_t i = 0; i < n; i += 3) {
		char piece[64];
		size_t stamp = chime_stamp_write(piece, chime_now_real(), CHIME_STAMP_CTIME, false);
		size_t len = (size_t)(n - i < 3 ? n - i : 3);
		memcpy(piece + stamp, line + i, len);
		chime_sendall(c, piece, 10, 0, NULL);
		nanosleep(&pause, NULL); /* longer than the pause that ends an answer of unknown shape */
		chime_sendall(c, piece + 10, stamp + len - 10, 0, NULL);
	}
	(void)!chime_recv(c, line, sizeof line, 0);
}

/* An answer in many pieces with pauses, each with its stamp, is one answer. */
TEST(pieces_with_pauses_are_one_answer)
{
	struct script s = { 0 };
	struct program p = { 0 };
	script_start(&s, answer_in_pieces);
	CHECK_EQ(ask(&p, NULL, s.endpoint, "abcdefgh\n"), 0);
	CHECK_EQ(p.said.len, 3 * 24 + 8 + 1);
	CHECK_MEM(said(&p) + 24, "abc", 3);
	CHECK_MEM(said(&p) + 24 + 27, "def", 3);
	CHECK_STR(said(&p) + 24 + 54, "gh\n");
	script_end(&s);
	program_forget(&p);
}

static void speak_plainly(struct script *s, chime_sock *c)
{
	char line[64];
	ssize_t n;
	(void)s;
	while ((n = chime_recv(c, line, sizeof line, 0)) > 0)
		chime_sendall(c, n == 1 ? "Well?\n" : "4", n == 1 ? 6 : 1, 0, NULL);
}

/* A server of another kind is understood by its pauses, long before the limit. */
TEST(plain_answers_end_with_a_pause)
{
	struct script s = { 0 };
	struct program p = { 0 };
	int64_t before = test_now();
	script_start(&s, speak_plainly);
	CHECK_EQ(ask(&p, "--timeout=100s", s.endpoint, "a\nbc\na\n"), 0);
	CHECK_STR(said(&p), "Well?\n4\nWell?\n");
	CHECK_IN(test_now() - before, 300000000, 50000000000);
	script_end(&s);
	program_forget(&p);
}

static void answer_plainly_and_close(struct script *s, chime_sock *c)
{
	char line[64];
	(void)s;
	(void)!chime_recv(c, line, sizeof line, 0);
	chime_sendall(c, "bye", 3, 0, NULL);
}

/* A plain answer may be ended by the server's closing, at once, and that is no failure of this line. */
TEST(a_close_ends_a_plain_answer)
{
	struct script s = { 0 };
	struct program p = { 0 };
	script_start(&s, answer_plainly_and_close);
	CHECK_EQ(ask(&p, NULL, s.endpoint, "a\n"), 0);
	CHECK_STR(said(&p), "bye\n");
	CHECK_STR(told(&p), "");
	script_end(&s);
	program_forget(&p);
}

/* --newline makes a server of lines answer; the newline is not doubled in the output. */
TEST(newline_is_sent_where_asked)
{
	struct program server = { 0 }, p = { 0 };
	char at[256];
	serve(&server, "tcp://127.0.0.1:0?frame=line", at);
	CHECK_EQ(ask(&p, "--newline", at, "one\ntwo"), 0);
	CHECK_MEM(said(&p) + 24, "one\n", 4);
	CHECK_STR(said(&p) + 24 + 4 + 24, "two\n");
	program_forget(&p);
	server_end(&server);
}

/* --rtt tells, on stderr, the time of each answer and the difference of the clocks as exactly as the stamp allows. */
TEST(rtt_is_as_exact_as_the_stamp)
{
	static const struct {
		const char *endpoint, *words;
	} cases[] = {
		{ "tcp://127.0.0.1:0", "(whole seconds; zone taken as ours)" },
		{ "tcp://127.0.0.1:0?format=unix", "(whole seconds)" },
		{ "tcp://127.0.0.1:0?format=rfc3339ns", "s\n" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct program server = { 0 }, p = { 0 };
		char at[256];
		serve(&server, cases[i].endpoint, at);
		CHECK_EQ(ask(&p, "--rtt", at, "i\n"), 0);
		CHECK_EQ(strncmp(told(&p), "rtt ", 4), 0);
		if (!strstr(told(&p), cases[i].words))
			fprintf(stderr, "%s", told(&p));
		CHECK(strstr(told(&p), cases[i].words) != NULL);
		CHECK_EQ(strstr(told(&p), "(whole seconds") == NULL, i == 2);
		CHECK_EQ(strchr(said(&p), '\n')[1], 0);
		program_forget(&p);
		server_end(&server);
	}
}

/* A unix datagram client that is told where to bind has its file there, and takes it away again. */
TEST(bind_to_a_path_leaves_no_file)
{
	struct program server = { 0 }, p = { 0 };
	char at[256], path[128];
	serve(&server, own("unix+dgram"), at);
	snprintf(path, sizeof path, "%s/client", test_dir());
	START(&p, "talk", "--bind", path, at);
	program_type(&p, "i\n");
	program_expect(&p, &p.said, 0, "i\n");
	CHECK_EQ(access(path, F_OK), 0);
	CHECK_EQ(program_wait(&p), 0);
	CHECK_NE(access(path, F_OK), 0);
	program_forget(&p);
	server_end(&server);
}

/* ---- raw ---- */

struct feed {
	int fd;
	const unsigned char *bytes;
	size_t len;
};

static void *feed_main(void *arg)
{
	struct feed *f = arg;
	while (f->len) {
		ssize_t n = write(f->fd, f->bytes, f->len);
		if (n <= 0)
			break;
		f->bytes += n;
		f->len -= (size_t)n;
	}
	close(f->fd);
	return NULL;
}

/* 20 MB of any bytes go through an echo and come back, on TCP and unix, the end of input included. */
TEST_LIMIT(raw_loses_nothing, 60)
{
	enum {
		LEN = 20000000
	};
	const char *endpoints[] = { "echo=tcp://127.0.0.1:0", own("echo=unix") };
	unsigned char *bytes = malloc(LEN);
	for (size_t i = 0; i < LEN; i += 8) {
		uint64_t r = test_random();
		memcpy(bytes + i, &r, 8);
	}
	for (size_t i = 0; i < 2; i++) {
		struct program server = { 0 }, p = { 0 };
		pthread_t thread;
		char at[256];
		START(&server, "serve", endpoints[i]);
		server_endpoint(&server, 0, at);
		START(&p, "talk", "--raw", at);
		struct feed f = { p.in, bytes, LEN };
		p.in = -1;
		CHECK_EQ(pthread_create(&thread, NULL, feed_main, &f), 0);
		CHECK_EQ(program_wait(&p), 0);
		pthread_join(thread, NULL);
		CHECK_EQ(p.said.len, LEN);
		CHECK_EQ(memcmp(p.said.bytes, bytes, LEN), 0);
		program_forget(&p);
		server_end(&server);
	}
	free(bytes);
}

static void greet_and_close(struct script *s, chime_sock *c)
{
	(void)s;
	chime_sendall(c, "hello\n", 6, 0, NULL);
}

/* --raw ends when the server has closed, though its own input is still open; what came is all there. */
TEST(raw_ends_with_the_server)
{
	struct script s = { 0 };
	struct program p = { 0 };
	script_start(&s, greet_and_close);
	START(&p, "talk", "--raw", s.endpoint);
	int in = p.in;
	p.in = -1;
	CHECK_EQ(program_wait(&p), 0);
	CHECK_STR(said(&p), "hello\n");
	close(in);
	script_end(&s);
	program_forget(&p);
}

static void answer_after_the_end(struct script *s, chime_sock *c)
{
	char buf[100];
	size_t got = 0;
	ssize_t n;
	(void)s;
	while ((n = chime_recv(c, buf + got, sizeof buf - got, 0)) > 0)
		got += (size_t)n;
	chime_sendall(c, "all of ", 7, 0, NULL);
	chime_sendall(c, buf, got, 0, NULL);
}

/* --raw closes its sending direction alone: a server that answers only then is heard. */
TEST(raw_half_closes)
{
	struct script s = { 0 };
	struct program p = { 0 };
	script_start(&s, answer_after_the_end);
	CHECK_EQ(ask(&p, "--raw", s.endpoint, "this"), 0);
	CHECK_STR(said(&p), "all of this");
	script_end(&s);
	program_forget(&p);
}

static size_t taken_behind;

static void end_then_take(struct script *s, chime_sock *c)
{
	char buf[65536];
	ssize_t n;
	(void)s;
	chime_shutdown(c, SHUT_WR);
	while ((n = chime_recv(c, buf, sizeof buf, 0)) > 0)
		taken_behind += (size_t)n;
}

/* A server that closes its own direction first still gets all of the input. */
TEST(raw_goes_on_behind_a_half_close)
{
	struct script s = { 0 };
	struct program p = { 0 };
	unsigned char *bytes = calloc(1, 8 << 20);
	pthread_t thread;
	script_start(&s, end_then_take);
	START(&p, "talk", "--raw", s.endpoint);
	struct feed f = { p.in, bytes, 8 << 20 };
	p.in = -1;
	signal(SIGPIPE, SIG_IGN);
	CHECK_EQ(pthread_create(&thread, NULL, feed_main, &f), 0);
	CHECK_EQ(program_wait(&p), 0);
	pthread_join(thread, NULL);
	script_end(&s);
	CHECK_EQ(taken_behind, 8 << 20);
	program_forget(&p);
	free(bytes);
}

static void take_one_byte(struct script *s, chime_sock *c)
{
	char byte;
	(void)s;
	(void)!chime_recv(c, &byte, 1, 0);
}

/* Input that the server did not take is told, with 1. */
TEST(raw_tells_what_was_lost)
{
	struct script s = { 0 };
	struct program p = { 0 };
	char *bytes = calloc(1, 8 << 20);
	pthread_t thread;
	script_start(&s, take_one_byte);
	START(&p, "talk", "--raw", s.endpoint);
	struct feed f = { p.in, (unsigned char *)bytes, 8 << 20 };
	p.in = -1;
	signal(SIGPIPE, SIG_IGN);
	CHECK_EQ(pthread_create(&thread, NULL, feed_main, &f), 0);
	CHECK_EQ(program_wait(&p), 1);
	CHECK(told(&p)[0] != 0);
	pthread_join(thread, NULL);
	script_end(&s);
	program_forget(&p);
	free(bytes);
}

TEST_MAIN()
