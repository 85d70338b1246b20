/* create_server: Python's rules for addresses in use, families and ports. */
#include <chime/connect.h>
#include <runner/test.h>

#include <errno.h>
#include <netinet/tcp.h>
#include <unistd.h>

static int option(chime_sock *s, int level, int name)
{
	int value = -1;
	CHECK_EQ(chime_getsockopt_int(s, level, name, &value), 0);
	return value;
}

/* It listens, on the port that it was given or found, with SO_REUSEADDR and without SO_REUSEPORT. */
TEST(server_listens)
{
	chime_sock *l, *c, *a;
	chime_addr at;
	CHECK_EQ(chime_create_server(&l, AF_INET, NULL, 0, -1, false, false), 0);
	CHECK_EQ(chime_getsockname(l, &at), 0);
	CHECK(chime_addr_is_any(&at));
	CHECK(chime_addr_port(&at) > 0);
	CHECK_EQ(option(l, SOL_SOCKET, SO_ACCEPTCONN), 1);
	CHECK_EQ(option(l, SOL_SOCKET, SO_REUSEADDR), 1);
	CHECK_EQ(option(l, SOL_SOCKET, SO_REUSEPORT), 0);
	CHECK_EQ(chime_create_connection(&c, "127.0.0.1", chime_addr_port(&at), NULL), 0);
	CHECK_EQ(chime_accept(l, &a, NULL), 0);
	chime_free(&a);
	chime_free(&c);
	chime_free(&l);
}

/* The kernel tells a listener's backlog where a connection has something else. */
static unsigned backlog_of(chime_sock *l)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof info;
	CHECK_EQ(chime_getsockopt(l, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
	return info.tcpi_sacked;
}

/* The kernel is told what was said, and 0 for less. */
TEST(listen_says_how_many_may_wait)
{
	chime_sock *l;
	CHECK_EQ(chime_open(&l, AF_INET, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_listen(l, 7), 0);
	CHECK_EQ(backlog_of(l), 7);
	CHECK_EQ(chime_listen(l, -3), 0);
	CHECK_EQ(backlog_of(l), 0);
	chime_free(&l);
}

/* As many may wait as was said, or Python's number. */
TEST(server_has_the_backlog_that_was_said)
{
	chime_sock *l;
	CHECK_EQ(chime_create_server(&l, AF_INET, NULL, 0, -1, false, false), 0);
	CHECK_EQ(backlog_of(l), CHIME_BACKLOG);
	chime_free(&l);
	CHECK_EQ(chime_create_server(&l, AF_INET, NULL, 0, 7, false, false), 0);
	CHECK_EQ(backlog_of(l), 7);
	chime_free(&l);
}

/* A port can be served again right after its server has ended with connections open, and not while it has not. */
TEST(server_restarts_at_once_but_not_twice)
{
	chime_sock *l, *c, *a, *again;
	chime_addr at;
	CHECK_EQ(chime_create_server(&l, AF_INET, "127.0.0.1", 0, -1, false, false), 0);
	CHECK_EQ(chime_getsockname(l, &at), 0);
	CHECK_EQ(chime_create_connection(&c, "127.0.0.1", chime_addr_port(&at), NULL), 0);
	CHECK_EQ(chime_accept(l, &a, NULL), 0);
	CHECK_EQ(chime_create_server(&again, AF_INET, "127.0.0.1", chime_addr_port(&at), -1, false, false),
		 -EADDRINUSE);
	CHECK_PTR(again, NULL);
	chime_free(&a); /* the server's end closes first: its port is in TIME_WAIT */
	chime_free(&l);
	CHECK_EQ(chime_create_server(&again, AF_INET, "127.0.0.1", chime_addr_port(&at), -1, false, false), 0);
	chime_free(&again);
	chime_free(&c);
}

/* reuse_port: two servers share a port when both say so. */
TEST(server_shares_a_port_when_asked)
{
	chime_sock *a, *b;
	chime_addr at;
	CHECK_EQ(chime_create_server(&a, AF_INET, "127.0.0.1", 0, 5, true, false), 0);
	CHECK_EQ(option(a, SOL_SOCKET, SO_REUSEPORT), 1);
	CHECK_EQ(chime_getsockname(a, &at), 0);
	CHECK_EQ(chime_create_server(&b, AF_INET, "127.0.0.1", chime_addr_port(&at), 5, true, false), 0);
	chime_free(&a);
	chime_free(&b);
}

/* IPv6 alone, unless dual stack is asked for: then IPv4 peers come as mapped addresses. */
TEST(server_is_dual_stack_only_when_asked)
{
	chime_sock *l, *c, *a;
	chime_addr at, peer;
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK_EQ(chime_has_dualstack_ipv6(), fd >= 0);
	if (fd < 0)
		SKIP("no IPv6 here");
	close(fd);
	CHECK_EQ(chime_create_server(&l, AF_INET6, "", 0, -1, false, false), 0);
	CHECK_EQ(option(l, IPPROTO_IPV6, IPV6_V6ONLY), 1);
	CHECK_EQ(chime_getsockname(l, &at), 0);
	CHECK_EQ(chime_create_connection(&c, "127.0.0.1", chime_addr_port(&at), NULL), -ECONNREFUSED);
	chime_free(&l);
	CHECK_EQ(chime_create_server(&l, AF_INET6, "", 0, -1, false, true), 0);
	CHECK_EQ(option(l, IPPROTO_IPV6, IPV6_V6ONLY), 0);
	CHECK_EQ(chime_getsockname(l, &at), 0);
	CHECK_EQ(chime_create_connection(&c, "127.0.0.1", chime_addr_port(&at), NULL), 0);
	CHECK_EQ(chime_accept(l, &a, &peer), 0);
	CHECK_EQ(chime_addr_family(&peer), AF_INET6);
	peer = chime_addr_unmap(&peer);
	CHECK_EQ(chime_addr_family(&peer), AF_INET);
	chime_free(&a);
	chime_free(&c);
	chime_free(&l);
}

/* What makes no sense is refused, and no descriptor stays (the runner looks). */
TEST(server_refuses_nonsense)
{
	chime_sock *l;
	CHECK_EQ(chime_create_server(&l, AF_UNIX, "", 0, -1, false, false), -EAFNOSUPPORT);
	CHECK_EQ(chime_create_server(&l, AF_INET, "", 0, -1, false, true), -EINVAL);
	CHECK_EQ(chime_create_server(&l, AF_INET, "", 65536, -1, false, false), -ERANGE);
	CHECK_EQ(chime_create_server(&l, AF_INET, "192.0.2.1", 0, -1, false, false), -EADDRNOTAVAIL);
	CHECK_PTR(l, NULL);
}

/* A listener of create_server has the default timeout. */
TEST(server_has_the_default_timeout)
{
	chime_sock *l, *out;
	CHECK_EQ(chime_set_default_timeout(20 * CHIME_MSEC), 0);
	CHECK_EQ(chime_create_server(&l, AF_INET, "127.0.0.1", 0, -1, false, false), 0);
	CHECK_EQ(chime_timeout(l), 20 * CHIME_MSEC);
	CHECK_EQ(chime_accept(l, &out, NULL), CHIME_ETIMEOUT);
	chime_free(&l);
}

TEST_MAIN()
