/* net/text.h by its contract, where its callers never go: no room at all, bytes cut off in the middle, numbers beyond 64 bits. */
#include "net/text.h"

#include "net/edge.h"
#include "runner/test.h"

#include <chime/error.h>

#include <errno.h>

/* Text of whatever room is cut, ended where there is room for an end, and counted whole; nothing is written beside it. */
TEST(text_is_cut_and_counted)
{
	for (size_t size = 0; size < 12; size++) {
		char room[16], *buf = room + 1;
		struct text t;
		memset(room, '#', sizeof room);
		chime__text_init(&t, buf, size);
		chime__text_str(&t, "ab");
		chime__text_number(&t, 907);
		chime__text_escaped(&t, "\x7fx", 2, "");
		CHECK_EQ(chime__text_end(&t), 9);
		if (size)
			CHECK_EQ(strlen(buf), size < 10 ? size - 1 : 9);
		CHECK_MEM(buf, "ab907%7Fx", size < 10 ? (size ? size - 1 : 0) : 10);
		CHECK_EQ(room[0], '#');
		CHECK_EQ(buf[size], '#');
	}
	struct text none;
	chime__text_init(&none, NULL, 0);
	chime__text_str(&none, "counted");
	CHECK_EQ(chime__text_end(&none), 7);
}

/* Decoding stores what fits, counts what there is, and does not look behind the end for the digits of a '%'. */
TEST(percent_is_decoded_within_its_ends)
{
	unsigned char out[8];
	size_t n = 0;
	memset(out, '#', sizeof out);
	CHECK_EQ(chime__percent_decode("a%62%6C%2fe", 11, out, 3, &n), 0);
	CHECK_EQ(n, 5);
	CHECK_MEM(out, "abl#", 4);
	static const char *const cut[] = { "a%4", "a%", "a%g4", "a%4g" };
	for (size_t i = 0; i < sizeof cut / sizeof *cut; i++) {
		CHECK_EQ(chime__percent_decode(edge_bytes(cut[i], strlen(cut[i])), strlen(cut[i]), out, sizeof out, &n),
			 CHIME_ESYNTAX);
		CHECK_EQ(n, 1);
	}
	CHECK_EQ(chime__percent_decode("a%41", 3, out, sizeof out, &n), CHIME_ESYNTAX); /* the 1 is none of it */
	CHECK_EQ(n, 1);
}

/* A number that 64 bits cannot hold is out of range, whatever is left of it in 64 bits. */
TEST(numbers_beyond_64_bits_are_out_of_range)
{
	static const char *const rows[] = { "18446744073709551616", "18446744073709551617", "184467440737095516160",
					    "36893488147419103233", "99999999999999999999999999" };
	uint64_t n = 7;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		CHECK_EQ(chime__number(rows[i], strlen(rows[i]), UINT64_MAX, &n), -ERANGE);
	CHECK_EQ(n, 7);
	CHECK_EQ(chime__number("18446744073709551615", 20, UINT64_MAX, &n), 0);
	CHECK(n == UINT64_MAX);
	CHECK_EQ(chime__number("18446744073709551616x", 21, UINT64_MAX, &n), CHIME_ESYNTAX);
}

/* A text is copied with its end or not at all. */
TEST(copies_have_room_for_their_end)
{
	char buf[4] = "###";
	CHECK_EQ(chime__text_copy(buf, 3, "abc"), -ENAMETOOLONG);
	CHECK_MEM(buf, "###", 4);
	CHECK_EQ(chime__text_copy(buf, 3, "ab"), 0);
	CHECK_MEM(buf, "ab\0", 4);
}

TEST_MAIN()
