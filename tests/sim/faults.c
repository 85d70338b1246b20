/*
 * Faults that are planted, one at a time, in a build of their own: the default seeds find each.
 *
 *     test_sim_faults                        as a test
 *     test_sim_faults --show                 which seed finds which, and as what
 *     test_sim_faults --fault N --seed K     one of them, with what happened
 */
#include "runner/test.h"

#include "fault.h"
#include "sim/world.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

unsigned chime__fault;

static const char *const faults[FAULTS] = {
	[FAULT_OLD_STAMP] = "the stamp is of the beginning of the turn",
	[FAULT_READ_STAMP] = "one stamp a read, not one a chunk",
	[FAULT_CLOSE_EARLY] = "a descriptor is closed with an operation under way",
	[FAULT_LOST_TAIL] = "half a line at the end of stream is dropped",
	[FAULT_NO_RESUME] = "nothing goes on when a blocked peer has room again",
	[FAULT_EMPTY_IS_END] = "an empty message is taken for the end",
	[FAULT_GLUED] = "messages that come during an answer are put together",
	[FAULT_LATE_INPUT] = "what comes after a cancel is dropped",
	[FAULT_LOST_PART] = "the rest of a partial write is lost",
	[FAULT_TWICE] = "one completion is accounted for twice",
	[FAULT_HALVES_KEPT] = "unfinished lines are kept over the ceiling of all queues",
	[FAULT_NO_PROGRESS] = "who takes a little counts as stalled",
	[FAULT_QUEUED_KEPT] = "queued bytes of a connection that ends are not given back",
	[FAULT_CEILING_KEPT] = "a refused connection stays counted",
	[FAULT_CEILING_EACH] = "each worker has the whole ceiling of connections",
	[FAULT_SAME_IDS] = "connections of two workers have the same numbers",
	[FAULT_CONNECTED_ANYWAY] = "an outgoing connection that was refused is opened all the same",
	[FAULT_CONNECTING_KEPT] = "draining waits for what is being connected",
	[FAULT_CUT_ANSWERED] = "a message that was too long to be received whole is answered",
	[FAULT_MANY_ANSWERED] = "a message to a broadcast address is answered",
	[FAULT_BATCH_DROPPED] = "an answer that fails takes those of its batch with it",
	[FAULT_LINGER_LONG] = "whoever does not end lingers for ever",
	[FAULT_DRAIN_UNREAD] = "draining does not read what has come",
	[FAULT_HOLD_IGNORED] = "draining does not wait for an answer that is to come later",
	[FAULT_NO_GRACE] = "nothing ends the wait of a drain",
	[FAULT_UNACCEPTED] = "the listener is closed before its queue is accepted",
	[FAULT_DGRAM_UNREAD] = "draining does not read the datagrams that wait",
	[FAULT_PAUSE_FOREVER] = "out of descriptors once, accepting never goes on",
	[FAULT_TIMER_ROUND] = "what is due in a later round of the wheel runs in this one",
	[FAULT_TIMER_EARLY] = "a timer runs at the tick before its time",
	[FAULT_NO_RETRY] = "a full datagram peer is not tried again",
	[FAULT_REORDERED] = "a datagram that could not be sent goes behind what came later",
};

struct finding {
	uint64_t seed;
	bool found;
	char what[300];
};

static struct world world;

/* Runs the default seeds, until one finds something. */
static void look(struct finding *f, uint64_t seeds)
{
	for (f->seed = 1; f->seed <= seeds && !f->found; f->seed++) {
		const char *what = world_run(&world, f->seed, NULL, NULL);
		if (!what)
			continue;
		f->found = true;
		snprintf(f->what, sizeof f->what, "%s", what);
		return;
	}
}

/* In a process of its own, for a fault may bring it down: that is a finding too. */
static void find(unsigned fault, struct finding *out, uint64_t seeds)
{
	struct finding *f = mmap(NULL, sizeof *f, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(f != MAP_FAILED);
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY);
		dup2(null, 2); /* what an assertion or a sanitizer has to say is not wanted here */
		for (int sig = 1; sig < NSIG; sig++)
			if (sig != SIGKILL && sig != SIGSTOP)
				signal(sig, SIG_DFL);
		alarm(120);
		chime__fault = fault;
		look(f, seeds);
		_exit(f->found ? 1 : 0);
	}
	int status;
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	*out = *f;
	if (WIFSIGNALED(status) || WEXITSTATUS(status) > 1) {
		out->found = true;
		snprintf(out->what, sizeof out->what, "the program dies: %s",
			 WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "a sanitizer");
	}
	munmap(f, sizeof *f);
}

/* Without a fault this build holds as any other does. */
TEST(without_a_fault_nothing_is_found)
{
	struct finding f;
	find(FAULT_NONE, &f, SEEDS / 20);
	if (f.found)
		fprintf(stderr, "seed %" PRIu64 ": %s\n", f.seed, f.what);
	CHECK(!f.found);
}

/* Says of each fault which seed found it, and as what. How many none did. */
static unsigned find_all(void)
{
	unsigned missed = 0;
	for (unsigned i = 1; i < FAULTS; i++) {
		struct finding f;
		find(i, &f, SEEDS);
		printf("fault %2u, %s\n    %s %" PRIu64 ": %s\n", i, faults[i],
		       f.found ? "found by seed" : "NOT FOUND in seeds to", f.found ? f.seed : (uint64_t)SEEDS, f.what);
		fflush(stdout);
		missed += !f.found;
	}
	return missed;
}

/* Each planted fault is found by one of the default seeds. */
TEST_LIMIT(every_planted_fault_is_found, 300)
{
	CHECK_EQ(find_all(), 0);
}

static bool holds(const char *path, const char *text, bool *there)
{
	struct stat st;
	int fd = open(path, O_RDONLY);
	*there = fd >= 0;
	if (fd < 0)
		return false;
	CHECK_EQ(fstat(fd, &st), 0);
	void *bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	CHECK(bytes != MAP_FAILED);
	bool found = memmem(bytes, (size_t)st.st_size, text, strlen(text)) != NULL;
	munmap(bytes, (size_t)st.st_size);
	return found;
}

/* What is delivered knows nothing of them. */
TEST(nothing_of_the_faults_is_in_the_product)
{
	static const char *const files[] = { "libchime.a", "libchime.so", "chime" };
	bool there;
	CHECK(holds(CHIME_BINARY_DIR "/tests/test_sim_faults", "chime__fault", &there));
	for (unsigned i = 0; i < sizeof files / sizeof *files; i++) {
		char path[500];
		snprintf(path, sizeof path, "%s/%s", CHIME_BINARY_DIR, files[i]);
		CHECK(!holds(path, "chime__fault", &there));
		if (!there)
			fprintf(stderr, "no file %s\n", path);
		CHECK(there);
	}
}

static void print_line(void *arg, const char *line)
{
	(void)arg;
	puts(line);
}

int main(int argc, char **argv)
{
	setenv("TZ", "UTC0", 1);
	if (argc == 2 && !strcmp(argv[1], "--show"))
		return find_all() > 0;
	if (argc == 5 && !strcmp(argv[1], "--fault") && !strcmp(argv[3], "--seed")) {
		chime__fault = (unsigned)strtoul(argv[2], NULL, 0);
		const char *what = world_run(&world, strtoull(argv[4], NULL, 0), print_line, NULL);
		puts(what ? what : "all held");
		return what != NULL;
	}
	return test_main(argc, argv);
}
