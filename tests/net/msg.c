/*
 * Whole messages with what goes beside them: built, sent, received, cut and read. A few lines over 600: one header's
 * calls, over the pairs of sockets that are opened at its beginning.
 */
#include <chime/connect.h>
#include <chime/errqueue.h>
#include <chime/msg.h>
#include <runner/test.h>

#include "net/edge.h"

#include <errno.h>
#include <limits.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <net/ethernet.h>
#include <netinet/udp.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

static chime_sock *p[2];

static void open_pair(int type)
{
	CHECK_EQ(chime_socketpair(p, AF_UNIX, type, 0), 0);
}

/* Two UDP sockets on loopback, p[0] connected to p[1]. */
static void open_udp(int family)
{
	chime_addr at;
	for (int i = 0; i < 2; i++) {
		int err = chime_open(&p[i], family, SOCK_DGRAM, 0);
		if (err == 0) {
			CHECK_EQ(chime_addr_ip(&at, family, family == AF_INET ? "127.0.0.1" : "::1", 0), 0);
			err = chime_bind(p[i], &at);
		}
		if (family == AF_INET6 && (err == -EAFNOSUPPORT || err == -EADDRNOTAVAIL))
			SKIP("no IPv6 here: %s", chime_strerror(err));
		CHECK_EQ(err, 0);
	}
	CHECK_EQ(chime_getsockname(p[1], &at), 0);
	CHECK_EQ(chime_connect(p[0], &at), 0);
}

static void close_pair(void)
{
	chime_free(&p[0]);
	chime_free(&p[1]);
}

/* The lengths are the system's macros', and none wraps round: what no call can take is refused. */
TEST(control_lengths)
{
	for (size_t n = 0; n < 100; n++) {
		CHECK_EQ(chime_control_len(n), CMSG_LEN(n));
		CHECK_EQ(chime_control_space(n), CMSG_SPACE(n));
	}
	CHECK_EQ(chime_control_len(INT_MAX - CMSG_LEN(0)), INT_MAX);
	CHECK_EQ(chime_control_len(INT_MAX - CMSG_LEN(0) + 1), -EOVERFLOW);
	CHECK_EQ(chime_control_len(SIZE_MAX), -EOVERFLOW);
	CHECK_EQ(chime_control_space(SIZE_MAX), -EOVERFLOW);
	CHECK_EQ(chime_control_space(SIZE_MAX - 7), -EOVERFLOW);
	CHECK_EQ(chime_control_space(INT_MAX), -EOVERFLOW);
	for (size_t n = INT_MAX - 64; n < (size_t)INT_MAX + 64; n++) {
		ssize_t space = chime_control_space(n);
		CHECK(space == -EOVERFLOW || (space >= (ssize_t)CMSG_LEN(n) && space <= INT_MAX));
	}
}

/* What is added is read back, in order, from a buffer of any alignment; one without room changes nothing. */
TEST(what_is_built_is_read_back)
{
	char room[201];
	for (size_t shift = 0; shift < 9; shift++) {
		struct chime_control c;
		struct chime_cmsg m = { 0 };
		chime_control_init(&c, room + shift, 3 * CMSG_SPACE(5));
		CHECK_EQ(chime_control_add(&c, 1, 2, "hello", 5), 0);
		CHECK_EQ(chime_control_add(&c, 77, -3, NULL, 0), 0);
		size_t len = c.len;
		CHECK_EQ(chime_control_add(&c, 1, 1, room, 60), -ENOBUFS);
		CHECK_EQ(chime_control_add(&c, 1, 1, room, SIZE_MAX), -EOVERFLOW);
		CHECK_EQ(c.len, len);
		CHECK(chime_control_next(&c, &m));
		CHECK_EQ(m.level, 1);
		CHECK_EQ(m.type, 2);
		CHECK_EQ(m.len, 5);
		CHECK(!m.cut);
		CHECK_MEM(m.data, "hello", 5);
		CHECK(chime_control_next(&c, &m));
		CHECK_EQ(m.level, 77);
		CHECK_EQ(m.type, -3);
		CHECK_EQ(m.len, 0);
		CHECK(!chime_control_next(&c, &m));
	}
}

/* Cut anywhere, the reader gives what is there, says that it was cut, and never looks past the end. */
TEST(cut_buffers_are_not_read_past_their_end)
{
	char room[128];
	struct chime_control whole;
	chime_control_init(&whole, room, sizeof room);
	CHECK_EQ(chime_control_add(&whole, 1, 2, "0123456789abcdef0123", 20), 0);
	CHECK_EQ(chime_control_add(&whole, 3, 4, "xyz", 3), 0);
	for (size_t len = 0; len <= whole.len; len++) {
		struct chime_control c = { edge_bytes(room, len), len, len };
		struct chime_cmsg m = { 0 };
		if (len < CMSG_LEN(0)) {
			CHECK(!chime_control_next(&c, &m));
			continue;
		}
		CHECK(chime_control_next(&c, &m));
		CHECK_EQ(m.cut, len < CMSG_LEN(20));
		CHECK_EQ(m.len, m.cut ? len - CMSG_LEN(0) : 20);
		CHECK_MEM(m.data, "0123456789abcdef0123", m.len);
		CHECK_EQ(chime_control_next(&c, &m), len >= CMSG_SPACE(20) + CMSG_LEN(0));
	}
}

/* Lengths that lie (too small for their own header, or huge) end the reading. */
TEST(lying_lengths_end_the_reading)
{
	size_t lies[] = { 0, 1, CMSG_LEN(0) - 1, SIZE_MAX, SIZE_MAX - 7, (size_t)INT_MAX + 1, 1000 };
	for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
		struct cmsghdr head = { .cmsg_len = lies[i], .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
		char room[64] = "";
		struct chime_control c = { room, sizeof room, sizeof room };
		struct chime_cmsg m = { 0 };
		memcpy(room, &head, sizeof head);
		bool any = chime_control_next(&c, &m);
		CHECK_EQ(any, lies[i] >= CMSG_LEN(0));
		if (any) {
			CHECK(m.cut);
			CHECK_EQ(m.len, sizeof room - CMSG_LEN(0));
			CHECK(!chime_control_next(&c, &m));
		}
	}
}

/* Several buffers are one message, and one message fills several buffers in order. */
TEST(gathered_and_scattered)
{
	char a[3], b[2], c[10];
	struct iovec out[] = { { (char *)(uintptr_t) "abc", 3 }, { NULL, 0 }, { (char *)(uintptr_t) "defgh", 5 } };
	struct iovec in[] = { { a, 3 }, { b, 2 }, { c, 10 } };
	struct chime_msg m = { 0 };
	open_pair(SOCK_SEQPACKET);
	CHECK_EQ(chime_sendmsg(p[0], out, 3, MSG_EOR, NULL), 8);
	CHECK_EQ(chime_recvmsg_into(p[1], in, 3, 0, &m), 8);
	CHECK_MEM(a, "abc", 3);
	CHECK_MEM(b, "de", 2);
	CHECK_MEM(c, "fgh", 3);
	CHECK_EQ(m.flags, 0);
	CHECK_EQ(m.control.len, 0);
	CHECK_EQ(chime_sendmsg(p[0], out, 3, 0, NULL), 8);
	CHECK_EQ(chime_recvmsg(p[1], a, 3, 0, &m), 3);
	CHECK_EQ(m.flags & MSG_TRUNC, MSG_TRUNC);
	CHECK_EQ(chime_sendmsg(p[0], out, 1025, 0, NULL), -EMSGSIZE);
	CHECK_EQ(chime_recvmsg_into(p[1], in, 1025, MSG_DONTWAIT, &m), -EMSGSIZE);
	close_pair();
}

/* A blocking stream takes all buffers, however small its room; MSG_WAITALL fills them all. */
static void *drain(void *arg)
{
	static char got[100];
	size_t *sum = arg;
	for (ssize_t n; (n = chime_recv(p[1], got, sizeof got, 0)) > 0;)
		for (ssize_t i = 0; i < n; i++)
			*sum += (unsigned char)got[i];
	return NULL;
}

TEST(blocking_stream_takes_all)
{
	static unsigned char big[3][700001];
	struct iovec iov[] = { { big[0], sizeof big[0] }, { big[1], 1 }, { big[1], 0 }, { big[2], sizeof big[2] } };
	size_t sum = 0, want = 0;
	pthread_t t;
	open_pair(SOCK_STREAM);
	for (size_t i = 0; i < 3; i++)
		for (size_t k = 0; k < sizeof big[0]; k++)
			big[i][k] = (unsigned char)test_random();
	for (size_t i = 0; i < 4; i++)
		for (size_t k = 0; k < iov[i].iov_len; k++)
			want += ((unsigned char *)iov[i].iov_base)[k];
	CHECK_EQ(pthread_create(&t, NULL, drain, &sum), 0);
	CHECK_EQ(chime_sendmsg(p[0], iov, 4, 0, NULL), 2 * sizeof big[0] + 1);
	CHECK_EQ(chime_shutdown(p[0], SHUT_WR), 0);
	pthread_join(t, NULL);
	CHECK_EQ(sum, want);
	close_pair();
}

static void *two_parts(void *arg)
{
	(void)arg;
	int unread = 1;
	chime_send(p[0], "abcde", 5, 0);
	while (unread && ioctl(chime_fileno(p[0]), SIOCOUTQ, &unread) == 0)
		usleep(1000);
	chime_send(p[0], "fgh", 3, 0);
	return NULL;
}

TEST(waitall_fills_all_buffers)
{
	char a[4], b[4];
	struct iovec iov[] = { { a, 4 }, { b, 4 } };
	pthread_t t;
	open_pair(SOCK_STREAM);
	CHECK_EQ(pthread_create(&t, NULL, two_parts, NULL), 0);
	CHECK_EQ(chime_recvmsg_into(p[1], iov, 2, MSG_WAITALL, NULL), 8);
	CHECK_MEM(a, "abcd", 4);
	CHECK_MEM(b, "efgh", 4);
	pthread_join(t, NULL);
	close_pair();
}

/* MSG_PEEK leaves the message where it is, in each form of receiving. */
TEST(messages_are_peeked_at)
{
	char a[2], b[8];
	struct iovec iov[2] = { { a, 2 }, { b, 8 } }, whole = { b, 8 };
	struct chime_packet packet = { .iov = &whole, .iovs = 1 };
	struct chime_msg m = { 0 };
	size_t no_fds = 0;
	open_pair(SOCK_DGRAM);
	CHECK_EQ(chime_send(p[0], "look", 4, 0), 4);
	CHECK_EQ(chime_recvmsg(p[1], b, 8, MSG_PEEK, &m), 4);
	CHECK_EQ(chime_recvmsg_into(p[1], iov, 2, MSG_PEEK, NULL), 4);
	CHECK_EQ(chime_recv_fds(p[1], b, 8, NULL, &no_fds, MSG_PEEK, NULL, NULL), 4);
	CHECK_EQ(chime_recv_many(p[1], &packet, 1, MSG_PEEK), 1);
	CHECK_EQ(packet.bytes, 4);
	CHECK_EQ(chime_recvmsg(p[1], b, 8, 0, &m), 4);
	CHECK_EQ(chime_recvmsg(p[1], b, 8, MSG_DONTWAIT, &m), -EAGAIN);
	close_pair();
}

/* MSG_DONTWAIT never waits, whatever the limit, in each form of sending and receiving. */
TEST(messages_do_not_wait_when_told_so)
{
	const int64_t modes[] = { CHIME_FOREVER, 0, 60 * CHIME_SEC };
	for (int i = 0; i < 3; i++) {
		char b[100] = "x";
		int fd = 0;
		size_t n = 1;
		struct iovec iov = { b, sizeof b };
		struct chime_packet packet = { .iov = &iov, .iovs = 1 };
		struct chime_stamps stamps;
		open_pair(SOCK_STREAM);
		CHECK_EQ(chime_set_timeout(p[0], modes[i]), 0);
		CHECK_EQ(chime_recvmsg(p[0], b, sizeof b, MSG_DONTWAIT, NULL), -EAGAIN);
		CHECK_EQ(chime_recvmsg_into(p[0], &iov, 1, MSG_DONTWAIT | MSG_WAITALL, NULL), -EAGAIN);
		CHECK_EQ(chime_recv_fds(p[0], b, sizeof b, &fd, &n, MSG_DONTWAIT, NULL, NULL), -EAGAIN);
		CHECK_EQ(chime_recv_many(p[0], &packet, 1, MSG_DONTWAIT), -EAGAIN);
		CHECK_EQ(chime_recv_stamped(p[0], b, sizeof b, MSG_DONTWAIT, &stamps, NULL), -EAGAIN);
		while (chime_send(p[0], b, sizeof b, MSG_DONTWAIT) > 0)
			;
		fd = 0;
		CHECK_EQ(chime_sendmsg(p[0], &iov, 1, MSG_DONTWAIT, NULL), -EAGAIN);
		CHECK_EQ(chime_send_fds(p[0], b, sizeof b, &fd, 1, MSG_DONTWAIT, NULL), -EAGAIN);
		CHECK_EQ(chime_send_many(p[0], &packet, 1, MSG_DONTWAIT), -EAGAIN);
		close_pair();
	}
}

/* After an error there is no address, no control data and no flags, whatever the struct held. */
TEST(errors_leave_nothing_in_the_message)
{
	char buf[4], room[32];
	struct chime_msg m = { .control = { room, sizeof room, 17 }, .flags = MSG_TRUNC };
	open_pair(SOCK_DGRAM);
	m.addr.len = 5;
	CHECK_EQ(chime_recvmsg(p[0], buf, 4, MSG_DONTWAIT, &m), -EAGAIN);
	CHECK_EQ(m.addr.len, 0);
	CHECK_EQ(m.control.len, 0);
	CHECK_EQ(m.flags, 0);
	chime_close(p[0]);
	m = (struct chime_msg){ .addr.len = 5, .control = { room, sizeof room, 17 }, .flags = MSG_TRUNC };
	CHECK_EQ(chime_recvmsg(p[0], buf, 4, 0, &m), CHIME_ECLOSED);
	CHECK_EQ(m.addr.len, 0);
	CHECK_EQ(m.control.len, 0);
	CHECK_EQ(m.flags, 0);
	close_pair();
}

static bool find(const struct chime_msg *m, bool (*is)(const struct chime_cmsg *, void *), void *out)
{
	struct chime_cmsg c = { 0 };
	while (chime_control_next(&m->control, &c))
		if (is(&c, out))
			return true;
	return false;
}

static bool is_pktinfo(const struct chime_cmsg *c, void *out)
{
	return chime_cmsg_pktinfo(c, out);
}

static bool is_hops(const struct chime_cmsg *c, void *out)
{
	return chime_cmsg_hops(c, out);
}

static bool is_tos(const struct chime_cmsg *c, void *out)
{
	return chime_cmsg_tos(c, out);
}

static bool is_stamps(const struct chime_cmsg *c, void *out)
{
	return chime_cmsg_stamps(c, out);
}

/* Hop limit and class of service go out with one message alone, and are told with packet info at the other end. */
static void told_at_the_other_end(int family)
{
	bool six = family == AF_INET6;
	int level = six ? IPPROTO_IPV6 : IPPROTO_IP, hops = -1, tos = -1;
	char room[256], in_room[256], buf[16], text[CHIME_ADDR_TEXT];
	struct chime_msg m = { 0 }, in = { .control = { in_room, sizeof in_room, 0 } };
	struct iovec iov = { buf, 1 };
	struct chime_pktinfo info = { .ifindex = 0 }, seen;
	struct chime_stamps stamps = { 0, 0 };
	int64_t before = chime_now_real();
	open_udp(family);
	CHECK_EQ(chime_setsockopt_int(p[1], level, six ? IPV6_RECVPKTINFO : IP_PKTINFO, 1), 0);
	CHECK_EQ(chime_setsockopt_int(p[1], level, six ? IPV6_RECVHOPLIMIT : IP_RECVTTL, 1), 0);
	CHECK_EQ(chime_setsockopt_int(p[1], level, six ? IPV6_RECVTCLASS : IP_RECVTOS, 1), 0);
	CHECK_EQ(chime_setsockopt_int(p[1], SOL_SOCKET, SO_TIMESTAMPNS, 1), 0);
	chime_control_init(&m.control, room, sizeof room);
	CHECK_EQ(chime_control_add_hops(&m.control, family, 37), 0);
	CHECK_EQ(chime_control_add_tos(&m.control, family, 0x48), 0);
	CHECK_EQ(chime_control_add_pktinfo(&m.control, family, &info), 0);
	CHECK_EQ(chime_control_add_hops(&m.control, AF_UNIX, 1), -EAFNOSUPPORT);
	CHECK_EQ(chime_control_add_pktinfo(&m.control, AF_UNIX, &info), -EAFNOSUPPORT);
	CHECK_EQ(chime_sendmsg(p[0], &iov, 1, 0, &m), 1);
	CHECK_EQ(chime_recvmsg(p[1], buf, sizeof buf, 0, &in), 1);
	CHECK(find(&in, is_hops, &hops));
	CHECK_EQ(hops, 37);
	CHECK(find(&in, is_tos, &tos));
	CHECK_EQ(tos, 0x48);
	CHECK(find(&in, is_pktinfo, &seen));
	chime_addr_print(&seen.to, text, sizeof text);
	CHECK_STR(text, six ? "[::1]:0" : "127.0.0.1:0");
	CHECK_EQ(seen.ifindex, 1);
	/* The kernel begins to stamp a little after it was asked; the first datagram is stamped when it is received at the latest. */
	CHECK(find(&in, is_stamps, &stamps));
	CHECK_IN(stamps.software_ns, before, chime_now_real());
	/* The way back: from the address that was written to. */
	chime_control_init(&m.control, room, sizeof room);
	CHECK_EQ(chime_control_add_pktinfo(&m.control, family, &seen), 0);
	m.addr = in.addr;
	CHECK_EQ(chime_sendmsg(p[1], &iov, 1, 0, &m), 1);
	CHECK_EQ(chime_recv(p[0], buf, sizeof buf, 0), 1);
	close_pair();
}

TEST(ipv4_messages_tell_what_they_carried)
{
	told_at_the_other_end(AF_INET);
}

TEST(ipv6_messages_tell_what_they_carried)
{
	told_at_the_other_end(AF_INET6);
}

/* SO_TIMESTAMP is in microseconds, SO_TIMESTAMPNS in nanoseconds: both come out as nanoseconds of now. */
TEST(receive_stamps_of_either_unit)
{
	int options[] = { SO_TIMESTAMP_OLD, SO_TIMESTAMP_NEW, SO_TIMESTAMPNS_OLD, SO_TIMESTAMPNS_NEW };
	for (size_t i = 0; i < 4; i++) {
		char room[128], buf[4];
		struct chime_msg m = { .control = { room, sizeof room, 0 } };
		struct chime_stamps got = { 0, 1 };
		open_udp(AF_INET);
		CHECK_EQ(chime_setsockopt_int(p[1], SOL_SOCKET, options[i], 1), 0);
		int64_t before = chime_now_real();
		CHECK_EQ(chime_send(p[0], "x", 1, 0), 1);
		CHECK_EQ(chime_recvmsg(p[1], buf, sizeof buf, 0, &m), 1);
		CHECK(find(&m, is_stamps, &got));
		CHECK_IN(got.software_ns, before - CHIME_USEC, chime_now_real());
		CHECK_EQ(got.hardware_ns, 0);
		close_pair();
	}
}

/* A control buffer of any odd size: the kernel cuts, the flag says so, and the reader gives what is there. */
TEST(control_buffers_of_every_size)
{
	for (size_t size = 0; size < 80; size++) {
		char buf[4];
		char *room = malloc(size ? size : 1); /* so that the address sanitizer watches its end */
		struct chime_msg m = { .control = { room, size, 0 } };
		struct chime_cmsg c = { 0 };
		size_t whole = 0;
		open_udp(AF_INET);
		CHECK_EQ(chime_setsockopt_int(p[1], IPPROTO_IP, IP_PKTINFO, 1), 0);
		CHECK_EQ(chime_setsockopt_int(p[1], IPPROTO_IP, IP_RECVTTL, 1), 0);
		CHECK_EQ(chime_send(p[0], "x", 1, 0), 1);
		CHECK_EQ(chime_recvmsg(p[1], buf, sizeof buf, 0, &m), 1);
		CHECK(m.control.len <= size);
		CHECK_EQ(!(m.flags & MSG_CTRUNC),
			 size >= CMSG_SPACE(sizeof(struct in_pktinfo)) + CMSG_LEN(sizeof(int)));
		while (chime_control_next(&m.control, &c))
			whole += c.len;
		CHECK_IN(whole, 0, sizeof(struct in_pktinfo) + sizeof(int));
		free(room);
		close_pair();
	}
}

static bool is_creds(const struct chime_cmsg *c, void *out)
{
	return chime_cmsg_creds(c, out);
}

/* Credentials are told where they are asked for, and SO_PEERCRED tells who made the pair. */
TEST(credentials)
{
	char room[128], in_room[128], buf[4];
	struct chime_creds mine = { getpid(), getuid(), getgid() }, seen = { 0, 0, 0 }, peer = { 0, 0, 0 };
	struct chime_msg m = { 0 }, in = { .control = { in_room, sizeof in_room, 0 } };
	struct iovec iov = { buf, 1 };
	open_pair(SOCK_STREAM);
	CHECK_EQ(chime_setsockopt_int(p[1], SOL_SOCKET, SO_PASSCRED, 1), 0);
	chime_control_init(&m.control, room, sizeof room);
	CHECK_EQ(chime_control_add_creds(&m.control, &mine), 0);
	CHECK_EQ(chime_sendmsg(p[0], &iov, 1, 0, &m), 1);
	CHECK_EQ(chime_recvmsg(p[1], buf, sizeof buf, 0, &in), 1);
	CHECK(find(&in, is_creds, &seen));
	CHECK_EQ(seen.pid, getpid());
	CHECK_EQ(seen.uid, getuid());
	CHECK_EQ(seen.gid, getgid());
	close_pair();
	(void)!setegid(4711); /* root's two numbers are alike */
	open_pair(SOCK_STREAM);
	CHECK_EQ(chime_peer_creds(p[0], &peer), 0);
	CHECK_EQ(peer.pid, getpid());
	CHECK_EQ(peer.uid, geteuid());
	CHECK_EQ(peer.gid, getegid());
	close_pair();
}

/* Whose other end nobody is, or who is no unix socket, has no credentials: neither root nor anybody else is made up. */
TEST(nobody_has_no_credentials)
{
	struct chime_creds peer = { 77, 78, 79 };
	chime_sock *s;
	CHECK_EQ(chime_open(&s, AF_UNIX, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_peer_creds(s, &peer), -ENOTCONN);
	chime_free(&s);
	CHECK_EQ(chime_open(&s, AF_INET, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_peer_creds(s, &peer), -ENOPROTOOPT);
	chime_free(&s);
	CHECK_EQ(peer.pid, 77);
	CHECK_EQ(peer.uid, 78);
	CHECK_EQ(peer.gid, 79);
}

/* Many: as many as are there, more than a batch, each with its own bytes, sender and flags. */
TEST(many_at_once)
{
	enum {
		N = 150
	};
	static char text[N][8], got[N][8];
	static struct iovec out[N], in[N];
	static struct chime_packet ps[N], pr[N];
	chime_addr from;
	test_one_processor();
	open_udp(AF_INET);
	CHECK_EQ(chime_setsockopt_int(p[1], SOL_SOCKET, SO_RCVBUF, 1 << 20), 0);
	CHECK_EQ(chime_getsockname(p[0], &from), 0);
	for (int i = 0; i < N; i++) {
		int len = snprintf(text[i], sizeof text[i], "m%d", i);
		out[i] = (struct iovec){ text[i], (size_t)len };
		in[i] = (struct iovec){ got[i], i == 7 ? 1 : sizeof got[i] };
		ps[i] = (struct chime_packet){ .iov = &out[i], .iovs = 1 };
		pr[i] = (struct chime_packet){ .iov = &in[i], .iovs = 1 };
	}
	CHECK_EQ(chime_send_many(p[0], ps, N, 0), N);
	CHECK_EQ(ps[149].bytes, 4);
	int have = 0;
	while (have < N) {
		ssize_t n = chime_recv_many(p[1], pr + have, (size_t)(N - have), 0);
		CHECK_IN(n, 1, N - have);
		have += (int)n;
	}
	for (int i = 0; i < N; i++) {
		CHECK_EQ(pr[i].bytes, i == 7 ? 1 : strlen(text[i]));
		CHECK_MEM(got[i], text[i], pr[i].bytes);
		CHECK(chime_addr_equal(&pr[i].msg.addr, &from));
		CHECK_EQ(pr[i].msg.flags, i == 7 ? MSG_TRUNC : 0);
	}
	CHECK_EQ(chime_recv_many(p[1], pr, N, MSG_DONTWAIT), -EAGAIN);
	CHECK_EQ(chime_recv_many(p[1], pr, 0, 0), 0);
	CHECK_EQ(chime_send_many(p[0], ps, 0, 0), 0);
	close_pair();
}

/* One send is cut into datagrams of the size that was asked; with GRO they may come in one piece, whose size is told. */
TEST(segments)
{
	static char out[10000], in[65535];
	size_t size = 0, sum = 0;
	chime_addr from, me;
	for (size_t i = 0; i < sizeof out; i++)
		out[i] = (char)test_random();
	open_udp(AF_INET);
	ssize_t n = chime_send_segments(p[0], out, sizeof out, 1200, 0, NULL);
	if (n == -EINVAL || n == -EIO)
		SKIP("this kernel has no UDP_SEGMENT: %s", chime_errname((int)n));
	CHECK_EQ(n, sizeof out);
	for (int i = 0; i < 8; i++)
		CHECK_EQ(chime_recv(p[1], in, sizeof in, 0), 1200);
	CHECK_EQ(chime_recv(p[1], in, sizeof in, 0), 400);
	CHECK_EQ(chime_send_segments(p[0], out, 100, 0, 0, NULL), -EINVAL);
	CHECK_EQ(chime_set_gro(p[1], true), 0);
	CHECK_EQ(chime_getsockname(p[0], &me), 0);
	CHECK_EQ(chime_send_segments(p[0], out, sizeof out, 1200, 0, NULL), sizeof out);
	while (sum < sizeof out) {
		n = chime_recv_segments(p[1], in, sizeof in, &size, 0, &from);
		CHECK_IN(n, 1, sizeof out - sum);
		CHECK(size == 1200 || (size_t)n == size);
		CHECK_MEM(in, out + sum, (size_t)n);
		CHECK(chime_addr_equal(&from, &me));
		sum += (size_t)n;
	}
	close_pair();
}

/* Every getter refuses a message of its kind that is too short for it. */
TEST(short_control_messages_say_nothing)
{
	static const int kinds[][2] = { { SOL_SOCKET, SCM_RIGHTS },     { SOL_SOCKET, SCM_CREDENTIALS },
					{ IPPROTO_IP, IP_PKTINFO },     { IPPROTO_IPV6, IPV6_PKTINFO },
					{ IPPROTO_IP, IP_TTL },         { IPPROTO_IPV6, IPV6_HOPLIMIT },
					{ IPPROTO_IPV6, IPV6_TCLASS },  { SOL_UDP, 104 },
					{ SOL_SOCKET, SO_TIMESTAMP },   { SOL_SOCKET, SO_TIMESTAMPNS },
					{ SOL_SOCKET, SO_TIMESTAMPING } };
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		for (size_t len = 0; len < 4; len++) {
			struct chime_cmsg c = { kinds[i][0], kinds[i][1], edge_bytes("abc", len), len, true, 0 };
			struct chime_creds creds;
			struct chime_pktinfo info;
			struct chime_stamps stamps;
			int number, fd;
			CHECK_EQ(chime_cmsg_fds(&c, &fd, 1), 0);
			CHECK(!chime_cmsg_creds(&c, &creds));
			CHECK(!chime_cmsg_pktinfo(&c, &info));
			CHECK(!chime_cmsg_hops(&c, &number));
			CHECK(!chime_cmsg_tos(&c, &number));
			CHECK(!chime_cmsg_segment(&c, &number));
			CHECK(!chime_cmsg_stamps(&c, &stamps));
		}
	}
}

/* A packet socket, which refuses flags that others ignore, receives messages one by one and many at once. */
TEST(msg_of_a_packet_socket)
{
	struct sockaddr_ll ll = { .sll_family = AF_PACKET, .sll_protocol = htons(ETHERTYPE_IP), .sll_ifindex = 1 };
	chime_addr at = { .len = sizeof ll }, to;
	chime_sock *packets, *udp;
	char room[2048];
	struct iovec iov = { room, sizeof room };
	struct chime_msg m = { .flags = 0 };
	struct chime_packet one = { .iov = &iov, .iovs = 1 };
	memcpy(&at.u, &ll, sizeof ll);
	int err = chime_open(&packets, AF_PACKET, SOCK_DGRAM, htons(ETHERTYPE_IP));
	if (err == -EPERM)
		SKIP("packet sockets need CAP_NET_RAW");
	CHECK_EQ(err, 0);
	CHECK_EQ(chime_set_timeout(packets, 60 * CHIME_SEC), 0);
	CHECK_EQ(chime_bind(packets, &at), 0);
	CHECK_EQ(chime_open(&udp, AF_INET, SOCK_DGRAM, 0), 0);
	CHECK_EQ(chime_addr_ip(&to, AF_INET, "127.0.0.1", 9), 0);
	CHECK_EQ(chime_sendto(udp, "once", 4, 0, &to), 4);
	CHECK(chime_recvmsg(packets, room, sizeof room, 0, &m) > 0);
	CHECK_EQ(chime_addr_family(&m.addr), AF_PACKET);
	CHECK_EQ(chime_sendto(udp, "twice", 5, 0, &to), 5);
	CHECK_EQ(chime_recv_many(packets, &one, 1, 0), 1);
	CHECK(one.bytes > 0);
	chime_free(&packets);
	chime_free(&udp);
}

/* A peer whose path fills its address to the last byte is answered, whichever call told of it. */
TEST(answers_to_a_path_of_108_bytes)
{
	struct sockaddr_un far = { .sun_family = AF_UNIX };
	char name[sizeof far.sun_path + 1] = "", got[4];
	chime_sock *s;
	chime_addr at, from[4], copy;
	CHECK_EQ(chdir(test_dir()), 0);
	memset(far.sun_path, 'x', sizeof far.sun_path);
	memcpy(name, far.sun_path, sizeof far.sun_path);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	CHECK_EQ(bind(fd, (struct sockaddr *)&far, sizeof far), 0);
	CHECK_EQ(chime_addr_unix(&at, "near", 4), 0);
	CHECK_EQ(chime_open(&s, AF_UNIX, SOCK_DGRAM, 0), 0);
	CHECK_EQ(chime_bind(s, &at), 0);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(sendto(fd, "q", 1, 0, &at.u.sa, at.len), 1);
	struct chime_msg m = { .flags = 0 };
	struct iovec iov = { got, sizeof got };
	struct chime_packet packet = { .iov = &iov, .iovs = 1 };
	CHECK_EQ(chime_recvfrom(s, got, sizeof got, 0, &from[0]), 1);
	CHECK_EQ(chime_recvmsg(s, got, sizeof got, 0, &m), 1);
	CHECK_EQ(chime_recv_many(s, &packet, 1, 0), 1);
	from[1] = m.addr;
	from[2] = packet.msg.addr;
	from[3] = from[0];
	struct sockaddr_storage raw = { .ss_family = 0 };
	memcpy(&raw, &far, sizeof far);
	CHECK_EQ(chime_addr_from(&from[3], (struct sockaddr *)&raw, sizeof far + 1), 0);
	for (int i = 0; i < 4; i++) {
		char text[CHIME_ADDR_TEXT];
		CHECK_EQ(chime_sendto(s, "a", 1, 0, &from[i]), 1);
		CHECK_EQ(recv(fd, got, sizeof got, 0), 1);
		CHECK(chime_addr_equal(&from[i], &from[0]));
		CHECK_EQ(chime_addr_print(&from[i], text, sizeof text), 2 + sizeof far.sun_path);
		CHECK_EQ(chime_addr_parse(&copy, text), -ENAMETOOLONG);
	}
	close(fd);
	chime_free(&s);
	unlink(name);
}

TEST_MAIN()
