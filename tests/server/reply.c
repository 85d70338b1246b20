/* The reply list: what a service adds is what is sent, in order, in as few pieces as can be. */
#include "server/reply.h"

#include "runner/test.h"

#include <errno.h>

/* Pieces that lie side by side become one, others stay apart and in order. */
TEST(reply_merges_neighbours_only)
{
	struct iovec iov[4];
	char bytes[16] = "0123456789abcde";
	chime_reply r;
	reply_init(&r, iov, 4, NULL, 0);
	CHECK(!r.answer);
	CHECK_EQ(chime_reply_add(&r, bytes, 4), 0);
	CHECK_EQ(chime_reply_add(&r, bytes + 4, 4), 0);
	CHECK_EQ(r.n, 1);
	CHECK_EQ(iov[0].iov_len, 8);
	CHECK_EQ(chime_reply_add(&r, bytes, 4), 0);
	CHECK_EQ(chime_reply_add(&r, bytes + 9, 1), 0);
	CHECK_EQ(r.n, 3);
	CHECK_PTR(iov[1].iov_base, bytes);
	CHECK_PTR(iov[2].iov_base, bytes + 9);
	CHECK_EQ(r.bytes, 13);
	CHECK_EQ(chime_reply_room(&r), 1);
}

/* Chunks each have the head in front, the first as one piece with it if it lies there; what finds no room is not taken. */
TEST(reply_chunks_have_a_head_each)
{
	struct iovec iov[6];
	char bytes[32] = "0123456789abcde", text[64];
	for (size_t max = 0; max <= 6; max++)
		for (int apart = 0; apart < 2; apart++) {
			chime_reply r;
			size_t n = 0, chunks = apart ? max / 2 : (max + 1) / 2, used = 0;
			char *data = bytes + 3, *head = apart ? bytes + 20 : bytes;
			memcpy(bytes + 20, "012", 4);
			reply_init(&r, iov, (unsigned)max, NULL, 0);
			if (chunks > 3)
				chunks = 3;
			used = chunks == 3 ? 11 : 4 * chunks;
			CHECK_EQ(chime_reply_add_chunks(&r, head, 3, data, 11, 4), used);
			CHECK_EQ(r.answer, chunks > 0);
			CHECK_EQ(r.bytes, used + 3 * chunks);
			CHECK_EQ(r.n, chunks ? 2 * chunks - !apart : 0);
			for (unsigned i = 0; i < r.n; i++) {
				memcpy(text + n, iov[i].iov_base, iov[i].iov_len);
				n += iov[i].iov_len;
			}
			CHECK_EQ(n, r.bytes);
			CHECK_MEM(text,
				  "0123456"
				  "012789a"
				  "012bcd",
				  n);
		}
}

/* A full list says so and stays as it was; what lies behind its last piece still fits, for it needs no room. */
TEST(reply_full_refuses_and_keeps)
{
	struct iovec iov[1];
	char bytes[8] = "0123456";
	chime_reply r;
	reply_init(&r, iov, 1, NULL, 0);
	CHECK_EQ(chime_reply_add(&r, bytes, 2), 0);
	CHECK_EQ(chime_reply_room(&r), 0);
	CHECK_EQ(chime_reply_add(&r, bytes + 4, 2), -ENOBUFS);
	CHECK_EQ(r.bytes, 2);
	CHECK_EQ(iov[0].iov_len, 2);
	CHECK_EQ(chime_reply_add(&r, bytes + 2, 2), 0);
	CHECK_EQ(iov[0].iov_len, 4);
}

/* An empty piece makes an empty message an answer, and takes no room. */
TEST(reply_empty_piece_is_an_answer)
{
	struct iovec iov[1];
	chime_reply r;
	reply_init(&r, iov, 1, NULL, 0);
	CHECK_EQ(chime_reply_add(&r, "", 0), 0);
	CHECK(r.answer);
	CHECK_EQ(r.n, 0);
	CHECK_EQ(r.bytes, 0);
	CHECK_EQ(reply_answers(&r), 1);
}

/* A call that adds pieces counts for one answer, unless the service counted itself. */
TEST(reply_counts_one_or_what_was_said)
{
	struct iovec iov[4];
	chime_reply r;
	reply_init(&r, iov, 4, NULL, 0);
	CHECK_EQ(reply_answers(&r), 0);
	CHECK_EQ(chime_reply_add(&r, "a", 1), 0);
	CHECK_EQ(chime_reply_add(&r, "b", 1), 0);
	CHECK_EQ(reply_answers(&r), 1);
	chime_reply_count(&r, 3);
	chime_reply_count(&r, 4);
	CHECK_EQ(reply_answers(&r), 7);
}

TEST_MAIN()
