/* What a child of fork(2) forgets: that a thread of its parent was just holding one of the library's own locks. */
#include "net/closer.h"
#include "net/stuck.h"

#include <dlfcn.h>
#include <semaphore.h>
#include <sys/wait.h>

static _Thread_local bool holds; /* this thread keeps the lock that it gives back next, until the process has forked */
static sem_t held, forked;

static int give_back(pthread_mutex_t *lock)
{
	static int (*_Atomic next)(pthread_mutex_t *);
	if (!next)
		next = (int (*)(pthread_mutex_t *))dlsym(RTLD_NEXT, "pthread_mutex_unlock");
	return next(lock);
}

int pthread_mutex_unlock(pthread_mutex_t *lock)
{
	if (holds) {
		holds = false;
		sem_post(&held);
		while (sem_wait(&forked) < 0)
			;
	}
	return give_back(lock);
}

/* Forks while another thread is in the middle of call, and returns how the child's use ends. */
static int fork_in_the_middle(void *(*call)(void *), int (*use)(void))
{
	pthread_t t;
	int status = -1;
	CHECK_EQ(sem_init(&held, 0, 0), 0);
	CHECK_EQ(sem_init(&forked, 0, 0), 0);
	CHECK_EQ(pthread_create(&t, NULL, call, NULL), 0);
	while (sem_wait(&held) < 0)
		;
	pid_t pid = fork();
	if (pid == 0) {
		alarm(30);
		_exit(use());
	}
	sem_post(&forked);
	pthread_join(t, NULL);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	return status;
}

static int go_on(void *arg)
{
	*(int *)arg += 1;
	return 0;
}

static void *set_hook(void *arg)
{
	holds = true;
	chime_set_interrupted(NULL, NULL);
	return arg;
}

/* A signal that the child is interrupted by, with a hook of its own, which is asked. */
static int use_hook(void)
{
	int asked = 0;
	chime_set_interrupted(go_on, &asked);
	return chime__interrupted() != 0 || asked != 1;
}

/* The hook may be set and asked in a child that came about while another thread was setting it. */
TEST(child_of_a_process_that_sets_its_hook)
{
	CHECK_EQ(fork_in_the_middle(set_hook, use_hook), 0);
}

static chime_sock *pair[2];

static void *first_use(void *arg)
{
	holds = true; /* the handle is the parent's: it is made this process's own */
	chime_send(pair[0], "x", 1, 0);
	return arg;
}

static int next_use(void)
{
	char b;
	return chime_send(pair[0], "y", 1, 0) != 1 || chime_recv(pair[1], &b, 1, 0) != 1;
}

static int child_that_forks(void)
{
	CHECK_EQ(sem_destroy(&held), 0);
	return fork_in_the_middle(first_use, next_use);
}

/* A handle can be used in a child's child that came about while another thread of the child used it for the first time. */
TEST(child_of_a_child_at_its_first_call)
{
	int status = -1;
#ifdef __SANITIZE_THREAD__
	/* Its runtime wants no threads in the child of a process that had any; this one has none, but for its own. */
	SKIP("the thread sanitizer lets a child begin none");
#endif
	CHECK_EQ(chime_socketpair(pair, AF_UNIX, SOCK_DGRAM, 0), 0);
	pid_t pid = fork();
	if (pid == 0)
		_exit(child_that_forks());
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	chime_free(&pair[0]);
	chime_free(&pair[1]);
}

static int closing[2], left[2];

/* Another thread closes it, which the child has not. */
static void *close_late(void *arg)
{
	holds = true;
	chime__close(closing[0], false, true);
	return arg;
}

static int close_in_the_child(void)
{
	char b;
	return chime__close(left[0], false, true) != 0 || read(left[1], &b, 1) != 0;
}

/* What may have to wait for its end is closed in a child as well that came about while another thread handed such a one over. */
TEST(child_closes_what_others_close_for_it)
{
#ifdef __SANITIZE_THREAD__
	SKIP("the thread sanitizer lets the child of a process with threads begin none");
#endif
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, closing), 0);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, left), 0);
	CHECK_EQ(fork_in_the_middle(close_late, close_in_the_child), 0);
	close(closing[1]);
	close(left[0]);
	close(left[1]);
}

TEST_MAIN()
