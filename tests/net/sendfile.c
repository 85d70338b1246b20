/* A file over a stream: all of it or the part asked for, its position moved by what went, also after an error. */
#include "net/sock.h"

#include <chime/msg.h>
#include <runner/test.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define SIZE (3 << 20)
static chime_sock *p[2];
static unsigned char bytes[SIZE], got[SIZE + 1];
static size_t received;
static int file = -1;

static void begin(void)
{
	char path[512];
	CHECK_EQ(chime_socketpair(p, AF_UNIX, SOCK_STREAM, 0), 0);
	for (size_t i = 0; i < SIZE; i++)
		bytes[i] = (unsigned char)test_random();
	snprintf(path, sizeof path, "%s/file", test_dir());
	file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK_EQ(write(file, bytes, SIZE), SIZE);
	received = 0;
}

static void end(void)
{
	chime_free(&p[0]);
	chime_free(&p[1]);
	close(file);
}

static void *reader(void *arg)
{
	(void)arg;
	for (ssize_t n; received < sizeof got && (n = chime_recv(p[1], got + received, sizeof got - received, 0)) > 0;)
		received += (size_t)n;
	return NULL;
}

static void send_and_compare(int from, int64_t offset, int64_t count, int64_t want)
{
	pthread_t t;
	int64_t sent = -1;
	CHECK_EQ(pthread_create(&t, NULL, reader, NULL), 0);
	CHECK_EQ(chime_sendfile(p[0], from, offset, count, &sent), 0);
	CHECK_EQ(chime_shutdown(p[0], SHUT_WR), 0);
	pthread_join(t, NULL);
	CHECK_EQ(sent, want);
	CHECK_EQ(received, want);
	CHECK_MEM(got, bytes + offset, (size_t)want);
}

/* The whole file; the position is behind it. Blocking, and with a limit. The mode of the descriptor is as it was. */
TEST(whole_file)
{
	begin();
	send_and_compare(file, 0, -1, SIZE);
	CHECK_EQ(lseek(file, 0, SEEK_CUR), SIZE);
	CHECK_EQ(fcntl(chime_fileno(p[0]), F_GETFL) & O_NONBLOCK, 0);
	end();
	begin();
	CHECK_EQ(chime_set_timeout(p[0], 60 * CHIME_SEC), 0);
	send_and_compare(file, 0, -1, SIZE);
	end();
}

/* A file that must be read goes whole and in order, though the socket takes each piece bit by bit. */
TEST(small_socket_takes_what_is_read_bit_by_bit)
{
	pthread_t t;
	int ends[2];
	int64_t sent = -1;
	begin();
	CHECK_EQ(chime_setsockopt_int(p[0], SOL_SOCKET, SO_SNDBUF, 4096), 0);
	CHECK_EQ(pipe(ends), 0);
	CHECK_EQ(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
	const ssize_t len = write(ends[1], bytes, 60000); /* less, where pipes are small */
	CHECK(len > 0);
	close(ends[1]);
	CHECK_EQ(pthread_create(&t, NULL, reader, NULL), 0);
	CHECK_EQ(chime_sendfile(p[0], ends[0], 0, -1, &sent), 0);
	CHECK_EQ(chime_shutdown(p[0], SHUT_WR), 0);
	pthread_join(t, NULL);
	CHECK_EQ(sent, len);
	CHECK_EQ(received, len);
	CHECK_MEM(got, bytes, (size_t)len);
	close(ends[0]);
	end();
}

/* The thread's signals are as they were, SIGPIPE kept out or not, whether it went well or the peer was gone. */
TEST(signals_stay_as_they_were)
{
	for (int kept_out = 0; kept_out < 2; kept_out++) {
		sigset_t pipe_alone, now;
		sigemptyset(&pipe_alone);
		sigaddset(&pipe_alone, SIGPIPE);
		CHECK_EQ(pthread_sigmask(kept_out ? SIG_BLOCK : SIG_UNBLOCK, &pipe_alone, NULL), 0);
		begin();
		CHECK_EQ(chime_sendfile(p[0], file, 0, 10, NULL), 0);
		CHECK_EQ(pthread_sigmask(SIG_BLOCK, NULL, &now), 0);
		CHECK_EQ(sigismember(&now, SIGPIPE), kept_out);
		chime_close(p[1]);
		CHECK_EQ(chime_sendfile(p[0], file, 0, 10, NULL), -EPIPE);
		CHECK_EQ(pthread_sigmask(SIG_BLOCK, NULL, &now), 0);
		CHECK_EQ(sigismember(&now, SIGPIPE), kept_out);
		end();
	}
}

/* A part of it, and no more than there is. */
TEST(a_part)
{
	begin();
	send_and_compare(file, 12345, 100001, 100001);
	CHECK_EQ(lseek(file, 0, SEEK_CUR), 12345 + 100001);
	end();
	begin();
	send_and_compare(file, SIZE - 10, 100, 10);
	CHECK_EQ(lseek(file, 0, SEEK_CUR), SIZE);
	end();
	begin();
	send_and_compare(file, 5, 0, 0);
	CHECK_EQ(lseek(file, 0, SEEK_CUR), 5);
	end();
}

static void *writer(void *arg)
{
	int fd = *(int *)arg;
	for (size_t at = 0; at < SIZE;) {
		ssize_t n = write(fd, bytes + at, SIZE - at);
		if (n <= 0)
			break;
		at += (size_t)n;
	}
	close(fd);
	return NULL;
}

/* A pipe is read and sent; it has no positions. */
TEST(a_pipe)
{
	int pipes[2];
	int64_t sent = -1;
	pthread_t t;
	begin();
	CHECK_EQ(pipe2(pipes, O_CLOEXEC), 0);
	CHECK_EQ(chime_sendfile(p[0], pipes[0], 1, -1, &sent), -ESPIPE);
	CHECK_EQ(sent, 0);
	CHECK_EQ(pthread_create(&t, NULL, writer, &pipes[1]), 0);
	send_and_compare(pipes[0], 0, -1, SIZE);
	pthread_join(t, NULL);
	close(pipes[0]);
	end();
}

/* A file that sendfile(2) cannot read is read from the offset on, and its position moves all the same. */
TEST(a_file_that_must_be_read)
{
	char want[64];
	int64_t sent = -1;
	begin();
	int auxv = open("/proc/self/auxv", O_RDONLY | O_CLOEXEC);
	CHECK(auxv >= 0);
	ssize_t len = pread(auxv, want, sizeof want, 8);
	CHECK_IN(len, 20, sizeof want);
	CHECK_EQ(chime_sendfile(p[0], auxv, 8, len, &sent), 0);
	CHECK_EQ(sent, len);
	CHECK_EQ(lseek(auxv, 0, SEEK_CUR), 8 + len);
	CHECK_EQ(chime_recv(p[1], got, sizeof got, 0), len);
	CHECK_MEM(got, want, (size_t)len);
	close(auxv);
	end();
}

/* Streams only, and not in non-blocking mode: nothing is sent then. */
TEST(refused_where_python_refuses)
{
	chime_sock *d[2];
	int64_t sent = 7;
	int ends[2];
	begin();
	CHECK_EQ(pipe(ends), 0);
	CHECK_EQ(chime_sendfile(p[0], ends[0], -1, -1, &sent), -EINVAL);
	CHECK_EQ(chime_sendfile(p[0], ends[0], 1, -1, &sent), -ESPIPE);
	close(ends[0]);
	close(ends[1]);
	CHECK_EQ(chime_set_timeout(p[0], 0), 0);
	CHECK_EQ(chime_sendfile(p[0], file, 0, -1, &sent), -EINVAL);
	CHECK_EQ(sent, 0);
	CHECK_EQ(chime_set_timeout(p[0], CHIME_FOREVER), 0);
	CHECK_EQ(chime_sendfile(p[0], file, -1, -1, &sent), -EINVAL);
	CHECK_EQ(chime_sendfile(p[0], -1, 0, -1, &sent), -EBADF);
	CHECK_EQ(chime_socketpair(d, AF_UNIX, SOCK_DGRAM, 0), 0);
	CHECK_EQ(chime_sendfile(d[0], file, 0, -1, &sent), -EINVAL);
	chime_free(&d[0]);
	chime_free(&d[1]);
	end();
}

/* The limit is for the whole call; what went is counted, and the file stands behind it. */
TEST(limit_is_total_and_the_position_moves)
{
	int64_t sent = -1;
	begin();
	CHECK_EQ(chime_set_timeout(p[0], 60 * CHIME_MSEC), 0);
	int64_t start = test_now();
	CHECK_EQ(chime_sendfile(p[0], file, 1000, -1, &sent), CHIME_ETIMEOUT);
	CHECK_IN(test_now() - start, 60 * CHIME_MSEC, 50 * CHIME_SEC);
	CHECK_IN(sent, 1, SIZE - 1001);
	CHECK_EQ(lseek(file, 0, SEEK_CUR), 1000 + sent);
	CHECK_EQ(chime_set_timeout(p[1], 0), 0);
	reader(NULL);
	CHECK_EQ(received, sent);
	CHECK_MEM(got, bytes + 1000, received);
	end();
}

static atomic_bool enough;

/* Reads on and on, but far less at a time than would be needed. */
static void *slow_reader(void *arg)
{
	char some[16384];
	(void)arg;
	while (!atomic_load(&enough)) {
		usleep(5000); /* slow by the clock, as the limit is: while that runs, there shall always be progress */
		chime_recv(p[1], some, sizeof some, MSG_DONTWAIT);
	}
	return NULL;
}

static void end_in_spite_of_progress(int from)
{
	pthread_t t;
	int64_t sent = -1;
	atomic_store(&enough, false);
	CHECK_EQ(chime_set_timeout(p[0], 300 * CHIME_MSEC), 0);
	CHECK_EQ(pthread_create(&t, NULL, slow_reader, NULL), 0);
	int64_t start = test_now();
	CHECK_EQ(chime_sendfile(p[0], from, 0, -1, &sent), CHIME_ETIMEOUT);
	CHECK_IN(test_now() - start, 300 * CHIME_MSEC, 50 * CHIME_SEC);
	CHECK_IN(sent, 1, SIZE - 1);
	atomic_store(&enough, true);
	pthread_join(t, NULL);
}

/* Progress does not lengthen the limit, whether the file is sent or read and sent. */
TEST(progress_does_not_lengthen_the_limit)
{
	int pipes[2];
	pthread_t t;
	begin();
	end_in_spite_of_progress(file);
	end();
	begin();
	signal(SIGPIPE, SIG_IGN);
	CHECK_EQ(pipe2(pipes, O_CLOEXEC), 0);
	CHECK_EQ(pthread_create(&t, NULL, writer, &pipes[1]), 0);
	end_in_spite_of_progress(pipes[0]);
	close(pipes[0]);
	pthread_join(t, NULL);
	end();
}

static volatile sig_atomic_t pipes_raised;

static void on_pipe(int signo)
{
	(void)signo;
	pipes_raised++;
}

/* No SIGPIPE comes out of it, neither then nor later; one that was pending before stays. */
TEST(sigpipe_is_held_back)
{
	struct sigaction sa = { .sa_handler = on_pipe };
	sigset_t set, pending;
	int64_t sent = -1;
	begin();
	sigaction(SIGPIPE, &sa, NULL);
	chime_close(p[1]);
	CHECK_EQ(chime_sendfile(p[0], file, 0, -1, &sent), -EPIPE);
	CHECK_EQ(sent, 0);
	CHECK_EQ(lseek(file, 0, SEEK_CUR), 0);
	sigpending(&pending);
	CHECK(!sigismember(&pending, SIGPIPE));
	CHECK_EQ(pipes_raised, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	sigprocmask(SIG_BLOCK, &set, NULL);
	raise(SIGPIPE);
	CHECK_EQ(chime_sendfile(p[0], file, 0, -1, &sent), -EPIPE);
	sigpending(&pending);
	CHECK(sigismember(&pending, SIGPIPE));
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	CHECK_EQ(pipes_raised, 1);
	end();
}

static void *closer(void *arg)
{
	(void)arg;
	while (atomic_load(&p[0]->wake) < 0)
		usleep(1000);
	chime_close(p[0]);
	return NULL;
}

/* Another thread's close ends it, on a blocking socket too. */
TEST(close_ends_it)
{
	pthread_t t;
	begin();
	CHECK_EQ(pthread_create(&t, NULL, closer, NULL), 0);
	CHECK_EQ(chime_sendfile(p[0], file, 0, -1, NULL), CHIME_ECLOSED);
	pthread_join(t, NULL);
	end();
}

/* A pipe that nobody writes to is waited for, within the limit, to the close, and also where it does not wait itself. */
TEST(a_silent_pipe)
{
	int pipes[2];
	int64_t sent = -1;
	pthread_t t;
	begin();
	for (int flags = O_CLOEXEC; flags >= 0; flags = flags == O_CLOEXEC ? O_CLOEXEC | O_NONBLOCK : -1) {
		CHECK_EQ(pipe2(pipes, flags), 0);
		CHECK_EQ(write(pipes[1], "abc", 3), 3);
		CHECK_EQ(chime_set_timeout(p[0], 30 * CHIME_MSEC), 0);
		CHECK_EQ(chime_sendfile(p[0], pipes[0], 0, -1, &sent), CHIME_ETIMEOUT);
		CHECK_EQ(sent, 3);
		CHECK_EQ(chime_recv(p[1], got, sizeof got, 0), 3);
		close(pipes[0]);
		close(pipes[1]);
	}
	CHECK_EQ(pipe2(pipes, O_CLOEXEC), 0);
	CHECK_EQ(chime_set_timeout(p[0], CHIME_FOREVER), 0);
	CHECK_EQ(pthread_create(&t, NULL, closer, NULL), 0);
	CHECK_EQ(chime_sendfile(p[0], pipes[0], 0, -1, &sent), CHIME_ECLOSED);
	pthread_join(t, NULL);
	close(pipes[0]);
	close(pipes[1]);
	end();
}

/* The end of a pipe that is written to cannot be read: that is told at once, not waited for. */
TEST(the_wrong_end_of_a_pipe)
{
	int pipes[2];
	int64_t sent = -1;
	begin();
	CHECK_EQ(pipe2(pipes, O_CLOEXEC), 0);
	CHECK_EQ(chime_set_timeout(p[0], 30 * CHIME_MSEC), 0);
	CHECK_EQ(chime_sendfile(p[0], pipes[1], 0, -1, &sent), -EBADF);
	CHECK_EQ(sent, 0);
	close(pipes[0]);
	close(pipes[1]);
	end();
}

TEST_MAIN()
