/* The service "stamp": what is answered to which bytes at which time. */
#include "answer.h"
#include "runner/test.h"

#include <chime/addr.h>
#include <chime/clock.h>
#include <chime/stamp.h>

#include <errno.h>
#include <pthread.h>
#include <time.h>

#define TUTORIAL (1473765080 * CHIME_SEC) /* Tue Sep 13 19:11:20 2016 in Shanghai */

static const chime_service *stamp(void)
{
	return chime_service_find("stamp");
}

static struct chime_stamp_config stamp_config(int64_t chunk)
{
	struct chime_stamp_config config = *(const struct chime_stamp_config *)stamp()->config_default;
	config.chunk = chunk;
	return config;
}

static void check_answer(struct answer *a, const char *wanted)
{
	a->bytes[a->len] = 0;
	CHECK_STR((char *)a->bytes, wanted);
	CHECK_EQ(a->len, strlen(wanted));
	answer_free(a);
}

static void zone(const char *tz)
{
	setenv("TZ", tz, 1);
}

static const char *text(int64_t time_ns, enum chime_stamp_format format, bool utc)
{
	static char out[CHIME_STAMP_MAX + 1];
	out[chime_stamp_write(out, time_ns, format, utc)] = 0;
	return out;
}

/* The tutorial's "i" is answered as the tutorial shows it. */
TEST(answers_as_the_tutorial)
{
	struct answer a = { 0 };
	zone("Asia/Shanghai");
	CHECK_EQ(answer_feed(&a, stamp(), (struct chime_input){ .time_ns = TUTORIAL }, "i", 1, 16), 1);
	CHECK_EQ(a.count, 1);
	check_answer(&a, "Tue Sep 13 19:11:20 2016i");
}

/* All five formats, in local time and in UTC. */
TEST(writes_each_format)
{
	zone("Asia/Shanghai");
	int64_t t = TUTORIAL + 123456789;
	CHECK_STR(text(t, CHIME_STAMP_CTIME, false), "Tue Sep 13 19:11:20 2016");
	CHECK_STR(text(t, CHIME_STAMP_CTIME, true), "Tue Sep 13 11:11:20 2016");
	CHECK_STR(text(t, CHIME_STAMP_RFC3339, false), "2016-09-13T19:11:20+08:00");
	CHECK_STR(text(t, CHIME_STAMP_RFC3339, true), "2016-09-13T11:11:20Z");
	CHECK_STR(text(t, CHIME_STAMP_RFC3339NS, false), "2016-09-13T19:11:20.123456789+08:00");
	CHECK_STR(text(t, CHIME_STAMP_RFC3339NS, true), "2016-09-13T11:11:20.123456789Z");
	CHECK_STR(text(t, CHIME_STAMP_UNIX, false), "1473765080");
	CHECK_STR(text(t, CHIME_STAMP_UNIXNS, false), "1473765080123456789");
	CHECK_STR(text(1, CHIME_STAMP_UNIXNS, false), "0000000000000000001");
	CHECK_STR(text(-1, CHIME_STAMP_UNIXNS, false), "-0000000000000000001");
	CHECK_STR(text(-1, CHIME_STAMP_UNIX, false), "-0000000001");
	CHECK_STR(text(-1, CHIME_STAMP_RFC3339NS, true), "1969-12-31T23:59:59.999999999Z");
	CHECK_STR(text(INT64_MIN, CHIME_STAMP_UNIXNS, false), "-9223372036854775808");
	CHECK_STR(text(INT64_MAX, CHIME_STAMP_CTIME, true), "Fri Apr 11 23:47:16 2262");
}

/* The text changes exactly where the second does, forwards and backwards. */
TEST(changes_at_the_seconds_edge)
{
	zone("UTC0");
	for (int i = 0; i < 2; i++) {
		CHECK_STR(text(TUTORIAL - 1, CHIME_STAMP_CTIME, false), "Tue Sep 13 11:11:19 2016");
		CHECK_STR(text(TUTORIAL, CHIME_STAMP_CTIME, false), "Tue Sep 13 11:11:20 2016");
		CHECK_STR(text(TUTORIAL + CHIME_SEC - 1, CHIME_STAMP_CTIME, false), "Tue Sep 13 11:11:20 2016");
		CHECK_STR(text(TUTORIAL + CHIME_SEC, CHIME_STAMP_CTIME, false), "Tue Sep 13 11:11:21 2016");
	}
	CHECK_STR(text(1483228799 * CHIME_SEC + 999999999, CHIME_STAMP_RFC3339NS, true),
		  "2016-12-31T23:59:59.999999999Z");
	CHECK_STR(text(1483228800 * CHIME_SEC, CHIME_STAMP_RFC3339NS, true), "2017-01-01T00:00:00.000000000Z");
}

/* A day of one digit has a blank in front, as ctime(3) has it. */
TEST(pads_one_digit_days_with_a_blank)
{
	zone("UTC0");
	CHECK_STR(text(1475280000 * CHIME_SEC, CHIME_STAMP_CTIME, false), "Sat Oct  1 00:00:00 2016");
	CHECK_STR(text(1476057599 * CHIME_SEC, CHIME_STAMP_CTIME, false), "Sun Oct  9 23:59:59 2016");
	CHECK_STR(text(1476057600 * CHIME_SEC, CHIME_STAMP_CTIME, false), "Mon Oct 10 00:00:00 2016");
}

/* Within a zone the change to and from summer time comes at its second. */
TEST(follows_summer_time)
{
	zone("Europe/Berlin");
	CHECK_STR(text(1458435599 * CHIME_SEC, CHIME_STAMP_RFC3339, false), "2016-03-20T01:59:59+01:00");
	CHECK_STR(text(1459040399 * CHIME_SEC, CHIME_STAMP_CTIME, false), "Sun Mar 27 01:59:59 2016");
	CHECK_STR(text(1459040400 * CHIME_SEC, CHIME_STAMP_CTIME, false), "Sun Mar 27 03:00:00 2016");
	CHECK_STR(text(1459040400 * CHIME_SEC, CHIME_STAMP_RFC3339, false), "2016-03-27T03:00:00+02:00");
	CHECK_STR(text(1477789199 * CHIME_SEC, CHIME_STAMP_RFC3339, false), "2016-10-30T02:59:59+02:00");
	CHECK_STR(text(1477789200 * CHIME_SEC, CHIME_STAMP_RFC3339, false), "2016-10-30T02:00:00+01:00");
}

/* Zones that TZ itself describes, west of Greenwich and with half hours, are written with their sign. */
TEST(writes_offsets_west_and_of_half_hours)
{
	zone("<-0330>3:30");
	CHECK_STR(text(TUTORIAL, CHIME_STAMP_RFC3339, false), "2016-09-13T07:41:20-03:30");
	CHECK_STR(text(TUTORIAL, CHIME_STAMP_CTIME, false), "Tue Sep 13 07:41:20 2016");
}

/* 200,000 random times are written as ctime(3) writes them. */
TEST(agrees_with_ctime)
{
	zone("America/New_York");
	for (int i = 0; i < 200000; i++) {
		time_t t = (time_t)(test_random() % 8000000000u) - 2000000000;
		char wanted[32];
		ctime_r(&t, wanted);
		wanted[24] = 0;
		CHECK_STR(text(t * CHIME_SEC + (int64_t)(test_random() % 1000000000), CHIME_STAMP_CTIME, false),
			  wanted);
	}
}

static void *stamp_many(void *arg)
{
	int64_t t = TUTORIAL + *(int *)arg * CHIME_SEC;
	char wanted[CHIME_STAMP_MAX + 1], got[CHIME_STAMP_MAX + 1];
	snprintf(wanted, sizeof wanted, "Tue Sep 13 11:11:2%d 2016", *(int *)arg);
	for (int i = 0; i < 20000; i++) {
		got[chime_stamp_write(got, t, CHIME_STAMP_CTIME, i & 1)] = 0;
		if (strcmp(got, wanted))
			return (void *)(uintptr_t)1;
	}
	return NULL;
}

/* What one thread keeps of a second is not seen by another. */
TEST(threads_keep_their_own_second)
{
	pthread_t threads[4];
	int number[4];
	zone("UTC0");
	for (int i = 0; i < 4; i++) {
		number[i] = i;
		CHECK_EQ(pthread_create(&threads[i], NULL, stamp_many, &number[i]), 0);
	}
	for (int i = 0; i < 4; i++) {
		void *failed;
		pthread_join(threads[i], &failed);
		CHECK_PTR(failed, NULL);
	}
}

/* Bytes that came together are cut at "chunk", each chunk behind its stamp; what is left over is a chunk too. */
TEST(cuts_a_stream_into_chunks)
{
	struct chime_stamp_config config = stamp_config(4);
	struct chime_input in = { .time_ns = TUTORIAL, .config = &config };
	struct answer a = { 0 };
	zone("UTC0");
	CHECK_EQ(answer_feed(&a, stamp(), in, "abcdefghij", 10, 16), 10);
	CHECK_EQ(a.count, 3);
	CHECK_EQ(a.calls, 1);
	check_answer(&a, "Tue Sep 13 11:11:20 2016abcdTue Sep 13 11:11:20 2016efghTue Sep 13 11:11:20 2016ij");
	CHECK_EQ(answer_feed(&a, stamp(), in, "abcd", 4, 16), 4);
	CHECK_EQ(a.count, 1);
	check_answer(&a, "Tue Sep 13 11:11:20 2016abcd");
}

/* chunk=1 with a list that is full again and again: every byte is answered, in order, whatever the list has room for. */
TEST(goes_on_when_the_list_was_full)
{
	struct chime_stamp_config config = stamp_config(1);
	struct chime_input in = { .time_ns = TUTORIAL, .config = &config };
	unsigned char bytes[1000];
	zone("UTC0");
	for (unsigned pieces = 2; pieces < 40; pieces++) {
		struct answer a = { 0 };
		for (size_t i = 0; i < sizeof bytes; i++)
			bytes[i] = (unsigned char)test_random();
		CHECK_EQ(answer_feed(&a, stamp(), in, bytes, sizeof bytes, pieces), sizeof bytes);
		CHECK_EQ(a.count, sizeof bytes);
		CHECK_EQ(a.len, 25 * sizeof bytes);
		for (size_t i = 0; i < sizeof bytes; i++) {
			CHECK_MEM(a.bytes + 25 * i, "Tue Sep 13 11:11:20 2016", 24);
			CHECK_EQ(a.bytes[25 * i + 24], bytes[i]);
		}
		answer_free(&a);
	}
}

/* A full 64 KiB receive with chunk 1024 is one call: the engine's list of 136 pieces holds it. */
TEST(a_full_receive_is_one_call)
{
	struct answer a = { 0 };
	unsigned char *bytes = calloc(1, CHIME_INPUT_MAX);
	CHECK_EQ(answer_feed(&a, stamp(), (struct chime_input){ .time_ns = TUTORIAL }, bytes, CHIME_INPUT_MAX, 136),
		 CHIME_INPUT_MAX);
	CHECK_EQ(a.calls, 1);
	CHECK_EQ(a.count, 64);
	CHECK_EQ(a.len, 64 * (1024 + 24));
	answer_free(&a);
	free(bytes);
}

/* No bytes of a stream are no chunk: no stamp. */
TEST(an_empty_read_of_a_stream_is_not_answered)
{
	struct answer a = { 0 };
	CHECK_EQ(answer_feed(&a, stamp(), (struct chime_input){ .time_ns = TUTORIAL, .end = true }, "", 0, 16), 0);
	CHECK_EQ(a.messages, 0);
	CHECK_EQ(a.count, 0);
	answer_free(&a);
}

/* frame=line: the newline belongs to the chunk, an empty line is one, a long line is cut, a tail waits for the end. */
TEST(stamps_each_line)
{
	struct chime_stamp_config config = stamp_config(4);
	struct chime_input in = { .time_ns = TUTORIAL, .config = &config };
	struct answer a = { 0 };
	config.frame = 1;
	config.format = CHIME_STAMP_UNIX;
	CHECK_EQ(answer_feed(&a, stamp(), in, "a\n\nabc\nabcd\nabcdefgh", 20, 16), 20);
	check_answer(&a, "1473765080a\n"
			 "1473765080\n"
			 "1473765080abc\n"
			 "1473765080abcd1473765080\n"
			 "1473765080abcd1473765080efgh");
	CHECK_EQ(answer_feed(&a, stamp(), in, "x\nabc", 5, 16), 2);
	check_answer(&a, "1473765080x\n");
	in.end = true;
	CHECK_EQ(answer_feed(&a, stamp(), in, "abc", 3, 16), 3);
	check_answer(&a, "1473765080abc");
}

/* Lines that come in random pieces are answered as if they had come whole. */
TEST(lines_in_pieces_are_answered_as_whole)
{
	struct chime_stamp_config config = stamp_config(20);
	struct chime_input in = { .time_ns = TUTORIAL, .config = &config };
	config.frame = 1;
	for (int round = 0; round < 200; round++) {
		char bytes[600];
		struct answer whole = { 0 }, pieces = { 0 };
		for (size_t i = 0; i < sizeof bytes; i++)
			bytes[i] = test_random() % 12 ? 'a' + (char)(test_random() % 26) : '\n';
		in.end = true;
		CHECK_EQ(answer_feed(&whole, stamp(), in, bytes, sizeof bytes, 16), sizeof bytes);
		size_t done = 0, come = 0;
		while (come < sizeof bytes) {
			come += 1 + test_random() % 50;
			if (come > sizeof bytes)
				come = sizeof bytes;
			in.end = come == sizeof bytes;
			ssize_t n = answer_feed(&pieces, stamp(), in, bytes + done, come - done, 2 + test_random() % 9);
			CHECK_IN(n, 0, come - done);
			done += (size_t)n;
		}
		CHECK_EQ(done, sizeof bytes);
		CHECK_EQ(pieces.count, whole.count);
		CHECK_EQ(pieces.len, whole.len);
		CHECK_MEM(pieces.bytes, whole.bytes, whole.len);
		answer_free(&whole);
		answer_free(&pieces);
	}
}

/* A message is one chunk however long; an empty one is answered by a bare stamp. */
TEST(a_message_is_one_chunk)
{
	struct chime_stamp_config config = stamp_config(4);
	struct chime_input in = { .time_ns = TUTORIAL, .config = &config, .message = true };
	struct answer a = { 0 };
	zone("UTC0");
	config.frame = 1;
	CHECK_EQ(answer_feed(&a, stamp(), in, "a\nbcdefgh", 9, 8), 9);
	CHECK_EQ(a.count, 1);
	check_answer(&a, "Tue Sep 13 11:11:20 2016a\nbcdefgh");
	CHECK_EQ(answer_feed(&a, stamp(), in, "", 0, 8), 0);
	CHECK_EQ(a.count, 1);
	check_answer(&a, "Tue Sep 13 11:11:20 2016");
}

static ssize_t from_peer_where(const char *message, int family, bool answers_come)
{
	struct answer a = { 0 };
	chime_addr peer = { .len = 16 };
	peer.u.sa.sa_family = (sa_family_t)family;
	ssize_t n =
		answer_feed(&a, stamp(),
			    (struct chime_input){
				    .time_ns = TUTORIAL, .message = true, .peer = &peer, .answers_come = answers_come },
			    message, strlen(message), 8);
	CHECK_EQ(a.messages, n >= 0);
	answer_free(&a);
	return n;
}

static ssize_t from_peer(const char *message, int family)
{
	return from_peer_where(message, family, false);
}

/* Where answers come in like requests (ip://), one stamp of whatever format is an answer; and a service says that it marks them. */
TEST(one_stamp_is_an_answer_where_answers_come)
{
	char message[2 * CHIME_STAMP_MAX];
	zone("UTC0");
	for (int format = 0; format < CHIME_STAMP_FORMATS; format++) {
		size_t n = chime_stamp_write(message, TUTORIAL + CHIME_SEC, format, false);
		strcpy(message + n, "hello");
		CHECK_EQ(from_peer_where(message, AF_INET, true), -ELOOP);
		CHECK_EQ(from_peer_where(message, AF_INET6, true), -ELOOP);
		CHECK_EQ(from_peer_where(message, AF_INET, false), (ssize_t)strlen(message));
	}
	/* a clock that is years off would else hide it */
	CHECK_EQ(from_peer_where("0000000001hello", AF_INET, true), -ELOOP);
	CHECK_EQ(from_peer_where("00000000010000000000hello", AF_INET, true), -ELOOP);
	CHECK_EQ(from_peer_where("123456789 hello", AF_INET, true), 15);
	CHECK_EQ(from_peer_where("hello", AF_INET, true), 5);
	CHECK_EQ(from_peer_where("", AF_INET, true), 0);
	CHECK(stamp()->marks);
	CHECK(!chime_service_find("echo")->marks);
	CHECK(chime_service_find("discard")->marks); /* it never answers */
}

/* A datagram that begins with two stamps of ours, of whatever format, is a loop; one stamp is an ordinary message. */
TEST(two_stamps_in_a_datagram_are_a_loop)
{
	char message[3 * CHIME_STAMP_MAX];
	zone("UTC0");
	for (int first = 0; first < CHIME_STAMP_FORMATS; first++)
		for (int second = 0; second < CHIME_STAMP_FORMATS; second++)
			for (int utc = 0; utc < 2; utc++) {
				size_t n = chime_stamp_write(message, TUTORIAL + CHIME_SEC, first, utc);
				strcpy(message + n, "hello");
				CHECK_EQ(from_peer(message, AF_INET), (ssize_t)strlen(message));
				n += chime_stamp_write(message + n, TUTORIAL - CHIME_SEC, second, !utc);
				message[n] = 0;
				CHECK_EQ(from_peer(message, AF_INET), -ELOOP);
				CHECK_EQ(from_peer(message, AF_INET6), -ELOOP);
				strcpy(message + n, "hello");
				CHECK_EQ(from_peer(message, AF_INET), -ELOOP);
				CHECK_EQ(from_peer(message, AF_UNIX), (ssize_t)strlen(message));
			}
}

/* Digits, and texts that only look like two stamps, are answered. */
TEST(what_is_not_two_stamps_is_no_loop)
{
	zone("UTC0");
	CHECK_EQ(from_peer("12345678901234567890", AF_INET), 20);
	CHECK_EQ(from_peer("1473765080123456789012345678901234567890", AF_INET), 40);
	CHECK_EQ(from_peer("Tue Sep 13 11:11:20 2016Tue Sep 13 11:11:20 201", AF_INET), 47);
	CHECK_EQ(from_peer("Tue Sep 13 11:11:20 2016 Tue Sep 13 11:11:20 2016", AF_INET), 49);
	CHECK_EQ(from_peer("Wed Sep 13 11:11:20 2016Tue Sep 13 11:11:20 2016", AF_INET), 48);
}

/* The options of an endpoint set the configuration; what is out of range is refused with what was expected. */
TEST(options_set_the_configuration)
{
	struct chime_stamp_config config = stamp_config(1024);
	const struct chime_option *table = stamp()->options;
	static const struct {
		const char *name, *text;
		int wanted;
	} cases[] = {
		{ "chunk", "1", 0 },       { "chunk", "64k", 0 },         { "chunk", "65536", 0 },
		{ "chunk", "0", -ERANGE }, { "chunk", "65537", -ERANGE }, { "format", "unixns", 0 },
		{ "frame", "line", 0 },    { "utc", "yes", 0 },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char why[200] = "";
		const struct chime_option *o = chime_option_find(table, cases[i].name, strlen(cases[i].name));
		CHECK(o != NULL);
		CHECK_EQ(chime_option_set(o, &config, cases[i].text, why, sizeof why), cases[i].wanted);
		CHECK_EQ(why[0] != 0, cases[i].wanted != 0);
	}
	CHECK_EQ(config.chunk, 65536);
	CHECK_EQ(config.format, CHIME_STAMP_UNIXNS);
	CHECK_EQ(config.frame, 1);
	CHECK_EQ(config.utc, true);
	CHECK(chime_option_find(table, "chunks", 6) == NULL);
}

TEST_MAIN()
