/* Between two system calls of one call: errors that come there are told, signals that come there are seen. */
#include "net/stuck.h"

#include <chime/msg.h>

#include <sys/eventfd.h>

/* ---- system calls that fail when the test says so ---- */

static _Thread_local int polls_interrupted; /* so many of the next looks of this thread */
static int batches_until_refused = -1;

int poll(struct pollfd *fds, nfds_t n, int ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000L };
	if (ms == 0 && polls_interrupted > 0) {
		polls_interrupted--;
		errno = EINTR;
		return -1;
	}
	return ppoll(fds, n, ms < 0 ? NULL : &ts, NULL);
}

static chime_sock *raced; /* its first wait meets another one that is beginning, in another thread */
static int wake_of_the_other, wake_too_many;

int eventfd(unsigned value, int flags)
{
	int fd = (int)syscall(SYS_eventfd2, value, flags);
	if (raced) {
		wake_too_many = fd;
		wake_of_the_other = (int)syscall(SYS_eventfd2, value, flags);
		atomic_store(&raced->wake, wake_of_the_other);
		raced = NULL;
	}
	return fd;
}

static chime_sock *closed_meanwhile; /* by another thread, before what woke this one is taken away */

int eventfd_read(int fd, eventfd_t *value)
{
	chime_sock *s = closed_meanwhile;
	closed_meanwhile = NULL;
	if (s)
		chime_close(s);
	return read(fd, value, sizeof *value) == sizeof *value ? 0 : -1;
}

/* One message for each that is asked for, or the error. */
int recvmmsg(int fd, struct mmsghdr *m, unsigned n, int flags, struct timespec *limit)
{
	(void)fd;
	(void)flags;
	(void)limit;
	if (batches_until_refused-- == 0) {
		errno = ECONNREFUSED;
		return -1;
	}
	if (batches_until_refused < 0) {
		errno = EAGAIN;
		return -1;
	}
	for (unsigned i = 0; i < n; i++)
		m[i].msg_len = 1;
	return (int)n;
}

/* ---- errors ---- */

static void five_bytes_and_a_reset(struct stuck *k)
{
	struct linger now = { 1, 0 };
	struct pollfd p = { 0, 0, 0 };
	stuck_make_tcp(k);
	CHECK_EQ(chime_send(k->peer, "12345", 5, 0), 5);
	CHECK_EQ(chime_setsockopt(k->peer, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
	chime_free(&k->peer);
	p.fd = chime_fileno(k->s);
	while (!(p.revents & POLLERR))
		CHECK(poll(&p, 1, 1000) >= 0);
}

static ssize_t recv_all(struct stuck *k)
{
	return chime_recv(k->s, k->buf, 10, MSG_WAITALL);
}

static ssize_t recvfrom_all(struct stuck *k)
{
	chime_addr from;
	return chime_recvfrom(k->s, k->buf, 10, MSG_WAITALL, &from);
}

static ssize_t recvmsg_all(struct stuck *k)
{
	struct chime_msg m = { .flags = 0 };
	return chime_recvmsg(k->s, k->buf, 10, MSG_WAITALL, &m);
}

static ssize_t recv_exactly_two(struct stuck *k)
{
	return chime_recv_exact(k->s, k->buf, 2, 0, NULL);
}

static ssize_t recv_packets(struct stuck *k)
{
	struct iovec iov = { k->buf, 10 };
	struct chime_packet p = { .iov = &iov, .iovs = 1 };
	return chime_recv_many(k->s, &p, 1, 0);
}

/* A stream that is reset behind the bytes that MSG_WAITALL gives ends with the reset, not as if the peer had closed it. */
TEST(reset_behind_data_is_told_by_the_next_receive)
{
	ssize_t (*const all[])(struct stuck *) = { recv_all, recvfrom_all, recvmsg_all };
	ssize_t (*const next[])(struct stuck *) = { stuck_recv, stuck_recvfrom, stuck_recvmsg, recv_exactly_two,
						    recv_packets };
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		for (size_t j = 0; j < sizeof next / sizeof *next; j++) {
			struct stuck k = { 0 };
			five_bytes_and_a_reset(&k);
			CHECK_EQ(all[i](&k), 5);
			CHECK_EQ(next[j](&k), -ECONNRESET);
			CHECK_EQ(chime_recv(k.s, k.buf, 10, 0), 0); /* once, as the system tells it */
			stuck_free(&k);
		}
}

/* A reset before any data is told at once, and not again; what is told later names no sender, and to receive nothing takes nothing. */
TEST(reset_is_told_once)
{
	struct stuck k = { 0 };
	chime_addr from;
	five_bytes_and_a_reset(&k);
	CHECK_EQ(recv_all(&k), 5);
	CHECK_EQ(chime_recv_exact(k.s, k.buf, 0, 0, NULL), 0);
	CHECK_EQ(chime_addr_ip(&from, AF_INET, "192.0.2.1", 9), 0);
	CHECK_EQ(chime_recvfrom(k.s, k.buf, 10, 0, &from), -ECONNRESET);
	CHECK_EQ(chime_addr_family(&from), AF_UNSPEC);
	CHECK_EQ(chime_addr_ip(&from, AF_INET, "192.0.2.1", 9), 0);
	CHECK_EQ(chime_recvfrom(k.s, k.buf, 10, MSG_OOB, &from), -EINVAL);
	CHECK_EQ(chime_addr_family(&from), AF_UNSPEC);
	stuck_free(&k);
	ssize_t (*const all[])(struct stuck *) = { recv_all, recvfrom_all, recvmsg_all };
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		five_bytes_and_a_reset(&k);
		CHECK_EQ(chime_recv(k.s, k.buf, 5, 0), 5);
		CHECK_EQ(all[i](&k), -ECONNRESET);
		CHECK_EQ(all[i](&k), 0);
		stuck_free(&k);
	}
}

/* What the call itself was wrong about is no error of the connection. */
TEST(no_more_urgent_data_is_not_told_later)
{
	struct stuck k = { 0 };
	struct pollfd p = { 0, POLLPRI, 0 };
	stuck_make_tcp(&k);
	CHECK_EQ(chime_send(k.peer, "x", 1, MSG_OOB), 1);
	p.fd = chime_fileno(k.s);
	CHECK_EQ(poll(&p, 1, 60000), 1);
	CHECK_EQ(chime_recv(k.s, k.buf, 10, MSG_OOB | MSG_WAITALL), 1);
	CHECK_EQ(chime_send(k.peer, "yz", 2, 0), 2);
	CHECK_EQ(chime_recv_exact(k.s, k.buf, 2, 0, NULL), 0);
	stuck_free(&k);
}

/* Nor is a buffer that is not there: what had been received before it is the answer, and the next call has what is left. */
TEST(bad_buffer_is_not_told_later)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *end = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(end != MAP_FAILED);
	end += page;
	CHECK_EQ(mprotect(end, page, PROT_NONE), 0);
	struct iovec iov[2] = { { end - 5, 5 }, { end, 5 } };
	for (int message = 0; message < 2; message++) {
		struct stuck k = { 0 };
		stuck_make_stream(&k);
		stuck_send_five(&k);
		CHECK_EQ(chime_send(k.peer, "67890", 5, 0), 5);
		if (message)
			CHECK_EQ(chime_recvmsg_into(k.s, iov, 2, MSG_WAITALL, NULL), 5);
		else
			CHECK_EQ(chime_recv(k.s, end - 5, 10, MSG_WAITALL), 5);
		CHECK_MEM(end - 5, "12345", 5);
		CHECK_EQ(chime_recv(k.s, k.buf, 10, 0), 5);
		CHECK_MEM(k.buf, "67890", 5);
		stuck_free(&k);
	}
	CHECK_EQ(munmap(end - page, 2 * page), 0);
}

/* What the system says after a batch that was full, it says once: that is told too. */
TEST(error_behind_a_full_batch_is_told_by_the_next_receive)
{
	static struct chime_packet packets[200];
	struct stuck k = { 0 };
	stuck_make_udp(&k);
	CHECK_EQ(chime_set_timeout(k.s, 0), 0);
	batches_until_refused = 2;
	CHECK_EQ(chime_recv_many(k.s, packets, 200, 0), 128);
	CHECK_EQ(chime_recv_many(k.s, packets, 200, 0), -ECONNREFUSED);
	CHECK_EQ(chime_recv_many(k.s, packets, 200, 0), -EAGAIN);
	batches_until_refused = 0;
	CHECK_EQ(chime_recv_many(k.s, packets, 200, 0), -ECONNREFUSED);
	CHECK_EQ(chime_recv(k.s, k.buf, 1, 0), -EAGAIN); /* it was told */
	stuck_free(&k);
}

/* ---- signals ---- */

static ssize_t interrupted_accept(struct stuck *k)
{
	polls_interrupted = 1;
	return stuck_accept(k);
}

static int stop(void *arg)
{
	(void)arg;
	return 1;
}

/* A signal while accept looks whether there is a connection is asked about, and the wait is still one that a close ends. */
TEST(signal_while_accept_looks)
{
	const struct stuck_call accept = { "accept", stuck_make_listener, interrupted_accept, NULL, 0, -EAGAIN };
	struct stuck k = { 0 };
	struct stuck_thread t;
	stuck_make_listener(&k);
	chime_set_interrupted(stop, NULL);
	CHECK_EQ(interrupted_accept(&k), -EINTR);
	chime_set_interrupted(NULL, NULL);
	stuck_thread_start(&t, &accept, &k);
	CHECK_EQ(chime_close(k.s), 0);
	CHECK_EQ(stuck_thread_end(&t), CHIME_ECLOSED);
	stuck_free(&k);
}

/* A connection attempt whose first look a signal interrupts is still under way. */
TEST(signal_while_connect_looks)
{
	struct stuck k = { 0 };
	stuck_make_full_tcp(&k);
	CHECK_EQ(chime_set_timeout(k.s, 20 * CHIME_MSEC), 0);
	polls_interrupted = 1;
	CHECK_EQ(chime_connect(k.s, &k.at), CHIME_ETIMEOUT);
	stuck_free(&k);
}

/* ---- others ---- */

/* Two threads that begin to wait at once share one wake descriptor, or a close would wake one of them alone. */
TEST(first_waits_at_once_share_the_wake_descriptor)
{
	struct stuck k = { 0 };
	stuck_make_udp(&k);
	CHECK_EQ(chime_set_timeout(k.s, 5 * CHIME_MSEC), 0);
	raced = k.s;
	CHECK_EQ(chime_recv(k.s, k.buf, 1, 0), CHIME_ETIMEOUT);
	CHECK_PTR(raced, NULL);
	CHECK_EQ(atomic_load(&k.s->wake), wake_of_the_other);
	CHECK_EQ(fcntl(wake_too_many, F_GETFD), -1);
	stuck_free(&k);
}

/*
 * A child that was made behind fork(2)'s back woke whoever waits by closing its copy; what it wrote is taken away again. A close that comes
 * just before that is not taken away with it.
 */
TEST(close_while_a_strange_wake_is_calmed)
{
	struct stuck k = { 0 };
	stuck_make_udp(&k);
	CHECK_EQ(chime_set_timeout(k.s, CHIME_MSEC), 0);
	CHECK_EQ(chime_recv(k.s, k.buf, 1, 0), CHIME_ETIMEOUT);
	CHECK_EQ(chime_set_timeout(k.s, CHIME_FOREVER), 0);
	CHECK_EQ(eventfd_write(atomic_load(&k.s->wake), 1), 0);
	closed_meanwhile = k.s;
	CHECK_EQ(chime_recv(k.s, k.buf, 1, 0), CHIME_ECLOSED);
	CHECK_PTR(closed_meanwhile, NULL);
	stuck_free(&k);
}

/* A call that begins while another thread takes the descriptor out says that the handle is closed, and counts itself out. */
TEST(call_that_begins_while_detached)
{
	struct stuck k = { 0 };
	stuck_make_udp(&k);
	int fd = atomic_exchange(&k.s->fd, -1); /* as far as chime_detach() had come */
	CHECK_EQ(chime_recv(k.s, k.buf, 1, 0), CHIME_ECLOSED);
	CHECK_EQ(atomic_load(&k.s->calls), 0);
	atomic_store(&k.s->fd, fd);
	stuck_free(&k);
}

/* A limit that another thread sets while connect or sendfile has lent itself O_NONBLOCK keeps it; without one it goes. */
TEST(limit_set_while_o_nonblock_is_lent)
{
	static const int64_t limits[] = { CHIME_FOREVER, 0, CHIME_SEC };
	for (int i = 0; i < 3; i++) {
		struct stuck k = { 0 };
		stuck_make_stream(&k);
		int fd = chime_fileno(k.s), begun = chime__nonblock_begin(fd);
		CHECK_EQ(begun, 1);
		CHECK_EQ(chime__nonblock_begin(fd), 0);
		CHECK_EQ(chime_set_timeout(k.s, limits[i]), 0);
		chime__nonblock_end(k.s, fd, begun);
		CHECK_EQ(fcntl(fd, F_GETFL) & O_NONBLOCK, i ? O_NONBLOCK : 0);
		stuck_free(&k);
	}
}

/*
 * A connection that MSG_FASTOPEN begins without a cookie for the peer takes nothing along: a call that may wait waits for it and sends
 * then, all of it where it blocks; one that may not is told.
 */
TEST(fast_open_waits_for_the_connection)
{
	static char big[300000], got[sizeof big];
	for (int round = 0; round < 3; round++) {
		chime_sock *l, *c, *a;
		chime_addr at;
		struct iovec iov = { big, 5 };
		size_t have = 0, len = round == 2 ? sizeof big : 5;
		CHECK_EQ(chime_create_server(&l, AF_INET, "127.0.0.1", 0, -1, false, false), 0);
		CHECK_EQ(chime_getsockname(l, &at), 0);
		CHECK_EQ(chime_open(&c, AF_INET, SOCK_STREAM, 0), 0);
		int err = chime_setsockopt_int(c, IPPROTO_TCP, 30 /* TCP_FASTOPEN_CONNECT */, 0);
		CHECK_EQ(chime_set_timeout(c, 0), 0);
		ssize_t n = chime_sendto(c, big, 5, MSG_FASTOPEN, &at);
		if (err < 0 || n == -EOPNOTSUPP)
			SKIP("no fast open here (net.ipv4.tcp_fastopen)");
		CHECK_EQ(n, -EINPROGRESS);
		CHECK_EQ(chime_accept(l, &a, NULL),
			 0); /* before it is closed: an attempt that is closed comes to nothing */
		chime_free(&c);
		chime_free(&a);
		for (size_t i = 0; i < sizeof big; i++)
			big[i] = (char)test_random();
		CHECK_EQ(chime_open(&c, AF_INET, SOCK_STREAM, 0), 0);
		CHECK_EQ(chime_set_timeout(c, round == 0 ? 60 * CHIME_SEC : CHIME_FOREVER), 0);
		const struct chime_msg m = { .addr = at };
		n = round == 1 ? chime_sendmsg(c, &iov, 1, MSG_FASTOPEN, &m)
			       : chime_sendto(c, big, len, MSG_FASTOPEN, &at);
		CHECK_EQ(n, len);
		CHECK_EQ(chime_accept(l, &a, NULL), 0);
		CHECK_EQ(chime_recv_exact(a, got, len, 0, &have), 0);
		CHECK_MEM(got, big, len);
		chime_free(&a);
		chime_free(&c);
		chime_free(&l);
	}
}

TEST_MAIN()
