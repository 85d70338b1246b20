/*
 * chime serve: what it says, how it ends, and that telling never stops serving. A few lines over 600: all its tests start that program by
 * the helpers at its beginning.
 */
#include "program.h"

#include <chime/connect.h>
#include <chime/server.h>
#include <chime/stamp.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/stat.h>

static chime_sock *connect_to(const char *text)
{
	chime_endpoint e;
	chime_sock *c = NULL;
	struct chime_connect_config config = CHIME_CONNECT_CONFIG_INIT;
	config.timeout_ns = 50 * CHIME_SEC;
	CHECK_EQ(chime_endpoint_parse(&e, text, NULL, NULL, NULL), 0);
	CHECK_EQ(chime_connect_endpoint(&c, &e, &config), 0);
	CHECK_EQ(chime_set_timeout(c, 50 * CHIME_SEC), 0);
	return c;
}

/* Sends text and takes its answer, a stamp of ctime and the text. */
static void check_answered(chime_sock *c, const char *text)
{
	char back[256];
	size_t len = strlen(text), got;
	CHECK_EQ(chime_sendall(c, text, len, 0, NULL), 0);
	CHECK_EQ(chime_recv_exact(c, back, 24 + len, 0, &got), 0);
	CHECK_MEM(back + 24, text, len);
}

static void check_serves(const char *endpoint)
{
	chime_sock *c = connect_to(endpoint);
	check_answered(c, "i");
	chime_free(&c);
}

static int port_of(const char *endpoint)
{
	return atoi(strrchr(endpoint, ':') + 1);
}

/* ---- words ---- */

/* Each endpoint has its ready line, in order, with the port it got; then the tutorial's words, once. */
TEST(ready_lines_name_what_is_served)
{
	struct program p = { 0 };
	char at[256];
	const char *echo = own("echo=unix");
	START(&p, "serve", "tcp://127.0.0.1:0", echo, "udp://127.0.0.1:0");
	server_endpoint(&p, 0, at);
	CHECK(port_of(at) > 0);
	check_serves(at);
	server_endpoint(&p, 1, at);
	CHECK_STR(at, echo + strlen("echo="));
	server_endpoint(&p, 2, at);
	CHECK(port_of(at) > 0);
	CHECK(strstr(told(&p), "listening stamp tcp://") == told(&p));
	CHECK(strstr(told(&p), "\nlistening echo unix:") != NULL);
	program_expect(&p, &p.said, 0, "waiting for connection...\n");
	server_end(&p);
}

/* Who connects is named: IPv4 unmapped on a dual-stack socket, IPv6 in brackets, unix by path or as unnamed. */
TEST(connections_are_named)
{
	struct program p = { 0 };
	char at[256], words[256], path[128], unix_at[160];
	chime_sock *c[4];
	chime_addr a;
	snprintf(path, sizeof path, "%s/sock", test_dir());
	snprintf(unix_at, sizeof unix_at, "unix:%s", path);
	START(&p, "serve", "tcp://:0", unix_at);
	server_endpoint(&p, 0, at);
	program_expect(&p, &p.said, 0, "waiting for connection...\n");
	int port = port_of(at);

	snprintf(at, sizeof at, "tcp://127.0.0.1:%d", port);
	c[0] = connect_to(at);
	CHECK_EQ(chime_getsockname(c[0], &a), 0);
	snprintf(words, sizeof words, "...connected from: 127.0.0.1:%d\n", chime_addr_port(&a));
	program_expect(&p, &p.said, 0, words);

	snprintf(at, sizeof at, "tcp://[::1]:%d", port);
	c[1] = connect_to(at);
	CHECK_EQ(chime_getsockname(c[1], &a), 0);
	snprintf(words, sizeof words, "...connected from: [::1]:%d\n", chime_addr_port(&a));
	program_expect(&p, &p.said, 0, words);

	c[2] = connect_to(unix_at);
	program_expect(&p, &p.said, 0, "...connected from: unnamed\n");

	snprintf(path, sizeof path, "%s/client", test_dir());
	chime_addr there;
	CHECK_EQ(chime_open(&c[3], AF_UNIX, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_addr_unix(&a, path, strlen(path)), 0);
	CHECK_EQ(chime_bind(c[3], &a), 0);
	CHECK_EQ(chime_getpeername(c[2], &there), 0);
	CHECK_EQ(chime_connect(c[3], &there), 0);
	snprintf(words, sizeof words, "...connected from: %s\n", path);
	program_expect(&p, &p.said, 0, words);

	for (unsigned i = 0; i < 4; i++)
		chime_free(&c[i]);
	server_end(&p);
}

/* --quiet leaves the ready lines, and nothing else of an ordinary life; stdout is empty. */
TEST(quiet_is_quiet)
{
	struct program p = { 0 };
	char at[256];
	START(&p, "serve", "--quiet", "tcp://127.0.0.1:0");
	server_endpoint(&p, 0, at);
	check_serves(at);
	kill(p.pid, SIGTERM);
	CHECK_EQ(program_wait(&p), 0);
	CHECK_STR(said(&p), "");
	CHECK(strncmp(told(&p), "listening ", 10) == 0);
	CHECK_STR(strchr(told(&p), '\n'), "\n");
	program_forget(&p);
}

/* With --log-format json every line on stderr is an object, the ready line too. */
TEST(json_lines_are_objects)
{
	struct program p = { 0 };
	START(&p, "serve", "--log-format=json", "--log-level=debug", "tcp://127.0.0.1:0");
	program_expect(&p, &p.told, 0, "\"event\":\"listening\"");
	size_t at = program_expect(&p, &p.told, 0, "\"endpoint\":\"tcp://127.0.0.1:");
	char endpoint[64];
	snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%d", atoi(p.told.bytes + at));
	check_serves(endpoint);
	program_expect(&p, &p.told, 0, "\"event\":\"open\"");
	kill(p.pid, SIGTERM);
	CHECK_EQ(program_wait(&p), 0);
	CHECK(strstr(told(&p), "\"accepted\":1") != NULL);
	for (char *line = p.told.bytes; *line;) {
		char *end = strchr(line, '\n');
		CHECK(end != NULL);
		CHECK(line[0] == '{' && end[-1] == '}');
		line = end + 1;
	}
	program_forget(&p);
}

/* The descriptors' soft limit is raised to the hard one, and both are said. */
TEST(descriptors_are_raised_and_said)
{
	struct program p = { 0 };
	struct rlimit limit;
	char words[64];
	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_max = 300;
	limit.rlim_cur = 200;
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
	START(&p, "serve", "tcp://127.0.0.1:0");
	snprintf(words, sizeof words, "300 descriptors (the soft limit was 200)");
	program_expect(&p, &p.told, 0, words);
	server_end(&p);
}

/* The counters that are not 0 come on SIGUSR1, also under --quiet, and serving goes on. */
TEST(sigusr1_tells_the_totals)
{
	struct program p = { 0 };
	char at[256];
	START(&p, "serve", "--quiet", "tcp://127.0.0.1:0");
	server_endpoint(&p, 0, at);
	chime_sock *c = connect_to(at);
	check_answered(c, "one");
	check_answered(c, "two");
	kill(p.pid, SIGUSR1);
	size_t from = program_expect(&p, &p.told, 0, "event=totals");
	size_t end = program_expect(&p, &p.told, from, "\n");
	CHECK(strstr(p.told.bytes + from, " accepted=1 ") != NULL);
	CHECK(strstr(p.told.bytes + from, " answers=2 ") != NULL);
	CHECK(strstr(p.told.bytes + from, " received_bytes=6 ") != NULL);
	CHECK(strstr(p.told.bytes + from, "=0") == NULL);
	CHECK(p.told.bytes[end - 1] == '\n');
	check_answered(c, "three");
	chime_free(&c);
	server_end(&p);
}

/* ---- settings ---- */

/* Flags are defaults; what an endpoint's query says counts more. */
TEST(the_query_wins_over_flags)
{
	struct program p = { 0 };
	char at[256], back[128];
	START(&p, "serve", "--chunk=4", "--format=unix", "tcp://127.0.0.1:0", "tcp://127.0.0.1:0?chunk=8",
	      own("echo=unix"));
	for (unsigned i = 0; i < 2; i++) {
		unsigned chunk = i ? 8 : 4;
		server_endpoint(&p, i, at);
		at[strcspn(at, "?")] = 0;
		chime_sock *c = connect_to(at);
		CHECK_EQ(chime_sendall(c, "abcdefgh", 8, 0, NULL), 0);
		CHECK_EQ(chime_recv_exact(c, back, 8 + 8 / chunk * 10, 0, NULL), 0);
		CHECK_MEM(back + 10, "abcdefgh", chunk);
		chime_free(&c);
	}
	server_end(&p);
}

/* --backlog, --workers, --max-conns, --idle-timeout reach the engine. */
TEST(engine_options_are_used)
{
	struct program p = { 0 };
	char at[256], byte;
	START(&p, "serve", "-w1", "--max-conns=2", "--idle-timeout", "200ms", "--backlog", "7", "tcp://127.0.0.1:0");
	server_endpoint(&p, 0, at);
	program_expect(&p, &p.told, 0, " 1 worker,");
	program_expect(&p, &p.told, 0, "at most 2 connections");
	chime_sock *c = connect_to(at);
	CHECK_EQ(chime_recv(c, &byte, 1, 0), 0); /* idle: closed */
	chime_free(&c);
	kill(p.pid, SIGTERM);
	CHECK_EQ(program_wait(&p), 0);
	CHECK(strstr(told(&p), " idle_closed=1") != NULL);
	program_forget(&p);
}

/* ---- refusals ---- */

/* A second server on a port is refused with 3, and the first is named. */
TEST(a_port_in_use_names_its_holder)
{
	struct program first = { 0 }, second = { 0 };
	char at[256], holder[64];
	serve(&first, "tcp://127.0.0.1:0", at);
	START(&second, "serve", at);
	CHECK_EQ(program_wait(&second), 3);
	snprintf(holder, sizeof holder, "held by pid %d (chime)", (int)first.pid);
	if (!strstr(told(&second), holder))
		fprintf(stderr, "%s", told(&second));
	CHECK(strstr(told(&second), holder) != NULL);
	CHECK(strstr(told(&second), "in use") != NULL);
	CHECK(strstr(told(&second), "listening") == NULL);
	CHECK_STR(said(&second), "");
	program_forget(&second);
	check_serves(at);
	server_end(&first);
}

/* A missing directory and a plain file in the way are the system's no: 3, with the path; the file stays. */
TEST(paths_that_cannot_be_are_3)
{
	struct program p = { 0 };
	char at[256], path[128];
	snprintf(at, sizeof at, "unix:%s/no/such/sock", test_dir());
	START(&p, "serve", at);
	CHECK_EQ(program_wait(&p), 3);
	CHECK(strstr(told(&p), "directory") != NULL);
	program_forget(&p);

	snprintf(path, sizeof path, "%s/plain", test_dir());
	FILE *f = fopen(path, "w");
	fputs("mine", f);
	fclose(f);
	snprintf(at, sizeof at, "unix:%s", path);
	START(&p, "serve", at);
	CHECK_EQ(program_wait(&p), 3);
	CHECK(strstr(told(&p), path) != NULL);
	CHECK_EQ(access(path, F_OK), 0);
	program_forget(&p);
}

/* A name that does not resolve is the name's no: 1. */
TEST(an_unknown_name_is_1)
{
	struct program p = { 0 };
	START(&p, "serve", "tcp://name.invalid:0");
	CHECK_EQ(program_wait(&p), 1);
	CHECK(strstr(told(&p), "name.invalid") != NULL);
	program_forget(&p);
}

/* All endpoints come up or none: the first one's socket file is gone when the second is refused. */
TEST(all_endpoints_or_none)
{
	struct program first = { 0 }, p = { 0 };
	char at[256], path[128], unix_at[160];
	serve(&first, "tcp://127.0.0.1:0", at);
	snprintf(path, sizeof path, "%s/sock", test_dir());
	snprintf(unix_at, sizeof unix_at, "unix:%s", path);
	START(&p, "serve", unix_at, at);
	CHECK_EQ(program_wait(&p), 3);
	CHECK(strstr(told(&p), "listening") == NULL);
	CHECK_NE(access(path, F_OK), 0);
	program_forget(&p);
	server_end(&first);
}

/* ---- ending ---- */

/* Our socket file is removed at the end. */
TEST(the_socket_file_goes_at_the_end)
{
	struct program p = { 0 };
	char at[256], path[128], unix_at[160];
	snprintf(path, sizeof path, "%s/sock", test_dir());
	snprintf(unix_at, sizeof unix_at, "unix:%s", path);
	serve(&p, unix_at, at);
	check_serves(at);
	CHECK_EQ(access(path, F_OK), 0);
	kill(p.pid, SIGINT);
	CHECK_EQ(program_wait(&p), 0);
	CHECK_NE(access(path, F_OK), 0);
	program_forget(&p);
}

/* Sends until the program takes no more: it sleeps, and our system has begun to ask its system whether there is room at last. */
static void take_no_more(chime_sock *c, const struct program *p)
{
	static const char bytes[65536];
	struct tcp_info info = { 0 };
	socklen_t len = sizeof info;
	CHECK_EQ(chime_set_blocking(c, false), 0);
	for (int64_t until = test_now() + PROGRAM_LIMIT;
	     !info.tcpi_backoff || info.tcpi_unacked || !test_all_asleep(p->pid);) {
		CHECK(test_now() < until);
		poll(&(struct pollfd){ chime_fileno(c), POLLOUT, 0 }, 1, 10);
		while (chime_send(c, bytes, sizeof bytes, 0) > 0)
			;
		CHECK_EQ(getsockopt(chime_fileno(c), IPPROTO_TCP, TCP_INFO, &info, &len), 0);
	}
}

/* A connection whose peer takes nothing holds the end up until the grace, which is told; the exit is 0. */
TEST(the_grace_cuts_and_says_so)
{
	struct program p = { 0 };
	char at[256];
	START(&p, "serve", "--grace=300ms", "tcp://127.0.0.1:0");
	server_endpoint(&p, 0, at);
	chime_sock *c = connect_to(at);
	take_no_more(c, &p);
	kill(p.pid, SIGTERM);
	CHECK_EQ(program_wait(&p), 0);
	CHECK(strstr(told(&p), "level=warn") != NULL);
	CHECK(strstr(told(&p), "event=cut") != NULL);
	CHECK(strstr(told(&p), " cut=1") != NULL);
	chime_free(&c);
	program_forget(&p);
}

/* A second signal ends at once, however long the grace. */
TEST(a_second_signal_ends_at_once)
{
	struct program p = { 0 };
	char at[256];
	START(&p, "serve", "--grace=1h", "tcp://127.0.0.1:0");
	server_endpoint(&p, 0, at);
	chime_sock *c = connect_to(at);
	take_no_more(c, &p);
	kill(p.pid, SIGTERM);
	program_expect(&p, &p.told, 0, "event=drain");
	kill(p.pid, SIGTERM);
	CHECK_EQ(program_wait(&p), 0);
	chime_free(&c);
	program_forget(&p);
}

/* SIGHUP without a terminal ends nothing. */
TEST(a_hangup_is_survived)
{
	struct program p = { 0 };
	char at[256];
	serve(&p, "tcp://127.0.0.1:0", at);
	kill(p.pid, SIGHUP);
	program_expect(&p, &p.told, 0, "event=hangup");
	check_serves(at);
	server_end(&p);
}

/* SIGUSR2, which it uses itself, from outside is nothing: it serves on, and ends when it is asked to. */
TEST(sigusr2_from_outside_is_nothing)
{
	struct program p = { 0 };
	char at[256];
	serve(&p, "tcp://127.0.0.1:0", at);
	kill(p.pid, SIGUSR2);
	kill(p.pid, SIGUSR1); /* which comes behind it */
	program_expect(&p, &p.told, 0, "event=totals");
	check_serves(at);
	server_end(&p);
}

static bool uring_is_there(void)
{
	struct chime_server_config config = CHIME_SERVER_CONFIG_INIT;
	chime_server *server;
	config.backend = "uring";
	CHECK_EQ(chime_server_new(&server, &config), 0);
	CHECK_EQ(chime_server_add(server, "tcp://127.0.0.1:0", NULL, NULL, NULL), 0);
	int err = chime_server_open(server);
	chime_server_free(&server);
	return err == 0;
}

/* Killed while connections are served, it leaves an address that the next one has at once, though io_uring lets go of it later. */
static void check_restarts(const char *backend, const char *endpoint)
{
	char at[256];
	snprintf(at, sizeof at, "%s", endpoint);
	for (int i = 0; i < 12; i++) {
		struct program p = { 0 };
		chime_sock *c[8];
		int status;
		START(&p, "serve", "--backend", backend, "--workers=2", at);
		server_endpoint(&p, 0, at);
		for (unsigned k = 0; k < 8; k++) {
			c[k] = connect_to(at);
			check_answered(c[k], "i");
		}
		kill(p.pid, SIGKILL);
		CHECK_EQ(waitpid(p.pid, &status, 0), p.pid);
		for (unsigned k = 0; k < 8; k++)
			chime_free(&c[k]);
		close(p.in);
		close(p.out);
		close(p.err);
		program_forget(&p);
	}
}

/* The same for TCP. */
TEST(a_killed_servers_port_is_to_be_had)
{
	check_restarts("epoll", "tcp://127.0.0.1:0");
	if (uring_is_there())
		check_restarts("uring", "tcp://127.0.0.1:0");
}

/* And for a path. */
TEST(a_killed_servers_path_is_to_be_had)
{
	check_restarts("epoll", own("unix"));
	if (uring_is_there())
		check_restarts("uring", own("unix"));
}

/* ---- telling never stops serving ---- */

static void fill(int fd)
{
	char page[4096] = { 0 };
	int flags = fcntl(fd, F_GETFL);
	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	while (write(fd, page, sizeof page) > 0)
		;
	while (write(fd, page, 1) > 0)
		;
	fcntl(fd, F_SETFL, flags);
}

/* Both of its pipes are full and nobody reads: connections are served all the same, and it ends. */
TEST_LIMIT(unread_pipes_do_not_stop_serving, 60)
{
	int out[2], err[2], in[2];
	char path[128], at[160];
	struct program p = { .in = -1, .out = -1, .err = -1 };
	struct stat st;
	snprintf(path, sizeof path, "%s/sock", test_dir());
	snprintf(at, sizeof at, "unix:%s", path);
	pipe_on_exec_closed(out);
	pipe_on_exec_closed(err);
	pipe_on_exec_closed(in);
	fill(out[1]);
	fill(err[1]);
	p.pid = fork();
	if (p.pid == 0) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		dup2(err[1], 2);
		program_exec(&p, (const char *const[]){ "serve", "--log-level=debug", at, NULL });
	}
	for (int64_t end = test_now() + PROGRAM_LIMIT; stat(path, &st) < 0 || !S_ISSOCK(st.st_mode);)
		CHECK(test_now() < end);
	for (int i = 0; i < 3000; i++) {
		chime_sock *c = NULL;
		chime_addr a;
		int err_no;
		CHECK_EQ(chime_open(&c, AF_UNIX, SOCK_STREAM, 0), 0);
		CHECK_EQ(chime_addr_unix(&a, path, strlen(path)), 0);
		chime_set_timeout(c, 50 * CHIME_SEC);
		for (int64_t end = test_now() + PROGRAM_LIMIT; (err_no = chime_connect(c, &a)) == -ECONNREFUSED;)
			CHECK(test_now() < end); /* bound, and not yet listening */
		CHECK_EQ(err_no, 0);
		check_answered(c, "i");
		chime_free(&c);
	}
	kill(p.pid, SIGTERM);
	int status = 0;
	int64_t before = test_now();
	CHECK_EQ(waitpid(p.pid, &status, 0), p.pid);
	CHECK_IN(test_now() - before, 0, 50000000000);
	CHECK_EQ(status, 0);
	for (int i = 0; i < 2; i++) {
		close(in[i]);
		close(out[i]);
		close(err[i]);
	}
}

/* A log file that has reached the limit of files (SIGXFSZ) is no reason to end, whatever else is told. */
TEST(log_that_may_not_grow_does_not_stop_serving)
{
	struct program p = { 0 };
	struct rlimit before, small;
	char at[256], path[128];
	snprintf(path, sizeof path, "%s/out", test_dir());
	close(open(path, O_CREAT | O_WRONLY, 0600));
	p.says_to = path;
	CHECK_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = (struct rlimit){ 40, before.rlim_max }; /* the first words, and a part of the next */
	CHECK_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
	START(&p, "serve", "tcp://127.0.0.1:0");
	CHECK_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
	server_endpoint(&p, 0, at);
	for (int i = 0; i < 20; i++)
		check_serves(at);
	kill(p.pid, SIGTERM);
	CHECK_EQ(program_wait(&p), 0);
	CHECK(strstr(told(&p), " lost_lines=") != NULL);
	program_forget(&p);
}

/* Readers that go away are no reason to end: no SIGPIPE, no lost connection. */
TEST(closed_readers_do_not_stop_serving)
{
	struct program p = { 0 };
	char at[256];
	int status = 0;
	serve(&p, "tcp://127.0.0.1:0", at);
	close(p.out);
	close(p.err);
	for (int i = 0; i < 50; i++)
		check_serves(at);
	kill(p.pid, SIGTERM);
	CHECK_EQ(waitpid(p.pid, &status, 0), p.pid);
	CHECK_EQ(status, 0);
	close(p.in);
	program_forget(&p);
}

/* Standard descriptors that are closed from the start are not given to sockets, and do not stop serving. */
TEST(closed_descriptors_are_not_reused)
{
	struct program p = { 0 };
	int err[2], status;
	char at[256];
	pipe_on_exec_closed(err);
	p.pid = fork();
	if (p.pid == 0) {
		dup2(err[1], 2);
		close(0);
		close(1);
		program_exec(&p, (const char *const[]){ "serve", "tcp://127.0.0.1:0", NULL });
	}
	close(err[1]);
	p.in = p.out = -1;
	p.err = err[0];
	server_endpoint(&p, 0, at);
	chime_sock *c = connect_to(at);
	check_answered(c, "i");
	check_answered(c, "j");
	chime_free(&c);
	kill(p.pid, SIGTERM);
	CHECK_EQ(waitpid(p.pid, &status, 0), p.pid);
	CHECK_EQ(status, 0);
	close(p.err);
	program_forget(&p);
}

/* Of many connections a hundred a second are named, and the others counted: none is forgotten. */
TEST_LIMIT(many_connections_are_counted, 60)
{
	enum {
		MANY = 2000
	};
	struct program p = { 0 };
	char at[256];
	serve(&p, "tcp://127.0.0.1:0", at);
	int64_t before = test_now();
	for (int i = 0; i < MANY; i++)
		check_serves(at);
	kill(p.pid, SIGTERM);
	CHECK_EQ(program_wait(&p), 0);
	int64_t seconds = (test_now() - before) / 1000000000 + 2;
	unsigned long named = 0, counted = 0;
	for (const char *l = said(&p); (l = strstr(l, "...connected from: ")); l++) {
		unsigned long n;
		char more[8] = "";
		if (sscanf(l, "...connected from: %lu %4s", &n, more) == 2 && !strcmp(more, "more"))
			counted += n;
		else
			named++;
	}
	CHECK_EQ(named + counted, MANY);
	CHECK_IN(named, 1, 100 * seconds);
	program_forget(&p);
}

TEST_MAIN()
