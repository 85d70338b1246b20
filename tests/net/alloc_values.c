/* Values and texts allocate nothing: addresses, control messages, headers of packets, options, durations, codes. */
#include "net/alloc.h"

#include <chime/connect.h>
#include <chime/errqueue.h>
#include <chime/kind.h>
#include <chime/names.h>
#include <chime/opt.h>
#include <chime/raw.h>
#include <chime/stamp.h>

#include <errno.h>

/* Reading and printing. */
TEST(texts)
{
	static const char *const endpoints[] = { "tcp://[::1]:80?backlog=5", "unix:/tmp/a%20b?mode=0660",
						 "udp://name:9" };
	char text[CHIME_ENDPOINT_TEXT], why[64];
	chime_endpoint e;
	chime_addr a;
	int64_t ns;
	bool utc;
	struct in_addr in;
	check_counter();
	chime_strerror(-EPERM); /* the first time the C library may read its tables */
	for (size_t i = 0; i < sizeof endpoints / sizeof *endpoints; i++) {
		FREE_OF_IT(chime_endpoint_service(endpoints[i], why, sizeof why));
		FREE_OF_IT(chime_endpoint_parse(&e, endpoints[i], NULL, NULL, NULL));
		FREE_OF_IT(chime_endpoint_print(&e, text, sizeof text));
	}
	FREE_IN_FAILURE(chime_endpoint_parse(&e, "tcp://", NULL, NULL, NULL));
	FREE_ANYHOW(chime_scheme_info(CHIME_TCP));
	FREE_ANYHOW(chime_kind_find(AF_INET, SOCK_DGRAM, IPPROTO_UDP));
	FREE_ANYHOW(chime_kind_table());
	FREE_ANYHOW(chime_opt_table());
	FREE_OF_IT(chime_addr_parse(&a, "[2001:db8::1]:80"));
	FREE_OF_IT(chime_addr_print(&a, text, sizeof text));
	FREE_OF_IT(chime_duration_parse("1.5h", &ns));
	FREE_OF_IT(chime_duration_print(ns, text, sizeof text));
	FREE_OF_IT(chime_inet_aton("127.1", &in));
	FREE_OF_IT(chime_inet_pton(AF_INET, "127.0.0.1", &in));
	FREE_OF_IT(chime_inet_ntop(AF_INET, &in, 4, text, sizeof text));
	FREE_OF_IT(strlen(chime_strerror(-ECONNREFUSED)));
	FREE_OF_IT(strlen(chime_errname(CHIME_EAI(EAI_NONAME))));
	FREE_OF_IT(strlen(chime_version()));
	FREE_OF_IT(chime_now_mono());
	FREE_OF_IT(chime_now_real());
	chime_stamp_write(text, 0, CHIME_STAMP_CTIME, false); /* the first time the C library reads the zone */
	for (int format = 0; format < CHIME_STAMP_FORMATS; format++) {
		size_t len;
		FREE_OF_IT(chime_stamp_format_find(chime_stamp_format_name((enum chime_stamp_format)format)));
		FREE_OF_IT(len = chime_stamp_write(text, chime_now_real(), (enum chime_stamp_format)format, false));
		FREE_OF_IT(chime_stamp_read(text, len, (enum chime_stamp_format)format, &ns, &utc, &ns));
	}
}

/* The rows that read settings. */
TEST(settings)
{
	struct chime_endpoint_settings set = { 0 };
	char text[64], why[128];
	check_counter();
	for (const struct chime_option *o = chime_endpoint_options(); o->name; o++) {
		FREE_OF_IT(chime_option_find(chime_endpoint_options(), o->name, strlen(o->name)) == o);
		FREE_OF_IT(chime_option_print(o, &set, text, sizeof text));
		FREE_ANYHOW(chime_option_set(o, &set, text, why, sizeof why));
		if (o->type != CHIME_OPTION_TEXT)
			FREE_IN_FAILURE(chime_option_set(o, &set, "x%y", why, sizeof why));
	}
}

/* Addresses, and what is asked about them. */
TEST(addresses)
{
	chime_addr a, b;
	check_counter();
	FREE_ANYHOW(chime_addr_none());
	FREE_OF_IT(chime_addr_unix(&a, "/tmp/x", 6));
	FREE_OF_IT(chime_addr_vsock(&a, 2, 9));
	FREE_OF_IT(chime_addr_tipc(&a, 1000, 1));
	FREE_OF_IT(chime_addr_ip(&a, AF_INET6, "::ffff:127.0.0.1", 9));
	FREE_OF_IT(chime_addr_from(&b, &a.u.sa, a.len));
	FREE_OF_IT(chime_addr_family(&a));
	FREE_OF_IT(chime_addr_port(&a));
	FREE_OF_IT(chime_addr_set_port(&a, 10));
	FREE_ANYHOW(chime_addr_unmap(&a));
	FREE_OF_IT(chime_addr_is_any(&a));
	FREE_OF_IT(chime_addr_is_loopback(&a));
	FREE_OF_IT(chime_addr_is_multicast(&a));
	FREE_OF_IT(chime_addr_is_broadcast(&a));
	FREE_OF_IT(chime_addr_equal(&a, &b));
}

/* Control messages of every kind, built and read. */
TEST(control_messages)
{
	char room[1024];
	struct chime_control c;
	struct chime_cmsg m = { 0 };
	struct chime_creds creds = { 0 };
	struct chime_pktinfo info = { .local = chime_addr_none() };
	struct chime_stamps stamps;
	struct chime_queued queued = { 0 };
	int fds[2] = { -1, -1 }, number;
	check_counter();
	FREE_OF_IT(chime_control_len(4));
	FREE_OF_IT(chime_control_space(4));
	FREE_ANYHOW((chime_control_init(&c, room, sizeof room), 0));
	FREE_OF_IT(chime_control_add(&c, SOL_SOCKET, 77, "data", 4));
	FREE_OF_IT(chime_control_add_fds(&c, fds, 2));
	FREE_OF_IT(chime_control_add_creds(&c, &creds));
	FREE_OF_IT(chime_control_add_pktinfo(&c, AF_INET, &info));
	FREE_OF_IT(chime_control_add_hops(&c, AF_INET, 1));
	FREE_OF_IT(chime_control_add_tos(&c, AF_INET6, 1));
	FREE_OF_IT(chime_control_add_segment(&c, 100));
	FREE_OF_IT(chime_control_add_txtime(&c, 1));
	bool more = true;
	while (more) {
		FREE_OF_IT(more = chime_control_next(&c, &m));
		FREE_OF_IT(chime_cmsg_fds(&m, fds, 2));
		FREE_OF_IT(chime_cmsg_creds(&m, &creds));
		FREE_OF_IT(chime_cmsg_pktinfo(&m, &info));
		FREE_OF_IT(chime_cmsg_hops(&m, &number));
		FREE_OF_IT(chime_cmsg_tos(&m, &number));
		FREE_OF_IT(chime_cmsg_segment(&m, &number));
		FREE_OF_IT(chime_cmsg_stamps(&m, &stamps));
		FREE_OF_IT(chime_cmsg_queued(&m, &queued));
	}
	FREE_ANYHOW((chime_control_close_fds(&c), 0));
}

static const struct in_addr none = { INADDR_ANY };

/* Headers of IPv4 and its options. */
TEST(ipv4_headers)
{
	unsigned char bytes[128], options[CHIME_IPV4_OPTIONS];
	struct chime_ipv4 ip = { .ttl = 1, .protocol = IPPROTO_ICMP, .options = options }, got;
	struct chime_ipv4_option option = { 0 };
	const void *payload;
	size_t len, payload_len;
	check_counter();
	FREE_OF_IT(ip.options_len = (size_t)chime_ipv4_option_add(options, sizeof options, 0, 7, "\4\0\0\0\0", 5));
	FREE_OF_IT(len = (size_t)chime_ipv4_build(&ip, bytes, sizeof bytes));
	FREE_OF_IT(chime_ipv4_parse(&got, bytes, len));
	FREE_OF_IT(chime_ipv4_option_next(&got, &option));
	FREE_OF_IT(chime_raw_payload(AF_INET, SOCK_RAW, bytes, len, &ip, &payload, &payload_len));
}

/* Messages of ICMP in both families, and sums. */
TEST(icmp_messages)
{
	unsigned char bytes[128];
	struct chime_icmp echo = { .type = 8, .payload = "hello", .payload_len = 5 }, got;
	struct in6_addr any6 = IN6ADDR_ANY_INIT;
	size_t len;
	check_counter();
	FREE_OF_IT(len = (size_t)chime_icmp_build(&echo, bytes, sizeof bytes));
	FREE_OF_IT(chime_icmp_parse(&got, bytes, len));
	FREE_OF_IT(len = (size_t)chime_icmp6_build(&echo, bytes, sizeof bytes, &any6, &any6));
	FREE_OF_IT(chime_icmp6_parse(&got, bytes, len, &any6, &any6));
	FREE_ANYHOW(chime_icmp_name(AF_INET, 8));
	FREE_OF_IT(chime_checksum(bytes, len));
	FREE_OF_IT(chime_checksum_end(chime_checksum_add(0, bytes, len)));
	FREE_OF_IT(chime_checksum_ipv4(none, none, IPPROTO_UDP, 8));
	FREE_OF_IT(chime_checksum_ipv6(&any6, &any6, IPPROTO_UDP, 8));
}

/* Messages of IGMP. */
TEST(igmp_messages)
{
	unsigned char bytes[128];
	struct chime_igmp query = { .type = CHIME_IGMP_QUERY, .version = 2 }, got;
	struct chime_igmp_record record = { 0 };
	size_t len;
	check_counter();
	FREE_OF_IT(len = (size_t)chime_igmp_build(&query, bytes, sizeof bytes));
	FREE_OF_IT(chime_igmp_parse(&got, bytes, len));
	FREE_OF_IT(len = (size_t)chime_igmp_report_add(bytes, sizeof bytes, 0, CHIME_IGMP_ALLOW, none, &none, 1));
	FREE_OF_IT(chime_igmp_parse(&got, bytes, len));
	FREE_OF_IT(chime_igmp_record_next(&got, &record));
	FREE_ANYHOW(chime_igmp_source(record.sources, 0));
	FREE_ANYHOW(chime_igmp_name(CHIME_IGMP_QUERY));
	FREE_ANYHOW(chime_igmp_change_name(CHIME_IGMP_ALLOW));
}

TEST_MAIN()
