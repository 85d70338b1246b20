/* The buffered stream: lines whole, nothing lost when a limit passes, nothing sent twice. */
#include <chime/stream.h>
#include <runner/test.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static chime_sock *p[2];
static chime_stream *st;

static void open_stream(size_t buffering)
{
	CHECK_EQ(chime_socketpair(p, AF_UNIX, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_stream_new(&st, p[0], buffering), 0);
}

static void close_stream(void)
{
	CHECK_EQ(chime_stream_free(&st), 0);
	CHECK_PTR(st, NULL);
	CHECK_EQ(chime_stream_free(&st), 0);
	chime_free(&p[0]);
	chime_free(&p[1]);
}

static void peer_sends(const char *text)
{
	CHECK_EQ(chime_sendall(p[1], text, strlen(text), 0, NULL), 0);
}

static void line_is(const char *want)
{
	char got[256];
	CHECK_EQ(chime_stream_read_line(st, got, sizeof(got)), strlen(want));
	CHECK_STR(got, want);
}

/* Lines come one by one however they were sent; the last may lack its newline; then the end. */
TEST(lines_come_whole)
{
	open_stream(0);
	peer_sends("one\ntwo\n\nthr");
	line_is("one\n");
	line_is("two\n");
	line_is("\n");
	CHECK_EQ(chime_stream_buffered(st), 3);
	peer_sends("ee\nlast");
	line_is("three\n");
	CHECK_EQ(chime_shutdown(p[1], SHUT_WR), 0);
	line_is("last");
	line_is("");
	line_is("");
	close_stream();
}

/* A limit in the middle of a line loses nothing: the next call gives the line whole. */
TEST(limit_in_a_line_loses_nothing)
{
	char got[64];
	open_stream(0);
	CHECK_EQ(chime_set_timeout(p[0], 20 * CHIME_MSEC), 0);
	peer_sends("half ");
	CHECK_EQ(chime_stream_read_line(st, got, sizeof(got)), CHIME_ETIMEOUT);
	CHECK_EQ(chime_stream_read_line(st, got, sizeof(got)), CHIME_ETIMEOUT);
	CHECK_EQ(chime_set_timeout(p[0], 0), 0);
	CHECK_EQ(chime_stream_read_line(st, got, sizeof(got)), -EAGAIN);
	peer_sends("and half\nrest");
	line_is("half and half\n");
	CHECK_EQ(chime_stream_read(st, got, sizeof(got)), 4);
	close_stream();
}

/* A line longer than the caller's room, or than the buffer, is refused and stays to be read another way. */
TEST(long_lines_are_refused_and_kept)
{
	char got[64];
	open_stream(16);
	peer_sends("12345678\nabcdefghijklmnopqrstuvwxyz\n");
	CHECK_EQ(chime_stream_read_line(st, got, 5), CHIME_ETOOLONG);
	CHECK_EQ(chime_stream_read_line(st, got, 9), CHIME_ETOOLONG); /* no room for the NUL */
	CHECK_EQ(chime_stream_read_line(st, got, 10), 9);
	CHECK_STR(got, "12345678\n");
	CHECK_EQ(chime_stream_read_line(st, got, sizeof(got)), CHIME_ETOOLONG);
	CHECK_EQ(chime_stream_read_exact(st, got, 26, NULL), 0);
	CHECK_MEM(got, "abcdefghijklmnopqrstuvwxyz", 26);
	line_is("\n");
	CHECK_EQ(chime_stream_read_line(st, got, 0), -EINVAL);
	close_stream();
}

/* The room is exact: a line that just fits, newline or not, is given. */
TEST(lines_that_just_fit)
{
	char got[8];
	open_stream(8);
	peer_sends("123456\n123456");
	CHECK_EQ(chime_shutdown(p[1], SHUT_WR), 0);
	CHECK_EQ(chime_stream_read_line(st, got, 8), 7);
	CHECK_STR(got, "123456\n");
	CHECK_EQ(chime_stream_read_line(st, got, 7), CHIME_ETOOLONG); /* its newline might come yet */
	CHECK_EQ(chime_stream_read_line(st, got, 8), 6);
	CHECK_STR(got, "123456");
	close_stream();
}

/* read_exact: what is buffered first, then from the socket; an early end says how much there was. */
TEST(exact_reads_and_early_ends)
{
	char got[32];
	size_t n;
	open_stream(0);
	peer_sends("x\nabcdef");
	line_is("x\n");
	CHECK_EQ(chime_stream_read_exact(st, got, 4, &n), 0);
	CHECK_EQ(n, 4);
	peer_sends("gh");
	CHECK_EQ(chime_set_timeout(p[0], 10 * CHIME_MSEC), 0);
	CHECK_EQ(chime_stream_read_exact(st, got, 10, &n), CHIME_ETIMEOUT);
	CHECK_EQ(n, 4);
	CHECK_MEM(got, "efgh", 4);
	CHECK_EQ(chime_shutdown(p[1], SHUT_WR), 0);
	CHECK_EQ(chime_stream_read_exact(st, got, 1, &n), CHIME_EEOF);
	CHECK_EQ(n, 0);
	CHECK_EQ(chime_stream_read(st, got, 1), 0);
	CHECK_EQ(chime_stream_read(st, got, 0), 0);
	close_stream();
}

/* What is written waits for a flush, a full buffer or the end. */
TEST(writes_are_gathered)
{
	char got[64];
	size_t taken;
	open_stream(8);
	CHECK_EQ(chime_stream_write(st, "abc", 3, &taken), 0);
	CHECK_EQ(taken, 3);
	CHECK_EQ(chime_recv(p[1], got, sizeof(got), MSG_DONTWAIT), -EAGAIN);
	CHECK_EQ(chime_stream_flush(st), 0);
	CHECK_EQ(chime_recv(p[1], got, sizeof(got), 0), 3);
	CHECK_EQ(chime_stream_write(st, "0123456789", 10, NULL), 0);
	CHECK_EQ(chime_recv(p[1], got, sizeof(got), MSG_DONTWAIT), 10);
	CHECK_EQ(chime_stream_printf(st, "%d-%s", 42, "x"), 0);
	CHECK_EQ(chime_stream_printf(st, "%s", "sixsix"), 0); /* does not fit behind the first: that is sent */
	CHECK_EQ(chime_stream_printf(st, "%s", "eight..."), CHIME_ETOOLONG);
	CHECK_EQ(chime_stream_free(&st), 0);
	CHECK_EQ(chime_recv(p[1], got, sizeof(got), 0), 10);
	CHECK_MEM(got, "42-xsixsix", 10);
	chime_free(&p[0]);
	chime_free(&p[1]);
}

/* A peer that does not read: what was taken is known, and nothing is sent twice or lost when it does read. */
TEST(interrupted_writes_neither_lose_nor_double)
{
	static unsigned char big[2 << 20], got[2 << 20];
	size_t at = 0, received = 0;
	open_stream(4096);
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (unsigned char)test_random();
	CHECK_EQ(chime_set_timeout(p[0], 2 * CHIME_MSEC), 0);
	int limits = 0;
	while (at < sizeof(big) || received < sizeof(big)) {
		size_t len = 1 + test_random() % 9000, taken = 0;
		if (len > sizeof(big) - at)
			len = sizeof(big) - at;
		int err = at < sizeof(big) ? chime_stream_write(st, big + at, len, &taken) : chime_stream_flush(st);
		CHECK(err == 0 || err == CHIME_ETIMEOUT);
		CHECK(taken <= len);
		if (err == 0 && at < sizeof(big))
			CHECK_EQ(taken, len);
		at += taken;
		if (err == 0 && at < sizeof(big))
			continue;
		limits += err == CHIME_ETIMEOUT;
		for (int i = (int)(test_random() % 20); i >= 0 && received < sizeof(got); i--) {
			ssize_t n = chime_recv(p[1], got + received, sizeof(got) - received, MSG_DONTWAIT);
			if (n > 0)
				received += (size_t)n;
		}
	}
	CHECK(limits > 0);
	CHECK_MEM(got, big, sizeof(big));
	close_stream();
}

/* What is longer than the buffer goes past it: cut short by a limit, it says how much went. */
TEST(long_writes_say_what_went)
{
	static unsigned char big[4 << 20], got[4 << 20];
	size_t taken = 0, received = 0;
	open_stream(64);
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (unsigned char)test_random();
	CHECK_EQ(chime_set_timeout(p[0], 20 * CHIME_MSEC), 0);
	CHECK_EQ(chime_stream_write(st, big, sizeof(big), &taken), CHIME_ETIMEOUT);
	CHECK_IN(taken, 1, sizeof(big) - 1);
	for (ssize_t n; (n = chime_recv(p[1], got + received, sizeof(got) - received, MSG_DONTWAIT)) > 0;)
		received += (size_t)n;
	CHECK_EQ(received, taken);
	CHECK_MEM(got, big, received);
	close_stream();
}

/*
 * A full buffer of which a part can be sent has room again: the write that found it full is taken and has no error. When no byte can be
 * sent it has one, and says how much was taken. All that was taken comes, once and in order.
 */
TEST(partly_flushed_buffer_takes_more)
{
	enum {
		SIZE = 4 << 20
	}; /* more than the sockets hold */
	static unsigned char big[SIZE], got[2 * SIZE];
	const int64_t limits[] = { 0, 2 * CHIME_MSEC };
	for (size_t i = 0; i < SIZE; i++)
		big[i] = (unsigned char)test_random();
	for (int i = 0; i < 2; i++) {
		int told = i ? CHIME_ETIMEOUT : -EAGAIN;
		size_t taken = 99, more = 0, received = 0;
		open_stream(SIZE);
		CHECK_EQ(chime_set_timeout(p[0], limits[i]), 0);
		CHECK_EQ(chime_stream_write(st, big, SIZE - 8, NULL), 0);
		CHECK_EQ(chime_stream_write(st, big + SIZE - 8, 8, NULL), 0);
		CHECK_EQ(chime_recv(p[1], got, 1, MSG_DONTWAIT), -EAGAIN); /* it just fits */
		CHECK_EQ(chime_stream_write(st, "more", 4, &taken), 0);
		CHECK_EQ(taken, 4);
		CHECK_EQ(chime_stream_write(st, big, SIZE, &more), told);
		CHECK_IN(more, 1, SIZE - 5);
		CHECK_EQ(chime_stream_write(st, "lost", 4, &taken), told);
		CHECK_EQ(taken, 0);
		CHECK_EQ(chime_stream_flush(st), told);
		CHECK_EQ(chime_set_timeout(p[0], 0), 0);
		while (received < SIZE + 4 + more) {
			int err = chime_stream_flush(st);
			CHECK(err == 0 || err == -EAGAIN);
			ssize_t n = chime_recv(p[1], got + received, sizeof got - received, MSG_DONTWAIT);
			CHECK(n > 0);
			received += (size_t)n;
		}
		CHECK_EQ(received, SIZE + 4 + more);
		CHECK_MEM(got, big, SIZE);
		CHECK_MEM(got + SIZE, "more", 4);
		CHECK_MEM(got + SIZE + 4, big, more);
		CHECK_EQ(chime_stream_flush(st), 0);
		CHECK_EQ(chime_recv(p[1], got, 1, MSG_DONTWAIT), -EAGAIN);
		close_stream();
	}
}

/* What a write could not send before its peer went is told by it, and by the flush after it; what the peer had read is not lost. */
TEST(writes_to_who_is_gone)
{
	enum {
		SIZE = 4 << 20
	};
	static char big[SIZE];
	size_t taken = 99;
	open_stream(SIZE);
	CHECK_EQ(chime_set_timeout(p[0], 0), 0);
	CHECK_EQ(chime_stream_write(st, big, SIZE, NULL), -EAGAIN); /* past the buffer */
	CHECK_EQ(chime_stream_printf(st, "%d", 7), 0);
	chime_free(&p[1]);
	CHECK_EQ(chime_stream_write(st, big, SIZE - 1, &taken), 0);
	CHECK_EQ(taken, SIZE - 1);
	CHECK_EQ(chime_stream_write(st, big, 1, &taken), -EPIPE);
	CHECK_EQ(taken, 0);
	CHECK_EQ(chime_stream_flush(st), -EPIPE);
	CHECK_EQ(chime_stream_free(&st), -EPIPE);
	chime_free(&p[0]);
}

/* The flush at the end says when it failed. */
TEST(free_reports_the_flush)
{
	open_stream(0);
	CHECK_EQ(chime_stream_write(st, "x", 1, NULL), 0);
	chime_free(&p[1]);
	CHECK_EQ(chime_stream_free(&st), -EPIPE);
	CHECK_PTR(st, NULL);
	chime_free(&p[0]);
}

static void *reader(void *arg)
{
	char line[64];
	for (int i = 0; i < 2000; i++) {
		snprintf(arg, 64, "line %d\n", i);
		if (chime_stream_read_line(st, line, sizeof(line)) <= 0 || strcmp(line, arg) != 0)
			return arg;
	}
	return NULL;
}

/* One thread may read while another writes. */
TEST(one_reads_while_one_writes)
{
	pthread_t t;
	char expected[64], got[4096];
	void *wrong;
	open_stream(100);
	CHECK_EQ(pthread_create(&t, NULL, reader, expected), 0);
	for (int i = 0; i < 2000; i++) {
		char line[64];
		snprintf(line, sizeof(line), "line %d\n", i);
		peer_sends(line);
		CHECK_EQ(chime_stream_printf(st, "answer %d\n", i), 0);
		while (chime_recv(p[1], got, sizeof(got), MSG_DONTWAIT) > 0)
			;
	}
	pthread_join(t, &wrong);
	CHECK_STR(wrong ? (char *)wrong : "all lines", "all lines");
	close_stream();
}

TEST_MAIN()
