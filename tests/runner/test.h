/*
 * runner/test.h - the test runner: each test in a process of its own, with a time limit, over cmocka's checks.
 *
 *     // A promise: what holds, in a sentence.
 *     TEST(addr_prints_ipv6_in_brackets)
 *     {
 *             CHECK_EQ(chime_addr_ip(&a, AF_INET6, "::1", 80), 0);
 *             CHECK_STR(text, "[::1]:80");
 *     }
 *     TEST_MAIN()
 *
 * Running the program runs all its tests; names as arguments run those alone; --list lists them. It prints TAP, and last
 * "N passed, N failed, N skipped". Of what a passing test prints, the lines that begin with "# " are shown: what it measured. A skip
 * needs a reason, which is printed. Exit 0 when none failed.
 * Descriptors and child processes that a test leaves behind are failures of that test (threads and children that are just
 * ending get some seconds for it). The sanitizers' builds get four times the time. A check may fail in any thread and in
 * forked children, whose exit code is then not 0.
 */
#ifndef RUNNER_TEST_H
#define RUNNER_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>

#include <cmocka.h>

struct test {
	const char *name, *file;
	void (*run)(void);
	unsigned limit_s;
	struct test *next;
	const void *arg; /* the test's own: test_arg() */
};
void test_register(struct test *t);
/* What a case that is registered several times is to run with. */
const void *test_arg(void);
int test_main(int argc, char **argv);

/* Ends the test as skipped. */
void test_skip(const char *reason_fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
/* The seed of this run (CHIME_TEST_SEED, else random), printed when a test fails. */
uint64_t test_seed(void);
/* The next number of a generator that starts from the seed. */
uint64_t test_random(void);
/* An empty directory of this test's own, removed with what is in it when the test ends. */
const char *test_dir(void);
/* Monotonic nanoseconds. */
int64_t test_now(void);
/* Whether that thread (a process's first has its number) waits in a system call just now: not one that runs, or would if it were let. */
bool test_asleep(pid_t thread);
/* Whether all threads of that process do, but for the one that asks. */
bool test_all_asleep(pid_t process);
/*
 * Keeps this thread, and those that it makes from now on, on the processor it is on. What they send over the loopback then comes in the
 * order it was sent: the kernel has a queue for each processor, and where it is busy one may come long after another.
 */
void test_one_processor(void);

#define TEST_LIMIT(name_, limit_)                                                                                      \
	static void name_(void);                                                                                       \
	static struct test test_##name_ = { #name_, __FILE__, name_, limit_, NULL, NULL };                             \
	__attribute__((constructor)) static void register_##name_(void)                                                \
	{                                                                                                              \
		test_register(&test_##name_);                                                                          \
	}                                                                                                              \
	static void name_(void)
#define TEST(name_) TEST_LIMIT(name_, 60)

#define TEST_MAIN()                                                                                                    \
	int main(int argc, char **argv)                                                                                \
	{                                                                                                              \
		return test_main(argc, argv);                                                                          \
	}

#define CHECK(cond) assert_true(cond)
/* Numbers; a negative one is also shown as the errno that it may be. */
#define CHECK_EQ(got, wanted) test_check_eq((long long)(got), (long long)(wanted), #got, __FILE__, __LINE__)
#define CHECK_NE(got, other) test_check_ne((long long)(got), (long long)(other), #got, __FILE__, __LINE__)
#define CHECK_STR(got, wanted) assert_string_equal(got, wanted)
#define CHECK_MEM(got, wanted, len) assert_memory_equal(got, wanted, len)
#define CHECK_PTR(got, wanted) assert_ptr_equal(got, wanted)
/* low <= got <= high, both printed */
#define CHECK_IN(got, low, high)                                                                                       \
	test_check_in((long long)(got), (long long)(low), (long long)(high), #got, __FILE__, __LINE__)
void test_check_eq(long long got, long long wanted, const char *what, const char *file, int line);
void test_check_ne(long long got, long long other, const char *what, const char *file, int line);
void test_check_in(long long got, long long low, long long high, const char *what, const char *file, int line);
#define SKIP(...) test_skip(__VA_ARGS__)

#endif
