/* Descriptors that travel: close-on-exec, counted, and none left open. */
#include <chime/msg.h>
#include <runner/test.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static chime_sock *p[2];
static int pipes[2];

static void begin(int type)
{
	CHECK_EQ(chime_socketpair(p, AF_UNIX, type, 0), 0);
	CHECK_EQ(pipe(pipes), 0);
}

static void end(void)
{
	chime_free(&p[0]);
	chime_free(&p[1]);
	close(pipes[0]);
	close(pipes[1]);
}

static int lowest_free(void)
{
	int fd = dup(0);
	close(fd);
	return fd;
}

static int open_descriptors(void)
{
	int n = 0;
	for (int fd = 0; fd < 200; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static bool same_file(int a, int b)
{
	struct stat x, y;
	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_ino == y.st_ino && x.st_dev == y.st_dev;
}

/* What arrives is the same open file, is close-on-exec, and the sender's stays. */
TEST(descriptors_arrive_close_on_exec)
{
	char buf[8];
	int got[4];
	size_t n = 4;
	int flags = -1;
	begin(SOCK_STREAM);
	CHECK_EQ(chime_send_fds(p[0], "hello", 5, pipes, 2, 0, NULL), 5);
	CHECK_EQ(chime_recv_fds(p[1], buf, sizeof buf, got, &n, 0, &flags, NULL), 5);
	CHECK_MEM(buf, "hello", 5);
	CHECK_EQ(n, 2);
	CHECK_EQ(flags, 0);
	for (int i = 0; i < 2; i++) {
		CHECK(same_file(got[i], pipes[i]));
		CHECK_EQ(fcntl(got[i], F_GETFD), FD_CLOEXEC);
		CHECK_EQ(fcntl(pipes[i], F_GETFD), 0);
		close(got[i]);
	}
	end();
}

/* The same through recvmsg with a buffer of the caller's. */
TEST(recvmsg_gives_close_on_exec_and_no_odd_flag)
{
	char buf[8], room[CMSG_SPACE(sizeof(int))];
	struct chime_msg m = { .control = { room, sizeof room, 0 } };
	struct chime_cmsg c = { 0 };
	int fd = -1;
	begin(SOCK_DGRAM);
	CHECK_EQ(chime_send_fds(p[0], "x", 1, pipes, 1, 0, NULL), 1);
	CHECK_EQ(chime_recvmsg(p[1], buf, sizeof buf, 0, &m), 1);
	CHECK_EQ(m.flags, 0);
	CHECK(chime_control_next(&m.control, &c));
	CHECK_EQ(chime_cmsg_fds(&c, &fd, 1), 1);
	CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	int before = fd;
	chime_control_close_fds(&m.control);
	CHECK_EQ(fcntl(before, F_GETFD), -1);
	end();
}

/* The same when several messages are received at once; and all descriptors of a message are closed by one call. */
TEST(many_messages_give_close_on_exec)
{
	char buf[2][8], room[2][CMSG_SPACE(2 * sizeof(int))];
	struct iovec iov[2] = { { buf[0], 8 }, { buf[1], 8 } };
	struct chime_packet got[2];
	begin(SOCK_SEQPACKET);
	int first = lowest_free();
	for (int i = 0; i < 2; i++) {
		got[i] = (struct chime_packet){ .iov = &iov[i], .iovs = 1 };
		chime_control_init(&got[i].msg.control, room[i], sizeof room[i]);
		CHECK_EQ(chime_send_fds(p[0], "x", 1, pipes, 2, 0, NULL), 1);
	}
	CHECK_EQ(chime_recv_many(p[1], got, 2, 0), 2);
	for (int i = 0; i < 2; i++) {
		struct chime_cmsg c = { 0 };
		int fd[2];
		CHECK_EQ(got[i].msg.flags, 0);
		CHECK(chime_control_next(&got[i].msg.control, &c));
		CHECK_EQ(chime_cmsg_fds(&c, fd, 2), 2);
		CHECK(same_file(fd[0], pipes[0]) && same_file(fd[1], pipes[1]));
		for (int k = 0; k < 2; k++)
			CHECK_EQ(fcntl(fd[k], F_GETFD), FD_CLOEXEC);
		chime_control_close_fds(&got[i].msg.control);
		for (int k = 0; k < 2; k++)
			CHECK_EQ(fcntl(fd[k], F_GETFD), -1);
	}
	CHECK_EQ(lowest_free(), first);
	end();
}

#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76
#endif

/* A descriptor that an option puts beside them, which nobody asked recv_fds for, is not left open. */
TEST(pidfds_are_closed)
{
	char buf[8];
	int got[2];
	size_t n = 2;
	begin(SOCK_SEQPACKET);
	if (chime_setsockopt_int(p[1], SOL_SOCKET, SO_PASSPIDFD, 1) < 0) {
		end();
		SKIP("this kernel passes no pidfds");
	}
	int before = open_descriptors();
	CHECK_EQ(chime_send_fds(p[0], "x", 1, pipes, 2, 0, NULL), 1);
	CHECK_EQ(chime_recv_fds(p[1], buf, sizeof buf, got, &n, 0, NULL, NULL), 1);
	CHECK_EQ(n, 2);
	for (int i = 0; i < 2; i++) {
		CHECK(same_file(got[i], pipes[i]));
		close(got[i]);
	}
	CHECK_EQ(open_descriptors(), before);
	end();
}

/* More than the room: those that do not fit are closed, and the flag says so. */
TEST(what_has_no_room_is_closed)
{
	for (size_t room = 0; room < 5; room++) {
		char buf[8];
		int out[5], got[5] = { -1, -1, -1, -1, -1 }, flags = 0;
		size_t n = room;
		begin(SOCK_SEQPACKET);
		for (int i = 0; i < 5; i++)
			out[i] = pipes[i & 1];
		int first = lowest_free();
		CHECK_EQ(chime_send_fds(p[0], "x", 1, out, 5, 0, NULL), 1);
		CHECK_EQ(chime_recv_fds(p[1], buf, sizeof buf, got, &n, 0, &flags, NULL), 1);
		CHECK_EQ(n, room);
		CHECK_EQ(flags & MSG_CTRUNC, MSG_CTRUNC);
		for (size_t i = 0; i < room; i++)
			close(got[i]);
		CHECK_EQ(lowest_free(), first);
		end();
	}
}

/* Credentials that an option puts in front take no descriptor's place; the most that the kernel sends arrive. */
TEST(the_most_descriptors_beside_credentials)
{
	char buf[8];
	int out[CHIME_FDS_MAX + 1], got[CHIME_FDS_MAX], flags = 0;
	size_t n = CHIME_FDS_MAX;
	begin(SOCK_STREAM);
	CHECK_EQ(chime_setsockopt_int(p[1], SOL_SOCKET, SO_PASSCRED, 1), 0);
	for (int i = 0; i <= CHIME_FDS_MAX; i++)
		out[i] = pipes[0];
	CHECK_EQ(chime_send_fds(p[0], "x", 1, out, CHIME_FDS_MAX + 1, 0, NULL), -EINVAL);
	CHECK_EQ(chime_send_fds(p[0], "x", 1, out, CHIME_FDS_MAX, 0, NULL), 1);
	CHECK_EQ(chime_recv_fds(p[1], buf, sizeof buf, got, &n, 0, &flags, NULL), 1);
	CHECK_EQ(flags, 0);
	CHECK_EQ(n, CHIME_FDS_MAX);
	for (size_t i = 0; i < n; i++)
		close(got[i]);
	end();
}

/* A call that fails gives none and leaves none: the count is 0. A message without any is received as well. */
TEST(failures_and_plain_messages_give_none)
{
	char buf[8];
	int got[2];
	size_t n = 2;
	begin(SOCK_STREAM);
	CHECK_EQ(chime_recv_fds(p[1], buf, sizeof buf, got, &n, MSG_DONTWAIT, NULL, NULL), -EAGAIN);
	CHECK_EQ(n, 0);
	n = 2;
	CHECK_EQ(chime_send_fds(p[0], "ab", 2, NULL, 0, 0, NULL), 2);
	CHECK_EQ(chime_recv_fds(p[1], buf, sizeof buf, got, &n, 0, NULL, NULL), 2);
	CHECK_EQ(n, 0);
	int bad = 9999;
	CHECK_EQ(chime_send_fds(p[0], "x", 1, &bad, 1, 0, NULL), -EBADF);
	char text[128];
	chime_last_error(p[0], text, sizeof text);
	CHECK_STR(text, "send_fds: bad file descriptor");
	end();
}

#define LONG (1 << 20)

static void *long_send(void *arg)
{
	static char big[LONG];
	(void)arg;
	ssize_t n = chime_send_fds(p[0], big, sizeof big, pipes, 2, 0, NULL);
	CHECK_EQ(n, LONG);
	return NULL;
}

/* A stream's MSG_WAITALL ends where descriptors came, so that none is lost; a long send carries them once. */
TEST(waitall_and_long_sends_keep_descriptors)
{
	char room[256], buf[16];
	struct chime_msg m = { .control = { room, sizeof room, 0 } };
	struct chime_cmsg c = { 0 };
	int fd;
	begin(SOCK_STREAM);
	CHECK_EQ(chime_send_fds(p[0], "ab", 2, pipes, 1, 0, NULL), 2);
	CHECK_EQ(chime_recvmsg(p[1], buf, sizeof buf, MSG_WAITALL, &m), 2);
	CHECK(chime_control_next(&m.control, &c));
	CHECK_EQ(chime_cmsg_fds(&c, &fd, 1), 1);
	close(fd);
	/* Also where there is no room for them. */
	struct chime_msg none = { .flags = 0 };
	CHECK_EQ(chime_send_fds(p[0], "ab", 2, pipes, 1, 0, NULL), 2);
	CHECK_EQ(chime_send(p[0], "cd", 2, 0), 2);
	CHECK_EQ(chime_recvmsg(p[1], buf, 4, MSG_WAITALL, &none), 2);
	CHECK_EQ(none.flags & MSG_CTRUNC, MSG_CTRUNC);
	CHECK_EQ(chime_recvmsg(p[1], buf, 2, MSG_WAITALL, &none), 2);
	CHECK_EQ(none.flags & MSG_CTRUNC, 0);
	pthread_t t;
	CHECK_EQ(pthread_create(&t, NULL, long_send, NULL), 0);
	int fds = 0;
	for (ssize_t have = 0; have < LONG;) {
		static char big[LONG];
		int got[4];
		size_t n = 4;
		ssize_t r = chime_recv_fds(p[1], big, sizeof big, got, &n, 0, NULL, NULL);
		CHECK_IN(r, 1, LONG - have);
		have += r;
		fds += (int)n;
		for (size_t i = 0; i < n; i++)
			close(got[i]);
	}
	pthread_join(t, NULL);
	CHECK_EQ(fds, 2);
	end();
}

/* A process that may open no more gets the message without them, and the flag. */
TEST(no_descriptors_left)
{
	struct rlimit was, none;
	char buf[8];
	int got[2], flags = 0;
	size_t n = 2;
	begin(SOCK_SEQPACKET);
	CHECK_EQ(chime_send_fds(p[0], "x", 1, pipes, 2, 0, NULL), 1);
	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &was), 0);
	none = was;
	none.rlim_cur = (rlim_t)lowest_free();
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
	ssize_t r = chime_recv_fds(p[1], buf, sizeof buf, got, &n, 0, &flags, NULL);
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &was), 0);
	CHECK_EQ(r, 1);
	CHECK_EQ(n, 0);
	CHECK_EQ(flags & MSG_CTRUNC, MSG_CTRUNC);
	end();
}

/* Who receives segments has no use for descriptors that a peer sends: they are closed. */
TEST(segments_leave_no_descriptors)
{
	chime_sock *pair[2];
	char buf[10];
	size_t size;
	const int fds[3] = { 0, 1, 2 };
	CHECK_EQ(chime_socketpair(pair, AF_UNIX, SOCK_DGRAM, 0), 0);
	CHECK_EQ(chime_send_fds(pair[0], "x", 1, fds, 3, 0, NULL), 1);
	int next = chime_fd_dup(0);
	CHECK_EQ(chime_fd_close(next), 0);
	CHECK_EQ(chime_recv_segments(pair[1], buf, sizeof buf, &size, 0, NULL), 1);
	CHECK_EQ(chime_fd_dup(0), next);
	CHECK_EQ(chime_fd_close(next), 0);
	chime_free(&pair[0]);
	chime_free(&pair[1]);
}

TEST_MAIN()
