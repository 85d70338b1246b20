/* The runner of tests/runner/test.h. It adopts the orphans of a test (child subreaper), so that none is overlooked. */
#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

enum {
	PASSED = 0,
	FAILED = 1,
	SKIPPED = 77
};

/* What is kept of what a test prints. */
#define OUTPUT_MAX ((size_t)32768)
/* How long threads and children that are ending have to be gone. */
#define ENDING_NS 5000000000LL

static struct test *tests, **tests_end = &tests;
static uint64_t seed, random_state;
static struct test *current;
static char dir[64];

/* What the current test printed, and what the runner has to say about its end. */
static struct {
	char text[OUTPUT_MAX + 1024];
	size_t len;
	bool cut; /* the beginning is lost */
} output;

/* cmocka catches SIGSEGV and the like; the sanitizer shall have them, for it shows where. */
const char *__asan_default_options(void);
__attribute__((used, visibility("default"))) const char *__asan_default_options(void)
{
	return "handle_segv=2:handle_sigbus=2:handle_sigfpe=2:handle_sigill=2";
}

void test_register(struct test *t)
{
	*tests_end = t;
	tests_end = &t->next;
}

const void *test_arg(void)
{
	return current->arg;
}

int64_t test_now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

bool test_asleep(pid_t thread)
{
	char path[64], text[256] = "";
	snprintf(path, sizeof path, "/proc/%d/stat", (int)thread);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t n = read(fd, text, sizeof text - 1);
	close(fd);
	char *end = n > 0 ? strrchr(text, ')') : NULL;
	return end && end[1] == ' ' && end[2] == 'S';
}

bool test_all_asleep(pid_t process)
{
	char path[64];
	bool all = true;
	snprintf(path, sizeof path, "/proc/%d/task", (int)process);
	DIR *threads = opendir(path);
	if (!threads)
		return false;
	for (struct dirent *e; all && (e = readdir(threads));) {
		pid_t thread = (pid_t)atoi(e->d_name);
		all = thread == 0 || thread == gettid() || test_asleep(thread);
	}
	closedir(threads);
	return all;
}

void test_one_processor(void)
{
	cpu_set_t one;
	int here = sched_getcpu();
	CHECK(here >= 0);
	CPU_ZERO(&one);
	CPU_SET((unsigned)here, &one);
	CHECK_EQ(sched_setaffinity(0, sizeof one, &one), 0);
}

static void nap(void)
{
	nanosleep(&(struct timespec){ 0, 5 * 1000000 }, NULL);
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

/* "-110 (ETIMEDOUT)" */
static const char *number(char out[64], long long n)
{
	const char *name = n < 0 && n > -4096 ? strerrorname_np((int)-n) : NULL;
	snprintf(out, 64, name ? "%lld (%s)" : "%lld", n, name);
	return out;
}

void test_check_eq(long long got, long long wanted, const char *what, const char *file, int line)
{
	char a[64], b[64];
	if (got == wanted)
		return;
	fprintf(stderr, "%s is %s, not %s\n", what, number(a, got), number(b, wanted));
	_fail(file, line);
}

void test_check_ne(long long got, long long other, const char *what, const char *file, int line)
{
	char a[64];
	if (got != other)
		return;
	fprintf(stderr, "%s is %s, which it must not be\n", what, number(a, got));
	_fail(file, line);
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

/* The numbers of the open descriptors, as a text; the kernel lists them in order. */
static void descriptors(char *out, size_t size)
{
	DIR *d = opendir("/proc/self/fd");
	size_t used = 0;
	out[0] = 0;
	if (!d) {
		snprintf(out, size, " unknown (%s)", strerrorname_np(errno));
		return;
	}
	for (struct dirent *e; (e = readdir(d)) && used < size;)
		if (e->d_name[0] != '.' && atoi(e->d_name) != dirfd(d))
			used += (size_t)snprintf(out + used, size - used, " %s", e->d_name);
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
	prctl(PR_SET_CHILD_SUBREAPER, 0);
	setpgid(0, 0);
	current = t;
	random_state = seed;
	for (const char *p = t->name; *p; p++)
		random_state = random_state * 31 + (unsigned char)*p;
	descriptors(before, sizeof before);
	int failed = cmocka_run_group_tests_name(t->name, one, NULL, NULL);
	if (!failed) {
		int64_t until = test_now() + ENDING_NS;
		for (descriptors(after, sizeof after); strcmp(before, after) && test_now() < until;) {
			nap();
			descriptors(after, sizeof after);
		}
		if (strcmp(before, after)) {
			fprintf(stderr, "descriptors left open: before%s, after%s\n", before, after);
			failed = 1;
		}
	}
	/* What a thread keeps for itself is no leak, but looks like one while the thread is ending. */
	for (int64_t until = test_now() + ENDING_NS; !test_all_asleep(getpid()) && test_now() < until;)
		nap();
	fflush(NULL);
	exit(failed ? FAILED : PASSED); /* exit, not _exit: the leak sanitizer reports here */
}

/* Reads once. Whether more may come. The end of the output matters most: when it is full, its older half is dropped. */
static bool output_read(int fd)
{
	if (OUTPUT_MAX - output.len < OUTPUT_MAX / 4) {
		size_t half = output.len / 2;
		memmove(output.text, output.text + half, output.len - half);
		output.len -= half;
		output.cut = true;
	}
	ssize_t got = read(fd, output.text + output.len, OUTPUT_MAX - output.len);
	if (got > 0)
		output.len += (size_t)got;
	return got > 0 || (got < 0 && errno == EINTR);
}

/* Adds a line of the runner's own, for which there is always room. */
static void output_add(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void output_add(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(output.text + output.len, sizeof output.text - output.len, fmt, ap);
	va_end(ap);
	if (n > 0)
		output.len = strlen(output.text);
}

/* The processes that we have adopted, killed with their groups. How many there were. */
static unsigned kill_orphans(void)
{
	char path[64], line[4096] = "";
	unsigned n = 0;
	snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
	FILE *f = fopen(path, "r");
	if (!f)
		return 0;
	if (!fgets(line, sizeof line, f))
		line[0] = 0;
	fclose(f);
	for (char *p = line, *end; (end = p, strtol(p, &end, 10) > 0) && end != p; p = end, n++)
		kill((pid_t)strtol(p, NULL, 10), SIGKILL);
	return n;
}

/*
 * Waits for whatever the test left behind. Those that ended are no matter, whether it waited for them or not; those that
 * still run after that are killed and counted.
 */
static unsigned reap_orphans(void)
{
	unsigned left_behind = 0;
	int64_t until = test_now() + ENDING_NS;
	for (;;) {
		pid_t pid = waitpid(-1, NULL, WNOHANG);
		if (pid < 0 && errno != EINTR)
			return left_behind;
		if (pid)
			continue;
		if (test_now() >= until) {
			unsigned killed = kill_orphans();
			left_behind = killed > left_behind ? killed : left_behind;
			until = test_now() + ENDING_NS;
		}
		nap();
	}
}

/* Runs t in a child, whose output is kept in output. Returns its end. */
static int run_one(struct test *t)
{
	int out[2];
	output.len = 0;
	output.cut = false;
	strcpy(dir, "/tmp/chime-test.XXXXXX");
	if (!mkdtemp(dir) || pipe2(out, O_NONBLOCK) < 0) {
		output_add("no directory or pipe for the test: %s\n", strerror(errno));
		remove_dir();
		return FAILED;
	}
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		fcntl(out[1], F_SETFL, 0);
		close(out[0]);
		dup2(out[1], 1);
		dup2(out[1], 2);
		close(out[1]);
		child(t);
	}
	close(out[1]);
	int ended = pid < 0 ? -1 : pidfd_open(pid, 0);
	if (ended < 0) {
		output_add("no process for the test: %s\n", strerror(errno));
		if (pid > 0) {
			kill(pid, SIGKILL);
			waitpid(pid, NULL, 0);
		}
		close(out[0]);
		remove_dir();
		return FAILED;
	}

	int64_t limit_ns = t->limit_s * (SANITIZED || getenv("CHIME_TEST_SLOW") ? 4 : 1) * 1000000000LL;
	int64_t deadline = test_now() + limit_ns;
	bool late = false, open = true;
	for (;;) {
		struct pollfd p[2] = { { ended, POLLIN, 0 }, { open ? out[0] : -1, POLLIN, 0 } };
		int64_t left = deadline - test_now();
		late = left <= 0;
		if (late || (poll(p, 2, (int)(left / 1000000) + 1) < 0 && errno != EINTR))
			break;
		if (p[1].revents)
			open = output_read(out[0]);
		else if (p[0].revents)
			break; /* and nothing more to read: who inherited the pipe is not waited for */
	}
	close(ended);
	int status = 0;
	if (late)
		kill(-pid, SIGKILL);
	if (late)
		kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	unsigned orphans = reap_orphans();
	close(out[0]);
	remove_dir();
	output.text[output.len] = 0;
	if (output.cut)
		output_add("\n(this is the end of what it printed)\n");
	if (late) {
		output_add("not done within %lld s\n", (long long)(limit_ns / 1000000000));
		return FAILED;
	}
	if (WIFSIGNALED(status)) {
		output_add("killed by signal %d (%s)\n", WTERMSIG(status), strsignal(WTERMSIG(status)));
		return FAILED;
	}
	if (orphans && (WEXITSTATUS(status) == PASSED || WEXITSTATUS(status) == SKIPPED)) {
		output_add("child processes left behind: %u\n", orphans);
		return FAILED;
	}
	if (WEXITSTATUS(status) != PASSED && WEXITSTATUS(status) != SKIPPED)
		output_add("exit code %d\n", WEXITSTATUS(status));
	return WEXITSTATUS(status);
}

static bool wanted(const struct test *t, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], t->name))
			return true;
	return argc < 2;
}

static bool known(const char *name)
{
	for (struct test *t = tests; t; t = t->next)
		if (!strcmp(t->name, name))
			return true;
	return false;
}

/* The reason in the output of a skipped test: the line "skipped: REASON". */
static const char *reason(void)
{
	static char line[256];
	const char *at = strstr(output.text, "skipped: ");
	if (!at)
		return "no reason";
	at += strlen("skipped: ");
	snprintf(line, sizeof line, "%.*s", (int)strcspn(at, "\n"), at);
	return line;
}

/* What a test has measured, in lines that begin with "# ". */
static void print_remarks(void)
{
	for (const char *at = output.text; *at; at += strcspn(at, "\n"), at += *at == '\n')
		if (!strncmp(at, "# ", 2))
			printf("%.*s\n", (int)strcspn(at, "\n"), at);
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
	for (int i = 1; i < argc; i++) {
		if (!known(argv[i])) {
			fprintf(stderr, "no test %s; --list lists them\n", argv[i]);
			return 2;
		}
	}
	if (given)
		seed = strtoull(given, NULL, 0);
	else if (getrandom(&seed, sizeof seed, 0) < 0)
		seed = (uint64_t)test_now();
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (struct test *t = tests; t; t = t->next) {
		if (!wanted(t, argc, argv))
			continue;
		int64_t start = test_now();
		int end = run_one(t);
		double took = (double)(test_now() - start) / 1e9;
		n++;
		if (end == PASSED) {
			passed++;
			printf("ok %u %s (%.2f s)\n", n, t->name, took);
			print_remarks();
		} else if (end == SKIPPED) {
			skipped++;
			printf("ok %u %s # SKIP %s\n", n, t->name, reason());
		} else {
			failed++;
			printf("not ok %u %s (%.2f s)\n# seed: CHIME_TEST_SEED=0x%" PRIx64 "\n%s\n", n, t->name, took,
			       seed, output.text);
		}
	}
	printf("1..%u\n%u passed, %u failed, %u skipped\n", n, passed, failed, skipped);
	return failed || n == 0;
}
