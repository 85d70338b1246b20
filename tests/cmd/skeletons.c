/* The skeletons of blocking servers in examples/, run as programs and asked by libchime. */
#include <chime/connect.h>
#include <chime/stream.h>
#include <runner/test.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define STAMP 24
#define LIMIT (50 * CHIME_SEC)

struct skeleton {
	pid_t pid;
	int out, port;
};

static void start(struct skeleton *p, const char *name)
{
	char path[512], got[64] = "";
	int out[2];
	snprintf(path, sizeof path, "%s/examples/%s", CHIME_BINARY_DIR, name);
	if (access(path, X_OK) != 0)
		SKIP("%s was not built", path);
	CHECK_EQ(pipe2(out, O_CLOEXEC), 0);
	p->pid = fork();
	CHECK(p->pid >= 0);
	if (p->pid == 0) {
		sigset_t none;
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		dup2(out[1], 1);
		execl(path, name, "0", (char *)NULL);
		_exit(127);
	}
	close(out[1]);
	p->out = out[0];
	struct pollfd fd = { p->out, POLLIN, 0 };
	CHECK_EQ(poll(&fd, 1, 50000), 1);
	CHECK(read(p->out, got, sizeof got - 1) > 0);
	CHECK_EQ(strncmp(got, "port ", 5), 0);
	p->port = atoi(got + 5);
	CHECK(p->port > 0);
}

/* By SIGTERM, with 0. */
static void end(struct skeleton *p)
{
	int status;
	kill(p->pid, SIGTERM);
	CHECK_EQ(waitpid(p->pid, &status, 0), p->pid);
	CHECK_EQ(status, 0);
	close(p->out);
}

struct client {
	chime_sock *sock;
	chime_stream *stream;
};

static void enter(struct client *c, const struct skeleton *p)
{
	struct chime_connect_config config = CHIME_CONNECT_CONFIG_INIT;
	config.timeout_ns = LIMIT;
	CHECK_EQ(chime_create_connection(&c->sock, "127.0.0.1", p->port, &config), 0);
	CHECK_EQ(chime_set_timeout(c->sock, LIMIT), 0);
	CHECK_EQ(chime_stream_new(&c->stream, c->sock, 0), 0);
}

static void say(struct client *c, const char *line)
{
	CHECK_EQ(chime_stream_printf(c->stream, "%s\n", line), 0);
	CHECK_EQ(chime_stream_flush(c->stream), 0);
}

static void hear(struct client *c, const char *line)
{
	char got[512];
	CHECK_EQ(chime_stream_read_line(c->stream, got, sizeof got), STAMP + (ssize_t)strlen(line) + 1);
	CHECK_MEM(got + STAMP, line, strlen(line));
}

static void hear_end(struct client *c)
{
	char got[16];
	CHECK_EQ(chime_stream_read_line(c->stream, got, sizeof got), 0);
}

static void leave(struct client *c)
{
	chime_stream_free(&c->stream);
	chime_free(&c->sock);
}

/* Whether an answer comes without anyone waiting long for it. */
static bool answered(struct client *c)
{
	struct pollfd fd = { chime_fileno(c->sock), POLLIN, 0 };
	return poll(&fd, 1, 100) > 0;
}

/* One after the other: the second client is answered when the first has left, and not before. */
TEST(one_at_a_time)
{
	struct skeleton p;
	struct client a, b;
	start(&p, "one_at_a_time");
	enter(&a, &p);
	enter(&b, &p);
	say(&a, "first");
	say(&b, "second");
	hear(&a, "first");
	CHECK(!answered(&b));
	say(&a, "");
	hear(&a, "");
	leave(&a);
	hear(&b, "second");
	CHECK_EQ(chime_shutdown(b.sock, SHUT_WR), 0);
	hear_end(&b);
	leave(&b);
	end(&p);
}

/* A client that resets its connection is no matter to the next, and no line is too long. */
TEST(one_at_a_time_survives_its_clients)
{
	struct skeleton p;
	struct client a;
	struct linger now = { 1, 0 };
	char *longer = calloc(1, 4001);
	start(&p, "one_at_a_time");
	enter(&a, &p);
	say(&a, "x");
	CHECK_EQ(chime_setsockopt(a.sock, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
	leave(&a);
	enter(&a, &p);
	say(&a, memset(longer, 'l', 4000));
	/* 4001 bytes, and a stamp for each chunk, of which there are no more than of 1024 bytes; then the end of all */
	CHECK_EQ(chime_shutdown(a.sock, SHUT_WR), 0);
	size_t came = 0;
	char got[512];
	ssize_t n;
	while ((n = chime_stream_read(a.stream, got, sizeof got)) > 0)
		came += (size_t)n;
	CHECK_EQ(n, 0);
	CHECK_IN(came, 4001 + 4 * STAMP, 4001 + 4001 * STAMP);
	leave(&a);
	enter(&a, &p);
	say(&a, "y");
	hear(&a, "y");
	leave(&a);
	end(&p);
	free(longer);
}

/* SIGTERM while a client is connected and silent: the program ends with 0. */
TEST(one_at_a_time_ends_beside_a_client)
{
	struct skeleton p;
	struct client a;
	start(&p, "one_at_a_time");
	enter(&a, &p);
	say(&a, "x");
	hear(&a, "x");
	end(&p);
	leave(&a);
}

/* All at once: each is answered while the others are silent; more than there are threads for wait until one leaves. */
TEST(thread_per_client)
{
	enum {
		PLACES = 64
	};
	struct skeleton p;
	struct client c[PLACES + 1];
	start(&p, "thread_per_client");
	for (int i = 0; i <= PLACES; i++)
		enter(&c[i], &p);
	for (int i = PLACES - 1; i >= 0; i--) {
		say(&c[i], "hello");
		hear(&c[i], "hello");
	}
	say(&c[PLACES], "late");
	CHECK(!answered(&c[PLACES]));
	leave(&c[7]);
	hear(&c[PLACES], "late");
	for (int i = 0; i <= PLACES; i++)
		if (i != 7)
			leave(&c[i]);
	end(&p);
}

/* SIGTERM: every client sees its end, and no thread is left behind. */
TEST(thread_per_client_ends_beside_clients)
{
	struct skeleton p;
	struct client a, b;
	start(&p, "thread_per_client");
	enter(&a, &p);
	enter(&b, &p);
	say(&a, "x");
	hear(&a, "x");
	end(&p);
	hear_end(&a);
	leave(&a);
	leave(&b);
}

TEST_MAIN()
