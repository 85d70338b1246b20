/* Tests of chime/addr.h. */
#include "net/edge.h"
#include "runner/test.h"

#include <chime/addr.h>
#include <chime/error.h>

#include <arpa/inet.h>
#include <errno.h>
#include <linux/tipc.h>
#include <net/if.h>
#include <unistd.h>

static chime_addr ip(const char *host, int port)
{
	chime_addr a;
	CHECK_EQ(chime_addr_ip(&a, AF_UNSPEC, host, port), 0);
	return a;
}

static chime_addr unix_of(const void *path, size_t len)
{
	chime_addr a;
	CHECK_EQ(chime_addr_unix(&a, path, len), 0);
	return a;
}

static void check_print(const chime_addr *a, const char *wanted)
{
	char text[CHIME_ADDR_TEXT];
	CHECK_EQ(chime_addr_print(a, text, sizeof text), strlen(wanted));
	CHECK_STR(text, wanted);
}

/* No address is of no family and no length, and prints as "none". */
TEST(addr_none_is_nothing)
{
	chime_addr a = chime_addr_none();
	CHECK_EQ(a.len, 0);
	CHECK_EQ(chime_addr_family(&a), AF_UNSPEC);
	CHECK_EQ(chime_addr_port(&a), -1);
	CHECK_EQ(chime_addr_set_port(&a, 1), -EAFNOSUPPORT);
	CHECK(!chime_addr_is_any(&a) && !chime_addr_is_loopback(&a));
	CHECK(chime_addr_equal(&a, &a));
	check_print(&a, "none");
}

/* What the system gives is taken over, within what an address can be. */
TEST(addr_from_copies_what_the_system_gave)
{
	chime_addr a, b = ip("192.0.2.1", 80), c = ip("2001:db8::1", 81);
	CHECK_EQ(chime_addr_from(&a, &b.u.sa, b.len), 0);
	CHECK(chime_addr_equal(&a, &b));
	CHECK_EQ(chime_addr_from(&a, &c.u.sa, c.len), 0);
	CHECK(chime_addr_equal(&a, &c));
	CHECK_EQ(chime_addr_from(&a, &b.u.sa, 0), 0);
	CHECK_EQ(a.len, 0);

	chime_addr kept = a = b;
	CHECK_EQ(chime_addr_from(&a, &b.u.sa, 1), -EINVAL);
	CHECK_EQ(chime_addr_from(&a, &b.u.sa, b.len - 1), -EINVAL);
	CHECK_EQ(chime_addr_from(&a, &c.u.sa, c.len - 1), -EINVAL);
	char large[sizeof(struct sockaddr_storage) + 1] = { 0 };
	CHECK_EQ(chime_addr_from(&a, (struct sockaddr *)large, sizeof large), -EINVAL);
	memcpy(large, &(sa_family_t){ AF_UNIX }, sizeof(sa_family_t));
	CHECK_EQ(chime_addr_from(&a, (struct sockaddr *)large, sizeof(struct sockaddr_un) + 2), -EINVAL);
	CHECK_MEM(&a, &kept, sizeof a);
}

/* Whole numeric text is read, of the family that was asked for. */
TEST(addr_ip_reads_numeric_hosts)
{
	static const struct {
		int family;
		const char *host;
		int port;
		const char *printed;
	} rows[] = {
		{ AF_UNSPEC, "192.0.2.1", 80, "192.0.2.1:80" },
		{ AF_INET, "127.0.0.1", 0, "127.0.0.1:0" },
		{ AF_UNSPEC, "::1", 65535, "[::1]:65535" },
		{ AF_INET6, "2001:DB8:0:0:0:0:0:1", 1, "[2001:db8::1]:1" },
		{ AF_INET6, "::ffff:192.0.2.1", 1, "[::ffff:192.0.2.1]:1" },
		{ AF_INET6, "fe80::1%7", 1, "[fe80::1%7]:1" },
		{ AF_INET6, "fe80::1%0", 1, "[fe80::1]:1" },
		{ AF_INET6, "fe80::1%4294967295", 1, "[fe80::1%4294967295]:1" },
		{ AF_UNSPEC, "", 1, "0.0.0.0:1" },
		{ AF_UNSPEC, NULL, 1, "0.0.0.0:1" },
		{ AF_INET, "", 1, "0.0.0.0:1" },
		{ AF_INET6, "", 1, "[::]:1" },
		{ AF_INET6, NULL, 1, "[::]:1" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		chime_addr a;
		const char *host = rows[i].host;
		fprintf(stderr, "%s\n", host ? host : "NULL");
		if (host)
			host = edge_text(host, strlen(host));
		CHECK_EQ(chime_addr_ip(&a, rows[i].family, host, rows[i].port), 0);
		check_print(&a, rows[i].printed);
		CHECK_EQ(chime_addr_port(&a), rows[i].port);
		CHECK_EQ(a.len, chime_addr_family(&a) == AF_INET ? sizeof a.u.in : sizeof a.u.in6);
	}
}

/* Anything but a whole numeric host of that family is refused, and leaves the result alone. */
TEST(addr_ip_refuses_the_rest)
{
	static const struct {
		int family;
		const char *host;
		int port, code;
	} rows[] = {
		{ AF_UNSPEC, "1.2.3", 1, CHIME_ESYNTAX },       { AF_UNSPEC, "1.2.3.4 ", 1, CHIME_ESYNTAX },
		{ AF_UNSPEC, " 1.2.3.4", 1, CHIME_ESYNTAX },    { AF_UNSPEC, "1.2.3.4x", 1, CHIME_ESYNTAX },
		{ AF_UNSPEC, "1.2.3.4.", 1, CHIME_ESYNTAX },    { AF_UNSPEC, "1.2.3.256", 1, CHIME_ESYNTAX },
		{ AF_UNSPEC, "01.2.3.4", 1, CHIME_ESYNTAX },    { AF_UNSPEC, "0x7f.1", 1, CHIME_ESYNTAX },
		{ AF_UNSPEC, "1", 1, CHIME_ESYNTAX },           { AF_UNSPEC, "1.2.3.4%1", 1, CHIME_ESYNTAX },
		{ AF_UNSPEC, "localhost", 1, CHIME_ESYNTAX },   { AF_UNSPEC, "*", 1, CHIME_ESYNTAX },
		{ AF_UNSPEC, "[::1]", 1, CHIME_ESYNTAX },       { AF_UNSPEC, "::1 ", 1, CHIME_ESYNTAX },
		{ AF_UNSPEC, ":::", 1, CHIME_ESYNTAX },         { AF_UNSPEC, "1:2:3:4:5:6:7:8:9", 1, CHIME_ESYNTAX },
		{ AF_UNSPEC, "fe80::1%", 1, CHIME_ESYNTAX },    { AF_UNSPEC, "%1", 1, CHIME_ESYNTAX },
		{ AF_UNSPEC, "fe80::1%nosuchif0", 1, -ENODEV }, { AF_UNSPEC, "fe80::1%4294967296", 1, -ENODEV },
		{ AF_UNSPEC, "fe80::1%1 ", 1, -ENODEV },        { AF_INET, "::1", 1, CHIME_ESYNTAX },
		{ AF_INET6, "127.0.0.1", 1, CHIME_ESYNTAX },    { AF_UNSPEC, "127.0.0.1", -1, -ERANGE },
		{ AF_UNSPEC, "127.0.0.1", 65536, -ERANGE },     { AF_UNSPEC, "127.0.0.1", 70000, -ERANGE },
		{ AF_UNIX, "127.0.0.1", 1, -EAFNOSUPPORT },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		chime_addr a = ip("192.0.2.7", 7), before = a;
		const char *host = edge_text(rows[i].host, strlen(rows[i].host));
		fprintf(stderr, "%s\n", rows[i].host);
		CHECK_EQ(chime_addr_ip(&a, rows[i].family, host, rows[i].port), rows[i].code);
		CHECK_MEM(&a, &before, sizeof a);
	}
	char host[4096];
	chime_addr a;
	memset(host, '1', sizeof host);
	host[sizeof host - 1] = 0;
	CHECK_EQ(chime_addr_ip(&a, AF_UNSPEC, host, 1), CHIME_ESYNTAX);
}

/* A scope is an interface's name or its number; it prints as the number. */
TEST(addr_ip_takes_scopes_by_name)
{
	char name[IF_NAMESIZE], host[64], wanted[64];
	unsigned lo = if_nametoindex("lo");
	chime_addr by_name, by_number;
	if (!lo || !if_indextoname(lo, name))
		SKIP("there is no interface lo");
	snprintf(host, sizeof host, "fe80::2%%%u", lo);
	snprintf(wanted, sizeof wanted, "[fe80::2%%%u]:5", lo);
	by_name = ip("fe80::2%lo", 5);
	by_number = ip(host, 5);
	CHECK(chime_addr_equal(&by_name, &by_number));
	check_print(&by_name, wanted);
	CHECK_EQ(chime_addr_parse(&by_number, "[fe80::2%lo]:5"), 0);
	CHECK(chime_addr_equal(&by_name, &by_number));
}

/* Paths are bytes, up to 107 of them; abstract names have 108 with their NUL. */
TEST(addr_unix_takes_paths_and_abstract_names)
{
	char bytes[120];
	chime_addr a;
	memset(bytes, 'a', sizeof bytes);
	CHECK_EQ(chime_addr_unix(&a, bytes, 107), 0);
	CHECK_EQ(a.len, sizeof(struct sockaddr_un));
	CHECK_EQ(a.u.un.sun_path[107], 0);
	CHECK_EQ(chime_addr_unix(&a, bytes, 108), -ENAMETOOLONG);
	CHECK_EQ(chime_addr_unix(&a, "a\0b", 3), -EINVAL);
	bytes[0] = 0;
	CHECK_EQ(chime_addr_unix(&a, bytes, 108), 0);
	CHECK_EQ(a.len, sizeof(struct sockaddr_un));
	CHECK_EQ(chime_addr_unix(&a, bytes, 109), -ENAMETOOLONG);
	CHECK_EQ(chime_addr_unix(&a, "\0a\0b", 4), 0);
	CHECK_EQ(a.len, offsetof(struct sockaddr_un, sun_path) + 4);
	CHECK_EQ(chime_addr_unix(&a, NULL, 0), 0);
	CHECK_EQ(a.len, offsetof(struct sockaddr_un, sun_path));
	CHECK_EQ(chime_addr_family(&a), AF_UNIX);
	check_print(&a, "unnamed");
}

/* The system takes our unix addresses, and what it gives back is the same place and the same text. */
TEST(addr_unix_comes_back_from_the_system_the_same)
{
	char path[128], abstract[64];
	int path_len = snprintf(path, sizeof path, "%s/a socket", test_dir());
	int abstract_len = snprintf(abstract, sizeof abstract, "%cchime test %d%c!", 0, (int)getpid(), 0);
	chime_addr given[2] = { unix_of(path, (size_t)path_len), unix_of(abstract, (size_t)abstract_len) };
	for (int i = 0; i < 2; i++) {
		chime_addr got;
		struct sockaddr_storage ss;
		socklen_t len = sizeof ss;
		char text[2][CHIME_ADDR_TEXT];
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		CHECK_EQ(bind(fd, &given[i].u.sa, given[i].len), 0);
		CHECK_EQ(getsockname(fd, (struct sockaddr *)&ss, &len), 0);
		CHECK_EQ(chime_addr_from(&got, (struct sockaddr *)&ss, len), 0);
		CHECK(chime_addr_equal(&got, &given[i]));
		chime_addr_print(&given[i], text[0], sizeof text[0]);
		chime_addr_print(&got, text[1], sizeof text[1]);
		CHECK_STR(text[1], text[0]);
		close(fd);
	}
}

/* A path of 108 bytes, which the system gives without a NUL in the struct, is printed whole and no more. */
TEST(addr_print_knows_paths_without_a_nul)
{
	struct {
		struct sockaddr_un un;
		char behind[8];
	} s;
	chime_addr a;
	char text[CHIME_ADDR_TEXT];
	memset(&s, 'x', sizeof s);
	s.un.sun_family = AF_UNIX;
	s.un.sun_path[0] = '/';
	s.behind[0] = 0;
	CHECK_EQ(chime_addr_from(&a, (struct sockaddr *)&s, sizeof s.un + 1), 0);
	CHECK_EQ(chime_addr_print(&a, text, sizeof text), 108);
	CHECK_EQ(chime_addr_from(&a, (struct sockaddr *)&s, sizeof s.un), 0);
	CHECK_EQ(chime_addr_print(&a, text, sizeof text), 108);
}

/* Every form prints as the header says. */
TEST(addr_prints_each_family)
{
	chime_addr a;
	check_print(&(chime_addr){ 0 }, "none");
	a = unix_of("/run/x.sock", 11);
	check_print(&a, "/run/x.sock");
	a = unix_of("x.sock", 6);
	check_print(&a, "./x.sock");
	a = unix_of("../x", 4);
	check_print(&a, "../x");
	a = unix_of("@x", 2);
	check_print(&a, "./@x");
	a = unix_of("/a b%\n\x7f\xc3\xa9", 9);
	check_print(&a, "/a%20b%25%0A%7F\xc3\xa9");
	a = unix_of("\0name", 5);
	check_print(&a, "@name");
	a = unix_of("\0", 1);
	check_print(&a, "@");
	a = unix_of("\0\0 /", 4);
	check_print(&a, "@%00%20/");
	CHECK_EQ(chime_addr_vsock(&a, 3, 9999), 0);
	CHECK_EQ(chime_addr_family(&a), AF_VSOCK);
	CHECK_EQ(chime_addr_port(&a), -1);
	check_print(&a, "vsock:3:9999");
	CHECK_EQ(chime_addr_vsock(&a, UINT32_MAX, UINT32_MAX), 0);
	check_print(&a, "vsock:*:*");
	CHECK_EQ(chime_addr_tipc(&a, 18888, UINT32_MAX), 0);
	CHECK_EQ(chime_addr_family(&a), AF_TIPC);
	check_print(&a, "tipc:18888:4294967295");
	a = chime_addr_none();
	a.u.sa.sa_family = AF_NETLINK;
	a.len = 12;
	check_print(&a, "family 16, 12 bytes");
	a.u.sa.sa_family = AF_INET;
	check_print(&a, "family 2, 12 bytes");
}

/* A tipc address is a service address for the whole cluster; a range of one is the same place, a socket's own is not. */
TEST(addr_tipc_is_a_service_of_the_cluster)
{
	chime_addr a, b;
	struct sockaddr_tipc tipc;
	CHECK_EQ(chime_addr_tipc(&a, 18888, 17), 0);
	memcpy(&tipc, &a.u, sizeof tipc);
	CHECK_EQ(tipc.addrtype, TIPC_SERVICE_ADDR);
	CHECK_EQ(tipc.scope, TIPC_CLUSTER_SCOPE);
	CHECK_EQ(tipc.addr.name.name.type, 18888);
	CHECK_EQ(tipc.addr.name.name.instance, 17);
	CHECK_EQ(tipc.addr.name.domain, 0);
	tipc.addrtype = TIPC_SERVICE_RANGE;
	tipc.addr.nameseq.upper = 17;
	CHECK_EQ(chime_addr_from(&b, (struct sockaddr *)&tipc, sizeof tipc), 0);
	CHECK(chime_addr_equal(&a, &b));
	check_print(&b, "tipc:18888:17");
	tipc.addr.nameseq.upper = 18;
	CHECK_EQ(chime_addr_from(&b, (struct sockaddr *)&tipc, sizeof tipc), 0);
	CHECK(!chime_addr_equal(&a, &b));
	check_print(&b, "family 30, 16 bytes");
}

/* The longest text there can be fits into CHIME_ADDR_TEXT. */
TEST(addr_text_is_always_enough)
{
	char bytes[108] = { 0 }, text[CHIME_ADDR_TEXT];
	chime_addr a = unix_of(bytes, sizeof bytes), back;
	CHECK_IN(chime_addr_print(&a, text, sizeof text), 1 + 107 * 3, CHIME_ADDR_TEXT - 1);
	CHECK_EQ(chime_addr_parse(&back, text), 0);
	CHECK(chime_addr_equal(&a, &back));
}

/* A buffer too small gets the beginning and its NUL; the length is that of the whole. */
TEST(addr_print_counts_what_does_not_fit)
{
	chime_addr a = ip("192.0.2.1", 80);
	char whole[] = "192.0.2.1:80";
	for (size_t size = 0; size <= sizeof whole; size++) {
		char buf[32];
		memset(buf, 'x', sizeof buf);
		CHECK_EQ(chime_addr_print(&a, buf, size), strlen(whole));
		if (size)
			CHECK_EQ(strlen(buf), size - 1);
		CHECK_MEM(buf, whole, size ? size - 1 : 0);
		CHECK_EQ(buf[size], 'x');
	}
}

static const char *const good[] = {
	"192.0.2.1:80",
	"0.0.0.0:0",
	"255.255.255.255:65535",
	"[::]:0",
	"[2001:db8::1]:80",
	"[fe80::1%2]:9",
	"[::ffff:1.2.3.4]:5",
	"/run/x.sock",
	"/",
	"./x",
	"../x",
	".x",
	"/a%20b%25",
	"/\xc3\xa9",
	"@name",
	"@",
	"@%00%00",
	"@a/b:c",
	"vsock:3:9999",
	"vsock:*:*",
	"vsock:0:4294967294",
	"tipc:1:2",
	"tipc:0:4294967295",
	"unnamed",
};

/* Parse and print are each other's inverse. */
TEST(addr_parse_reads_what_print_prints)
{
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		chime_addr a;
		fprintf(stderr, "%s\n", good[i]);
		CHECK_EQ(chime_addr_parse(&a, edge_text(good[i], strlen(good[i]))), 0);
		check_print(&a, good[i]);
	}
	/* other spellings of the same */
	static const char *const pairs[][2] = {
		{ "[2001:DB8:0::1]:80", "[2001:db8::1]:80" }, { "/a b", "/a%20b" }, { "/%61%2f", "/a/" },
		{ "vsock:4294967295:1", "vsock:*:1" },        { "@%4e", "@N" },
	};
	for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
		chime_addr a;
		CHECK_EQ(chime_addr_parse(&a, pairs[i][0]), 0);
		check_print(&a, pairs[i][1]);
	}
}

/* Every prefix of a good text, set against an unreadable page, is read or refused; the result is whole or untouched. */
TEST(addr_parse_stands_every_prefix)
{
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
		for (size_t len = 0; len <= strlen(good[i]); len++) {
			chime_addr a = ip("192.0.2.7", 7), before = a, back;
			char text[CHIME_ADDR_TEXT];
			fprintf(stderr, "%.*s\n", (int)len, good[i]);
			if (chime_addr_parse(&a, edge_text(good[i], len)) < 0) {
				CHECK_MEM(&a, &before, sizeof a);
				continue;
			}
			chime_addr_print(&a, text, sizeof text);
			CHECK_EQ(chime_addr_parse(&back, edge_text(text, strlen(text))), 0);
			CHECK_MEM(&back, &a, sizeof a);
		}
}

/* What is malformed is refused with its own code. */
TEST(addr_parse_refuses_the_rest)
{
	static const struct {
		const char *text;
		int code;
	} rows[] = {
		{ "", CHIME_ESYNTAX },
		{ "none", CHIME_ESYNTAX },
		{ "x", CHIME_ESYNTAX },
		{ "localhost:80", CHIME_ESYNTAX },
		{ ":80", CHIME_ESYNTAX },
		{ "*:80", CHIME_ESYNTAX },
		{ "192.0.2.1", CHIME_ESYNTAX },
		{ "192.0.2.1:", CHIME_ESYNTAX },
		{ "192.0.2.1:80 ", CHIME_ESYNTAX },
		{ " 192.0.2.1:80", CHIME_ESYNTAX },
		{ "192.0.2.1:080", CHIME_ESYNTAX },
		{ "192.0.2.1:+80", CHIME_ESYNTAX },
		{ "192.0.2.1:-1", CHIME_ESYNTAX },
		{ "192.0.2.1:65536", -ERANGE },
		{ "192.0.2.1:99999999999999999999999", -ERANGE },
		{ "192.0.2:80", CHIME_ESYNTAX },
		{ "::1:80", CHIME_ESYNTAX },
		{ "::1", CHIME_ESYNTAX },
		{ "[::1]", CHIME_ESYNTAX },
		{ "[::1]80", CHIME_ESYNTAX },
		{ "[::1:80", CHIME_ESYNTAX },
		{ "[]:80", CHIME_ESYNTAX },
		{ "[192.0.2.1]:80", CHIME_ESYNTAX },
		{ "[::1%]:80", CHIME_ESYNTAX },
		{ "[::1%nosuchif0]:80", -ENODEV },
		{ "[::1]:65536", -ERANGE },
		{ "/%", CHIME_ESYNTAX },
		{ "/%4", CHIME_ESYNTAX },
		{ "/%4g", CHIME_ESYNTAX },
		{ "/%00", CHIME_ESYNTAX },
		{ "vsock:", CHIME_ESYNTAX },
		{ "vsock:1", CHIME_ESYNTAX },
		{ "vsock:1:", CHIME_ESYNTAX },
		{ "vsock::1", CHIME_ESYNTAX },
		{ "vsock:1:2:3", CHIME_ESYNTAX },
		{ "vsock:01:2", CHIME_ESYNTAX },
		{ "vsock:**:2", CHIME_ESYNTAX },
		{ "vsock:4294967296:2", -ERANGE },
		{ "vsock:4294967296:x", CHIME_ESYNTAX },
		{ "tipc:*:1", CHIME_ESYNTAX },
		{ "tipc:1:4294967296", -ERANGE },
		{ "TIPC:1:2", CHIME_ESYNTAX },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		chime_addr a = ip("192.0.2.7", 7), before = a;
		fprintf(stderr, "\"%s\"\n", rows[i].text);
		CHECK_EQ(chime_addr_parse(&a, edge_text(rows[i].text, strlen(rows[i].text))), rows[i].code);
		CHECK_MEM(&a, &before, sizeof a);
	}
	char path[400];
	chime_addr a;
	memset(path, 'a', sizeof path);
	path[0] = '/';
	path[107] = 0;
	CHECK_EQ(chime_addr_parse(&a, path), 0);
	path[107] = 'a';
	path[108] = 0;
	CHECK_EQ(chime_addr_parse(&a, path), -ENAMETOOLONG);
	path[0] = '@';
	CHECK_EQ(chime_addr_parse(&a, path), 0);
	path[108] = 'a';
	path[109] = 0;
	CHECK_EQ(chime_addr_parse(&a, path), -ENAMETOOLONG);
	path[109] = 'a';
	path[399] = 0;
	CHECK_EQ(chime_addr_parse(&a, path), -ENAMETOOLONG);
}

/* A port can be changed where there is one, within its range. */
TEST(addr_set_port_changes_the_port_alone)
{
	chime_addr a = ip("192.0.2.1", 80), b = ip("fe80::1%3", 80), c = unix_of("/x", 2);
	CHECK_EQ(chime_addr_set_port(&a, 65535), 0);
	check_print(&a, "192.0.2.1:65535");
	CHECK_EQ(chime_addr_set_port(&b, 0), 0);
	check_print(&b, "[fe80::1%3]:0");
	CHECK_EQ(chime_addr_set_port(&a, 65536), -ERANGE);
	CHECK_EQ(chime_addr_set_port(&a, -1), -ERANGE);
	CHECK_EQ(chime_addr_port(&a), 65535);
	CHECK_EQ(chime_addr_set_port(&c, 1), -EAFNOSUPPORT);
}

/* A mapped address becomes its IPv4 address with the port; nothing else changes. */
TEST(addr_unmap_changes_mapped_addresses_alone)
{
	static const char *const same[] = {
		"192.0.2.1", "::", "::1", "::192.0.2.1", "64:ff9b::192.0.2.1", "fe80::1%2"
	};
	chime_addr a = ip("::ffff:192.0.2.1", 80), v4 = ip("192.0.2.1", 80), got = chime_addr_unmap(&a);
	CHECK_MEM(&got, &v4, sizeof got);
	CHECK(!chime_addr_equal(&a, &v4));
	for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
		a = ip(same[i], 80);
		got = chime_addr_unmap(&a);
		CHECK_MEM(&got, &a, sizeof got);
	}
	a = unix_of("/x", 2);
	got = chime_addr_unmap(&a);
	CHECK_MEM(&got, &a, sizeof got);
}

/* What an address is; a mapped one is what its IPv4 address is. */
TEST(addr_says_what_it_is)
{
	static const struct {
		const char *host, *is; /* a any, l loopback, m multicast, b broadcast */
	} rows[] = {
		{ "0.0.0.0", "a" },
		{ "0.0.0.1", "" },
		{ "126.255.255.255", "" },
		{ "127.0.0.1", "l" },
		{ "127.255.255.254", "l" },
		{ "128.0.0.1", "" },
		{ "223.255.255.255", "" },
		{ "224.0.0.1", "m" },
		{ "239.255.255.255", "m" },
		{ "240.0.0.1", "" },
		{ "255.255.255.255", "b" },
		{ "192.0.2.255", "" },
		{ "::", "a" },
		{ "::1", "l" },
		{ "::2", "" },
		{ "ff02::1", "m" },
		{ "fe80::1", "" },
		{ "2001:db8::1", "" },
		{ "::ffff:0.0.0.0", "a" },
		{ "::ffff:127.0.0.2", "l" },
		{ "::ffff:224.0.0.1", "m" },
		{ "::ffff:192.0.2.1", "" },
		{ "::ffff:255.255.255.255", "b" },
		{ "::127.0.0.1", "" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		chime_addr a = ip(rows[i].host, 1);
		fprintf(stderr, "%s\n", rows[i].host);
		CHECK_EQ(chime_addr_is_any(&a), *rows[i].is == 'a');
		CHECK_EQ(chime_addr_is_loopback(&a), *rows[i].is == 'l');
		CHECK_EQ(chime_addr_is_multicast(&a), *rows[i].is == 'm');
		CHECK_EQ(chime_addr_is_broadcast(&a), *rows[i].is == 'b');
	}
	chime_addr others[2] = { unix_of("/x", 2) };
	CHECK_EQ(chime_addr_vsock(&others[1], UINT32_MAX, 1), 0);
	for (int i = 0; i < 2; i++)
		CHECK(!chime_addr_is_any(&others[i]) && !chime_addr_is_loopback(&others[i]) &&
		      !chime_addr_is_multicast(&others[i]) && !chime_addr_is_broadcast(&others[i]));
}

/* The same place is equal and nothing else, whichever of them stands first; flow label and padding do not count. */
TEST(addr_equal_means_the_same_place)
{
	chime_addr all[] = {
		chime_addr_none(),   ip("192.0.2.1", 80),
		ip("192.0.2.1", 81), ip("192.0.2.2", 80),
		ip("::1", 80),       ip("::1", 81),
		ip("::2", 80),       ip("fe80::1%1", 80),
		ip("fe80::1%2", 80), ip("::ffff:192.0.2.1", 80),
		unix_of("/x", 2),    unix_of("/xy", 3),
		unix_of("\0x", 2),   unix_of("\0x\0", 3),
		unix_of("", 0),      unix_of("x", 1),
		chime_addr_none(),   chime_addr_none(),
		chime_addr_none(),   chime_addr_none(),
	};
	size_t count = sizeof all / sizeof all[0];
	chime_addr_vsock(&all[count - 4], 1, 2);
	chime_addr_vsock(&all[count - 3], 2, 1);
	chime_addr_tipc(&all[count - 2], 1, 2);
	chime_addr_tipc(&all[count - 1], 2, 1);
	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < count; j++) {
			fprintf(stderr, "%zu and %zu\n", i, j);
			CHECK_EQ(chime_addr_equal(&all[i], &all[j]), i == j);
		}
	chime_addr a = ip("::1", 80), b = ip("192.0.2.1", 80);
	a.u.in6.sin6_flowinfo = 7;
	CHECK(chime_addr_equal(&a, &all[4]));
	memset(b.u.in.sin_zero, 'x', sizeof b.u.in.sin_zero);
	CHECK(chime_addr_equal(&b, &all[1]));
}

TEST_MAIN()
