/*
 * The server on a simulated network: many histories, each made from its seed.
 *
 *     test_sim                          the default seeds, as a test
 *     test_sim --seeds N [--from K]     others
 *     test_sim --seed N [--trace]       one; with what happened, a line an event
 */
#include "runner/test.h"

#include "sim/world.h"

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

static struct world world;

/* Whether it held; else says what did not, and how to see it again. */
static bool run_seed(uint64_t seed)
{
	const char *what = world_run(&world, seed, NULL, NULL);
	if (what)
		fprintf(stderr, "seed %" PRIu64 ": %s\n    to see it: test_sim --seed %" PRIu64 " --trace\n", seed,
			what, seed);
	return !what;
}

/* Whatever the network does: every byte is answered once, in order, with a true stamp, and nothing is left. */
TEST_LIMIT(every_history_holds, 300)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		CHECK(run_seed(seed));
}

static void add_line(void *arg, const char *line)
{
	uint64_t *sum = arg;
	for (; *line; line++)
		*sum = (*sum ^ (unsigned char)*line) * 0x100000001b3u;
}

/* One seed, one history: every event comes again, at the same time. */
TEST(one_seed_one_history)
{
	for (uint64_t seed = 1; seed <= 30; seed++) {
		uint64_t sum[2] = { 0 };
		for (unsigned i = 0; i < 2; i++)
			CHECK(!world_run(&world, seed, add_line, &sum[i]));
		CHECK_EQ(sum[0], sum[1]);
		CHECK_NE(sum[0], 0);
	}
}

static void print_line(void *arg, const char *line)
{
	(void)arg;
	puts(line);
}

static int replay(uint64_t seed, bool trace)
{
	const char *what = world_run(&world, seed, trace ? print_line : NULL, NULL);
	fflush(stdout);
	fprintf(stderr, "seed %" PRIu64 ": %s\n", seed, what ? what : "all held");
	return what != NULL;
}

static int run_seeds(uint64_t from, uint64_t n)
{
	uint64_t failed = 0;
	for (uint64_t seed = from; seed < from + n && failed < 10; seed++)
		failed += !run_seed(seed);
	printf("seeds %" PRIu64 " to %" PRIu64 ": %" PRIu64 " failed\n", from, from + n - 1, failed);
	return failed > 0;
}

/* What stands behind an option, or the usage and 2. */
static uint64_t number(const char *option, const char *text)
{
	char *end;
	unsigned long long n = strtoull(text, &end, 0);
	if (*text < '0' || *text > '9' || *end) {
		fprintf(stderr,
			"%s '%s': expected a number\nusage: test_sim [--seeds N [--from K] | --seed N [--trace]]\n",
			option, text);
		exit(2);
	}
	return n;
}

int main(int argc, char **argv)
{
	uint64_t seed = 0, seeds = 0, from = 1;
	bool one = false, trace = false;
	setenv("TZ", "UTC0", 1);
	for (int i = 1; i < argc; i++) {
		bool has = i + 1 < argc;
		if (!strcmp(argv[i], "--trace")) {
			trace = true;
		} else if (!strcmp(argv[i], "--seed") && has) {
			seed = number("--seed", argv[++i]);
			one = true;
		} else if (!strcmp(argv[i], "--seeds") && has) {
			seeds = number("--seeds", argv[++i]);
		} else if (!strcmp(argv[i], "--from") && has) {
			from = number("--from", argv[++i]);
		} else {
			return test_main(argc, argv);
		}
	}
	if (one)
		return replay(seed, trace);
	return seeds ? run_seeds(from, seeds) : test_main(argc, argv);
}
