/* Kernel stamps and the error queue: stamps of what is received and sent, zero-copy completions, errors of the network. */
#include "net/sock.h"

#include <chime/connect.h>
#include <chime/errqueue.h>
#include <runner/test.h>

#include <errno.h>
#include <linux/errqueue.h>
#include <linux/if_packet.h>
#include <linux/net_tstamp.h>
#include <stdlib.h>

static chime_sock *p[2];
static char buf[1 << 16];

static void open_udp(void)
{
	chime_addr at;
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(chime_open(&p[i], AF_INET, SOCK_DGRAM, 0), 0);
		CHECK_EQ(chime_addr_ip(&at, AF_INET, "127.0.0.1", 0), 0);
		CHECK_EQ(chime_bind(p[i], &at), 0);
		CHECK_EQ(chime_set_timeout(p[i], 60 * CHIME_SEC), 0);
	}
	CHECK_EQ(chime_getsockname(p[1], &at), 0);
	CHECK_EQ(chime_connect(p[0], &at), 0);
}

static void open_tcp(void)
{
	chime_sock *l;
	chime_addr at;
	CHECK_EQ(chime_create_server(&l, AF_INET, "127.0.0.1", 0, -1, false, false), 0);
	CHECK_EQ(chime_getsockname(l, &at), 0);
	CHECK_EQ(chime_open(&p[0], AF_INET, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_connect(p[0], &at), 0);
	CHECK_EQ(chime_accept(l, &p[1], NULL), 0);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(chime_set_timeout(p[i], 60 * CHIME_SEC), 0);
	chime_free(&l);
}

static void close_both(void)
{
	chime_free(&p[0]);
	chime_free(&p[1]);
}

/* Received stamps lie between sending and receiving; without the call there are none. */
TEST(receive_stamps)
{
	struct chime_stamps st = { 1, 1 };
	chime_addr from, me;
	open_udp();
	CHECK_EQ(chime_getsockname(p[0], &me), 0);
	CHECK_EQ(chime_send(p[0], "x", 1, 0), 1);
	CHECK_EQ(chime_recv_stamped(p[1], buf, sizeof buf, 0, &st, NULL), 1);
	CHECK_EQ(st.software_ns, 0);
	CHECK_EQ(chime_timestamping(p[1], CHIME_STAMP_RX), 0);
	/* The kernel begins in the background. */
	for (int64_t until = test_now() + 60 * CHIME_SEC; st.software_ns == 0 && test_now() < until;) {
		CHECK_EQ(chime_send(p[0], "x", 1, 0), 1);
		CHECK_EQ(chime_recv_stamped(p[1], buf, sizeof buf, 0, &st, NULL), 1);
	}
	for (int i = 0; i < 5; i++) {
		int64_t before = chime_now_real();
		CHECK_EQ(chime_send(p[0], "x", 1, 0), 1);
		CHECK_EQ(chime_recv_stamped(p[1], buf, sizeof buf, 0, &st, &from), 1);
		CHECK_IN(st.software_ns, before, chime_now_real());
		CHECK(chime_addr_equal(&from, &me));
	}
	CHECK_EQ(chime_timestamping(p[1], 64), -EINVAL);
	close_both();
}

/* What is asked for is what the kernel then has: each stamp by its flags, numbers and no data with those of what is sent, else nothing. */
TEST(stamps_are_asked_for_by_their_flags)
{
	enum {
		SOFT = SOF_TIMESTAMPING_SOFTWARE,
		NUMBERS = SOF_TIMESTAMPING_OPT_ID | SOF_TIMESTAMPING_OPT_TSONLY
	};
	static const struct {
		unsigned ours;
		int system;
	} cases[] = {
		{ CHIME_STAMP_RX, SOFT | SOF_TIMESTAMPING_RX_SOFTWARE },
		{ CHIME_STAMP_TX, SOFT | NUMBERS | SOF_TIMESTAMPING_TX_SOFTWARE },
		{ CHIME_STAMP_TX_SCHED, SOFT | NUMBERS | SOF_TIMESTAMPING_TX_SCHED },
		{ CHIME_STAMP_RX | CHIME_STAMP_HARDWARE,
		  SOFT | SOF_TIMESTAMPING_RAW_HARDWARE | SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_RX_HARDWARE },
		{ CHIME_STAMP_TX | CHIME_STAMP_HARDWARE, SOFT | NUMBERS | SOF_TIMESTAMPING_RAW_HARDWARE |
								 SOF_TIMESTAMPING_TX_SOFTWARE |
								 SOF_TIMESTAMPING_TX_HARDWARE },
		{ 0, 0 },
	};
	open_udp();
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		int value = -1;
		CHECK_EQ(chime_timestamping(p[0], cases[i].ours), 0);
		CHECK_EQ(chime_getsockopt_int(p[0], SOL_SOCKET, SO_TIMESTAMPING, &value), 0);
		CHECK_EQ(value, cases[i].system);
	}
	close_both();
}

/* Sent stamps are numbered from 0 in order, each stage by itself, and lie behind the send. */
TEST(transmit_stamps)
{
	unsigned next = 0, scheds = 0;
	open_udp();
	CHECK_EQ(chime_timestamping(p[0], CHIME_STAMP_TX | CHIME_STAMP_TX_SCHED), 0);
	int64_t before = chime_now_real();
	for (int i = 0; i < 3; i++)
		CHECK_EQ(chime_send(p[0], "hello", 5, 0), 5);
	while (next < 3) {
		struct chime_queued q;
		int err = chime_recv_queued(p[0], &q, 0);
		CHECK_EQ(err, 0);
		CHECK_EQ(q.kind, CHIME_QUEUED_STAMP);
		CHECK_IN(q.stamps.software_ns, before, chime_now_real());
		if (q.stage == CHIME_STAMP_TX_SCHED) {
			CHECK_EQ(q.number, scheds++);
		} else {
			CHECK_EQ(q.stage, CHIME_STAMP_TX);
			CHECK_EQ(q.number, next++);
		}
	}
	struct chime_queued none;
	while (chime_recv_queued(p[0], &none, MSG_DONTWAIT) == 0)
		CHECK_EQ(none.stage, CHIME_STAMP_TX_SCHED);
	CHECK_EQ(chime_recv_queued(p[0], &none, MSG_DONTWAIT), -EAGAIN);
	CHECK_EQ(chime_recv(p[1], buf, sizeof buf, 0), 5);
	close_both();
}

/* TCP tells when the peer had everything up to an offset. */
TEST(acknowledgement_stamps)
{
	struct chime_queued q;
	open_tcp();
	CHECK_EQ(chime_timestamping(p[0], CHIME_STAMP_TX_ACK), 0);
	int64_t before = chime_now_real();
	CHECK_EQ(chime_send(p[0], "hello", 5, 0), 5);
	CHECK_EQ(chime_recv_queued(p[0], &q, 0), 0);
	CHECK_EQ(q.stage, CHIME_STAMP_TX_ACK);
	CHECK_EQ(q.number, 4);
	CHECK_IN(q.stamps.software_ns, before, chime_now_real());
	close_both();
}

/* Nothing in the queue: the three modes, as everywhere. */
TEST(queue_waits_as_the_socket_does)
{
	struct chime_queued q;
	open_udp();
	CHECK_EQ(chime_set_timeout(p[0], 30 * CHIME_MSEC), 0);
	int64_t start = test_now();
	CHECK_EQ(chime_recv_queued(p[0], &q, 0), CHIME_ETIMEOUT);
	CHECK_IN(test_now() - start, 30 * CHIME_MSEC, 50 * CHIME_SEC);
	CHECK_EQ(chime_set_timeout(p[0], 0), 0);
	CHECK_EQ(chime_recv_queued(p[0], &q, 0), -EAGAIN);
	/* Data that waits to be received is not what it waits for. */
	CHECK_EQ(chime_set_timeout(p[1], 30 * CHIME_MSEC), 0);
	CHECK_EQ(chime_send(p[0], "x", 1, 0), 1);
	CHECK_EQ(chime_recv_queued(p[1], &q, 0), CHIME_ETIMEOUT);
	close_both();
	/* A connection that is gone in both directions ends the wait. */
	open_tcp();
	CHECK_EQ(chime_shutdown(p[0], SHUT_RDWR), 0);
	chime_free(&p[1]);
	CHECK_EQ(chime_recv_queued(p[0], &q, 0), -EPIPE);
	close_both();
}

/* Each zero-copy send has its number, and its completion says so; the bytes are the peer's. */
TEST(zero_copy_completions)
{
	static char big[20000], got[60000];
	open_tcp();
	int err = chime_setsockopt_int(p[0], SOL_SOCKET, SO_ZEROCOPY, 1);
	if (err == -EOPNOTSUPP || err == -ENOPROTOOPT)
		SKIP("no zero-copy here: %s", chime_errname(err));
	CHECK_EQ(err, 0);
	for (size_t i = 0; i < sizeof big; i++)
		big[i] = (char)test_random();
	ssize_t total = 0;
	for (int i = 0; i < 3; i++) {
		ssize_t n = chime_send_zerocopy(p[0], big, sizeof big, 0);
		CHECK_IN(n, 1, sizeof big);
		size_t have = 0;
		CHECK_EQ(chime_recv_exact(p[1], got, (size_t)n, 0, &have), 0);
		CHECK_MEM(got, big, (size_t)n);
		total += n;
	}
	CHECK_IN(total, 3, 3 * sizeof big);
	for (uint32_t next = 0; next < 3;) {
		struct chime_queued q;
		CHECK_EQ(chime_recv_queued(p[0], &q, 0), 0);
		CHECK_EQ(q.kind, CHIME_QUEUED_ZEROCOPY);
		CHECK_EQ(q.number, next);
		CHECK_IN(q.last, next, 2);
		next = q.last + 1;
	}
	close_both();
}

/* An error of the network says what, about whom, and who complained. */
TEST(errors_of_the_network)
{
	struct chime_queued q;
	chime_addr there;
	open_udp();
	CHECK_EQ(chime_getpeername(p[0], &there), 0);
	CHECK_EQ(chime_setsockopt_int(p[0], IPPROTO_IP, IP_RECVERR, 1), 0);
	chime_free(&p[1]);
	CHECK_EQ(chime_send(p[0], "x", 1, 0), 1);
	CHECK_EQ(chime_recv_queued(p[0], &q, 0), 0);
	CHECK_EQ(q.kind, CHIME_QUEUED_ERROR);
	CHECK_EQ(q.error, -ECONNREFUSED);
	CHECK_EQ(q.origin, SO_EE_ORIGIN_ICMP);
	CHECK_EQ(q.icmp_type, 3);
	CHECK_EQ(q.icmp_code, 3);
	CHECK(chime_addr_equal(&q.about, &there));
	CHECK(chime_addr_is_loopback(&q.offender));
	close_both();
}

/* A socket without such a queue says so, and what it was sent stays there to be received. */
TEST(sockets_without_a_queue)
{
	static const int types[] = { SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET };
	struct chime_queued q;
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(chime_socketpair(p, AF_UNIX, types[i], 0), 0);
		CHECK_EQ(chime_send(p[0], "abc", 3, 0), 3);
		CHECK_EQ(chime_recv_queued(p[1], &q, 0), -EOPNOTSUPP);
		CHECK_EQ(chime_recv(p[1], buf, sizeof buf, 0), 3);
		close_both();
	}
}

/* One of packets has one. */
TEST(queue_of_a_packet_socket)
{
	struct chime_queued q;
	int err = chime_open(&p[0], AF_PACKET, SOCK_RAW, 0);
	if (err < 0)
		SKIP("no packet sockets here: %s", chime_errname(err));
	CHECK_EQ(chime_set_timeout(p[0], 0), 0);
	CHECK_EQ(chime_recv_queued(p[0], &q, 0), -EAGAIN);
	close_both();
}

/* Sockets that have none say so, before their data could be taken for it. */
TEST(queue_of_who_has_none)
{
	struct chime_queued q;
	CHECK_EQ(chime_socketpair(p, AF_UNIX, SOCK_DGRAM, 0), 0);
	CHECK_EQ(chime_send(p[1], "x", 1, 0), 1);
	CHECK_EQ(chime_recv_queued(p[0], &q, 0), -EOPNOTSUPP);
	CHECK_EQ(chime_recv(p[0], buf, 1, 0), 1);
	close_both();
	open_tcp();
	p[0]->proto = IPPROTO_SCTP; /* which not every kernel has */
	CHECK_EQ(chime_send(p[1], "x", 1, 0), 1);
	CHECK_EQ(chime_recv_queued(p[0], &q, MSG_DONTWAIT), -EOPNOTSUPP);
	CHECK_EQ(chime_recv(p[0], buf, 1, 0), 1);
	close_both();
}

/* Descriptors that a peer sends to who asks for stamps are closed. */
TEST(stamps_leave_no_descriptors)
{
	struct chime_stamps st;
	const int fds[3] = { 0, 1, 2 };
	CHECK_EQ(chime_socketpair(p, AF_UNIX, SOCK_DGRAM, 0), 0);
	CHECK_EQ(chime_send_fds(p[0], "x", 1, fds, 3, 0, NULL), 1);
	int next = chime_fd_dup(0);
	CHECK_EQ(chime_fd_close(next), 0);
	CHECK_EQ(chime_recv_stamped(p[1], buf, sizeof buf, 0, &st, NULL), 1);
	CHECK_EQ(chime_fd_dup(0), next);
	CHECK_EQ(chime_fd_close(next), 0);
	close_both();
}

/* Only TCP acknowledges. */
TEST(acknowledgements_are_of_tcp)
{
	open_udp();
	CHECK_EQ(chime_timestamping(p[0], CHIME_STAMP_TX_ACK), -EINVAL);
	close_both();
	CHECK_EQ(chime_open(&p[0], AF_INET, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_timestamping(p[0], CHIME_STAMP_TX), -EINVAL); /* not connected */
	CHECK_EQ(chime_timestamping(p[0], CHIME_STAMP_RX), 0);
	close_both();
	open_tcp();
	p[0]->proto = IPPROTO_SCTP; /* which not every kernel has */
	CHECK_EQ(chime_timestamping(p[0], CHIME_STAMP_TX_ACK), -EINVAL);
	close_both();
}

/* A stream's numbers count from the asking, whatever the peer had not acknowledged by then. */
TEST(numbers_begin_behind_what_is_under_way)
{
	static char big[1 << 16];
	struct chime_queued q;
	size_t sent = 0;
	chime_sock *l;
	chime_addr at;
	CHECK_EQ(chime_open(&l, AF_INET, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_setsockopt_int(l, SOL_SOCKET, SO_RCVBUF, 4096), 0);
	CHECK_EQ(chime_addr_ip(&at, AF_INET, "127.0.0.1", 0), 0);
	CHECK_EQ(chime_bind(l, &at), 0);
	CHECK_EQ(chime_listen(l, 1), 0);
	CHECK_EQ(chime_getsockname(l, &at), 0);
	CHECK_EQ(chime_open(&p[0], AF_INET, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_connect(p[0], &at), 0);
	CHECK_EQ(chime_accept(l, &p[1], NULL), 0);
	for (ssize_t n; (n = chime_send(p[0], big, sizeof big, MSG_DONTWAIT)) > 0;)
		sent += (size_t)n;
	int id_tcp = SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_OPT_ID | 1 << 16;
	if (chime_setsockopt_int(p[0], SOL_SOCKET, SO_TIMESTAMPING, id_tcp) == -EINVAL)
		SKIP("this kernel counts from what is acknowledged (before Linux 6.2)");
	CHECK_EQ(chime_timestamping(p[0], 0), 0);
	CHECK_EQ(chime_timestamping(p[0], CHIME_STAMP_TX_ACK), 0);
	while (sent > 0) {
		ssize_t n = chime_recv(p[1], buf, sent < sizeof buf ? sent : sizeof buf, 0);
		CHECK(n > 0);
		sent -= (size_t)n;
	}
	CHECK_EQ(chime_send(p[0], "0123456789", 10, 0), 10);
	CHECK_EQ(chime_recv_queued(p[0], &q, 0), 0);
	CHECK_EQ(q.number, 9);
	chime_free(&l);
	close_both();
}

/* An entry with that error in it, and behind it who complains, as the kernel puts them. */
static struct chime_queued entry(int level, int type, struct sock_extended_err e, const char *offender)
{
	char bytes[sizeof e + sizeof(struct sockaddr_in6)] = { 0 }, room[128];
	struct chime_control c;
	struct chime_cmsg m = { 0 };
	struct chime_queued q = { 0 };
	chime_addr who;
	CHECK_EQ(chime_addr_ip(&who, AF_UNSPEC, offender, 0), 0);
	memcpy(bytes, &e, sizeof e);
	memcpy(bytes + sizeof e, &who.u, who.len);
	chime_control_init(&c, room, sizeof room);
	CHECK_EQ(chime_control_add(&c, level, type, bytes, sizeof e + who.len), 0);
	CHECK(chime_control_next(&c, &m));
	CHECK(chime_cmsg_queued(&m, &q));
	return q;
}

static void offended(const struct chime_queued *q, const char *want)
{
	char text[CHIME_ADDR_TEXT];
	chime_addr_print(&q->offender, text, sizeof text);
	CHECK_STR(text, want);
}

/* What each field of an entry says. */
TEST(entries_field_by_field)
{
	struct chime_queued q;
	q = entry(IPPROTO_IP, IP_RECVERR,
		  (struct sock_extended_err){ .ee_errno = EMSGSIZE,
					      .ee_origin = SO_EE_ORIGIN_ICMP,
					      .ee_type = 3,
					      .ee_code = 4,
					      .ee_info = 1280 },
		  "192.0.2.9");
	CHECK_EQ(q.kind, CHIME_QUEUED_ERROR);
	CHECK_EQ(q.error, -EMSGSIZE);
	CHECK_EQ(q.origin, SO_EE_ORIGIN_ICMP);
	CHECK_EQ(q.icmp_type, 3);
	CHECK_EQ(q.icmp_code, 4);
	CHECK_EQ(q.info, 1280);
	offended(&q, "192.0.2.9:0");
	q = entry(IPPROTO_IPV6, IPV6_RECVERR,
		  (struct sock_extended_err){ .ee_errno = EHOSTUNREACH, .ee_origin = SO_EE_ORIGIN_ICMP6, .ee_type = 1 },
		  "2001:db8::9");
	CHECK_EQ(q.error, -EHOSTUNREACH);
	CHECK_EQ(q.origin, SO_EE_ORIGIN_ICMP6);
	offended(&q, "[2001:db8::9]:0");
	/* A code stays a code, whatever the kernel may put there. */
	q = entry(IPPROTO_IP, IP_RECVERR,
		  (struct sock_extended_err){ .ee_errno = 4096, .ee_origin = SO_EE_ORIGIN_LOCAL }, "0.0.0.0");
	CHECK_EQ(q.error, -EPROTO);
	for (int copied = 0; copied < 2; copied++) {
		q = entry(IPPROTO_IP, IP_RECVERR,
			  (struct sock_extended_err){ .ee_origin = SO_EE_ORIGIN_ZEROCOPY,
						      .ee_code = copied ? SO_EE_CODE_ZEROCOPY_COPIED : 0,
						      .ee_info = 5,
						      .ee_data = 8 },
			  "0.0.0.0");
		CHECK_EQ(q.kind, CHIME_QUEUED_ZEROCOPY);
		CHECK_EQ(q.number, 5);
		CHECK_EQ(q.last, 8);
		CHECK_EQ(q.copied, copied);
	}
	static const unsigned stages[] = { CHIME_STAMP_TX, CHIME_STAMP_TX_SCHED, CHIME_STAMP_TX_ACK };
	for (unsigned i = 0; i < 6; i++) { /* SCM_TSTAMP_SND, _SCHED, _ACK; of packet sockets too */
		bool packet = i >= 3;
		q = entry(packet ? SOL_PACKET : IPPROTO_IPV6, packet ? PACKET_TX_TIMESTAMP : IPV6_RECVERR,
			  (struct sock_extended_err){ .ee_origin = SO_EE_ORIGIN_TIMESTAMPING,
						      .ee_errno = ENOMSG,
						      .ee_info = i % 3,
						      .ee_data = 4711 },
			  "::");
		CHECK_EQ(q.kind, CHIME_QUEUED_STAMP);
		CHECK_EQ(q.stage, stages[i % 3]);
		CHECK_EQ(q.number, 4711);
	}
}

TEST_MAIN()
