/* Who allocates: the calls whose headers say so, and no other. alloc_values.c has the calls that ask the system nothing. */
#include "net/alloc.h"

#include <chime/connect.h>
#include <chime/errqueue.h>
#include <chime/kind.h>
#include <chime/multicast.h>
#include <chime/names.h>
#include <chime/opt.h>
#include <chime/stamp.h>
#include <chime/stream.h>
#include <chime/tipc.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

static void pair_of(chime_sock *p[2], int type, int64_t limit)
{
	CHECK_EQ(chime_socketpair(p, AF_UNIX, type, 0), 0);
	CHECK_EQ(chime_set_timeout(p[0], limit), 0);
	CHECK_EQ(chime_set_timeout(p[1], limit), 0);
}

static void free_pair(chime_sock *p[2])
{
	chime_free(&p[0]);
	chime_free(&p[1]);
}

static void each_stream_call(int64_t limit)
{
	char b[256] = "hello", text[64];
	size_t got;
	int fds[2] = { 0, 1 };
	size_t n = 2;
	chime_sock *p[2];
	struct iovec iov[2] = { { b, 2 }, { b + 2, 3 } };
	struct chime_msg m = { .control = { text, sizeof text, 0 } };
	pair_of(p, SOCK_STREAM, limit);
	FREE_OF_IT(chime_send(p[0], b, 5, 0));
	FREE_OF_IT(chime_recv(p[1], b, 5, 0));
	FREE_OF_IT(chime_sendall(p[0], b, 5, 0, &got));
	FREE_OF_IT(chime_recv_exact(p[1], b, 5, 0, &got));
	FREE_OF_IT(chime_sendmsg(p[0], iov, 2, 0, NULL));
	FREE_OF_IT(chime_recvmsg(p[1], b, 5, 0, &m));
	FREE_OF_IT(chime_sendmsg(p[0], iov, 2, 0, NULL));
	FREE_OF_IT(chime_recvmsg_into(p[1], iov, 2, 0, NULL));
	FREE_OF_IT(chime_send_fds(p[0], b, 5, fds, 2, 0, NULL));
	FREE_OF_IT(chime_recv_fds(p[1], b, 5, fds, &n, 0, NULL, NULL));
	CHECK_EQ(n, 2);
	close(fds[0]);
	close(fds[1]);
	if (limit != 0) {
		int file = memfd_create("alloc", MFD_CLOEXEC);
		CHECK_EQ(write(file, b, 5), 5);
		FREE_OF_IT(chime_sendfile(p[0], file, 0, -1, NULL));
		FREE_OF_IT(chime_recv(p[1], b, 5, 0));
		close(file);
	}
	struct chime_creds creds;
	FREE_OF_IT(chime_peer_creds(p[0], &creds));
	FREE_OF_IT(chime_shutdown(p[0], SHUT_WR));
	FREE_OF_IT(chime_recv(p[1], b, 5, 0));
	free_pair(p);
}

/* Streams: no call on data allocates, in any of the three modes. */
TEST(stream_calls)
{
	check_counter();
	each_stream_call(CHIME_FOREVER);
	each_stream_call(0);
	each_stream_call(5 * CHIME_SEC);
}

/* What was sent is on its way until then. */
static void await_datagram(const chime_sock *s)
{
	struct pollfd p = { chime_fileno(s), POLLIN, 0 };
	CHECK_EQ(poll(&p, 1, 50000), 1);
}

static void each_datagram_call(int64_t limit)
{
	char b[2][3000] = { "one", "two" };
	chime_sock *p[2];
	chime_addr at, from;
	struct chime_stamps stamps;
	size_t size;
	struct iovec iov[2] = { { b[0], 3 }, { b[1], 3 } };
	struct chime_packet many[2] = { { .iov = &iov[0], .iovs = 1 }, { .iov = &iov[1], .iovs = 1 } };
	CHECK_EQ(chime_addr_ip(&at, AF_INET, "127.0.0.1", 0), 0);
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(chime_open(&p[i], AF_INET, SOCK_DGRAM, 0), 0);
		FREE_OF_IT(chime_bind(p[i], &at));
		FREE_OF_IT(chime_set_timeout(p[i], limit));
	}
	FREE_OF_IT(chime_getsockname(p[1], &at));
	FREE_OF_IT(chime_sendto(p[0], b[0], 3, 0, &at));
	await_datagram(p[1]);
	FREE_OF_IT(chime_recvfrom(p[1], b[1], 3, 0, &from));
	FREE_OF_IT(chime_connect(p[0], &at));
	FREE_OF_IT(chime_getpeername(p[0], &from));
	FREE_OF_IT(chime_send_many(p[0], many, 2, 0));
	await_datagram(p[1]);
	FREE_OF_IT(chime_recv_many(p[1], many, 2, 0));
	if (chime_timestamping(p[1], CHIME_STAMP_RX) == 0) {
		FREE_OF_IT(chime_timestamping(p[0], CHIME_STAMP_TX));
		FREE_OF_IT(chime_send(p[0], "x", 1, 0));
		await_datagram(p[1]);
		FREE_OF_IT(chime_recv_stamped(p[1], b[0], 10, 0, &stamps, &from));
		struct chime_queued q;
		if (limit != 0)
			FREE_OF_IT(chime_recv_queued(p[0], &q, 0));
	}
	FREE_OF_IT(chime_send_segments(p[0], b[0], 3000, 1000, 0, NULL));
	FREE_OF_IT(chime_set_gro(p[1], true));
	await_datagram(p[1]);
	FREE_OF_IT(chime_recv_segments(p[1], b[0], sizeof b, &size, 0, &from));
	int returned;
	FREE_OF_IT(chime_send(p[0], b[0], 3, 0));
	await_datagram(p[1]);
	FREE_OF_IT(chime_tipc_recv(p[1], b[0], sizeof b[0], &from, &returned));
	if (chime_setsockopt_int(p[0], SOL_SOCKET, SO_ZEROCOPY, 1) == 0)
		FREE_OF_IT(chime_send_zerocopy(p[0], b[0], 3, 0));
	free_pair(p);
}

/* Datagrams: addresses, many at once, segments, stamps. */
TEST(datagram_calls)
{
	check_counter();
	each_datagram_call(CHIME_FOREVER);
	each_datagram_call(0);
	each_datagram_call(5 * CHIME_SEC);
}

/* A call that waits in vain, its sentence, and an error of the system: nothing is allocated for any of it. */
TEST(waits_and_failures)
{
	char b[8], why[200];
	chime_sock *p[2], *s, *out;
	chime_addr at;
	check_counter();
	pair_of(p, SOCK_STREAM, 10 * CHIME_MSEC);
	FREE_IN_FAILURE(chime_recv(p[0], b, sizeof b, 0));
	FREE_IN_FAILURE(chime_recv_exact(p[0], b, sizeof b, 0, NULL));
	FREE_OF_IT(chime_last_error(p[0], why, sizeof why));
	FREE_OF_IT(chime_close(p[1]));
	FREE_IN_FAILURE(chime_send(p[0], b, 1, 0));
	free_pair(p);
	CHECK_EQ(chime_addr_ip(&at, AF_INET, "127.0.0.1", 0), 0);
	CHECK_EQ(chime_open(&s, AF_INET, SOCK_STREAM, 0), 0);
	FREE_OF_IT(chime_bind(s, &at));
	FREE_OF_IT(chime_getsockname(s, &at));
	CHECK_EQ(chime_open(&out, AF_INET, SOCK_STREAM, 0), 0);
	FREE_IN_FAILURE(chime_connect(out, &at));
	FREE_OF_IT(chime_connect_ex(out, &at));
	chime_free(&out);
	FREE_OF_IT(chime_listen(s, 1));
	FREE_OF_IT(chime_set_timeout(s, 10 * CHIME_MSEC));
	FREE_IN_FAILURE(chime_accept(s, &out, NULL));
	FREE_IN_FAILURE(chime_getpeername(s, &at));
	chime_free(&s);
}

static int no_signal_stops(void *arg)
{
	(void)arg;
	return 0;
}

/* What a handle is, what all handles have in common, and descriptors without one. */
TEST(handles_and_descriptors)
{
	chime_sock *p[2];
	int fd;
	check_counter();
	FREE_OF_IT(chime_set_default_timeout(CHIME_SEC));
	FREE_OF_IT(chime_default_timeout());
	armed = true;
	chime_set_interrupted(no_signal_stops, NULL);
	chime_set_interrupted(NULL, NULL);
	told("chime_set_interrupted");
	pair_of(p, SOCK_STREAM, CHIME_SEC);
	FREE_OF_IT(chime_fileno(p[0]));
	FREE_OF_IT(chime_family(p[0]));
	FREE_OF_IT(chime_type(p[0]));
	FREE_OF_IT(chime_proto(p[0]));
	FREE_OF_IT(chime_timeout(p[0]));
	FREE_OF_IT(chime_blocking(p[0]));
	FREE_OF_IT(fd = chime_detach(p[0]));
	FREE_OF_IT(chime_fd_close(fd));
	FREE_OF_IT(fd = chime_fd_dup(chime_fileno(p[1])));
	FREE_OF_IT(chime_fd_close(fd));
	FREE_OF_IT(chime_has_dualstack_ipv6());
	armed = true;
	chime_free(&p[0]);
	chime_free(&p[1]);
	told("chime_free");
}

/* Groups of either kind, joined and left. */
TEST(groups)
{
	chime_sock *s;
	chime_addr group, source;
	unsigned lo = (unsigned)chime_if_nametoindex("lo");
	check_counter();
	CHECK_EQ(chime_open(&s, AF_INET, SOCK_DGRAM, 0), 0);
	CHECK_EQ(chime_addr_ip(&group, AF_INET, "232.1.2.3", 0), 0);
	CHECK_EQ(chime_addr_ip(&source, AF_INET, "127.0.0.1", 0), 0);
	FREE_OF_IT(chime_join_group(s, &group, lo));
	FREE_OF_IT(chime_leave_group(s, &group, lo));
	FREE_OF_IT(chime_join_source(s, &group, &source, lo));
	FREE_OF_IT(chime_leave_source(s, &group, &source, lo));
	FREE_IN_FAILURE(chime_leave_group(s, &group, lo));
	FREE_OF_IT(chime_set_multicast_if(s, lo));
	FREE_OF_IT(chime_set_multicast_hops(s, 2));
	FREE_OF_IT(chime_set_multicast_loop(s, false));
	FREE_OF_IT(chime_set_broadcast(s, true));
	chime_free(&s);
}

/* Options by number and by name, flags, limits. */
TEST(options)
{
	chime_sock *s;
	char text[64];
	int value;
	int64_t number;
	struct linger linger;
	socklen_t len = sizeof linger;
	check_counter();
	CHECK_EQ(chime_open(&s, AF_INET, SOCK_STREAM, 0), 0);
	FREE_OF_IT(chime_setsockopt_int(s, IPPROTO_TCP, TCP_NODELAY, 1));
	FREE_OF_IT(chime_getsockopt_int(s, IPPROTO_TCP, TCP_NODELAY, &value));
	FREE_OF_IT(chime_getsockopt(s, SOL_SOCKET, SO_LINGER, &linger, &len));
	FREE_OF_IT(chime_setsockopt(s, SOL_SOCKET, SO_LINGER, &linger, len));
	FREE_OF_IT(chime_set_inheritable(s, true));
	FREE_OF_IT(chime_inheritable(s));
	FREE_OF_IT(chime_set_blocking(s, false));
	FREE_OF_IT(chime_set_timeout(s, CHIME_SEC));
	for (const struct chime_opt *o = chime_opt_table(); o->name; o++) {
		FREE_OF_IT(chime_opt_find(o->name) == o);
		FREE_OF_IT(chime_opt_find_number(o->level, o->option) == o);
		FREE_OF_IT(chime_opt_level_name(o->level) != NULL);
		FREE_ANYHOW(chime_opt_get(s, o, &number) == 0 && chime_opt_set(s, o, number));
		FREE_ANYHOW(chime_opt_get_text(s, o, text, sizeof text) > 0 && chime_opt_set_text(s, o, text));
	}
	chime_free(&s);
}

/* A buffered stream allocates when it is made, and nothing later. */
TEST(buffered_streams)
{
	chime_sock *p[2];
	chime_stream *st[2];
	char line[100];
	size_t got;
	check_counter();
	pair_of(p, SOCK_STREAM, 5 * CHIME_SEC);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(chime_stream_new(&st[i], p[i], 256), 0);
	FREE_OF_IT(chime_stream_printf(st[0], "line %d\nmore", 7));
	FREE_OF_IT(chime_stream_write(st[0], "123", 3, &got));
	FREE_OF_IT(chime_stream_flush(st[0]));
	FREE_OF_IT(chime_stream_read_line(st[1], line, sizeof line));
	FREE_OF_IT(chime_stream_buffered(st[1]));
	FREE_OF_IT(chime_stream_read_exact(st[1], line, 4, &got));
	FREE_OF_IT(chime_stream_read(st[1], line, 3));
	for (int i = 0; i < 2; i++)
		FREE_OF_IT(chime_stream_free(&st[i]));
	free_pair(p);
}

/* Targets without a look-up, and trying a kind of socket. */
TEST(numeric_targets_and_kinds)
{
	struct chime_target t[4];
	char why[256];
	check_counter();
	FREE_OF_IT(chime_resolve("127.0.0.1", 80, AF_UNSPEC, SOCK_STREAM, IPPROTO_TCP, false, CHIME_SEC, t, 4));
	FREE_OF_IT(chime_resolve("", 80, AF_UNSPEC, SOCK_STREAM, IPPROTO_TCP, true, CHIME_SEC, t, 4));
	FREE_OF_IT(chime_targets_order(t, 2));
	FREE_OF_IT(chime_kind_try(chime_kind_find(AF_UNIX, SOCK_STREAM, 0), why, sizeof why));
	for (const struct chime_kind *k = chime_kind_table(); k->family_name; k++)
		FREE_ANYHOW(chime_kind_try(k, why, sizeof why));
	chime_endpoint e;
	CHECK_EQ(chime_endpoint_parse(&e, "tcp://127.0.0.1:9", NULL, NULL, NULL), 0);
	FREE_OF_IT(chime_endpoint_resolve(&e, false, CHIME_SEC, t, 4));
	FREE_OF_IT(chime_getnameinfo(&t[0].addr, NI_NUMERICHOST | NI_NUMERICSERV, CHIME_SEC, why, sizeof why, NULL, 0));
	FREE_OF_IT(chime_if_nametoindex("lo"));
	FREE_OF_IT(chime_if_indextoname((unsigned)chime_if_nametoindex("lo"), why));
	FREE_OF_IT(chime_gethostname(why, sizeof why));
	FREE_ANYHOW(chime_sethostname(why));
}

/* A handle is one allocation, whatever makes it: calls that say so, and give one. */
TEST(handles_are_one_allocation)
{
	chime_sock *s, *d, *p[2], *l, *c, *a;
	chime_addr at;
	check_counter();
	armed = true;
	CHECK_EQ(chime_open(&s, AF_UNIX, SOCK_STREAM, 0), 0);
	CHECK_EQ(count, 1);
	CHECK_EQ(chime_dup(s, &d), 0);
	CHECK_EQ(count, 2);
	CHECK_EQ(chime_socketpair(p, AF_UNIX, SOCK_STREAM, 0), 0);
	CHECK_EQ(count, 4);
	CHECK_EQ(chime_create_server(&l, AF_INET, "127.0.0.1", 0, 1, false, false), 0);
	CHECK_EQ(count, 5);
	CHECK_EQ(chime_getsockname(l, &at), 0);
	CHECK_EQ(chime_create_connection(&c, "127.0.0.1", chime_addr_port(&at), NULL), 0);
	CHECK_EQ(count, 6);
	CHECK_EQ(chime_accept(l, &a, NULL), 0);
	CHECK_EQ(count, 7);
	chime_free(&c);
	chime_free(&a);
	chime_free(&l);
	CHECK_EQ(chime_from_fd(&c, chime_fd_dup(chime_fileno(s))), 0);
	CHECK_EQ(count, 8);
	armed = false;
	chime_free(&c);
	chime_free(&s);
	chime_free(&d);
	free_pair(p);
}

TEST_MAIN()
