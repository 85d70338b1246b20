/* chime sockets: the table and an endpoint's addresses, for people and as JSON. */
#include "program.h"

#include <chime/kind.h>
#include <chime/rdm.h>

#include <errno.h>
#include <netinet/in.h>
#include <sched.h>

static int run(struct program *p, const char *const *args)
{
	program_start(p, args);
	return program_wait(p);
}
#define RUN(p_, ...) run(p_, (const char *const[]){ "sockets", __VA_ARGS__ __VA_OPT__(, ) NULL })

static void check_contains(const char *text, const char *wanted)
{
	if (!strstr(text, wanted))
		fprintf(stderr, "\"%s\" is not in:\n%s\n", wanted, text);
	CHECK(strstr(text, wanted) != NULL);
}

/* Every family and every scheme of the table has its line; unix is there and opened; no line is wider than a terminal. */
TEST(table_has_every_kind)
{
	struct program p = { 0 };
	CHECK_EQ(RUN(&p), 0);
	CHECK_STR(told(&p), "");
	for (const struct chime_kind *k = chime_kind_table(); k->family_name; k++) {
		char line[64];
		const struct chime_scheme_info *info = chime_scheme_info(k->scheme);
		snprintf(line, sizeof line, "\n%s\n", k->family_name);
		check_contains(said(&p), line);
		snprintf(line, sizeof line, " %s ", info ? info->name : "-");
		check_contains(said(&p), line);
	}
	check_contains(said(&p), " SEQPACKET -        yes    unix+seqpacket  yes   reliable ordered messages\n");
	for (const char *at = said(&p); *at;) {
		size_t len = strcspn(at, "\n");
		if (len > 82)
			fprintf(stderr, "%.*s\n", (int)len, at);
		CHECK_IN(len, 0, 79);
		at += len + (at[len] != 0);
	}
	program_forget(&p);
}

/* Each number beside a row has its note. */
TEST(notes_are_numbered)
{
	struct program p = { 0 };
	char mark[8];
	unsigned n = 0;
	CHECK_EQ(RUN(&p), 0);
	for (snprintf(mark, sizeof mark, "(1) "); strstr(said(&p), mark); snprintf(mark, sizeof mark, "(%u) ", n + 1)) {
		n++;
		snprintf(mark, sizeof mark, "(%u)\n", n);
		check_contains(said(&p), mark);
	}
	CHECK_IN(n, 3, 99); /* no Linux has all, and remarks are notes too */
	snprintf(mark, sizeof mark, "(%u)\n", n + 1);
	CHECK_PTR(strstr(said(&p), mark), NULL);
	program_forget(&p);
}

/* The JSON has a row for each kind of the table. */
TEST(json_has_every_kind)
{
	struct program p = { 0 };
	unsigned rows = 0, kinds = 0;
	CHECK_EQ(RUN(&p, "--json"), 0);
	CHECK_EQ(said(&p)[0], '{');
	check_contains(said(&p), "\"system\": \"Linux\"");
	for (const char *at = said(&p); (at = strstr(at, "\"available\": ")); at++)
		rows++;
	for (const struct chime_kind *k = chime_kind_table(); k->family_name; k++)
		kinds++;
	CHECK_EQ(rows, kinds);
	program_forget(&p);
}

/* A numeric endpoint is one address, of its family; nothing is looked up. */
TEST(numeric_endpoints)
{
	struct program p = { 0 };
	CHECK_EQ(RUN(&p, "tcp://127.0.0.1:9999"), 0);
	CHECK_STR(said(&p), "tcp://127.0.0.1:9999\nSOCK_STREAM TCP: reliable ordered bytes\ntalking to it tries\n"
			    "   1  AF_INET  127.0.0.1:9999\n");
	program_forget(&p);
	CHECK_EQ(RUN(&p, "unix:/tmp/x"), 0);
	check_contains(said(&p), "   1  AF_UNIX  /tmp/x\n");
	program_forget(&p);
}

/* Bytes of a path that are no UTF-8 stand in JSON as the endpoint may be written. */
TEST(paths_of_any_bytes)
{
	struct program p = { 0 };
	CHECK_EQ(RUN(&p, "--json", "unix:/tmp/\xff%FE"), 0);
	check_contains(said(&p), "\"endpoint\": \"unix:/tmp/%FF%FE\"");
	check_contains(said(&p), "\"address\": \"/tmp/%FF%FE\"");
	CHECK_STR(told(&p), "");
	program_forget(&p);
}

/* An empty host: talking tries both loopback addresses, IPv6 first; serving TCP takes the any addresses, UDP the loopback ones. */
TEST(empty_hosts)
{
	struct program p = { 0 };
	RUN(&p, "tcp://:9");
	check_contains(said(&p), "tries, one every 250ms");
	check_contains(said(&p), "   1  AF_INET6 [::1]:9\n");
	check_contains(said(&p), "   2  AF_INET  127.0.0.1:9\n");
	program_forget(&p);
	RUN(&p, "udp://:9");
	check_contains(said(&p), "tries, one after the other,\n   1  AF_INET6 [::1]:9\n");
	program_forget(&p);
	RUN(&p, "-j", "udp://:9");
	check_contains(said(&p), "\"attempt_delay_ns\": 0,");
	program_forget(&p);
	RUN(&p, "-j", "tcp://:9");
	check_contains(said(&p), "\"attempt_delay_ns\": 250000000,");
	program_forget(&p);
	RUN(&p, "--serve", "tcp://:9");
	check_contains(said(&p), "[::]:9\n");
	check_contains(said(&p), "0.0.0.0:9\n");
	program_forget(&p);
	RUN(&p, "-s", "udp://:9");
	check_contains(said(&p), "127.0.0.1:9\n");
	check_contains(said(&p), "[::1]:9\n");
	program_forget(&p);
}

/* A name without addresses is the name's no (1), a scheme that is not opened the system's (3), each with the reason, as JSON too. */
TEST(what_does_not_resolve)
{
	struct program p = { 0 };
	CHECK_EQ(RUN(&p, "tcp4://[::1]:9"), 2);
	program_forget(&p);
	CHECK_EQ(RUN(&p, "tcp://name.invalid:9"), 1);
	check_contains(told(&p), "chime sockets: tcp://name.invalid:9: ");
	CHECK_STR(said(&p), "");
	program_forget(&p);
	CHECK_EQ(RUN(&p, "-j", "tcp://name.invalid:9"), 1);
	check_contains(said(&p), "\"code\": \"EAI_");
	check_contains(said(&p), "\"addresses\": []");
	program_forget(&p);
	for (int i = 0; i < CHIME_SCHEMES; i++) {
		const struct chime_scheme_info *info = chime_scheme_info((enum chime_scheme)i);
		char text[64];
		if (info->opens || !info->ip || i == CHIME_IP)
			continue;
		snprintf(text, sizeof text, "%s://127.0.0.1%s", info->name, i == CHIME_ICMP ? "" : ":9");
		CHECK_EQ(RUN(&p, text), 3);
		check_contains(told(&p), info->lacks);
		program_forget(&p);
	}
}

/* What cannot be meant is refused before anything is tried, with the reason. */
TEST(nonsense_is_refused)
{
	static const struct {
		const char *args[4], *why;
	} cases[] = {
		{ { "echo=tcp://:9" }, "without a service" },
		{ { "--serve" }, "--serve goes with an endpoint" },
		{ { "--timeout", "1s" }, "--timeout goes with an endpoint" },
		{ { "--timeout", "0", "tcp://:9" }, "at least 1ms" },
		{ { "tcp://:9", "tcp://:10" }, "one too many" },
		{ { "tcp://:70000" }, "0 to 65535" },
		{ { "127.0.0.1:9" }, "such as tcp://127.0.0.1:9" },
		{ { "nothing://:9" }, "expected a scheme" },
		{ { "tcp://:9?mode=0600" }, "mode" },
		{ { "--json=maybe" }, "yes or no" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct program p = { 0 };
		const char *args[6] = { "sockets" };
		for (int k = 0; k < 4; k++)
			args[k + 1] = cases[i].args[k];
		CHECK_EQ(run(&p, args), 2);
		check_contains(told(&p), cases[i].why);
		CHECK_STR(said(&p), "");
		program_forget(&p);
	}
}

/* Whatever the kernel lacks for an endpoint's addresses is said beside them, and with none left the exit is 3. */
TEST(kernels_without_the_kind)
{
	struct program p = { 0 };
	unsigned seen = 0;
	for (const struct chime_kind *k = chime_kind_table(); k->family_name; k++) {
		const struct chime_scheme_info *info = chime_scheme_info(k->scheme);
		static const struct {
			enum chime_scheme scheme;
			const char *rest;
		} rests[] = { { CHIME_TIPC, "://1000:1" },
			      { CHIME_TIPC_RDM, "://1000:1" },
			      { CHIME_SCTP, "4://127.0.0.1:9" } };
		for (size_t i = 0; i < sizeof rests / sizeof *rests; i++) {
			char text[64];
			if (rests[i].scheme != k->scheme || !info->opens || k->family == AF_INET6 ||
			    chime_kind_try(k, NULL, 0) == 0)
				continue;
			snprintf(text, sizeof text, "%s%s", info->name, rests[i].rest);
			CHECK_EQ(RUN(&p, text), 3);
			check_contains(said(&p), "modprobe");
			program_forget(&p);
			seen++;
		}
	}
	if (!seen)
		SKIP("no scheme is opened that this kernel lacks");
}

/* What carries rdm:// is what the endpoint asks for; what is not to be had is told, with 3, and no more is said of a kernel that need not have it. */
TEST(carriers_are_those_asked_for)
{
	static const char *const words[] = { "auto", "kernel", "user" };
	for (int i = 0; i < 3; i++) {
		struct program p = { 0 };
		char text[64], line[160];
		bool here = chime_rdm_available((enum chime_rdm_carrier)i) == 0;
		snprintf(text, sizeof text, "rdm://127.0.0.1:9?carrier=%s", words[i]);
		snprintf(line, sizeof line, "\ncarried by %s\n", chime_rdm_carrier_name((enum chime_rdm_carrier)i));
		CHECK_EQ(RUN(&p, text), here ? 0 : 3);
		check_contains(said(&p), line);
		check_contains(said(&p), "   1  AF_INET  127.0.0.1:9\n");
		CHECK_PTR(strstr(said(&p), "no Linux has it"), NULL);
		if (i == CHIME_RDM_KERNEL && !here)
			check_contains(said(&p), "modprobe sctp");
		program_forget(&p);
		CHECK_EQ(RUN(&p, "--json", text), here ? 0 : 3);
		snprintf(line, sizeof line, "\"carrier\": \"%s\"", chime_rdm_carrier_name((enum chime_rdm_carrier)i));
		check_contains(said(&p), line);
		check_contains(said(&p), here ? "\"available\": true" : "\"available\": false");
		program_forget(&p);
	}
}

/*
 * How an endpoint resolves does not hang on the loopback interface: without its addresses another's are shown as ever, with 0, and
 * what lacks is told beside loopback addresses and in the table alone.
 */
TEST(no_loopback_addresses)
{
	struct program p = { 0 };
	if (unshare(CLONE_NEWNET) < 0)
		SKIP("making a network namespace takes root");
	if (system("ip link set lo up && ip addr del 127.0.0.1/8 dev lo && ip link set lo down") != 0)
		SKIP("ip(8) cannot take the loopback address away");
	CHECK_EQ(RUN(&p, "tcp://192.0.2.1:9"), 0);
	CHECK_STR(said(&p), "tcp://192.0.2.1:9\nSOCK_STREAM TCP: reliable ordered bytes\ntalking to it tries\n"
			    "   1  AF_INET  192.0.2.1:9\n");
	program_forget(&p);
	CHECK_EQ(RUN(&p, "udp4://:9"), 0);
	check_contains(said(&p), "127.0.0.1:9\n      the loopback interface has no 127.0.0.1");
	program_forget(&p);
	CHECK_EQ(RUN(&p), 0);
	check_contains(said(&p), " STREAM    TCP      yes    tcp             yes   reliable ordered bytes (1)\n");
	check_contains(said(&p), "the loopback interface has no 127.0.0.1 (ip link set lo up)\n");
	program_forget(&p);
	if (chime_kind_try(chime_kind_find(AF_INET6, SOCK_STREAM, IPPROTO_TCP), NULL, 0) == -EAFNOSUPPORT)
		SKIP("this kernel has no IPv6");
	CHECK_EQ(RUN(&p, "--serve", "tcp://[2001:db8::1]:9"), 0);
	CHECK_STR(said(&p), "tcp://[2001:db8::1]:9\nSOCK_STREAM TCP: reliable ordered bytes\nserving it listens on\n"
			    "   1  AF_INET6 [2001:db8::1]:9\n");
	program_forget(&p);
	CHECK_EQ(RUN(&p, "-j", "tcp://[::1]:9"), 0);
	check_contains(said(&p), "\"available\": true");
	check_contains(said(&p), "\"note\": \"the loopback interface has no ::1 ");
	program_forget(&p);
}

TEST_MAIN()
