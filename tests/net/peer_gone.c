/* Sending to who is gone: -EPIPE, by each call and in each mode, and never a signal, which would end this process. */
#include <chime/connect.h>
#include <chime/errqueue.h>
#include <chime/msg.h>
#include <chime/stream.h>
#include <runner/test.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define BIG (8 << 20)
static char big[BIG];
static chime_sock *p[2];
static const int64_t modes[] = { CHIME_FOREVER, 0, 60 * CHIME_SEC };

static void no_peer(int64_t limit)
{
	CHECK_EQ(chime_socketpair(p, AF_UNIX, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_set_timeout(p[0], limit), 0);
	chime_free(&p[1]);
}

/* Every call that sends says it at once. */
TEST(each_call_is_told)
{
	for (int i = 0; i < 3; i++) {
		struct iovec iov = { big, 5 };
		struct chime_packet packet = { .iov = &iov, .iovs = 1 };
		chime_addr nobody = chime_addr_none();
		size_t sent = 1;
		int fd = 0;
		no_peer(modes[i]);
		CHECK_EQ(chime_send(p[0], big, 5, 0), -EPIPE);
		CHECK_EQ(chime_sendto(p[0], big, 5, 0, &nobody), -EPIPE);
		CHECK_EQ(chime_sendall(p[0], big, 5, 0, &sent), -EPIPE);
		CHECK_EQ(sent, 0);
		CHECK_EQ(chime_sendmsg(p[0], &iov, 1, 0, NULL), -EPIPE);
		CHECK_EQ(chime_send_fds(p[0], big, 5, &fd, 1, 0, NULL), -EPIPE);
		CHECK_EQ(chime_send_many(p[0], &packet, 1, 0), -EPIPE);
		CHECK_EQ(chime_send_zerocopy(p[0], big, 5, 0), -EPIPE);
		chime_free(&p[0]);
	}
}

/* Files, those that are read too, and streams. */
TEST(files_and_streams_are_told)
{
	chime_stream *st;
	int pipes[2], file = memfd_create("gone", MFD_CLOEXEC);
	CHECK_EQ(write(file, big, 5), 5);
	CHECK_EQ(pipe2(pipes, O_CLOEXEC), 0);
	CHECK_EQ(write(pipes[1], big, 5), 5);
	no_peer(CHIME_FOREVER);
	CHECK_EQ(chime_sendfile(p[0], file, 0, -1, NULL), -EPIPE);
	CHECK_EQ(chime_sendfile(p[0], pipes[0], 0, -1, NULL), -EPIPE);
	CHECK_EQ(chime_stream_new(&st, p[0], 0), 0);
	CHECK_EQ(chime_stream_write(st, big, BIG, NULL), -EPIPE);
	CHECK_EQ(chime_stream_printf(st, "x"), 0);
	CHECK_EQ(chime_stream_flush(st), -EPIPE);
	CHECK_EQ(chime_stream_free(&st), -EPIPE);
	chime_free(&p[0]);
	close(file);
	close(pipes[0]);
	close(pipes[1]);
}

/* Takes some, so that the sender is in the middle of it, and goes. */
static void *take_some_and_go(void *arg)
{
	char some[1000];
	(void)arg;
	CHECK_EQ(chime_recv_exact(p[1], some, sizeof some, 0, NULL), 0);
	chime_close(p[1]);
	return NULL;
}

/* One who goes while a long send is under way: it ends with what was taken before, and the next says why. */
TEST(who_goes_half_way)
{
	for (int way = 0; way < 3; way++) {
		pthread_t t;
		struct iovec iov[2] = { { big, BIG / 2 }, { big + BIG / 2, BIG / 2 } };
		size_t sent = 0;
		CHECK_EQ(chime_socketpair(p, AF_UNIX, SOCK_STREAM, 0), 0);
		CHECK_EQ(pthread_create(&t, NULL, take_some_and_go, NULL), 0);
		if (way == 0) {
			CHECK_IN(chime_send(p[0], big, BIG, 0), 1000, BIG - 1);
		} else if (way == 1) {
			CHECK_IN(chime_sendmsg(p[0], iov, 2, 0, NULL), 1000, BIG - 1);
		} else {
			CHECK_EQ(chime_sendall(p[0], big, BIG, 0, &sent), -EPIPE);
			CHECK_IN(sent, 1000, BIG - 1);
		}
		pthread_join(t, NULL);
		CHECK_EQ(chime_send(p[0], big, BIG, 0), -EPIPE);
		chime_free(&p[0]);
		chime_free(&p[1]);
	}
}

/* A stream whose buffer was full, and could be sent in part: the write that met the end is told, and its bytes are not taken. */
TEST(streams_are_told_half_way)
{
	pthread_t t;
	chime_stream *st;
	size_t taken = 99;
	CHECK_EQ(chime_socketpair(p, AF_UNIX, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_stream_new(&st, p[0], BIG), 0);
	CHECK_EQ(chime_stream_write(st, big, BIG - 1, &taken), 0);
	CHECK_EQ(chime_stream_write(st, big, 1, &taken), 0);
	CHECK_EQ(pthread_create(&t, NULL, take_some_and_go, NULL), 0);
	CHECK_IN(chime_stream_write(st, "more", 4, &taken), -ECONNRESET, -EPIPE);
	CHECK_EQ(taken, 0);
	pthread_join(t, NULL);
	CHECK_EQ(chime_stream_free(&st), -EPIPE);
	chime_free(&p[0]);
	chime_free(&p[1]);
}

/* Takes some, and resets the connection. */
static void *take_some_and_reset(void *arg)
{
	const struct linger now = { 1, 0 };
	CHECK_EQ(chime_setsockopt(p[1], SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
	return take_some_and_go(arg);
}

/* A connection over TCP that can hold far less than is sent; *listener stays. */
static void connect_narrowly(chime_sock **listener, chime_addr *at)
{
	CHECK_EQ(chime_create_server(listener, AF_INET, "127.0.0.1", 0, -1, false, false), 0);
	CHECK_EQ(chime_getsockname(*listener, at), 0);
	CHECK_EQ(chime_open(&p[0], AF_INET, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_setsockopt_int(p[0], SOL_SOCKET, SO_SNDBUF, 65536), 0);
	CHECK_EQ(chime_connect(p[0], at), 0);
	CHECK_EQ(chime_accept(*listener, &p[1], NULL), 0);
	CHECK_EQ(chime_setsockopt_int(p[1], SOL_SOCKET, SO_RCVBUF, 65536), 0);
}

/* A long send that a reset cuts short says what went, and the next receive why: not that the stream had come to its end. */
TEST(a_reset_half_way_is_told)
{
	for (int way = 0; way < 2; way++) {
		struct iovec iov[2] = { { big, BIG / 2 }, { big + BIG / 2, BIG / 2 } };
		chime_sock *listener;
		chime_addr at;
		pthread_t t;
		char got[1];
		connect_narrowly(&listener, &at);
		CHECK_EQ(pthread_create(&t, NULL, take_some_and_reset, NULL), 0);
		if (way == 0)
			CHECK_IN(chime_send(p[0], big, BIG, 0), 1000, BIG - 1);
		else
			CHECK_IN(chime_sendmsg(p[0], iov, 2, 0, NULL), 1000, BIG - 1);
		pthread_join(t, NULL);
		CHECK_EQ(chime_send(p[0], big, 1, 0), -EPIPE);
		CHECK_EQ(chime_recv(p[0], got, 1, 0), -ECONNRESET);
		CHECK_EQ(chime_recv(p[0], got, 1, 0), 0);
		chime_free(&listener);
		chime_free(&p[0]);
		chime_free(&p[1]);
	}
}

/* What was not told of one connection is none of the next one's: a socket that was taken off its peer may have another. */
TEST(a_reset_is_not_the_next_connections)
{
	struct sockaddr nobody = { .sa_family = AF_UNSPEC };
	chime_sock *listener;
	chime_addr at, off;
	pthread_t t;
	char got[1];
	connect_narrowly(&listener, &at);
	CHECK_EQ(pthread_create(&t, NULL, take_some_and_reset, NULL), 0);
	CHECK_IN(chime_send(p[0], big, BIG, 0), 1000, BIG - 1);
	pthread_join(t, NULL);
	chime_free(&p[1]);
	CHECK_EQ(chime_addr_from(&off, &nobody, sizeof nobody), 0);
	CHECK_EQ(chime_connect(p[0], &off), 0);
	CHECK_EQ(chime_connect(p[0], &at), 0);
	CHECK_EQ(chime_accept(listener, &p[1], NULL), 0);
	CHECK_EQ(chime_send(p[1], "x", 1, 0), 1);
	CHECK_EQ(chime_recv(p[0], got, 1, 0), 1);
	chime_free(&listener);
	chime_free(&p[0]);
	chime_free(&p[1]);
}

TEST_MAIN()
