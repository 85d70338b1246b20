/* Groups: what is joined is heard, what is left is not, from whom it was asked for alone, and the settings are the socket's. */
#include <chime/error.h>
#include <chime/multicast.h>
#include <chime/names.h>
#include <runner/test.h>

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

static unsigned wire; /* the interface */

/* A network with one interface that has an address of each family, and whose other end is nobody's. What is sent in it comes in order. */
static void enter_net(void)
{
	if (geteuid() != 0 || unshare(CLONE_NEWNET) < 0)
		SKIP("a network namespace of one's own needs root");
	test_one_processor();
	if (system("ip link set lo up && ip link add wire type veth peer name end && ip link set wire up && "
		   "ip link set end up && ip addr add 10.7.0.1/24 dev wire && ip addr add fd07::1/64 dev wire nodad") !=
	    0)
		SKIP("no ip(8) here that makes a veth pair");
	wire = (unsigned)chime_if_nametoindex("wire");
	CHECK(wire > 0);
}

static chime_addr addr(int family, const char *host, int port)
{
	chime_addr a;
	CHECK_EQ(chime_addr_ip(&a, family, host, port), 0);
	return a;
}

struct pair {
	chime_sock *in, *out;
	chime_addr group; /* with in's port */
};

/* One socket on any address that hears only what it joins, one that sends to the group. */
static struct pair pair(int family, const char *group)
{
	struct pair p;
	chime_addr at = addr(family, "", 0);
	bool six = family == AF_INET6;
	CHECK_EQ(chime_open(&p.in, family, SOCK_DGRAM, 0), 0);
	CHECK_EQ(chime_open(&p.out, family, SOCK_DGRAM, 0), 0);
	CHECK_EQ(chime_setsockopt_int(p.in, six ? IPPROTO_IPV6 : IPPROTO_IP,
				      six ? 29 /* IPV6_MULTICAST_ALL */ : IP_MULTICAST_ALL, 0),
		 0);
	CHECK_EQ(chime_bind(p.in, &at), 0);
	CHECK_EQ(chime_getsockname(p.in, &at), 0);
	p.group = addr(family, group, chime_addr_port(&at));
	CHECK_EQ(chime_set_multicast_if(p.out, wire), 0);
	CHECK_EQ(chime_set_timeout(p.in, 60 * CHIME_SEC), 0);
	return p;
}

/* What is sent arrives before the next thing does: a message to the socket's own address, which always comes. */
static bool hears(const struct pair *p, chime_sock *from)
{
	int family = chime_family(p->in);
	chime_addr own = addr(family, family == AF_INET6 ? "::1" : "127.0.0.1", chime_addr_port(&p->group));
	char got[16] = "";
	CHECK_EQ(chime_sendto(from, "group", 5, 0, &p->group), 5);
	CHECK_EQ(chime_sendto(from, "own", 3, 0, &own), 3);
	ssize_t n = chime_recv(p->in, got, sizeof got, 0);
	CHECK(n > 0);
	if (!strcmp(got, "own"))
		return false;
	CHECK_EQ(n, 5);
	CHECK_EQ(chime_recv(p->in, got, sizeof got, 0), 3);
	return true;
}

static void done(struct pair *p)
{
	chime_free(&p->in);
	chime_free(&p->out);
}

static const struct {
	int family;
	const char *group, *source, *other;
} families[] = {
	{ AF_INET, "239.1.2.3", "10.7.0.1", "10.7.0.2" },
	{ AF_INET6, "ff12::7", "fd07::1", "fd07::2" },
};

/* Joined it is heard, left it is not; joining twice and leaving what was not joined are errors, each with its code. */
TEST(multicast_join_and_leave)
{
	enter_net();
	for (int i = 0; i < 2; i++) {
		struct pair p = pair(families[i].family, families[i].group);
		char why[256];
		CHECK(!hears(&p, p.out));
		CHECK_EQ(chime_join_group(p.in, &p.group, wire), 0);
		CHECK(hears(&p, p.out));
		CHECK_EQ(chime_join_group(p.in, &p.group, wire), -EADDRINUSE);
		chime_last_error(p.in, why, sizeof why);
		CHECK(strstr(why, "join ") && strstr(why, families[i].group));
		CHECK_EQ(chime_leave_group(p.in, &p.group, wire), 0);
		CHECK(!hears(&p, p.out));
		CHECK_EQ(chime_leave_group(p.in, &p.group, wire), -EADDRNOTAVAIL);
		done(&p);
	}
}

/* How many sockets of this namespace are in the group ff12::7 at the interface. */
static int members(const char *interface)
{
	char line[256], name[64], group[64];
	int users = 0, n;
	FILE *f = fopen("/proc/net/igmp6", "re");
	CHECK(f != NULL);
	while (fgets(line, sizeof line, f))
		if (sscanf(line, "%*d %63s %63s %d", name, group, &n) == 3 && !strcmp(name, interface) &&
		    !strcmp(group, "ff120000000000000000000000000007"))
			users = n;
	fclose(f);
	return users;
}

/* Which source of the group a socket at the interface asks for: the end of its address; "" none. */
static const char *source_at(const char *interface)
{
	static char source[64];
	char line[256], name[64], group[64];
	FILE *f = fopen("/proc/net/mcfilter6", "re");
	CHECK(f != NULL);
	source[0] = 0;
	while (fgets(line, sizeof line, f))
		if (sscanf(line, "%*d %63s %63s %63s", name, group, source) == 3 && !strcmp(name, interface) &&
		    !strcmp(group, "ff120000000000000000000000000007"))
			break;
		else
			source[0] = 0;
	fclose(f);
	return source[0] ? source + 28 : "";
}

/*
 * The scope of an IPv6 group says at which interface it is joined and left, whichever the routes lead through, with a source and without
 * one; an interface that is given beside it counts more.
 */
TEST(multicast_scope_is_the_interface)
{
	static const char *const links[] = { "wire", "end" };
	enter_net();
	const chime_addr source = addr(AF_INET6, "fd07::2", 0);
	for (int i = 0; i < 2; i++) {
		const char *here = links[i], *there = links[!i];
		char text[64];
		chime_sock *s;
		unsigned other = (unsigned)chime_if_nametoindex(there);
		snprintf(text, sizeof text, "ff12::7%%%s", here);
		const chime_addr group = addr(AF_INET6, text, 0);
		CHECK_EQ(chime_open(&s, AF_INET6, SOCK_DGRAM, 0), 0);
		CHECK_EQ(chime_join_group(s, &group, 0), 0);
		CHECK_EQ(members(here), 1);
		CHECK_EQ(members(there), 0);
		CHECK_EQ(chime_leave_group(s, &group, other), -EADDRNOTAVAIL);
		CHECK_EQ(chime_join_group(s, &group, other), 0);
		CHECK_EQ(members(there), 1);
		CHECK_EQ(chime_leave_group(s, &group, 0), 0);
		CHECK_EQ(members(here), 0);
		CHECK_EQ(members(there), 1);
		CHECK_EQ(chime_leave_group(s, &group, other), 0);
		CHECK_EQ(members(there), 0);
		CHECK_EQ(chime_join_source(s, &group, &source, 0), 0);
		CHECK_STR(source_at(here), "0002");
		CHECK_STR(source_at(there), "");
		CHECK_EQ(chime_leave_source(s, &group, &source, 0), 0);
		CHECK_EQ(members(here), 0);
		chime_free(&s);
	}
}

/* From one source: others are not heard; leaving it ends that. */
TEST(multicast_one_source)
{
	enter_net();
	for (int i = 0; i < 2; i++) {
		struct pair p = pair(families[i].family, families[i].group);
		chime_addr source = addr(families[i].family, families[i].source, 0);
		chime_addr other = addr(families[i].family, families[i].other, 0);
		CHECK_EQ(chime_bind(p.out, &source), 0);
		CHECK_EQ(chime_join_source(p.in, &p.group, &other, wire), 0);
		CHECK(!hears(&p, p.out));
		CHECK_EQ(chime_join_source(p.in, &p.group, &source, wire), 0);
		CHECK(hears(&p, p.out));
		CHECK_EQ(chime_leave_source(p.in, &p.group, &source, wire), 0);
		CHECK(!hears(&p, p.out));
		done(&p);
	}
}

/* What goes wrong is told by its code: no group, a source of the other family, no such interface, no route, a closed handle. */
TEST(multicast_errors)
{
	chime_addr unicast = addr(AF_INET, "127.0.0.1", 0), group = addr(AF_INET, "239.1.2.3", 0);
	chime_addr six = addr(AF_INET6, "::1", 0);
	chime_sock *s;
	enter_net();
	CHECK_EQ(chime_open(&s, AF_INET, SOCK_DGRAM, 0), 0);
	CHECK_EQ(chime_join_group(s, &unicast, wire), -EINVAL);
	CHECK_EQ(chime_join_source(s, &group, &six, wire), -EINVAL);
	CHECK_EQ(chime_join_group(s, &group, 9999), -ENODEV);
	CHECK_EQ(chime_join_group(s, &group, 0), -ENODEV);
	CHECK_EQ(chime_set_multicast_hops(s, 256), -ERANGE);
	CHECK_EQ(chime_set_multicast_hops(s, -2), -ERANGE);
	CHECK_EQ(chime_close(s), 0);
	CHECK_EQ(chime_join_group(s, &group, wire), CHIME_ECLOSED);
	CHECK_EQ(chime_set_multicast_loop(s, true), CHIME_ECLOSED);
	chime_free(&s);
}

/* Interface, hops and loop are what the kernel then has; loop off is not heard on this machine. */
TEST(multicast_settings)
{
	enter_net();
	for (int i = 0; i < 2; i++) {
		struct pair p = pair(families[i].family, families[i].group);
		bool six = families[i].family == AF_INET6;
		int level = six ? IPPROTO_IPV6 : IPPROTO_IP, value;
		int hops = six ? IPV6_MULTICAST_HOPS : IP_MULTICAST_TTL,
		    loop = six ? IPV6_MULTICAST_LOOP : IP_MULTICAST_LOOP;
		CHECK_EQ(chime_getsockopt_int(p.out, level, hops, &value), 0);
		CHECK_EQ(value, 1);
		CHECK_EQ(chime_set_multicast_hops(p.out, 7), 0);
		CHECK_EQ(chime_getsockopt_int(p.out, level, hops, &value), 0);
		CHECK_EQ(value, 7);
		CHECK_EQ(chime_set_multicast_hops(p.out, -1), 0);
		CHECK_EQ(chime_getsockopt_int(p.out, level, hops, &value), 0);
		CHECK_EQ(value, 1);
		CHECK_EQ(chime_join_group(p.in, &p.group, wire), 0);
		CHECK_EQ(chime_getsockopt_int(p.out, level, loop, &value), 0);
		CHECK_EQ(value, 1);
		CHECK_EQ(chime_set_multicast_loop(p.out, false), 0);
		CHECK_EQ(chime_getsockopt_int(p.out, level, loop, &value), 0);
		CHECK_EQ(value, 0);
		CHECK_EQ(chime_set_multicast_if(p.out, 9999), six ? -ENODEV : -EADDRNOTAVAIL);
		done(&p);
	}
}

/* Broadcast is refused until it is asked for. */
TEST(multicast_broadcast)
{
	chime_addr all = addr(AF_INET, "10.7.0.255", 9);
	chime_sock *s;
	enter_net();
	CHECK_EQ(chime_open(&s, AF_INET, SOCK_DGRAM, 0), 0);
	CHECK_EQ(chime_sendto(s, "x", 1, 0, &all), -EACCES);
	CHECK_EQ(chime_set_broadcast(s, true), 0);
	CHECK_EQ(chime_sendto(s, "x", 1, 0, &all), 1);
	CHECK_EQ(chime_set_broadcast(s, false), 0);
	CHECK_EQ(chime_sendto(s, "x", 1, 0, &all), -EACCES);
	chime_free(&s);
}

/* A socket of both families joins IPv4 groups in either form of their addresses, and sends to them as it was set. */
TEST(multicast_of_ipv4_by_ipv6)
{
	static const char *const forms[] = { "239.1.2.3", "::ffff:239.1.2.3" };
	enter_net();
	for (int i = 0; i < 2; i++) {
		struct pair p = pair(AF_INET6, "ff12::7");
		int port = chime_addr_port(&p.group), value = -1;
		p.group = addr(i ? AF_INET6 : AF_INET, forms[i], port);
		CHECK_EQ(chime_setsockopt_int(p.in, IPPROTO_IP, IP_MULTICAST_ALL, 0), 0);
		CHECK(!hears(&p, p.out));
		CHECK_EQ(chime_join_group(p.in, &p.group, wire), 0);
		CHECK(hears(&p, p.out));
		CHECK_EQ(chime_set_multicast_loop(p.out, false), 0);
		CHECK(!hears(&p, p.out));
		CHECK_EQ(chime_set_multicast_hops(p.out, 7), 0);
		CHECK_EQ(chime_getsockopt_int(p.out, IPPROTO_IP, IP_MULTICAST_TTL, &value), 0);
		CHECK_EQ(value, 7);
		CHECK_EQ(chime_leave_group(p.in, &p.group, wire), 0);
		done(&p);
	}
}

TEST_MAIN()
