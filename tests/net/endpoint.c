/*
 * Tests of chime/endpoint.h: the grammar of chime-endpoint(7), in the page's order. One table of texts after the other: over 600 lines, but
 * one subject.
 */
#include "net/edge.h"
#include "runner/test.h"

#include <chime/clock.h>
#include <chime/endpoint.h>
#include <chime/error.h>

#include <errno.h>
#include <limits.h>
#include <linux/vm_sockets.h>

/* As a service has them. */
struct config {
	int64_t chunk, wait;
	int format;
	bool utc;
	char note[40 + 1];
};
static const char *const formats[] = { "ctime", "unix", NULL };
#define AT(field) offsetof(struct config, field)
static const struct chime_option further[] = {
	{ "chunk", CHIME_OPTION_INT, AT(chunk), 1, 65536, NULL, true, "BYTES", "" },
	{ "wait", CHIME_OPTION_DURATION, AT(wait), 0, CHIME_HOUR, NULL, false, "TIME", "" },
	{ "format", CHIME_OPTION_CHOICE, AT(format), 0, 0, formats, false, "WORD", "" },
	{ "utc", CHIME_OPTION_BOOL, AT(utc), 0, 0, NULL, false, "yes|no", "" },
	{ "note", CHIME_OPTION_TEXT, AT(note), 0, 40, NULL, false, "TEXT", "" },
	{ .name = NULL },
};

static int parse(chime_endpoint *e, const char *text, size_t len, struct chime_endpoint_error *error)
{
	struct config config;
	return chime_endpoint_parse(e, edge_text(text, len), further, &config, error);
}

static chime_endpoint parsed(const char *text)
{
	chime_endpoint e;
	struct chime_endpoint_error error = { 0, "" };
	int err = parse(&e, text, strlen(text), &error);
	fprintf(stderr, "%s: %s at %zu: %s\n", text, chime_errname(err), error.at, error.message);
	CHECK_EQ(err, 0);
	return e;
}

/* Texts and their normal forms. */
static const char *const good[][2] = {
	{ "tcp://:9999", "tcp://:9999" },
	{ "tcp://*:9999", "tcp://:9999" },
	{ "tcp://127.0.0.1:9999", "tcp://127.0.0.1:9999" },
	{ "tcp://localhost:0", "tcp://localhost:0" },
	{ "tcp://Example.COM.:65535", "tcp://Example.COM.:65535" },
	{ "tcp://my_host-1:1", "tcp://my_host-1:1" },
	{ "tcp://3com.example:1", "tcp://3com.example:1" },
	{ "tcp://0x:1", "tcp://0x:1" },
	{ "tcp://1.2.3.4.example:1", "tcp://1.2.3.4.example:1" },
	{ "tcp://m\xc3\xbcnchen.example:1", "tcp://m\xc3\xbcnchen.example:1" },
	{ "tcp://[::1]:80", "tcp://[::1]:80" },
	{ "tcp://[::]:80", "tcp://[::]:80" },
	{ "tcp://[fe80::1%eth0]:80", "tcp://[fe80::1%eth0]:80" },
	{ "tcp://[fe80::1%2]:80", "tcp://[fe80::1%2]:80" },
	{ "tcp://[::ffff:192.0.2.1]:80", "tcp://[::ffff:192.0.2.1]:80" },
	{ "tcp4://:80", "tcp4://:80" },
	{ "tcp6://*:80", "tcp6://:80" },
	{ "tcp4://127.0.0.1:80", "tcp4://127.0.0.1:80" },
	{ "tcp6://[::1]:80", "tcp6://[::1]:80" },
	{ "tcp6://name:80", "tcp6://name:80" },
	{ "udp://:9999", "udp://:9999" },
	{ "udp://*:9999", "udp://*:9999" },
	{ "udp6://*:9999", "udp6://*:9999" },
	{ "udp4://127.0.0.1:9999", "udp4://127.0.0.1:9999" },
	{ "udp://:9999?reuseport=on", "udp://:9999?reuseport=yes" },
	{ "udplite://*:1", "udplite://*:1" },
	{ "mptcp://*:1", "mptcp://:1" },
	{ "sctp4://h:1", "sctp4://h:1" },
	{ "sctp+seqpacket://h:1", "sctp+seqpacket://h:1" },
	{ "sctp+seqpacket6://h:1?udp=9899", "sctp+seqpacket6://h:1?udp=9899" },
	{ "tls://h:443", "tls://h:443" },
	{ "rds://192.0.2.1:1", "rds://192.0.2.1:1" },
	{ "rds://*:1", "rds://*:1" },
	{ "rdm://h:1?udp=1", "rdm://h:1?udp=1" },
	{ "icmp://192.0.2.1", "icmp://192.0.2.1" },
	{ "icmp6://[::1]", "icmp6://[::1]" },
	{ "icmp://*", "icmp://*" },
	{ "icmp://", "icmp://" },
	{ "ip://h/0", "ip://h/0" },
	{ "ip://*/255", "ip://*/255" },
	{ "ip:///253", "ip:///253" },
	{ "udp6://[ff12::7%eth9]:9?loop=no&source=fe80::1", "udp6://[ff12::7%eth9]:9?loop=no&source=fe80::1" },
	{ "udp://all.mcast.example:9?source=10.0.0.1", "udp://all.mcast.example:9?source=10.0.0.1" },
	{ "udp://239.1.2.3:9999?if=eth0&ttl=4&loop=no&source=10.0.0.1",
	  "udp://239.1.2.3:9999?if=eth0&ttl=4&loop=no&source=10.0.0.1" },
	{ "udp://[ff02::1%2]:1?loop=yes&ttl=1", "udp://[ff02::1%2]:1?loop=yes&ttl=1" },
	{ "udp://*:1?broadcast=on", "udp://*:1?broadcast=yes" },
	{ "ip://h/253?ttl=255&if=x", "ip://h/253?ttl=255&if=x" },
	{ "ip6://[::1]/58", "ip6://[::1]/58" },
	{ "stamp://", "stamp://:862" },
	{ "stamp://h", "stamp://h:862" },
	{ "stamp://*:1862", "stamp://*:1862" },
	{ "stamp6://[0:0:0::1]", "stamp6://[0:0:0::1]:862" },
	{ "stamp://?rcvbuf=1M", "stamp://:862?rcvbuf=1M" },
	{ "unix:/run/chime.sock", "unix:/run/chime.sock" },
	{ "unix:chime.sock", "unix:chime.sock" },
	{ "unix:///run/x", "unix:///run/x" },
	{ "unix:/a=b:c&d@e", "unix:/a=b:c&d@e" },
	{ "unix:/a b\n#%3f%25", "unix:/a%20b%0A%23%3F%25" },
	{ "unix:%2fa", "unix:/a" },
	{ "unix:%40x", "unix:%40x" },
	{ "unix:x@", "unix:x@" },
	{ "unix:/\xc3\xa9\xff", "unix:/\xc3\xa9\xff" },
	{ "unix:/x?mode=660", "unix:/x?mode=0660" },
	{ "unix:/x?mode=0&backlog=0&rcvbuf=1024", "unix:/x?mode=0000&backlog=0&rcvbuf=1k" },
	{ "unix:@name", "unix:@name" },
	{ "unix:@%00%00", "unix:@%00%00" },
	{ "unix:@@", "unix:@@" },
	{ "unix+dgram:@name?sndbuf=65536", "unix+dgram:@name?sndbuf=64k" },
	{ "unix+seqpacket:./x?backlog=5", "unix+seqpacket:./x?backlog=5" },
	{ "vsock://2:9999", "vsock://2:9999" },
	{ "vsock://*:*", "vsock://*:*" },
	{ "vsock+seqpacket://4294967295:1", "vsock+seqpacket://*:1" },
	{ "tipc://18888:17", "tipc://18888:17" },
	{ "tipc+rdm://0:4294967295", "tipc+rdm://0:4294967295" },
	{ "tipc+seqpacket://1:1", "tipc+seqpacket://1:1" },
	{ "fd://0", "fd://0" },
	{ "fd://2147483647", "fd://2147483647" },
	{ "fd://name", "fd://name" },
	{ "fd://a%20b%3f%2F%25", "fd://a%20b%3F%2F%25" },
	{ "fd://3a", "fd://3a" },
	{ "fd://-", "fd://-" },
	{ "daytime=tcp://:13", "daytime=tcp://:13" },
	{ "x2=unix:/a=b", "x2=unix:/a=b" },
	{ "stamp=stamp://", "stamp=stamp://:862" },
	{ "tcp://:1?chunk=1k&format=unix&utc=1", "tcp://:1?chunk=1k&format=unix&utc=1" },
	{ "tcp://:1?wait=0.250&backlog=7", "tcp://:1?wait=0.250&backlog=7" },
	{ "tcp://:1?note=", "tcp://:1?note=" },
	{ "tcp://:1?note=a%20b%26c%25%3f%23=+", "tcp://:1?note=a%20b%26c%25%3F%23=+" },
	{ "tcp://:1?note=a?b#c d", "tcp://:1?note=a%3Fb%23c%20d" },
};
#define GOOD (sizeof good / sizeof good[0])

/* Parse, print, parse: the normal form, and from it the same endpoint to the byte. */
TEST(endpoint_parse_print_parse_is_the_same)
{
	for (size_t i = 0; i < GOOD; i++) {
		char text[CHIME_ENDPOINT_TEXT];
		if (!good[i][1])
			continue;
		chime_endpoint e = parsed(good[i][0]), back;
		CHECK_EQ(chime_endpoint_print(&e, text, sizeof text), strlen(good[i][1]));
		CHECK_STR(text, good[i][1]);
		back = parsed(text);
		CHECK_MEM(&back, &e, sizeof e);
	}
}

/* Every prefix of a good text, against an unreadable page, is read and printed back, or refused at a place within it. */
TEST(endpoint_parse_stands_every_prefix)
{
	for (size_t i = 0; i < GOOD; i++)
		for (size_t len = 0; len <= strlen(good[i][0]); len++) {
			struct chime_endpoint_error error = { SIZE_MAX, "" };
			char text[CHIME_ENDPOINT_TEXT];
			chime_endpoint e, back;
			int err = parse(&e, good[i][0], len, &error);
			fprintf(stderr, "%.*s: %d at %zu: %s\n", (int)len, good[i][0], err, error.at, error.message);
			if (err == 0) {
				CHECK_IN(chime_endpoint_print(&e, text, sizeof text), 1, sizeof text - 1);
				back = parsed(text);
				CHECK_MEM(&back, &e, sizeof e);
			} else {
				CHECK_IN(error.at, 0, len);
				CHECK(strstr(error.message, "expected ") || strstr(error.message, "perhaps "));
			}
			CHECK_EQ(parse(&back, good[i][0], len, NULL), err);
		}
}

#define SCHEMES                                                                                                        \
	"expected a scheme: tcp udp udplite mptcp sctp sctp+seqpacket tls unix unix+dgram unix+seqpacket vsock "       \
	"vsock+seqpacket tipc tipc+rdm tipc+seqpacket tipc+dgram rds rdm icmp ip stamp fd"
#define PORT "expected a port from 0 to 65535"
#define NO_GROUP(option) "expected no " option ": the host is no multicast group"
#define COLON_PORT "expected ':' and a port from 0 to 65535"
#define QUAD "expected an IPv4 address of four numbers from 0 to 255, such as 192.0.2.1"
#define HOST "expected letters, digits, '-', '_' and '.' in a host"
#define SERVICE "expected a service's name, lower-case letters and digits, before the '='"

static const struct {
	const char *text;
	int code;
	size_t at;
	const char *message;
} bad[] = {
	/* no scheme, or not one of ours */
	{ "", CHIME_ESYNTAX, 0, "expected a scheme, such as tcp://127.0.0.1:9999" },
	{ "127.0.0.1:9999", CHIME_ESYNTAX, 0, "expected a scheme, such as tcp://127.0.0.1:9999" },
	{ "localhost:80", CHIME_ESYNTAX, 0, "expected a scheme, such as tcp://localhost:80" },
	{ "tipcs:80", CHIME_ESYNTAX, 0, "expected a scheme, such as tcp://tipcs:80" },
	{ ":9999", CHIME_ESYNTAX, 0, "expected a scheme, such as tcp://:9999" },
	{ "*:9999", CHIME_ESYNTAX, 0, "expected a scheme, such as tcp://*:9999" },
	{ "9999", CHIME_ESYNTAX, 0, "expected a scheme, such as tcp://:9999" },
	{ "[::1]:80", CHIME_ESYNTAX, 0, "expected a scheme, such as tcp://[::1]:80" },
	{ "::1:80", CHIME_ESYNTAX, 0, "expected a scheme, such as tcp://127.0.0.1:9999" },
	{ "h:70000", CHIME_ESYNTAX, 0, "expected a scheme, such as tcp://127.0.0.1:9999" },
	{ "localhost", CHIME_ESYNTAX, 0, "expected a scheme, such as tcp://localhost:9999" },
	{ "/run/x.sock", CHIME_ESYNTAX, 0, "expected a scheme, such as unix:/run/x.sock" },
	{ "./x?mode=0600", CHIME_ESYNTAX, 0, "expected a scheme, such as unix:./x?mode=0600" },
	{ "@name", CHIME_ESYNTAX, 0, "expected a scheme, such as unix:@name" },
	{ "a b", CHIME_ESYNTAX, 0, "expected a scheme, such as tcp://127.0.0.1:9999" },
	{ "/a b", CHIME_ESYNTAX, 0, "expected a scheme, such as tcp://127.0.0.1:9999" },
	{ "/\x1b[31m", CHIME_ESYNTAX, 0, "expected a scheme, such as tcp://127.0.0.1:9999" },
	{ "tipcs:*", CHIME_ESYNTAX, 0, "expected a scheme, such as tcp://127.0.0.1:9999" },
	{ "\x1b[31m:1", CHIME_ESYNTAX, 0, "expected a scheme, such as tcp://127.0.0.1:9999" },
	{ " tcp://h:1", CHIME_ESYNTAX, 0, "expected a scheme, such as tcp://127.0.0.1:9999" },
	{ "echo=h:1", CHIME_ESYNTAX, 5, "expected a scheme, such as tcp://h:1" },
	{ "echo=", CHIME_ESYNTAX, 5, "expected a scheme, such as tcp://127.0.0.1:9999" },
	{ "tcp", CHIME_ESYNTAX, 3, "expected \":\" after \"tcp\", as in tcp://127.0.0.1:9999" },
	{ "tcp:", CHIME_ESYNTAX, 4, "expected \"//\" after \"tcp:\"" },
	{ "tcp:h:1", CHIME_ESYNTAX, 4, "expected \"//\" after \"tcp:\"" },
	{ "udp6:/x", CHIME_ESYNTAX, 5, "expected \"//\" after \"udp6:\"" },
	{ "tcpp://h:1", CHIME_ESYNTAX, 0, "unknown scheme \"tcpp\": perhaps tcp" },
	{ "tpc://h:1", CHIME_ESYNTAX, 0, "unknown scheme \"tpc\": perhaps tcp" },
	{ "TCP://h:1", CHIME_ESYNTAX, 0, "unknown scheme \"TCP\": perhaps tcp" },
	{ "http://h:1", CHIME_ESYNTAX, 0, "unknown scheme \"http\": perhaps tcp" },
	{ "unix+stream:/x", CHIME_ESYNTAX, 0, "unknown scheme \"unix+stream\": perhaps unix" },
	{ "unix4:/x", CHIME_ESYNTAX, 0, "unknown scheme \"unix4\": perhaps unix" },
	{ "vsock4://1:1", CHIME_ESYNTAX, 0, "unknown scheme \"vsock4\": perhaps vsock" },
	{ "sctp4+seqpacket://h:1", CHIME_ESYNTAX, 0, NULL },
	{ "tcp46://h:1", CHIME_ESYNTAX, 0, "unknown scheme \"tcp46\": perhaps tcp" },
	{ "gopher://h:1", CHIME_ESYNTAX, 0, SCHEMES },
	{ "://h:1", CHIME_ESYNTAX, 0, "expected a scheme, such as tcp://127.0.0.1:9999" },
	{ "4://h:1", CHIME_ESYNTAX, 0, SCHEMES },
	/* the service */
	{ "=tcp://:1", CHIME_ESYNTAX, 0, SERVICE },
	{ "Echo=tcp://:1", CHIME_ESYNTAX, 0, SERVICE },
	{ "my-echo=tcp://:1", CHIME_ESYNTAX, 0, SERVICE },
	{ "a2345678901234567890123456789012=tcp://:1", -ENAMETOOLONG, 0,
	  "expected a service's name of at most 31 bytes before the '='" },
	/* the host */
	{ "tcp://", CHIME_ESYNTAX, 6, COLON_PORT },
	{ "tcp://h", CHIME_ESYNTAX, 7, COLON_PORT },
	{ "tcp://h?backlog=1", CHIME_ESYNTAX, 7, COLON_PORT },
	{ "tcp://h/", CHIME_ESYNTAX, 7, COLON_PORT },
	{ "tcp://[::1]", CHIME_ESYNTAX, 11, COLON_PORT },
	{ "tcp://[::1]80", CHIME_ESYNTAX, 11, COLON_PORT },
	{ "tcp://[::1", CHIME_ESYNTAX, 10, "expected a ']' after the IPv6 address" },
	{ "tcp://[]:1", CHIME_ESYNTAX, 7, "expected an IPv6 address in the brackets, such as [::1]" },
	{ "tcp://[127.0.0.1]:1", CHIME_ESYNTAX, 7, "expected an IPv6 address in the brackets, such as [::1]" },
	{ "tcp://[::1 ]:1", CHIME_ESYNTAX, 7, "expected an IPv6 address in the brackets, such as [::1]" },
	{ "tcp://[1:2:3:4:5:6:7:8:9]:1", CHIME_ESYNTAX, 7, "expected an IPv6 address in the brackets, such as [::1]" },
	{ "tcp://[fe80::1%]:1", CHIME_ESYNTAX, 15, "expected an interface's name or number after '%'" },
	{ "tcp://[fe80::1%e h]:1", CHIME_ESYNTAX, 16, "expected an interface's name or number after '%'" },
	{ "tcp://[fe80::1%e\x7f]:1", CHIME_ESYNTAX, 16, "expected an interface's name or number after '%'" },
	{ "tcp://[fe80::1%e\xc3\xa4]:1", CHIME_ESYNTAX, 16, "expected an interface's name or number after '%'" },
	{ "tcp://[fe80::1%4294967296]:1", -ERANGE, 15, "expected an interface's number from 0 to 4294967295" },
	{ "tcp://[fe80::1%abcdefghijklmnop]:1", -ENAMETOOLONG, 15, "expected an interface's name of at most 15 bytes" },
	{ "tcp://::1:80", CHIME_ESYNTAX, 6, "expected an IPv6 address in brackets, as in [::1]:80" },
	{ "icmp://::1", CHIME_ESYNTAX, 7, "expected an IPv6 address in brackets, as in [::1]:80" },
	{ "ip://::1/6", CHIME_ESYNTAX, 5, "expected an IPv6 address in brackets, as in [::1]:80" },
	{ "tcp4://[::1]:1", CHIME_ESYNTAX, 8, "expected an IPv4 address or a name: tcp4 takes no IPv6 address" },
	{ "tcp6://127.0.0.1:1", CHIME_ESYNTAX, 7, "expected an IPv6 address or a name: tcp6 takes no IPv4 address" },
	{ "tcp://1.2.3:1", CHIME_ESYNTAX, 6, QUAD },
	{ "tcp://1.2.3.256:1", CHIME_ESYNTAX, 6, QUAD },
	{ "tcp://1.2.3.4.:1", CHIME_ESYNTAX, 6, QUAD },
	{ "tcp://01.2.3.4:1", CHIME_ESYNTAX, 6, QUAD },
	{ "tcp://127:1", CHIME_ESYNTAX, 6, QUAD },
	{ "tcp://0x7f.1:1", CHIME_ESYNTAX, 6, QUAD },
	{ "tcp://0X7F000001:1", CHIME_ESYNTAX, 6, QUAD },
	{ "tcp://1..2:1", CHIME_ESYNTAX, 6, QUAD },
	{ "tcp://1..:1", CHIME_ESYNTAX, 6, QUAD },
	{ "tcp://111111111111111111111:1", CHIME_ESYNTAX, 6, QUAD },
	{ "tcp://a..b:1", CHIME_ESYNTAX, 8, "expected a letter or digit: a part of the host is empty" },
	{ "tcp://.a:1", CHIME_ESYNTAX, 6, "expected a letter or digit: a part of the host is empty" },
	{ "tcp://.:1", CHIME_ESYNTAX, 6, "expected a letter or digit: a part of the host is empty" },
	{ "tcp://a b:1", CHIME_ESYNTAX, 7, HOST },
	{ "tcp://u@h:1", CHIME_ESYNTAX, 7, HOST },
	{ "tcp://**:1", CHIME_ESYNTAX, 6, HOST },
	{ "tcp://h#:1", CHIME_ESYNTAX, 7, HOST },
	{ "tcp://h\x7f:1", CHIME_ESYNTAX, 7, HOST },
	{ "tcp://h%41:1", CHIME_ESYNTAX, 7, "expected a host without '%': only [IPv6%SCOPE] has one" },
	/* the port */
	{ "tcp://h:", CHIME_ESYNTAX, 8, PORT },
	{ "tcp://h:x", CHIME_ESYNTAX, 8, PORT },
	{ "tcp://h:http", CHIME_ESYNTAX, 8, PORT },
	{ "tcp://h:080", CHIME_ESYNTAX, 8, PORT },
	{ "tcp://h:00", CHIME_ESYNTAX, 8, PORT },
	{ "tcp://h:+1", CHIME_ESYNTAX, 8, PORT },
	{ "tcp://h:-1", CHIME_ESYNTAX, 8, PORT },
	{ "tcp://h: 1", CHIME_ESYNTAX, 8, PORT },
	{ "tcp://h:1 ", CHIME_ESYNTAX, 8, PORT },
	{ "tcp://h:1#", CHIME_ESYNTAX, 8, PORT },
	{ "tcp://h:%31", CHIME_ESYNTAX, 8, PORT },
	{ "tcp://h:*", CHIME_ESYNTAX, 8, PORT },
	{ "tcp://h:65536", -ERANGE, 8, PORT },
	{ "tcp://h:99999999999999999999999999", -ERANGE, 8, PORT },
	{ "tcp://h:1/", CHIME_ESYNTAX, 9, "expected the end or '?', not '/', after the port" },
	{ "tcp://h:1/?backlog=1", CHIME_ESYNTAX, 9, "expected the end or '?', not '/', after the port" },
	{ "tcp://h:1/a:b", CHIME_ESYNTAX, 9, "expected the end or '?', not '/', after the port" },
	{ "icmp://h:1", CHIME_ESYNTAX, 8, "expected the end or '?' after the host: icmp has no ports" },
	{ "icmp://h/", CHIME_ESYNTAX, 8, "expected the end or '?' after the host: icmp has no ports" },
	{ "ip://h", CHIME_ESYNTAX, 6, "expected '/' and a protocol's number from 0 to 255" },
	{ "ip://h:6", CHIME_ESYNTAX, 6, "expected '/' and a protocol's number from 0 to 255" },
	{ "ip://h/", CHIME_ESYNTAX, 7, "expected a protocol's number from 0 to 255" },
	{ "ip://h/tcp", CHIME_ESYNTAX, 7, "expected a protocol's number from 0 to 255" },
	{ "udp://h:1?ttl=256", -ERANGE, 14, "ttl: expected a whole number from 1 to 255" },
	{ "udp://h:1?source=h", CHIME_ESYNTAX, 17, "source: expected a numeric address, such as 192.0.2.1" },
	{ "udp://127.0.0.1:1?ttl=1&source=127.0.0.9", CHIME_ESYNTAX, 24, NO_GROUP("source") },
	{ "udp://*:1?source=127.0.0.9", CHIME_ESYNTAX, 10, NO_GROUP("source") },
	{ "udp://:1?loop=yes", CHIME_ESYNTAX, 9, NO_GROUP("loop") },
	{ "udplite6://[fe80::1%nosuch]:1?loop=no", CHIME_ESYNTAX, 30, NO_GROUP("loop") },
	{ "udp://h:1?loop=maybe", CHIME_ESYNTAX, 15, "loop: expected no or yes" },
	{ "icmp://h?loop=no", CHIME_ESYNTAX, 9, "expected no loop: it is for udp and udplite" },
	{ "tcp://h:1?if=lo", CHIME_ESYNTAX, 10, "expected no if: it is for udp, udplite, icmp and ip" },
	{ "ip://h/256", -ERANGE, 7, "expected a protocol's number from 0 to 255" },
	{ "ip://h/6/", CHIME_ESYNTAX, 8, "expected the end or '?', not '/', after the protocol" },
	{ "stamp://h:", CHIME_ESYNTAX, 10, PORT },
	{ "stamp://h/", CHIME_ESYNTAX, 9, COLON_PORT },
	/* unix */
	{ "unix:", CHIME_ESYNTAX, 5, "expected a path, or '@' and an abstract name, after \"unix:\"" },
	{ "unix:@", CHIME_ESYNTAX, 6, "expected a path, or '@' and an abstract name, after \"unix:\"" },
	{ "unix+dgram:?mode=0600", CHIME_ESYNTAX, 11,
	  "expected a path, or '@' and an abstract name, after \"unix+dgram:\"" },
	{ "unix:/a%", CHIME_ESYNTAX, 7, "expected two hexadecimal digits after '%'" },
	{ "unix:/a%4", CHIME_ESYNTAX, 7, "expected two hexadecimal digits after '%'" },
	{ "unix:/a%4?mode=0600", CHIME_ESYNTAX, 7, "expected two hexadecimal digits after '%'" },
	{ "unix:/%20%g0", CHIME_ESYNTAX, 9, "expected two hexadecimal digits after '%'" },
	{ "unix:@%", CHIME_ESYNTAX, 6, "expected two hexadecimal digits after '%'" },
	{ "unix:/a%00b", CHIME_ESYNTAX, 7, "expected a path without %00" },
	{ "unix:%00b", CHIME_ESYNTAX, 5, "expected a path without %00" },
	/* vsock, tipc */
	{ "vsock://", CHIME_ESYNTAX, 8, "expected CID:PORT" },
	{ "vsock://1", CHIME_ESYNTAX, 9, "expected CID:PORT" },
	{ "vsock://:1", CHIME_ESYNTAX, 8, "expected a CID from 0 to 4294967295" },
	{ "vsock://x:1", CHIME_ESYNTAX, 8, "expected a CID from 0 to 4294967295" },
	{ "vsock://1:", CHIME_ESYNTAX, 10, "expected a port from 0 to 4294967295" },
	{ "vsock://1:2:3", CHIME_ESYNTAX, 10, "expected a port from 0 to 4294967295" },
	{ "vsock://1:2/", CHIME_ESYNTAX, 10, "expected a port from 0 to 4294967295" },
	{ "vsock://4294967296:1", -ERANGE, 8, "expected a CID from 0 to 4294967295" },
	{ "tipc://1", CHIME_ESYNTAX, 8, "expected TYPE:INSTANCE" },
	{ "tipc://*:1", CHIME_ESYNTAX, 7, "expected a type from 0 to 4294967295" },
	{ "tipc://1:*", CHIME_ESYNTAX, 9, "expected an instance from 0 to 4294967295" },
	{ "tipc://1:4294967296", -ERANGE, 9, "expected an instance from 0 to 4294967295" },
	/* fd */
	{ "fd://", CHIME_ESYNTAX, 5, "expected a descriptor's number or name" },
	{ "fd://03", CHIME_ESYNTAX, 5, "expected a descriptor's number from 0 to 2147483647" },
	{ "fd://-1", CHIME_ESYNTAX, 5, "expected a descriptor's number from 0 to 2147483647" },
	{ "fd://+3", CHIME_ESYNTAX, 5, "expected a descriptor's number from 0 to 2147483647" },
	{ "fd://%33", CHIME_ESYNTAX, 5, "expected a descriptor's number from 0 to 2147483647" },
	{ "fd://2147483648", -ERANGE, 5, "expected a descriptor's number from 0 to 2147483647" },
	{ "fd://3/", CHIME_ESYNTAX, 6, "expected the end or '?', not '/', after the descriptor" },
	{ "fd://a:b", CHIME_ESYNTAX, 5, "expected a descriptor's name without ':' and control bytes" },
	{ "fd://a%7f", CHIME_ESYNTAX, 5, "expected a descriptor's name without ':' and control bytes" },
	{ "fd://a%00", CHIME_ESYNTAX, 5, "expected a descriptor's name without ':' and control bytes" },
	{ "fd://a%zz", CHIME_ESYNTAX, 6, "expected two hexadecimal digits after '%'" },
	/* options */
	{ "tcp://:1?", CHIME_ESYNTAX, 9, "expected an option, NAME=VALUE" },
	{ "tcp://:1?=1", CHIME_ESYNTAX, 9, "expected an option, NAME=VALUE" },
	{ "tcp://:1?utc=1&", CHIME_ESYNTAX, 15, "expected an option, NAME=VALUE" },
	{ "tcp://:1?utc=1&&utc=1", CHIME_ESYNTAX, 15, "expected an option, NAME=VALUE" },
	{ "tcp://:1?backlog", CHIME_ESYNTAX, 16, "expected '=' and a value after \"backlog\"" },
	{ "tcp://:1?backlog=", CHIME_ESYNTAX, 17, "backlog: expected a whole number from 0 to 2147483647" },
	{ "tcp://:1?backlog=2147483648", -ERANGE, 17, "backlog: expected a whole number from 0 to 2147483647" },
	{ "tcp://:1?backlog=1&utc=1&backlog=1", CHIME_ESYNTAX, 25, "expected backlog once" },
	{ "tcp://:1?utc=1&utc=no", CHIME_ESYNTAX, 15, "expected utc once" },
	{ "tcp://:1?Backlog=1", CHIME_ESYNTAX, 9,
	  "unknown option \"Backlog\": expected backlog, rcvbuf, sndbuf, reuseport, chunk, wait, format, utc, note" },
	{ "udplite://:1?x=1", CHIME_ESYNTAX, 13,
	  "unknown option \"x\": expected rcvbuf, sndbuf, reuseport, coverage, min-coverage, if, ttl, loop, source, "
	  "broadcast, chunk, wait, format, ut..." },
	{ "tcp://:1?back%6cog=1", CHIME_ESYNTAX, 9, NULL },
	{ "tcp://:1?\x1b]0;=1", CHIME_ESYNTAX, 9, NULL },
	{ "tcp://:1?mode=0600", CHIME_ESYNTAX, 9, "expected no mode: it is for unix schemes" },
	{ "udp://:1?backlog=1", CHIME_ESYNTAX, 9, "expected no backlog: it is for schemes with connections" },
	{ "unix+dgram:/x?backlog=1", CHIME_ESYNTAX, 14, "expected no backlog: it is for schemes with connections" },
	{ "unix:/x?reuseport=1", CHIME_ESYNTAX, 8,
	  "expected no reuseport: it is for tcp, udp, udplite, mptcp, sctp, sctp+seqpacket, tls and stamp" },
	{ "tcp://:1?udp=1", CHIME_ESYNTAX, 9, "expected no udp: it is for rdm and sctp+seqpacket" },
	{ "fd://3?rcvbuf=1", CHIME_ESYNTAX, 7, "expected no rcvbuf: it is for all schemes but fd" },
	{ "unix:@x?mode=0600", CHIME_ESYNTAX, 8, "expected no mode: an abstract name has no file" },
	{ "unix:/x?mode=0999", CHIME_ESYNTAX, 13, "mode: expected an octal number from 0 to 0777" },
	{ "unix:/x?mode=1777", -ERANGE, 13, "mode: expected an octal number from 0 to 0777" },
	{ "rdm://h:1?udp=65536", -ERANGE, 14, "udp: expected a whole number from 0 to 65535" },
	{ "tcp://:1?rcvbuf=1G", -ERANGE, 16,
	  "rcvbuf: expected a whole number from 0 to 1073741823, with k, M or G if wanted" },
	{ "tcp://:1?reuseport=maybe", CHIME_ESYNTAX, 19, "reuseport: expected yes or no" },
	{ "tcp://:1?format=iso", CHIME_ESYNTAX, 16, "format: expected ctime or unix" },
	{ "tcp://:1?note=%", CHIME_ESYNTAX, 14, "expected two hexadecimal digits after '%'" },
	{ "tcp://:1?note=a%2500%00b", CHIME_ESYNTAX, 20, "note: expected a value without %00" },
	{ "tcp://:1?note=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", -ERANGE, 14, "note: expected at most 40 bytes" },
};

/* Every malformed endpoint is refused with its code, its place and what was expected there. */
TEST(endpoint_parse_refuses_with_the_place_and_what_was_expected)
{
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct chime_endpoint_error error = { SIZE_MAX, "" };
		chime_endpoint e;
		int err = parse(&e, bad[i].text, strlen(bad[i].text), &error);
		fprintf(stderr, "\"%s\": %s at %zu: %s\n", bad[i].text, chime_errname(err), error.at, error.message);
		CHECK_EQ(err, bad[i].code);
		CHECK_EQ(error.at, bad[i].at);
		if (bad[i].message)
			CHECK_STR(error.message, bad[i].message);
		for (const char *p = error.message; *p; p++)
			CHECK_IN(*p, ' ', '~');
		CHECK_IN(strlen(error.message), 8, sizeof error.message - 2);
	}
}

/* An endpoint that a message proposes is one. */
TEST(endpoint_hints_are_endpoints)
{
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct chime_endpoint_error error;
		chime_endpoint e;
		CHECK_NE(parse(&e, bad[i].text, strlen(bad[i].text), &error), 0);
		const char *hint = strstr(error.message, "a scheme, such as ");
		if (hint)
			parsed(hint + strlen("a scheme, such as "));
	}
}

/* What is not given is none: no service, no port, no descriptor, settings as the system has them. */
TEST(endpoint_defaults_are_none)
{
	chime_endpoint e = parsed("unix:/x");
	CHECK_EQ(e.scheme, CHIME_UNIX);
	CHECK_EQ(e.family, AF_UNSPEC);
	CHECK_STR(e.service, "");
	CHECK_STR(e.host, "");
	CHECK_EQ(e.port, -1);
	CHECK_EQ(e.fd, -1);
	CHECK_STR(e.fd_name, "");
	CHECK_STR(e.options, "");
	CHECK_EQ(e.set.mode, -1);
	CHECK_EQ(e.set.backlog, -1);
	CHECK_EQ(e.set.rcvbuf, -1);
	CHECK_EQ(e.set.sndbuf, -1);
	CHECK_EQ(e.set.reuseport, false);
	CHECK_EQ(e.set.udp_port, -1);
	CHECK_EQ(e.set.coverage, -1);
	CHECK_EQ(e.set.min_coverage, -1);
	CHECK_EQ(e.set.rto_ns, -1);
	CHECK_EQ(e.set.ttl, -1);
	CHECK_EQ(e.set.loop, -1);
}

/* Each part goes where the header says. */
TEST(endpoint_parts_go_to_their_fields)
{
	chime_endpoint e = parsed("echo=tcp6://[fe80::1%eth0]:80?reuseport=yes&backlog=9&rcvbuf=4k&sndbuf=5");
	CHECK_EQ(e.scheme, CHIME_TCP);
	CHECK_EQ(e.family, AF_INET6);
	CHECK_STR(e.service, "echo");
	CHECK_STR(e.host, "fe80::1%eth0");
	CHECK_EQ(e.port, 80);
	CHECK_EQ(e.set.reuseport, true);
	CHECK_EQ(e.set.backlog, 9);
	CHECK_EQ(e.set.rcvbuf, 4096);
	CHECK_EQ(e.set.sndbuf, 5);
	e = parsed("udp4://*:1");
	CHECK_EQ(e.scheme, CHIME_UDP);
	CHECK_EQ(e.family, AF_INET);
	CHECK_STR(e.host, "*");
	e = parsed("tcp://*:1");
	CHECK_STR(e.host, "");
	e = parsed("unix:/a%20b?mode=0640");
	CHECK_EQ(e.path_len, 4);
	CHECK_MEM(e.path, "/a b", 5);
	CHECK_EQ(e.set.mode, 0640);
	e = parsed("unix+dgram:@a%00b");
	CHECK_EQ(e.scheme, CHIME_UNIX_DGRAM);
	CHECK_EQ(e.path_len, 4);
	CHECK_MEM(e.path, "\0a\0b", 4);
	e = parsed("vsock://*:7");
	CHECK_EQ(e.number[0], VMADDR_CID_ANY);
	CHECK_EQ(e.number[1], 7);
	e = parsed("tipc+rdm://5:6");
	CHECK_EQ(e.scheme, CHIME_TIPC_RDM);
	CHECK_EQ(e.number[0], 5);
	CHECK_EQ(e.number[1], 6);
	e = parsed("ip://h/17");
	CHECK_EQ(e.port, 17);
	e = parsed("icmp://h");
	CHECK_EQ(e.port, -1);
	e = parsed("stamp://h");
	CHECK_EQ(e.port, 862);
	e = parsed("fd://7");
	CHECK_EQ(e.fd, 7);
	CHECK_STR(e.fd_name, "");
	e = parsed("fd://seven");
	CHECK_EQ(e.fd, -1);
	CHECK_STR(e.fd_name, "seven");
	e = parsed("rdm://h:1?udp=4500");
	CHECK_EQ(e.set.udp_port, 4500);
}

/* The caller's options go into the caller's struct; without the table they are unknown. */
TEST(endpoint_further_options_are_the_callers)
{
	struct config config = { 1024, 5, 0, false, "" };
	struct chime_endpoint_error error;
	chime_endpoint e;
	CHECK_EQ(chime_endpoint_parse(&e, "tcp://:1?chunk=64k&utc=yes&backlog=3&format=unix&note=a%20b&wait=1.5",
				      further, &config, &error),
		 0);
	CHECK_EQ(config.chunk, 65536);
	CHECK_EQ(config.utc, true);
	CHECK_EQ(config.format, 1);
	CHECK_EQ(config.wait, 1500 * CHIME_MSEC);
	CHECK_STR(config.note, "a b");
	CHECK_EQ(e.set.backlog, 3);
	CHECK_STR(e.options, "chunk=64k&utc=yes&backlog=3&format=unix&note=a%20b&wait=1.5");
	CHECK_EQ(chime_endpoint_parse(&e, "tcp://:1?chunk=64k", NULL, NULL, &error), CHIME_ESYNTAX);
	CHECK_STR(error.message, "unknown option \"chunk\": expected backlog, rcvbuf, sndbuf, reuseport");
	CHECK_EQ(chime_endpoint_parse(&e, "fd://1?x=1", NULL, NULL, &error), CHIME_ESYNTAX);
	CHECK_STR(error.message, "unknown option \"x\": expected none");
}

/* Lengths: what just fits is read, a byte more is refused. */
TEST(endpoint_lengths_have_limits)
{
	struct chime_endpoint_error error;
	char text[2048], printed[CHIME_ENDPOINT_TEXT];
	chime_endpoint e;
	for (int longer = 0; longer < 2; longer++) {
		int len = sprintf(text, "unix:/%0*d", 106 + longer, 0);
		CHECK_EQ(parse(&e, text, (size_t)len, &error), longer ? -ENAMETOOLONG : 0);
		if (longer)
			CHECK_STR(error.message, "expected a path of at most 107 bytes, not 108");
		len = sprintf(text, "unix:@%0*d", 107 + longer, 0);
		CHECK_EQ(parse(&e, text, (size_t)len, &error), longer ? -ENAMETOOLONG : 0);
		if (longer)
			CHECK_STR(error.message, "expected an abstract name of at most 107 bytes, not 108");
		len = sprintf(text, "fd://a%0*d", 62 + longer, 0);
		CHECK_EQ(parse(&e, text, (size_t)len, &error), longer ? -ENAMETOOLONG : 0);
		len = sprintf(text, "s%0*d=tcp://:1", 30 + longer, 0);
		CHECK_EQ(parse(&e, text, (size_t)len, &error), longer ? -ENAMETOOLONG : 0);
		len = sprintf(text, "tcp://a%0*d.b:1", 62 + longer, 0);
		CHECK_EQ(parse(&e, text, (size_t)len, &error), longer ? -ENAMETOOLONG : 0);
		/* 4 * 62 + 4 dots + 1 or 2, and the root's dot that does not count */
		len = sprintf(text, "tcp://%061dx.%061dx.%061dx.%061dx.%s.:1", 0, 0, 0, 0, longer ? "bb" : "b");
		CHECK_EQ(parse(&e, text, (size_t)len, &error), longer ? -ENAMETOOLONG : 0);
		if (longer)
			CHECK_STR(error.message, "expected a host of at most 253 bytes");
		len = sprintf(text, "/%0*d", 98 + longer, 0); /* what is longer is not shown with a scheme */
		CHECK_EQ(parse(&e, text, (size_t)len, &error), CHIME_ESYNTAX);
		CHECK_EQ(!strstr(error.message, "unix:/000"), longer);
	}
	/* the most that can be printed */
	memset(text, 0, sizeof text);
	sprintf(text, "a%030d=unix+seqpacket:@", 0);
	for (int i = 0; i < 107; i++)
		strcat(text, "%00");
	CHECK_EQ(parse(&e, text, strlen(text), &error), 0);
	memset(e.options, 'o', sizeof e.options - 1);
	CHECK_IN(chime_endpoint_print(&e, printed, sizeof printed), 800, sizeof printed - 1);
}

/* All the options together have room for 511 bytes, in the normal form. */
TEST(endpoint_options_have_a_limit_together)
{
	static char wide[600];
	static const struct chime_option one[] = {
		{ "t", CHIME_OPTION_TEXT, 0, 0, sizeof wide - 1, NULL, false, "TEXT", "" },
		{ .name = NULL },
	};
	struct chime_endpoint_error error;
	char text[2048], printed[CHIME_ENDPOINT_TEXT];
	chime_endpoint e, back;
	int head = sprintf(text, "tcp://:1?t=");
	memset(text + head, 'x', 600);
	text[head + 509] = 0;
	CHECK_EQ(chime_endpoint_parse(&e, text, one, wide, &error), 0);
	CHECK_EQ(strlen(wide), 509);
	CHECK_EQ(chime_endpoint_print(&e, printed, sizeof printed), strlen(text));
	CHECK_EQ(chime_endpoint_parse(&back, printed, one, wide, &error), 0);
	CHECK_MEM(&back, &e, sizeof e);
	text[head + 509] = 'x';
	text[head + 510] = 0;
	CHECK_EQ(chime_endpoint_parse(&e, text, one, wide, &error), -ENAMETOOLONG);
	text[head + 510] = 'x';
	for (int len = 512; len < 530; len++) { /* longer than any value */
		text[head + len] = 0;
		CHECK_EQ(chime_endpoint_parse(&e, text, one, wide, &error), -ENAMETOOLONG);
		CHECK_EQ(error.at, head);
		CHECK_STR(error.message, "t: expected at most 511 bytes");
		text[head + len] = 'x';
	}
	text[head + 600] = 0;
	CHECK_EQ(chime_endpoint_parse(&e, text, one, wide, &error), -ENAMETOOLONG);
	memset(text + head, ' ', 200);
	text[head + 200] = 0;
	CHECK_EQ(chime_endpoint_parse(&e, text, one, wide, &error), -ENAMETOOLONG);
	CHECK_EQ(error.at, 9);
	CHECK_STR(error.message, "expected options of at most 511 bytes in all");
}

/* An option whose name begins another's is not given by that. */
TEST(endpoint_options_are_told_apart_by_whole_names)
{
	static const struct chime_option two[] = {
		{ "a", CHIME_OPTION_BOOL, 0, 0, 0, NULL, false, "yes|no", "" },
		{ "ab", CHIME_OPTION_BOOL, 1, 0, 0, NULL, false, "yes|no", "" },
		{ .name = NULL },
	};
	bool set[2] = { false, false };
	chime_endpoint e;
	CHECK_EQ(chime_endpoint_parse(&e, "tcp://:1?ab=yes&a=yes", two, set, NULL), 0);
	CHECK(set[0] && set[1]);
	CHECK_EQ(chime_endpoint_parse(&e, "tcp://:1?a=yes&ab=yes&a=yes", two, set, NULL), CHIME_ESYNTAX);
}

/* The service alone can be read first, whatever the rest is. */
TEST(endpoint_service_is_read_alone)
{
	static const char *const rows[][2] = {
		{ "echo=tcp://:1", "echo" },
		{ "x2=what ever", "x2" },
		{ "tcp://:1?a=b", "" },
		{ "unix:/a=b", "" },
		{ "=tcp://:1", "" },
		{ "Echo=tcp://:1", "" },
		{ "echo", "" },
		{ "", "" },
		{ "/a=b", "" },
		{ "a-b=tcp://:1", "" },
		{ "a=", "a" },
		{ "a=b=c", "a" },
		{ "a234567890123456789012345678901=", "a234567890123456789012345678901" },
		{ "a2345678901234567890123456789012=", "" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		char buf[32];
		const char *text = edge_text(rows[i][0], strlen(rows[i][0]));
		CHECK_EQ(chime_endpoint_service(text, buf, sizeof buf), strlen(rows[i][1]));
		CHECK_STR(buf, rows[i][1]);
		CHECK_EQ(chime_endpoint_service(text, buf, 3), strlen(rows[i][1]));
		CHECK_EQ(strlen(buf), strnlen(rows[i][1], 2));
	}
}

/* A buffer too small gets the beginning and its NUL; the length is that of the whole. */
TEST(endpoint_print_counts_what_does_not_fit)
{
	static const char whole[] = "echo=unix:/a%20b?mode=0600";
	chime_endpoint e = parsed(whole);
	for (size_t size = 0; size <= sizeof whole; size++) {
		char room[64], *buf = room + 1;
		memset(room, 'x', sizeof room);
		CHECK_EQ(chime_endpoint_print(&e, buf, size), strlen(whole));
		if (size)
			CHECK_EQ(strlen(buf), size - 1);
		CHECK_MEM(buf, whole, size ? size - 1 : 0);
		CHECK_EQ(room[0], 'x');
		CHECK_EQ(buf[size], 'x');
	}
}

/* Each scheme has its row; what this release opens lacks nothing, and the others say what they lack. */
TEST(endpoint_schemes_say_what_they_are)
{
	for (int i = 0; i < CHIME_SCHEMES; i++) {
		const struct chime_scheme_info *info = chime_scheme_info((enum chime_scheme)i);
		CHECK(info && info->name);
		fprintf(stderr, "%s\n", info->name);
		CHECK_EQ(info->lacks == NULL, info->opens);
		if (info->lacks)
			CHECK_IN(strlen(info->lacks), 20, 200);
		/* only streams lose the boundaries */
		CHECK_EQ(info->messages, info->type != SOCK_STREAM && info->type != 0);
		if (info->type == SOCK_STREAM)
			CHECK(info->connected);
		if (info->type == SOCK_DGRAM || info->type == SOCK_RAW)
			CHECK(!info->connected);
	}
	CHECK_PTR(chime_scheme_info(CHIME_SCHEMES), NULL);
	CHECK_EQ(chime_scheme_info(CHIME_UNIX_SEQPACKET)->type, SOCK_SEQPACKET);
	CHECK_EQ(chime_scheme_info(CHIME_UNIX_SEQPACKET)->family, AF_UNIX);
	CHECK_EQ(chime_scheme_info(CHIME_UDPLITE)->protocol, IPPROTO_UDPLITE);
}

/* Every IP scheme takes a 4 or a 6 at its end, no other scheme does. */
TEST(endpoint_ip_schemes_alone_are_pinned)
{
	for (int i = 0; i < CHIME_SCHEMES; i++)
		for (int six = 0; six < 2; six++) {
			const struct chime_scheme_info *info = chime_scheme_info((enum chime_scheme)i);
			const char *place = info->family == AF_UNIX    ? ":/x"
					    : i == CHIME_IP            ? "://h/1"
					    : i == CHIME_ICMP          ? "://h"
					    : info->family == AF_VSOCK ? "://1:1"
								       : "://h:1";
			char text[64];
			chime_endpoint e;
			snprintf(text, sizeof text, "%s%s%s", info->name, six ? "6" : "4", place);
			fprintf(stderr, "%s\n", text);
			int err = parse(&e, text, strlen(text), NULL);
			CHECK_EQ(err, info->ip ? 0 : CHIME_ESYNTAX);
			if (err == 0) {
				CHECK_EQ(e.scheme, i);
				CHECK_EQ(e.family, six ? AF_INET6 : AF_INET);
			}
		}
}

/* The options of sockets are a table for help, each row with the schemes that it is for. */
TEST(endpoint_options_are_a_table)
{
	static const char *const names[] = { "mode",     "backlog",      "rcvbuf", "sndbuf",  "reuseport",
					     "coverage", "min-coverage", "udp",    "carrier", "rto",
					     "if",       "ttl",          "loop",   "source",  "broadcast" };
	const struct chime_option *o = chime_endpoint_options();
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++, o++) {
		CHECK_STR(o->name, names[i]);
		CHECK(strstr(o->help, "for ") && strstr(o->help, "default"));
	}
	CHECK_PTR(o->name, NULL);
}

/* The page chime-endpoint(7), NUL-terminated. */
static const char *page(void)
{
	static char text[65536];
	FILE *f = fopen(CHIME_SOURCE_DIR "/man/chime-endpoint.7", "r");
	CHECK(f != NULL);
	size_t len = fread(text, 1, sizeof text - 1, f);
	fclose(f);
	CHECK_IN(len, 1000, sizeof text - 2);
	text[len] = 0;
	return text;
}

/* The man page has every scheme, says of each whether this release opens it, and every option. */
TEST(endpoint_man_page_has_all_schemes_and_options)
{
	const char *text = page();
	char wanted[64];
	for (int i = 0; i < CHIME_SCHEMES; i++) {
		const struct chime_scheme_info *info = chime_scheme_info((enum chime_scheme)i);
		snprintf(wanted, sizeof wanted, "\n.It Cm %s Ns :", info->name);
		fprintf(stderr, "%s\n", wanted);
		const char *row = strstr(text, wanted), *column = NULL;
		char line[128];
		CHECK(row != NULL);
		snprintf(line, sizeof line, "%.*s", (int)strcspn(row + 1, "\n"), row + 1);
		for (const char *p = line; (p = strstr(p, " Ta ")); p++)
			column = p + 4;
		CHECK(column != NULL);
		CHECK_STR(column, info->opens ? "yes" : "not in this release");
	}
	for (const struct chime_option *o = chime_endpoint_options(); o->name; o++) {
		snprintf(wanted, sizeof wanted, "Cm %s Ns = Ns", o->name);
		fprintf(stderr, "%s\n", wanted);
		CHECK(strstr(text, wanted) != NULL);
	}
}

/* Every endpoint that an example of the man page quotes is one. */
TEST(endpoint_man_page_examples_are_endpoints)
{
	unsigned examples = 0;
	for (const char *line = page(); *line; line += strcspn(line, "\n"), line += *line == '\n') {
		if (strncmp(line, ".Dl chime ", 10))
			continue;
		for (const char *p = line; p[strcspn(p, "'\n")] == '\'';) {
			char text[128];
			p += strcspn(p, "'") + 1;
			snprintf(text, sizeof text, "%.*s", (int)strcspn(p, "'"), p);
			parsed(text);
			p += strcspn(p, "'") + 1;
			examples++;
		}
	}
	CHECK_IN(examples, 8, 100);
}

/* Bytes at random, changed and cut good texts among them: refused within the text, or the same after print and parse. */
TEST(endpoint_parse_stands_random_texts)
{
	static const char *const words[] = { "tcp",   "unix:",     "://", "%",    "[",    "]",    ":",
					     "?",     "=",         "&",   "@",    "*",    "4",    "6",
					     "65536", "mode=0600", "::1", "\x80", "\x01", "note=" };
	for (int i = 0; i < 30000; i++) {
		char text[256], printed[CHIME_ENDPOINT_TEXT];
		struct chime_endpoint_error error = { SIZE_MAX, "" };
		chime_endpoint e, back;
		size_t len = (size_t)snprintf(text, sizeof text, "%s", good[test_random() % GOOD][0]);
		for (unsigned n = (unsigned)(test_random() % 4); n; n--) {
			const char *word = words[test_random() % (sizeof words / sizeof words[0])];
			size_t at = test_random() % (len + 1), word_len = strlen(word);
			memmove(text + at + word_len, text + at, len - at);
			memcpy(text + at, word, word_len);
			len += word_len;
		}
		if (test_random() % 3 == 0)
			text[test_random() % len] = (char)(test_random() % 256);
		len = strnlen(text, len);
		fprintf(stderr, "%.*s\n", (int)len, text);
		if (parse(&e, text, len, &error) < 0) {
			CHECK_IN(error.at, 0, len);
			continue;
		}
		chime_endpoint_print(&e, printed, sizeof printed);
		back = parsed(printed);
		CHECK_MEM(&back, &e, sizeof e);
	}
}

TEST_MAIN()
