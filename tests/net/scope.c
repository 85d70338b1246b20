/*
 * The scope of an IPv6 address of a link: in whatever tells an address, and by the name that the interface has. An interface whose number
 * is not 1, for loopback's is.
 */
#include <chime/connect.h>
#include <chime/msg.h>
#include <chime/names.h>
#include <runner/test.h>

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WIRE "wire56789012345" /* as long as a name can be */

static unsigned wire;
static chime_addr here; /* fe80::7 of the wire */

static void enter_net(void)
{
	if (geteuid() != 0 || unshare(CLONE_NEWNET) < 0)
		SKIP("a network namespace of one's own needs root");
	if (system("ip link set lo up && ip link add " WIRE " type veth peer name end && ip link set " WIRE
		   " up && ip link "
		   "set end up && ip addr add fe80::7/64 dev " WIRE " nodad") != 0)
		SKIP("no ip(8) here that makes a veth pair with an IPv6 address");
	wire = (unsigned)chime_if_nametoindex(WIRE);
	CHECK_IN(wire, 2, 1000);
	CHECK_EQ(chime_addr_ip(&here, AF_INET6, "fe80::7%" WIRE, 0), 0);
	CHECK_EQ(here.u.in6.sin6_scope_id, wire);
}

/* What is wanted is fe80::7 of the wire; the port does not matter. */
static void is_here(const chime_addr *a)
{
	chime_addr same = *a;
	char got[CHIME_ADDR_TEXT], want[CHIME_ADDR_TEXT];
	CHECK_EQ(chime_addr_set_port(&same, 0), 0);
	chime_addr_print(&same, got, sizeof got);
	chime_addr_print(&here, want, sizeof want);
	CHECK_STR(got, want);
}

/* An interface is known by its whole name alone, and its number. */
TEST(interfaces_by_their_whole_names)
{
	char name[CHIME_IF_NAME];
	chime_addr a;
	enter_net();
	CHECK_EQ(chime_if_indextoname(wire, name), 0);
	CHECK_STR(name, WIRE);
	CHECK_EQ(chime_if_nametoindex(WIRE "x"), -ENODEV);
	CHECK_EQ(chime_addr_ip(&a, AF_INET6, "fe80::7%" WIRE "x", 0), -ENODEV);
	CHECK_EQ(chime_addr_ip(&a, AF_INET6, "fe80::7%none", 0), -ENODEV);
}

/* A connection's addresses have it at both ends, and accept tells it. */
TEST(connections_keep_it)
{
	chime_sock *l, *s, *a;
	chime_addr at, peer;
	enter_net();
	CHECK_EQ(chime_open(&l, AF_INET6, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_bind(l, &here), 0);
	CHECK_EQ(chime_listen(l, 1), 0);
	CHECK_EQ(chime_getsockname(l, &at), 0);
	is_here(&at);
	CHECK_EQ(chime_create_connection(&s, "fe80::7%" WIRE, chime_addr_port(&at), NULL), 0);
	CHECK_EQ(chime_accept(l, &a, &peer), 0);
	is_here(&peer);
	CHECK_EQ(chime_getsockname(s, &at), 0);
	CHECK(chime_addr_equal(&at, &peer));
	CHECK_EQ(chime_getpeername(s, &peer), 0);
	is_here(&peer);
	CHECK_EQ(chime_getpeername(a, &peer), 0);
	is_here(&peer);
	chime_free(&a);
	chime_free(&s);
	chime_free(&l);
}

/* The link has just come up, and what is sent while the kernel sees to that may be lost: until one came. */
static void send_one(chime_sock *s, const chime_addr *at)
{
	struct pollfd p = { chime_fileno(s), POLLIN, 0 };
	do
		CHECK_EQ(chime_sendto(s, "x", 1, 0, at), 1);
	while (poll(&p, 1, 10) == 0);
}

/* A datagram's sender has it, in each form of receiving; and what it was sent to. */
TEST(datagrams_keep_it)
{
	chime_sock *s;
	chime_addr at, from;
	char b[8], room[CMSG_SPACE(sizeof(struct in6_pktinfo))];
	struct chime_msg m = { .control = { room, sizeof room, 0 } };
	struct chime_cmsg c = { 0 };
	struct chime_pktinfo info;
	struct iovec iov = { b, sizeof b };
	struct chime_packet packet = { .iov = &iov, .iovs = 1 };
	enter_net();
	CHECK_EQ(chime_open(&s, AF_INET6, SOCK_DGRAM, 0), 0);
	CHECK_EQ(chime_bind(s, &here), 0);
	CHECK_EQ(chime_getsockname(s, &at), 0);
	CHECK_EQ(chime_setsockopt_int(s, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1), 0);
	send_one(s, &at);
	CHECK_EQ(chime_recvfrom(s, b, sizeof b, 0, &from), 1);
	is_here(&from);
	send_one(s, &at);
	CHECK_EQ(chime_recvmsg(s, b, sizeof b, 0, &m), 1);
	is_here(&m.addr);
	CHECK(chime_control_next(&m.control, &c));
	CHECK(chime_cmsg_pktinfo(&c, &info));
	is_here(&info.to);
	is_here(&info.local);
	CHECK_EQ(info.ifindex, wire);
	send_one(s, &at);
	CHECK_EQ(chime_recv_many(s, &packet, 1, 0), 1);
	is_here(&packet.msg.addr);
	chime_free(&s);
}

/* Look-ups, and endpoints: with the scope in the address, or the interface beside it. */
TEST(look_ups_give_it)
{
	struct chime_addrinfo *list;
	struct chime_target t;
	chime_endpoint e;
	char host[256];
	enter_net();
	CHECK_EQ(chime_getaddrinfo("fe80::7%" WIRE, "9", 0, SOCK_DGRAM, 0, AI_NUMERICHOST, CHIME_FOREVER, &list), 0);
	is_here(&list->at[0].addr);
	chime_addrinfo_free(&list);
	CHECK_EQ(chime_resolve("fe80::7%" WIRE, 9, AF_UNSPEC, SOCK_STREAM, 0, false, CHIME_FOREVER, &t, 1), 1);
	is_here(&t.addr);
	CHECK_EQ(chime_endpoint_parse(&e, "tcp://[fe80::7%" WIRE "]:9", NULL, NULL, NULL), 0);
	CHECK_EQ(chime_endpoint_resolve(&e, false, CHIME_FOREVER, &t, 1), 1);
	is_here(&t.addr);
	CHECK_EQ(chime_endpoint_parse(&e, "udp://[fe80::7]:9?if=" WIRE, NULL, NULL, NULL), 0);
	CHECK_EQ(chime_endpoint_resolve(&e, false, CHIME_FOREVER, &t, 1), 1);
	is_here(&t.addr);
	CHECK_EQ(chime_getnameinfo(&here, NI_NUMERICHOST, CHIME_FOREVER, host, sizeof host, NULL, 0), 0);
	CHECK_STR(host, "fe80::7%" WIRE);
}

TEST_MAIN()
