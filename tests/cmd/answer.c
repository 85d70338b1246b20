/* When an answer is whole: cmd/answer.c, which is pure, by itself. */
#include "test.h"

#include "../../cmd/answer.c"

#include <chime/clock.h>

#define LINE 400

/* An answer as a server of stamps sends it, and where each of its sendings ends. */
struct sent {
	unsigned char bytes[LINE * (1 + CHIME_STAMP_MAX)];
	size_t len, ends[LINE + 1];
	unsigned pieces;
};

/* Cuts the line anywhere. */
static void answer_line(struct sent *s, const unsigned char *line, size_t len, int format, bool utc)
{
	s->len = 0;
	s->pieces = 0;
	for (size_t i = 0; i < len;) {
		size_t piece = 1 + test_random() % (test_random() % 4 ? 20 : len);
		if (piece > len - i)
			piece = len - i;
		int64_t time_ns = 1473765080123456789 + (int64_t)(test_random() % 1000000000000000);
		s->len += chime_stamp_write((char *)s->bytes + s->len, time_ns, (enum chime_stamp_format)format, utc);
		memcpy(s->bytes + s->len, line + i, piece);
		s->len += piece;
		i += piece;
		s->ends[s->pieces++] = s->len;
	}
}

static enum answer_verdict feed(struct answer *a, const void *bytes, size_t len)
{
	unsigned char *room = answer_room(a, len);
	CHECK(room != NULL);
	memcpy(room, bytes, len);
	return answer_took(a, len);
}

/*
 * Random lines, formats and cuts of the server: whole with the last byte and not before. The network cuts anywhere too, where no
 * byte of the line may begin a stamp; else between sendings alone, for one byte of a stamp that is also the line's next can't be
 * told from it.
 */
TEST_LIMIT(whole_with_the_last_byte, 60)
{
	static const char letters[] = "abcdeghij klnopqr\n", digit[] = "0123456789",
			  capital[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
	static unsigned char line[LINE];
	static struct sent s;
	for (unsigned round = 0; round < 20000; round++) {
		struct answer a;
		size_t len = 1 + test_random() % (round % 2 ? 12 : LINE), at = 0;
		int format = (int)(test_random() % CHIME_STAMP_FORMATS);
		bool anywhere = test_random() % 2, digits = format < CHIME_STAMP_UNIX && test_random() % 2;
		for (size_t i = 0; i < len; i++)
			line[i] = (unsigned char)(anywhere ? letters[test_random() % 18]
						  : digits ? digit[test_random() % 10]
							   : capital[test_random() % 26]);
		answer_line(&s, line, len, format, test_random() % 2);
		answer_init(&a);
		CHECK_EQ(answer_begin(&a, line, len), 0);
		enum answer_verdict v = ANSWER_MORE;
		while (at < s.len) {
			size_t to = s.len;
			if (anywhere)
				to = at + 1 + test_random() % (s.len - at);
			else
				for (unsigned i = s.pieces; i-- > 0 && s.ends[i] > at;)
					to = test_random() % 3 || s.ends[i] == s.len ? s.ends[i] : to;
			v = feed(&a, s.bytes + at, to - at);
			at = to;
			if (v != (at < s.len ? ANSWER_MORE : ANSWER_WHOLE))
				fprintf(stderr, "round %u: %zu of %zu bytes, format %d, line %.*s, back %.*s\n", round,
					at, s.len, format, (int)len, line, (int)s.len, s.bytes);
			CHECK_EQ(v, at < s.len ? ANSWER_MORE : ANSWER_WHOLE);
		}
		CHECK_EQ(a.found, format);
		answer_free(&a);
	}
}

/* A line that is itself a stamp, or answers, comes back whole and is not taken for less. */
TEST(lines_that_look_like_stamps)
{
	static const char *const lines[] = {
		"Tue Sep 13 19:11:20 2016",
		"Tue Sep 13 19:11:20 2016i",
		"Tue Sep 13 19:11:20 2016Tue Sep 13 19:11:20 2016",
		"2016-09-13T11:11:20Z",
		"1473765080",
		"T",
		"Tue",
		"2",
	};
	for (int format = 0; format < CHIME_STAMP_FORMATS; format++)
		for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
			struct answer a;
			char back[200];
			size_t stamp =
				chime_stamp_write(back, 1763800000123456789, (enum chime_stamp_format)format, true);
			strcpy(back + stamp, lines[i]);
			answer_init(&a);
			CHECK_EQ(answer_begin(&a, lines[i], strlen(lines[i])), 0);
			CHECK_EQ(feed(&a, back, strlen(back)), ANSWER_WHOLE);
			CHECK_EQ(a.found, format);
			answer_free(&a);
		}
}

/* An echo is whole with its last byte too; an answer of anything else is plain as soon as that shows. */
TEST(echoes_and_plain_answers)
{
	struct answer a;
	answer_init(&a);
	CHECK_EQ(answer_begin(&a, "hello", 5), 0);
	CHECK_EQ(feed(&a, "hel", 3), ANSWER_MORE);
	CHECK(answer_sure(&a));
	CHECK_EQ(feed(&a, "lo", 2), ANSWER_WHOLE);
	CHECK_EQ(a.found, ANSWER_ECHO);

	CHECK_EQ(answer_begin(&a, "hello", 5), 0);
	CHECK_EQ(feed(&a, "220 ready\r\n", 11), ANSWER_PLAIN);
	CHECK(!answer_sure(&a));

	CHECK_EQ(answer_begin(&a, "hello", 5), 0);
	CHECK_EQ(feed(&a, "Sun Nov 22 13:27:43 2026\r\n", 26), ANSWER_PLAIN);

	CHECK_EQ(answer_begin(&a, "hello", 5), 0);
	CHECK_EQ(feed(&a, "4", 1), ANSWER_MORE);
	CHECK(!answer_sure(&a));
	answer_free(&a);
}

/* The answers to two lines that are awaited together are whole when both are there, in one piece or in two. */
TEST(two_lines_awaited_together)
{
	for (int merged = 0; merged < 2; merged++) {
		struct answer a;
		char back[200];
		size_t n = chime_stamp_write(back, 1763800000123456789, CHIME_STAMP_CTIME, true);
		memcpy(back + n, "one", 3);
		n += 3;
		answer_init(&a);
		CHECK_EQ(answer_begin(&a, "one", 3), 0);
		CHECK_EQ(answer_extend(&a, "two", 3), 0);
		CHECK_EQ(feed(&a, back, n), ANSWER_MORE);
		if (merged)
			CHECK_EQ(feed(&a, "two", 3), ANSWER_WHOLE);
		else {
			memcpy(back + n - 3, "two", 3);
			CHECK_EQ(feed(&a, back, n), ANSWER_WHOLE);
		}
		answer_free(&a);
	}
}

TEST_MAIN()
