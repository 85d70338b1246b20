/* Tests that go wrong in every way that the runner must notice; tests/runner/selftest.c runs them one at a time. */
#include <runner/test.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

TEST(passes)
{
	CHECK_EQ(1, 1);
}

TEST(remarks)
{
	fprintf(stderr, "nobody needs this\n# 3 a second\nnobody # or this\n# and 4\n");
}

TEST(fails)
{
	CHECK_EQ(-ETIMEDOUT, -3);
}

static void *fail_in_thread(void *arg)
{
	CHECK_EQ(*(int *)arg, 4);
	return NULL;
}

TEST(fails_in_a_thread)
{
	pthread_t thread;
	int number = 3;
	CHECK_EQ(pthread_create(&thread, NULL, fail_in_thread, &number), 0);
	pthread_join(thread, NULL);
}

TEST(dies)
{
	raise(SIGKILL);
}

TEST(exits)
{
	exit(3);
}

TEST_LIMIT(hangs, 1)
{
	for (;;)
		pause();
}

TEST_LIMIT(hangs_and_talks, 1)
{
	for (;;)
		puts("tick tock tick tock tick tock tick tock tick tock tick tock tick tock tick tock tick tock tick "
		     "tock");
}

TEST(leaks_a_descriptor)
{
	CHECK_IN(open("/dev/null", O_RDONLY | O_CLOEXEC), 3, 1000);
}

TEST(leaks_a_child)
{
	if (fork() == 0)
		for (;;)
			pause();
}

/* One that left the test's process group is found all the same. */
TEST(leaks_a_daemon)
{
	if (fork() == 0) {
		setsid();
		if (fork() == 0)
			for (;;)
				pause();
		_exit(0);
	}
}

static void *close_soon(void *arg)
{
	usleep(100000); /* later than the test's end, most likely; if not, less is proved */
	close(*(int *)arg);
	return NULL;
}

/* A thread of the test that is about to close its descriptor is no leak. */
TEST(closes_a_little_later)
{
	static int fd;
	pthread_t thread;
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	CHECK_EQ(pthread_create(&thread, NULL, close_soon, &fd), 0);
	pthread_detach(thread);
}

/* A child that has been told to end, and was not waited for, is no leak. */
TEST(ends_a_child_without_waiting)
{
	pid_t pid = fork();
	if (pid == 0)
		for (;;)
			pause();
	kill(pid, SIGTERM);
}

TEST(skips)
{
	SKIP("this kernel has no %s", "carrier pigeons");
}

TEST(prints_its_directory)
{
	struct stat st;
	CHECK_EQ(stat(test_dir(), &st), 0);
	char path[100];
	snprintf(path, sizeof path, "%s/file", test_dir());
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	CHECK(fd >= 0);
	close(fd);
	fprintf(stderr, "directory=%s\n", test_dir());
	CHECK(false);
}

TEST(prints_a_random_number)
{
	fprintf(stderr, "random=%llu\n", (unsigned long long)test_random());
	CHECK(false);
}

#if defined(__SANITIZE_ADDRESS__)
TEST(leaks_memory)
{
	static char *volatile p;
	p = malloc(100);
	p[0] = 'x';
	p = NULL;
}

TEST(overruns)
{
	char *volatile p = malloc(1);
	p[1] = 'x';
	free(p);
}

TEST(writes_to_nowhere)
{
	int *volatile p = (int *)64;
	*p = 1;
}
#endif

TEST_MAIN()
