/* The runner of tests/runner/test.h. */
#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	PASSED = 0,
	FAILED = 1,
	SKIPPED = 77,
	LEAKED = 78
};

static struct test *tests, **tests_end = &tests;
static uint64_t seed, random_state;
static struct test *current;
static char dir[64];

void test_register(struct test *t)
{
	*tests_end = t;
	tests_end = &t->next;
}

int64_t test_now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

uint64_t test_seed(void)
{
	return seed;
}

uint64_t test_random(void)
{
	/* splitmix64 */
	uint64_t z = random_state += 0x9e3779b97f4a7c15u;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st, (void)kind, (void)ftw;
	return remove(path);
}

static void remove_dir(void)
{
	if (dir[0])
		nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	dir[0] = 0;
}

const char *test_dir(void)
{
	return dir;
}

void test_check_in(long long got, long long low, long long high, const char *what, const char *file, int line)
{
	if (got >= low && got <= high)
		return;
	fprintf(stderr, "%s is %lld, not within %lld .. %lld\n", what, got, low, high);
	_fail(file, line);
}

void test_skip(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	fprintf(stderr, "skipped: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	va_end(ap);
	fflush(NULL);
	_exit(SKIPPED);
}

/* The numbers of the open descriptors, as a sorted text. */
static void descriptors(char *out, size_t size)
{
	DIR *d = opendir("/proc/self/fd");
	size_t used = 0;
	out[0] = 0;
	for (struct dirent *e; d && (e = readdir(d));)
		if (e->d_name[0] != '.' && atoi(e->d_name) != dirfd(d))
			used += (size_t)snprintf(out + used, used < size ? size - used : 0, " %s", e->d_name);
	closedir(d);
}

static void run_as_cmocka(void **state)
{
	(void)state;
	current->run();
}

static _Noreturn void child(struct test *t)
{
	char before[4096], after[4096];
	const struct CMUnitTest one[] = { { t->name, run_as_cmocka, NULL, NULL, NULL } };
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setpgid(0, 0);
	current = t;
	random_state = seed;
	for (const char *p = t->name; *p; p++)
		random_state = random_state * 31 + (unsigned char)*p;
	descriptors(before, sizeof before);
	int failed = cmocka_run_group_tests_name(t->name, one, NULL, NULL);
	if (!failed) {
		descriptors(after, sizeof after);
		if (strcmp(before, after)) {
			fprintf(stderr, "descriptors left open: before%s, after%s\n", before, after);
			failed = 1;
		}
	}
	fflush(NULL);
	exit(failed ? FAILED : PASSED); /* exit, not _exit: the leak sanitizer reports here */
}

/* Runs t in a child; its output goes to a pipe and is shown only if it did not pass. Returns its end. */
static int run_one(struct test *t, char **output, size_t *len)
{
	int out[2];
	*output = NULL;
	*len = 0;
	if (pipe(out) < 0)
		return FAILED;
	strcpy(dir, "/tmp/chime-test.XXXXXX");
	if (!mkdtemp(dir))
		return FAILED;
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		close(out[0]);
		dup2(out[1], 1);
		dup2(out[1], 2);
		close(out[1]);
		child(t);
	}
	close(out[1]);
	int64_t deadline = test_now() + t->limit_s * (getenv("CHIME_TEST_SLOW") ? 4 : 1) * 1000000000LL;
	bool late = false;
	for (;;) {
		struct pollfd p = { out[0], POLLIN, 0 };
		int64_t left = (deadline - test_now()) / 1000000;
		int n = left > 0 ? poll(&p, 1, (int)left) : 0;
		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0) {
			late = true;
			break;
		}
		char *more = realloc(*output, *len + 4097);
		if (!more)
			break;
		*output = more;
		ssize_t got = read(out[0], *output + *len, 4096);
		if (got <= 0)
			break;
		*len += (size_t)got;
	}
	close(out[0]);
	int status = 0;
	if (late)
		kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	bool orphans = kill(-pid, SIGKILL) == 0;
	remove_dir();
	if (late) {
		printf("# %s: not done within %u s\n", t->name, t->limit_s);
		return FAILED;
	}
	if (WIFSIGNALED(status)) {
		printf("# %s: killed by signal %d (%s)\n", t->name, WTERMSIG(status), strsignal(WTERMSIG(status)));
		return FAILED;
	}
	if (orphans && WEXITSTATUS(status) == PASSED) {
		printf("# %s: child processes were left behind\n", t->name);
		return FAILED;
	}
	return WEXITSTATUS(status);
}

static bool wanted(const struct test *t, int argc, char **argv)
{
	bool any = false;
	for (int i = 1; i < argc; i++) {
		any = true;
		if (!strcmp(argv[i], t->name))
			return true;
	}
	return !any;
}

int test_main(int argc, char **argv)
{
	unsigned passed = 0, failed = 0, skipped = 0, n = 0;
	const char *given = getenv("CHIME_TEST_SEED");
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 2 && !strcmp(argv[1], "--list")) {
		for (struct test *t = tests; t; t = t->next)
			puts(t->name);
		return 0;
	}
	if (given)
		seed = strtoull(given, NULL, 0);
	else if (getrandom(&seed, sizeof seed, 0) < 0)
		seed = (uint64_t)test_now();
	for (struct test *t = tests; t; t = t->next) {
		char *output;
		size_t len;
		if (!wanted(t, argc, argv))
			continue;
		int64_t start = test_now();
		int end = run_one(t, &output, &len);
		double took = (double)(test_now() - start) / 1e9;
		n++;
		if (end == PASSED) {
			passed++;
			printf("ok %u %s (%.2f s)\n", n, t->name, took);
		} else if (end == SKIPPED) {
			char *why = NULL;
			for (size_t i = 0; output && i + 9 <= len && !why; i++)
				if (!memcmp(output + i, "skipped: ", 9))
					why = output + i + 9;
			skipped++;
			printf("ok %u %s # SKIP %.*s\n", n, t->name, why ? (int)strcspn(why, "\n") : 9,
			       why ? why : "no reason");
		} else {
			failed++;
			printf("not ok %u %s (%.2f s)\n# seed: CHIME_TEST_SEED=0x%" PRIx64 "\n%.*s\n", n, t->name, took,
			       seed, (int)len, output ? output : "");
		}
		free(output);
	}
	printf("1..%u\n%u passed, %u failed, %u skipped\n", n, passed, failed, skipped);
	if (n == 0)
		fprintf(stderr, "no test of that name\n");
	return failed || n == 0;
}
