/* The table of socket options, walked on real sockets. */
#include <chime/opt.h>
#include <runner/test.h>

#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>

static const struct {
	unsigned bit;
	int value;
} families[] = { { CHIME_OPT_IP4, AF_INET }, { CHIME_OPT_IP6, AF_INET6 }, { CHIME_OPT_UNIX, AF_UNIX } },
  types[] = { { CHIME_OPT_STREAM, SOCK_STREAM }, { CHIME_OPT_DGRAM, SOCK_DGRAM } };

static void each_socket(void (*row)(chime_sock *s, const struct chime_opt *o))
{
	for (const struct chime_opt *o = chime_opt_table(); o->name; o++) {
		for (int f = 0; f < 3; f++) {
			for (int t = 0; t < 2; t++) {
				chime_sock *s;
				if (!(o->where & families[f].bit) || !(o->where & types[t].bit))
					continue;
				int err = chime_open(&s, families[f].value, types[t].value, 0);
				if (err == -EAFNOSUPPORT)
					continue;
				CHECK_EQ(err, 0);
				print_message("%s, family %d, type %d\n", o->name, families[f].value, types[t].value);
				row(s, o);
				chime_free(&s);
			}
		}
	}
}

static bool absent(const struct chime_opt *o, int err)
{
	return err == -ENOPROTOOPT || (o->privileged && (err == -EPERM || err == -EACCES));
}

static void read_row(chime_sock *s, const struct chime_opt *o)
{
	char text[64], cut[3];
	ssize_t n = chime_opt_get_text(s, o, text, sizeof text);
	if (absent(o, (int)n))
		return;
	CHECK_IN(n, 0, sizeof text - 1);
	CHECK_EQ(strlen(text), n);
	CHECK_EQ(chime_opt_get_text(s, o, cut, sizeof cut), n);
	CHECK_EQ(strlen(cut), n < 2 ? n : 2);
	int64_t value;
	CHECK_EQ(chime_opt_get(s, o, &value), o->type == CHIME_OPT_TEXT ? -EOPNOTSUPP : 0);
	if (!o->set) {
		CHECK_EQ(chime_opt_set_text(s, o, text), -EOPNOTSUPP);
		CHECK_EQ(chime_opt_set(s, o, 0), -EOPNOTSUPP);
	}
}

/* Every row can be read where the table says, cut texts are ended, and what cannot be set is refused by us. */
TEST(every_row_is_read)
{
	each_socket(read_row);
}

static void set_row(chime_sock *s, const struct chime_opt *o)
{
	if (!o->set)
		return;
	if (o->type == CHIME_OPT_BOOL) {
		for (int on = 1; on >= 0; on--) {
			int64_t value = -1;
			int err = chime_opt_set_text(s, o, on ? "yes" : "no");
			if (absent(o, err))
				return;
			CHECK_EQ(err, 0);
			CHECK_EQ(chime_opt_get(s, o, &value), 0);
			CHECK_EQ(value, on);
		}
		CHECK_EQ(chime_opt_set(s, o, 2), -ERANGE);
		CHECK_EQ(chime_opt_set_text(s, o, "maybe"), CHIME_ESYNTAX);
		return;
	}
	if (o->type == CHIME_OPT_TEXT) {
		char text[64];
		CHECK_EQ(chime_opt_set_text(s, o, "a-name-that-is-much-too-long-for-it"), -ERANGE);
		CHECK_EQ(chime_opt_set(s, o, 0), -EOPNOTSUPP);
		ssize_t n = chime_opt_get_text(s, o, text, sizeof text);
		if (n > 0)
			CHECK_EQ(chime_opt_set_text(s, o, text), 0);
		return;
	}
	CHECK_EQ(chime_opt_set_text(s, o, ""), CHIME_ESYNTAX);
	CHECK_EQ(chime_opt_set_text(s, o, "x"), CHIME_ESYNTAX);
	CHECK_EQ(chime_opt_set_text(s, o, "1 "), CHIME_ESYNTAX);
	if (o->min > INT64_MIN)
		CHECK_EQ(chime_opt_set(s, o, o->min - 1), -ERANGE);
	if (o->max < INT64_MAX)
		CHECK_EQ(chime_opt_set(s, o, o->max + 1), -ERANGE);
	/* What is read can be written again and reads the same, but for buffers, which double. */
	char text[64], again[64];
	ssize_t n = chime_opt_get_text(s, o, text, sizeof text);
	if (absent(o, (int)n) || o->option == SO_RCVBUF || o->option == SO_SNDBUF)
		return;
	int err = chime_opt_set_text(s, o, text);
	if (absent(o, err) || err == -ERANGE) /* "unset" of some lies outside of what may be set */
		return;
	if (err != 0)
		return;
	CHECK(chime_opt_get_text(s, o, again, sizeof again) > 0);
	CHECK_STR(again, text);
}

/* Every row that can be set takes what it gives; flags turn on and off; ranges and types are held before the kernel is asked. */
TEST(every_row_is_set)
{
	each_socket(set_row);
}

/* Values that change something are read back as they were set, in the unit that the kernel counts in. */
TEST(values_that_are_set_are_read_back)
{
	static const struct {
		const char *name, *text, *reads;
		int family, type;
	} cases[] = {
		{ "SO_LINGER", "5s", "5s", AF_INET, SOCK_STREAM },
		{ "SO_LINGER", "0s", "0ns", AF_INET, SOCK_STREAM },
		{ "SO_LINGER", "off", "off", AF_INET, SOCK_STREAM },
		{ "SO_LINGER", "1500ms", "2s", AF_INET, SOCK_STREAM },
		{ "SO_RCVTIMEO", "2500ms", "2500ms", AF_UNIX, SOCK_DGRAM },
		{ "TCP_KEEPIDLE", "90", "90s", AF_INET, SOCK_STREAM },
		{ "TCP_KEEPINTVL", "7s", "7s", AF_INET6, SOCK_STREAM },
		{ "TCP_KEEPCNT", "3", "3", AF_INET, SOCK_STREAM },
		{ "TCP_USER_TIMEOUT", "1234ms", "1234ms", AF_INET, SOCK_STREAM },
		{ "TCP_USER_TIMEOUT", "1234100us", "1235ms", AF_INET, SOCK_STREAM },
		{ "TCP_KEEPIDLE", "1001ms", "2s", AF_INET, SOCK_STREAM },
		{ "TCP_LINGER2", "-1", "-1", AF_INET, SOCK_STREAM },
		{ "IP_TTL", "77", "77", AF_INET, SOCK_DGRAM },
		{ "IP_TOS", "184", "184", AF_INET, SOCK_DGRAM },
		{ "IPV6_UNICAST_HOPS", "9", "9", AF_INET6, SOCK_DGRAM },
		{ "IPV6_TCLASS", "32", "32", AF_INET6, SOCK_STREAM },
		{ "SO_MAX_PACING_RATE", "123456789", "123456789", AF_INET, SOCK_STREAM },
		{ "UDP_SEGMENT", "1200", "1200", AF_INET, SOCK_DGRAM },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		const struct chime_opt *o = chime_opt_find(cases[i].name);
		chime_sock *s;
		char text[64];
		int64_t got_ns, want_ns;
		CHECK(o != NULL);
		int err = chime_open(&s, cases[i].family, cases[i].type, 0);
		if (err == -EAFNOSUPPORT)
			continue;
		CHECK_EQ(err, 0);
		print_message("%s=%s\n", cases[i].name, cases[i].text);
		err = chime_opt_set_text(s, o, cases[i].text);
		if (err != -ENOPROTOOPT) {
			CHECK_EQ(err, 0);
			CHECK(chime_opt_get_text(s, o, text, sizeof text) > 0);
			/* A time may be printed in another unit: compare what it means. */
			if (chime_duration_parse(text, &got_ns) == 0 &&
			    chime_duration_parse(cases[i].reads, &want_ns) == 0)
				CHECK_EQ(got_ns, want_ns);
			else
				CHECK_STR(text, cases[i].reads);
		}
		chime_free(&s);
	}
}

/* Flags have four words for each side. */
TEST(flags_by_their_words)
{
	static const char *const words[] = { "no", "yes", "off", "on", "false", "true", "0", "1" };
	const struct chime_opt *o = chime_opt_find("SO_KEEPALIVE");
	chime_sock *s;
	int64_t value;
	CHECK_EQ(chime_open(&s, AF_INET, SOCK_STREAM, 0), 0);
	for (int i = 0; i < 8; i++) {
		print_message("%s\n", words[i]);
		CHECK_EQ(chime_opt_set(s, o, i % 2 == 0), 0); /* the other one */
		CHECK_EQ(chime_opt_set_text(s, o, words[i]), 0);
		CHECK_EQ(chime_opt_get(s, o, &value), 0);
		CHECK_EQ(value, i % 2);
	}
	CHECK_EQ(chime_opt_set_text(s, o, "onn"), CHIME_ESYNTAX);
	chime_free(&s);
}

/* A time too short for the option's unit is rounded up: the least does not become none, which is no limit. */
TEST(least_times_are_rounded_up)
{
	const struct chime_opt *receive = chime_opt_find("SO_RCVTIMEO"), *linger2 = chime_opt_find("TCP_LINGER2");
	chime_sock *s;
	int64_t value = 0;
	CHECK_EQ(chime_open(&s, AF_INET, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_opt_set(s, receive, 1), 0);
	CHECK_EQ(chime_opt_get(s, receive, &value), 0);
	CHECK_IN(value, 1, CHIME_SEC / 10);
	int err = chime_opt_set(s, linger2, -CHIME_SEC / 2); /* up is 0: the system's own time, and not a second */
	if (err != -ENOPROTOOPT) {
		CHECK_EQ(err, 0);
		CHECK_EQ(chime_opt_get(s, linger2, &value), 0);
		CHECK_NE(value, CHIME_SEC);
	}
	chime_free(&s);
}

/* What is out of range is so however far: no number comes in again at the other end. "forever" is no time here, though one number means it. */
TEST(texts_far_out_of_range)
{
	static const struct {
		const char *name, *text;
		int code;
	} rows[] = {
		{ "SO_MAX_PACING_RATE", "-18446744073709551615", -ERANGE },
		{ "SO_MAX_PACING_RATE", "-9223372036854775808", -ERANGE },
		{ "TCP_LINGER2", "-9223372036854775807", -ERANGE },
		{ "TCP_LINGER2", "-2", -ERANGE },
		{ "TCP_LINGER2", "forever", CHIME_ESYNTAX },
		{ "SO_LINGER", "forever", CHIME_ESYNTAX },
		{ "SO_LINGER", "-1", CHIME_ESYNTAX },
		{ "SO_RCVTIMEO", "off", CHIME_ESYNTAX },
		{ "SO_RCVTIMEO", "forever", CHIME_ESYNTAX },
		{ "TCP_KEEPCNT", "18446744073709551617", -ERANGE },
	};
	chime_sock *s;
	CHECK_EQ(chime_open(&s, AF_INET, SOCK_STREAM, 0), 0);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		print_message("%s=%s\n", rows[i].name, rows[i].text);
		CHECK_EQ(chime_opt_set_text(s, chime_opt_find(rows[i].name), rows[i].text), rows[i].code);
	}
	chime_free(&s);
}

/* Texts have a length, and one byte more is refused before the kernel is asked: it might cut it. */
TEST(texts_have_a_length)
{
	const struct chime_opt *o = chime_opt_find("TCP_CONGESTION");
	chime_sock *s;
	CHECK_EQ(chime_open(&s, AF_INET, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_opt_set_text(s, o, "123456789012345"), -ENOENT);
	CHECK_EQ(chime_opt_set_text(s, o, "1234567890123456"), -ERANGE);
	CHECK_EQ(chime_opt_set_text(s, o, ""), -ERANGE);
	CHECK_EQ(chime_opt_set_text(s, chime_opt_find("SO_BINDTODEVICE"), "1234567890123456"), -ERANGE);
	chime_free(&s);
}

/* Names and numbers are unique, each finds its row, and what is not there is not found. */
TEST(rows_are_found)
{
	for (const struct chime_opt *o = chime_opt_table(); o->name; o++) {
		CHECK_PTR(chime_opt_find(o->name), o);
		CHECK_PTR(chime_opt_find_number(o->level, o->option), o);
		CHECK(chime_opt_level_name(o->level) != NULL);
		CHECK(o->where & (CHIME_OPT_IP4 | CHIME_OPT_IP6 | CHIME_OPT_UNIX));
		CHECK(o->where & (CHIME_OPT_STREAM | CHIME_OPT_DGRAM));
		CHECK(o->help && *o->help);
		CHECK(o->get);
		CHECK(!o->set || o->min <= o->max);
	}
	CHECK_STR(chime_opt_level_name(SOL_SOCKET), "SOL_SOCKET");
	CHECK_STR(chime_opt_level_name(IPPROTO_IP), "IPPROTO_IP");
	CHECK_STR(chime_opt_level_name(IPPROTO_IPV6), "IPPROTO_IPV6");
	CHECK_STR(chime_opt_level_name(IPPROTO_TCP), "IPPROTO_TCP");
	CHECK_STR(chime_opt_level_name(IPPROTO_UDP), "IPPROTO_UDP");
	CHECK_PTR(chime_opt_find("SO_RCVBU"), NULL);
	CHECK_PTR(chime_opt_find(""), NULL);
	CHECK_PTR(chime_opt_find_number(SOL_SOCKET, 99999), NULL);
	CHECK_PTR(chime_opt_level_name(99999), NULL);
	CHECK_EQ(chime_opt_find("TCP_NODELAY")->option, TCP_NODELAY);
}

/* What the kernel alone decides can be read only; all else can be set. Marks are 32 bits, of any kind. */
TEST(rows_that_can_be_set)
{
	static const char *const reads[] = { "SO_ACCEPTCONN", "SO_COOKIE",   "SO_DOMAIN",
					     "SO_ERROR",      "SO_PROTOCOL", "SO_TYPE" };
	unsigned found = 0;
	for (const struct chime_opt *o = chime_opt_table(); o->name; o++) {
		bool fixed = false;
		for (size_t i = 0; i < sizeof reads / sizeof *reads; i++)
			fixed = fixed || !strcmp(reads[i], o->name);
		print_message("%s\n", o->name);
		CHECK_EQ(o->set, !fixed);
		found += fixed;
	}
	CHECK_EQ(found, sizeof reads / sizeof *reads);
	CHECK_EQ(chime_opt_find("SO_MARK")->min, INT_MIN);
	CHECK_EQ(chime_opt_find("SO_MARK")->max, INT_MAX);
}

/* SO_ERROR is told by its name; an option of another family gives the kernel's answer. */
TEST(errors_by_name)
{
	chime_sock *s;
	chime_addr at;
	char text[32];
	CHECK_EQ(chime_open(&s, AF_INET, SOCK_DGRAM, 0), 0);
	CHECK_EQ(chime_opt_get_text(s, chime_opt_find("SO_ERROR"), text, sizeof text), 2);
	CHECK_STR(text, "OK");
	/* A port that nobody holds: it was ours a moment ago. */
	chime_sock *gone;
	CHECK_EQ(chime_addr_ip(&at, AF_INET, "127.0.0.1", 0), 0);
	CHECK_EQ(chime_open(&gone, AF_INET, SOCK_DGRAM, 0), 0);
	CHECK_EQ(chime_bind(gone, &at), 0);
	CHECK_EQ(chime_getsockname(gone, &at), 0);
	chime_free(&gone);
	CHECK_EQ(chime_connect(s, &at), 0);
	CHECK_EQ(chime_send(s, "x", 1, 0), 1);
	struct pollfd refused = { chime_fileno(s), 0, 0 };
	CHECK_EQ(poll(&refused, 1, 50000), 1);
	CHECK_IN(chime_opt_get_text(s, chime_opt_find("SO_ERROR"), text, sizeof text), 1, 31);
	CHECK_STR(text, "ECONNREFUSED");
	CHECK_EQ(chime_opt_set_text(s, chime_opt_find("TCP_NODELAY"), "yes"), -ENOPROTOOPT);
	chime_close(s);
	CHECK_EQ(chime_opt_get_text(s, chime_opt_find("SO_TYPE"), text, sizeof text), CHIME_ECLOSED);
	CHECK_EQ(chime_opt_get_text(s, chime_opt_find("TCP_CONGESTION"), text, sizeof text), CHIME_ECLOSED);
	chime_free(&s);
}

/* No limit, which is all ones, is read, told and set; no bytes at all are none. */
TEST(no_limit_of_64_bits)
{
	const struct chime_opt *o = chime_opt_find("SO_MAX_PACING_RATE");
	char text[64];
	chime_sock *s;
	int64_t value = 0;
	CHECK_EQ(chime_open(&s, AF_INET, SOCK_STREAM, 0), 0);
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(chime_opt_get(s, o, &value), 0);
		CHECK_EQ(value, -1);
		CHECK_EQ(chime_opt_get_text(s, o, text, sizeof text), 20);
		CHECK_EQ(chime_opt_set_text(s, o, "1000000"), 0);
		CHECK_EQ(chime_opt_get(s, o, &value), 0);
		CHECK_EQ(value, 1000000);
		CHECK_EQ(i ? chime_opt_set(s, o, -1) : chime_opt_set_text(s, o, text), 0);
	}
	CHECK_EQ(chime_opt_get(s, o, &value), 0);
	CHECK_EQ(value, -1);
	CHECK_EQ(chime_opt_set(s, o, 0), -ERANGE);
	CHECK_EQ(chime_opt_set(s, o, -2), -ERANGE);
	CHECK_EQ(chime_opt_set_text(s, o, "18446744073709551616"), -ERANGE);
	chime_free(&s);
}

TEST_MAIN()
