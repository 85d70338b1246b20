/* Tests of net/siphash.h, against the authors' own vectors. */
#include "net/siphash.h"
#include "runner/test.h"

/* Key 00 01 .. 0f and no bytes, then the bytes 00 to 07: as in the reference implementation's table for 2 and 4 rounds. */
TEST(siphash_is_the_published_one)
{
	const uint64_t key[2] = { 0x0706050403020100u, 0x0f0e0d0c0b0a0908u }, word = 0x0706050403020100u;
	CHECK_EQ(chime__siphash(key, &word, 0, 2, 4), 0x726fdb47dd0e0e31u);
	CHECK_EQ(chime__siphash(key, &word, 1, 2, 4), 0x93f5f5799a932462u);
}

TEST_MAIN()
