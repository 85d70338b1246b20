/* The test runner's own test: it runs tests/runner/sample.c and reads what comes out. */
#include <runner/test.h>

#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct ran {
	char text[65536];
	int status;
};

/* Runs the sample program with these arguments (and settings in front of it). */
static struct ran *sample(const char *settings, const char *arguments)
{
	static struct ran ran;
	char command[512];
	snprintf(command, sizeof command, "%s '%s' %s 2>&1", settings, CHIME_SAMPLE, arguments);
	FILE *f = popen(command, "r");
	CHECK(f != NULL);
	size_t len = fread(ran.text, 1, sizeof ran.text - 1, f);
	ran.text[len] = 0;
	while (fgetc(f) != EOF)
		;
	int status = pclose(f);
	CHECK(WIFEXITED(status));
	ran.status = WEXITSTATUS(status);
	return &ran;
}

static void check_has(const struct ran *r, const char *wanted)
{
	if (strstr(r->text, wanted))
		return;
	fprintf(stderr, "no \"%s\" in this:\n%s\n", wanted, r->text);
	CHECK(false);
}

static void check_fails(const char *test, const char *why)
{
	struct ran *r = sample("", test);
	check_has(r, "not ok 1 ");
	check_has(r, why);
	check_has(r, "\n0 passed, 1 failed, 0 skipped\n");
	check_has(r, "# seed: CHIME_TEST_SEED=0x");
	CHECK_EQ(r->status, 1);
}

/* A test that passes is counted, and the exit code is 0. */
TEST(passing_is_reported)
{
	struct ran *r = sample("", "passes");
	check_has(r, "ok 1 passes (");
	check_has(r, "\n1 passed, 0 failed, 0 skipped\n");
	CHECK_EQ(r->status, 0);
}

/* Of what a passing test prints, its remarks are shown, and nothing else. */
TEST(remarks_are_shown)
{
	struct ran *r = sample("", "remarks");
	check_has(r, " s)\n# 3 a second\n# and 4\n1..1\n");
	CHECK_PTR(strstr(r->text, "nobody"), NULL);
	CHECK_EQ(r->status, 0);
}

/* A failed check shows both values, the code's name, the place, and the seed. */
TEST(failing_is_reported)
{
	check_fails("fails", "-110 (ETIMEDOUT), not -3 (ESRCH)");
	check_fails("fails", "sample.c:");
}

/* A check that fails in a thread of the test is a failure. */
TEST(failing_in_a_thread_is_reported)
{
	check_fails("fails_in_a_thread", "*(int *)arg is 3, not 4");
}

/* A test that is killed, or that calls exit, is a failure. */
TEST(dying_is_reported)
{
	check_fails("dies", "killed by signal 9");
	check_fails("exits", "exit code 3");
}

/* A test that does not end is ended at its limit, also one that prints without end. */
TEST(hanging_is_ended)
{
	check_fails("hangs", "not done within");
	check_fails("hangs_and_talks", "not ok 1 ");
}

/* A descriptor that a test leaves open is its failure; one that a thread closes a moment later is not. */
TEST(descriptors_left_open_are_found)
{
	check_fails("leaks_a_descriptor", "descriptors left open: before");
	CHECK_EQ(sample("", "closes_a_little_later")->status, 0);
}

/* A process that a test leaves running is its failure, whatever group it is in, and does not live on. */
TEST(children_left_behind_are_found)
{
	check_fails("leaks_a_child", "child processes left behind: 1");
	check_fails("leaks_a_daemon", "child processes left behind: 1");
	CHECK_EQ(sample("", "ends_a_child_without_waiting")->status, 0);
}

/* A skip is told with its reason, and is no failure. */
TEST(skips_have_a_reason)
{
	struct ran *r = sample("", "skips");
	check_has(r, "ok 1 skips # SKIP this kernel has no carrier pigeons\n");
	check_has(r, "\n0 passed, 0 failed, 1 skipped\n");
	CHECK_EQ(r->status, 0);
}

/* One failure among others: all are run, all are counted. */
TEST(a_failure_does_not_stop_the_others)
{
	struct ran *r = sample("", "passes fails skips exits");
	check_has(r, "1..4\n1 passed, 2 failed, 1 skipped\n");
	CHECK_EQ(r->status, 1);
}

/* The directory of a test was there, and is gone with what was in it. */
TEST(directories_are_removed)
{
	struct ran *r = sample("", "prints_its_directory");
	char path[100] = "";
	struct stat st;
	const char *at = strstr(r->text, "directory=");
	CHECK(at != NULL);
	CHECK_EQ(sscanf(at, "directory=%99[^\n]", path), 1);
	CHECK_EQ(stat(path, &st), -1);
}

/* The same seed gives the same numbers, another one others. */
TEST(seeds_repeat)
{
	char numbers[3][32];
	for (int i = 0; i < 3; i++) {
		struct ran *r =
			sample(i < 2 ? "CHIME_TEST_SEED=0x5eed" : "CHIME_TEST_SEED=7", "prints_a_random_number");
		const char *at = strstr(r->text, "random=");
		CHECK(at != NULL);
		CHECK_EQ(sscanf(at, "random=%31[0-9]", numbers[i]), 1);
	}
	CHECK_STR(numbers[0], numbers[1]);
	CHECK(strcmp(numbers[0], numbers[2]) != 0);
}

/* A name that no test has is an error, not a run of nothing. */
TEST(unknown_names_are_refused)
{
	struct ran *r = sample("", "no_such_test");
	check_has(r, "no test no_such_test");
	CHECK_EQ(r->status, 2);
}

#if defined(__SANITIZE_ADDRESS__)
/* What the address sanitizer finds fails the test, leaks at its end included. */
TEST(sanitizer_reports_fail_the_test)
{
	check_fails("leaks_memory", "LeakSanitizer");
	check_fails("overruns", "heap-buffer-overflow");
	check_fails("writes_to_nowhere", "SEGV on unknown address");
}
#endif

TEST_MAIN()
