/*
 * Control messages hold what the kernel's structs hold, field by field: in messages that were built, and in ones that were read. What
 * the kernel makes of them is in tests/net/msg.c; on loopback many of its fields are alike.
 */
#include <chime/msg.h>
#include <runner/test.h>

#include <errno.h>
#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <linux/sockios.h>
#include <netinet/udp.h>
#include <string.h>

static char room[1024];
static struct chime_control c;

static void begin(void)
{
	memset(room, 0xa5, sizeof room);
	chime_control_init(&c, room, sizeof room);
}

/* The one message that is in the buffer. */
static struct chime_cmsg only(void)
{
	struct chime_cmsg m = { 0 }, another;
	CHECK(chime_control_next(&c, &m));
	another = m;
	CHECK(!chime_control_next(&c, &another));
	return m;
}

static void holds(int level, int type, const void *data, size_t len)
{
	struct chime_cmsg m = only();
	CHECK_EQ(m.level, level);
	CHECK_EQ(m.type, type);
	CHECK_EQ(m.len, len);
	CHECK_MEM(m.data, data, len);
	for (const char *pad = (const char *)m.data + len; pad < room + c.len; pad++)
		CHECK_EQ(*pad, 0); /* nothing of what was there before goes out */
	begin();
}

static struct chime_cmsg read_of(int level, int type, const void *data, size_t len)
{
	begin();
	CHECK_EQ(chime_control_add(&c, level, type, data, len), 0);
	return only();
}

static chime_addr ip(const char *host)
{
	chime_addr a;
	CHECK_EQ(chime_addr_ip(&a, AF_UNSPEC, host, 0), 0);
	return a;
}

static void shows(const chime_addr *a, const char *want)
{
	char text[CHIME_ADDR_TEXT];
	chime_addr_print(a, text, sizeof text);
	CHECK_STR(text, want);
}

/* Who sends: process, user and group, in this order. */
TEST(credentials_field_by_field)
{
	struct chime_creds creds = { 11, 22, 33 }, seen = { 0, 0, 0 };
	struct ucred u = { .pid = 11, .uid = 22, .gid = 33 };
	begin();
	CHECK_EQ(chime_control_add_creds(&c, &creds), 0);
	struct chime_cmsg m = only();
	CHECK(chime_cmsg_creds(&m, &seen));
	CHECK_EQ(seen.pid, 11);
	CHECK_EQ(seen.uid, 22);
	CHECK_EQ(seen.gid, 33);
	holds(SOL_SOCKET, SCM_CREDENTIALS, &u, sizeof u);
}

/* IPv4: the address in the header, the local one, and the interface, each in its place, both ways. */
TEST(ipv4_packet_info_field_by_field)
{
	struct chime_pktinfo seen, info = { .to = ip("192.0.2.1"), .local = ip("192.0.2.2"), .ifindex = 7 };
	struct in_pktinfo sends = { .ipi_ifindex = 7, .ipi_spec_dst = info.local.u.in.sin_addr },
			  got = { .ipi_ifindex = 9,
				  .ipi_spec_dst = ip("192.0.2.3").u.in.sin_addr,
				  .ipi_addr = ip("239.1.2.3").u.in.sin_addr };
	begin();
	CHECK_EQ(chime_control_add_pktinfo(&c, AF_UNSPEC, &info), 0);
	holds(IPPROTO_IP, IP_PKTINFO, &sends, sizeof sends);
	struct chime_cmsg m = read_of(IPPROTO_IP, IP_PKTINFO, &got, sizeof got);
	CHECK(chime_cmsg_pktinfo(&m, &seen));
	shows(&seen.to, "239.1.2.3:0");
	shows(&seen.local, "192.0.2.3:0");
	CHECK_EQ(seen.ifindex, 9);
}

/* IPv6: a link's addresses have their scope, a group is no address to answer from. */
TEST(ipv6_packet_info_field_by_field)
{
	struct chime_pktinfo seen, info = { .local = ip("fe80::2"), .ifindex = 7 };
	struct in6_pktinfo six = { .ipi6_addr = info.local.u.in6.sin6_addr, .ipi6_ifindex = 7 };
	begin();
	CHECK_EQ(chime_control_add_pktinfo(&c, AF_UNSPEC, &info), 0);
	holds(IPPROTO_IPV6, IPV6_PKTINFO, &six, sizeof six);
	struct chime_cmsg m = read_of(IPPROTO_IPV6, IPV6_PKTINFO, &six, sizeof six);
	CHECK(chime_cmsg_pktinfo(&m, &seen));
	shows(&seen.to, "[fe80::2%7]:0");
	shows(&seen.local, "[fe80::2%7]:0");
	CHECK_EQ(seen.ifindex, 7);
	six.ipi6_addr = ip("2001:db8::1").u.in6.sin6_addr;
	m = read_of(IPPROTO_IPV6, IPV6_PKTINFO, &six, sizeof six);
	CHECK(chime_cmsg_pktinfo(&m, &seen));
	shows(&seen.local, "[2001:db8::1]:0");
	six.ipi6_addr = ip("ff02::1").u.in6.sin6_addr;
	m = read_of(IPPROTO_IPV6, IPV6_PKTINFO, &six, sizeof six);
	CHECK(chime_cmsg_pktinfo(&m, &seen));
	shows(&seen.to, "[ff02::1%7]:0");
	CHECK_EQ(seen.local.len, 0);
}

/* Numbers are of the size that the kernel reads. */
TEST(numbers_field_by_field)
{
	const uint64_t when = 0x123456789abcdef0;
	const uint16_t segment = 1234;
	int number = 77, got;
	const unsigned char byte = 0xb8;
	begin();
	CHECK_EQ(chime_control_add_txtime(&c, when), 0);
	holds(SOL_SOCKET, SO_TXTIME, &when, sizeof when);
	CHECK_EQ(chime_control_add_segment(&c, segment), 0);
	holds(SOL_UDP, 103 /* UDP_SEGMENT */, &segment, sizeof segment);
	CHECK_EQ(chime_control_add_hops(&c, AF_INET, number), 0);
	holds(IPPROTO_IP, IP_TTL, &number, sizeof number);
	CHECK_EQ(chime_control_add_hops(&c, AF_INET6, number), 0);
	holds(IPPROTO_IPV6, IPV6_HOPLIMIT, &number, sizeof number);
	CHECK_EQ(chime_control_add_tos(&c, AF_INET, number), 0);
	holds(IPPROTO_IP, IP_TOS, &number, sizeof number);
	CHECK_EQ(chime_control_add_tos(&c, AF_INET6, number), 0);
	holds(IPPROTO_IPV6, IPV6_TCLASS, &number, sizeof number);
	struct chime_cmsg m = read_of(SOL_UDP, 104 /* UDP_GRO */, &number, sizeof number);
	CHECK(chime_cmsg_segment(&m, &got));
	CHECK_EQ(got, 77);
	m = read_of(IPPROTO_IP, IP_TOS, &byte, sizeof byte);
	CHECK(chime_cmsg_tos(&m, &got));
	CHECK_EQ(got, 0xb8);
}

/* Stamps of each kind, in nanoseconds; the third of three is the network card's. */
TEST(stamps_field_by_field)
{
	const int64_t wide[6] = { 1000, 5, 11, 12, 2000, 7 };
	const long native[6] = { 1000, 5, 11, 12, 2000, 7 };
	static const struct {
		int type;
		bool old;
		int times;
		int64_t software, hardware;
	} kinds[] = {
		{ SO_TIMESTAMP_OLD, true, 1, 1000 * CHIME_SEC + 5 * CHIME_USEC, 0 },
		{ SO_TIMESTAMP_NEW, false, 1, 1000 * CHIME_SEC + 5 * CHIME_USEC, 0 },
		{ SO_TIMESTAMPNS_OLD, true, 1, 1000 * CHIME_SEC + 5, 0 },
		{ SO_TIMESTAMPNS_NEW, false, 1, 1000 * CHIME_SEC + 5, 0 },
		{ SO_TIMESTAMPING_OLD, true, 3, 1000 * CHIME_SEC + 5, 2000 * CHIME_SEC + 7 },
		{ SO_TIMESTAMPING_NEW, false, 3, 1000 * CHIME_SEC + 5, 2000 * CHIME_SEC + 7 },
	};
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		struct chime_stamps s = { -1, -1 };
		size_t each = kinds[i].old ? sizeof native / 3 : sizeof wide / 3;
		struct chime_cmsg m = read_of(SOL_SOCKET, kinds[i].type, kinds[i].old ? (const void *)native : wide,
					      each * (size_t)kinds[i].times);
		CHECK(chime_cmsg_stamps(&m, &s));
		CHECK_EQ(s.software_ns, kinds[i].software);
		CHECK_EQ(s.hardware_ns, kinds[i].hardware);
	}
}

/* How many descriptors a message has is told though there is room for fewer; those beyond it are left in the message. */
TEST(descriptors_beyond_the_room)
{
	const int fds[3] = { 7, 8, 9 };
	int got[3] = { 0, 0, 0 };
	struct chime_cmsg m = read_of(SOL_SOCKET, SCM_RIGHTS, fds, sizeof fds);
	CHECK_EQ(chime_cmsg_fds(&m, got, 2), 3);
	CHECK_EQ(got[1], 8);
	CHECK_EQ(got[2], 0);
	CHECK_EQ(chime_cmsg_fds(&m, NULL, 0), 3);
	CHECK_EQ(chime_cmsg_fds(&m, got, 3), 3);
	CHECK_EQ(got[2], 9);
}

/* A link-local address to send from brings its interface with it, unless one is given: the kernel asks for it. */
TEST(a_scope_names_the_interface)
{
	struct chime_pktinfo info = { .to = chime_addr_none() };
	struct in6_pktinfo six;
	CHECK_EQ(chime_addr_ip(&info.local, AF_INET6, "fe80::2%5", 0), 0);
	six = (struct in6_pktinfo){ .ipi6_addr = info.local.u.in6.sin6_addr, .ipi6_ifindex = 5 };
	begin();
	CHECK_EQ(chime_control_add_pktinfo(&c, AF_UNSPEC, &info), 0);
	holds(IPPROTO_IPV6, IPV6_PKTINFO, &six, sizeof six);
	six.ipi6_ifindex = info.ifindex = 7;
	CHECK_EQ(chime_control_add_pktinfo(&c, AF_UNSPEC, &info), 0);
	holds(IPPROTO_IPV6, IPV6_PKTINFO, &six, sizeof six);
}

TEST_MAIN()
