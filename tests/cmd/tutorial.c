/* The tutorial's programs in examples/tutorial, run as a reader runs them: over pipes, server and client. */
#include <runner/test.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STAMP 24

struct program {
	pid_t pid;
	int in, out; /* its stdin and stdout; -1 closed */
};

static void start(struct program *p, const char *name, const char *arg)
{
	char path[512];
	int in[2], out[2];
	snprintf(path, sizeof(path), "%s/examples/%s", CHIME_BINARY_DIR, name);
	if (access(path, X_OK) != 0)
		SKIP("%s was not built", path);
	CHECK_EQ(pipe2(in, O_CLOEXEC), 0);
	CHECK_EQ(pipe2(out, O_CLOEXEC), 0);
	p->pid = fork();
	if (p->pid == 0) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		execl(path, name, arg, (char *)NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	p->in = in[1];
	p->out = out[0];
}

/* Reads until the output ends with what is wanted, or is at its end; the whole is in got. */
static void read_until(struct program *p, const char *end, char *got, size_t size)
{
	size_t n = 0, len = strlen(end);
	int64_t until = test_now() + 50000000000;
	for (;;) {
		struct pollfd fd = { p->out, POLLIN, 0 };
		got[n] = 0;
		if (len && n >= len && strcmp(got + n - len, end) == 0)
			return;
		int64_t left = (until - test_now()) / 1000000;
		if (left <= 0 || poll(&fd, 1, (int)left) <= 0 || n + 1 >= size) {
			fprintf(stderr, "no \"%s\" within 8 s, only: %s\n", end, got);
			CHECK(false);
		}
		ssize_t r = read(p->out, got + n, 1);
		if (r <= 0) {
			CHECK_STR(end, ""); /* the end of the output, when nothing else is wanted */
			return;
		}
		n++;
	}
}

static void say(struct program *p, const char *text)
{
	CHECK_EQ(write(p->in, text, strlen(text)), strlen(text));
}

/* Its end: by itself, with 0; or, for servers, which do not end, by a signal. */
static void end(struct program *p, bool by_itself)
{
	int status;
	if (!by_itself)
		kill(p->pid, SIGTERM);
	CHECK_EQ(waitpid(p->pid, &status, 0), p->pid);
	CHECK_EQ(status, by_itself ? 0 : SIGTERM);
	if (p->in >= 0)
		close(p->in);
	close(p->out);
}

/* A line like "Tue Sep 13 19:11:20 2016i", its time not before earliest and not after now. */
static void check_stamped(const char *line, const char *chunk, time_t earliest)
{
	struct tm tm = { .tm_isdst = -1 };
	char stamp[STAMP + 1];
	CHECK_EQ(strlen(line), STAMP + strlen(chunk) + 1);
	memcpy(stamp, line, STAMP);
	stamp[STAMP] = 0;
	char *rest = strptime(stamp, "%a %b %e %H:%M:%S %Y", &tm);
	CHECK(rest && !*rest);
	CHECK_IN(mktime(&tm), earliest, time(NULL));
	CHECK_MEM(line + STAMP, chunk, strlen(chunk));
	CHECK_EQ(line[strlen(line) - 1], '\n');
}

/* The client asks twice and ends with an empty line; the server has told of it. */
static void talk(const char *client_name, const char *arg, struct program *server, const char *told)
{
	struct program client;
	char got[4096];
	const char *words[] = { "i", "what time is it?" };
	start(&client, client_name, arg);
	for (int i = 0; i < 2; i++) {
		time_t before = time(NULL);
		read_until(&client, ">>:", got, sizeof(got));
		say(&client, words[i]);
		say(&client, "\n");
		read_until(&client, "\n", got, sizeof(got));
		check_stamped(got, words[i], before);
	}
	read_until(&client, ">>:", got, sizeof(got));
	say(&client, "\n");
	end(&client, true);
	if (server) {
		read_until(server, told, got, sizeof(got));
		read_until(server, "\n", got, sizeof(got));
	}
}

static void port_of(struct program *server, char *port, size_t size)
{
	char got[256];
	read_until(server, "\n", got, sizeof(got));
	CHECK(strncmp(got, "port ", 5) == 0);
	snprintf(port, size, "%d", atoi(got + 5));
}

/* TCP: one client after another; a client that ends at end of input is no matter to the next. */
TEST(tcp_programs_talk)
{
	struct program server, rude;
	char port[16], got[256];
	start(&server, "tcp_server", "0");
	port_of(&server, port, sizeof(port));
	read_until(&server, "waiting for connection...\n", got, sizeof(got));
	talk("tcp_client", port, &server, "...connected from: 127.0.0.1:");
	start(&rude, "tcp_client", port);
	read_until(&rude, ">>:", got, sizeof(got));
	close(rude.in);
	rude.in = -1;
	end(&rude, true);
	talk("tcp_client", port, &server, "...connected from: 127.0.0.1:");
	end(&server, false);
}

/* The server's end is the client's end. */
TEST(tcp_client_ends_with_the_server)
{
	struct program server, client;
	char port[16], got[256];
	start(&server, "tcp_server", "0");
	port_of(&server, port, sizeof(port));
	start(&client, "tcp_client", port);
	read_until(&client, ">>:", got, sizeof(got));
	read_until(&server, "...connected from: ", got, sizeof(got));
	end(&server, false);
	say(&client, "anyone there?\n");
	end(&client, true);
}

/* UDP: each datagram is answered, whoever sent it. */
TEST(udp_programs_talk)
{
	struct program server;
	char port[16], got[256];
	start(&server, "udp_server", "0");
	port_of(&server, port, sizeof(port));
	read_until(&server, "waiting for message...\n", got, sizeof(got));
	talk("udp_client", port, &server, "...received from and returned to: 127.0.0.1:");
	talk("udp_client", port, NULL, "");
	end(&server, false);
}

/* Unix sockets: a path, and an abstract name. */
TEST(unix_programs_talk)
{
	char address[2][128];
	snprintf(address[0], sizeof(address[0]), "%s/s", test_dir());
	snprintf(address[1], sizeof(address[1]), "@chime-test-%d", (int)getpid());
	for (int i = 0; i < 2; i++) {
		struct program server;
		char got[256];
		start(&server, "unix_server", address[i]);
		read_until(&server, "waiting for connection...\n", got, sizeof(got));
		talk("unix_client", address[i], &server, "...connected from: unnamed");
		end(&server, false);
	}
}

/* An answer that cannot be written is told, with 1. */
TEST(clients_tell_of_a_full_disk)
{
	static const char *const names[] = { "tcp", "udp" };
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct program server;
		char port[16], name[32], command[1024];
		snprintf(name, sizeof name, "%s_server", names[i]);
		start(&server, name, "0");
		port_of(&server, port, sizeof(port));
		snprintf(command, sizeof command,
			 "echo i | %s/examples/%s_client %s 2>&1 >/dev/full | grep -q 'cannot be written'",
			 CHIME_BINARY_DIR, names[i], port);
		CHECK_EQ(system(command), 0);
		end(&server, false);
	}
}

/* What is no port is told by the usage line, with 2; nothing is opened. */
TEST(bad_ports_are_refused)
{
	static const char *const names[] = { "tcp_server", "tcp_client",    "udp_server",
					     "udp_client", "one_at_a_time", "thread_per_client" };
	static const char *const ports[] = { "99999", "-1", "http", "", "80x", "123456" };
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		for (size_t k = 0; k < sizeof ports / sizeof *ports; k++) {
			struct program p;
			int status;
			start(&p, names[i], ports[k]);
			CHECK_EQ(waitpid(p.pid, &status, 0), p.pid);
			if (!WIFEXITED(status) || WEXITSTATUS(status) != 2)
				fprintf(stderr, "%s '%s'\n", names[i], ports[k]);
			CHECK(WIFEXITED(status));
			CHECK_EQ(WEXITSTATUS(status), 2);
			close(p.in);
			close(p.out);
		}
}

/* The blocking servers of examples/ answer the tutorial's client too, which sends no newline. */
TEST(skeletons_answer_the_tutorials_client)
{
	static const char *const names[] = { "one_at_a_time", "thread_per_client" };
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct program server;
		char port[16];
		int status;
		start(&server, names[i], "0");
		port_of(&server, port, sizeof(port));
		talk("tcp_client", port, NULL, "");
		kill(server.pid, SIGINT);
		CHECK_EQ(waitpid(server.pid, &status, 0), server.pid);
		CHECK_EQ(status, 0);
		close(server.in);
		close(server.out);
	}
}

/* The engine's example: told where it listens, it says it again, and ends on ctrl-C with 0. */
TEST(echo_server_echoes)
{
	struct program server, client;
	char got[256], *port;
	int status;
	start(&server, "echo_server", "tcp://127.0.0.1:0");
	read_until(&server, "\n", got, sizeof(got));
	CHECK(strncmp(got, "listening tcp://127.0.0.1:", 26) == 0);
	port = got + 26;
	port[strcspn(port, "\n")] = 0;
	start(&client, "tcp_client", port);
	read_until(&client, ">>:", got, sizeof(got));
	say(&client, "again\n\n");
	read_until(&client, "again\n", got, sizeof(got));
	end(&client, true);
	kill(server.pid, SIGINT);
	CHECK_EQ(waitpid(server.pid, &status, 0), server.pid);
	CHECK_EQ(status, 0);
	close(server.in);
	close(server.out);
}

/* Nobody there: a sentence, and exit status 1. */
TEST(clients_say_that_nobody_is_there)
{
	struct program client;
	int status;
	char address[128];
	snprintf(address, sizeof(address), "%s/none", test_dir());
	start(&client, "unix_client", address);
	CHECK_EQ(waitpid(client.pid, &status, 0), client.pid);
	CHECK(WIFEXITED(status));
	CHECK_EQ(WEXITSTATUS(status), 1);
	close(client.in);
	close(client.out);
}

TEST_MAIN()
