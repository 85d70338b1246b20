/*
 * Two threads, or a parent and its child, and one handle: closing wakes whoever waits, and takes the descriptor from nobody who still uses
 * it. A few lines over 600: one call, and the few helpers at the beginning that all of it needs.
 */
#include "net/stuck.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* A receive that waits in a thread of its own. */
static void receive_begins(struct stuck *k, struct stuck_thread *t)
{
	*k = (struct stuck){ 0 };
	stuck_make_stream(k);
	stuck_thread_start(t, &stuck_calls[0], k);
}

/* It waits still, and gets what comes. */
static void receive_ends(struct stuck *k, struct stuck_thread *t)
{
	stuck_send_five(k);
	CHECK_EQ(stuck_thread_end(t), 5);
	stuck_free(k);
}

static void child_ends_well(pid_t pid)
{
	int status = -1;
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
}

static void close_each(int64_t limit)
{
	FOR_EACH_CALL(c)
	{
		struct stuck k = { 0 };
		struct stuck_thread t;
		c->make(&k);
		CHECK_EQ(chime_set_timeout(k.s, limit), 0);
		stuck_thread_start(&t, c, &k);
		int fd = chime_fileno(k.s), wake = atomic_load(&k.s->wake);
		CHECK_EQ(chime_close(k.s), 0);
		CHECK_EQ(chime_fileno(k.s), -1);
		print_message("%s\n", c->name);
		CHECK_EQ(stuck_thread_end(&t), CHIME_ECLOSED);
		CHECK(!is_open(fd));
		CHECK(!is_open(wake));
		stuck_free(&k);
	}
}

/* close from another thread ends every call that waits, in every family. */
TEST(close_wakes_blocking_calls)
{
	close_each(CHIME_FOREVER);
}

TEST(close_wakes_calls_with_a_limit)
{
	close_each(60 * CHIME_SEC);
}

/* It wakes all of them, whatever each waits for. */
TEST(close_wakes_every_waiter)
{
	struct stuck k = { 0 };
	struct stuck_thread t[6];
	stuck_make_full_stream(&k);
	for (int i = 0; i < 6; i++)
		stuck_thread_start(&t[i], i % 2 ? &stuck_calls[0] : &stuck_calls[6], &k);
	CHECK_EQ(chime_close(k.s), 0);
	for (int i = 0; i < 6; i++)
		CHECK_EQ(stuck_thread_end(&t[i]), CHIME_ECLOSED);
	stuck_free(&k);
}

/* ---- in the middle of waking ---- */

static _Thread_local struct waking {
	const chime_sock *s;
	const struct stuck_thread *waits; /* on s; set: this thread wakes it next */
	bool closed, stayed;              /* when it is woken; what it was woken by, once its call is over */
} waking;

int eventfd_write(int fd, eventfd_t value)
{
	struct waking *w = &waking;
	bool looks = w->waits;
	if (looks)
		w->closed = chime__sock_is_closed(w->s);
	if (write(fd, &value, sizeof value) != sizeof value)
		return -1;
	if (looks && w->closed) {
		while (!atomic_load(&w->waits->over))
			usleep(1000);
		w->stayed = is_open(fd);
	}
	w->waits = NULL;
	return 0;
}

/* Who closes has marked the handle when he wakes, or he would wake in vain; and what he writes to stays until he has, whoever leaves first. */
TEST(close_marks_and_then_wakes_with_what_stays)
{
	for (int detach = 0; detach < 2; detach++) {
		struct stuck k;
		struct stuck_thread t;
		receive_begins(&k, &t);
		int fd = chime_fileno(k.s), wake = atomic_load(&k.s->wake);
		waking = (struct waking){ .s = k.s, .waits = &t };
		CHECK_EQ(detach ? chime_detach(k.s) : chime_close(k.s), detach ? fd : 0);
		CHECK_PTR(waking.waits, NULL);
		CHECK(waking.closed);
		CHECK(waking.stayed);
		CHECK_EQ(stuck_thread_end(&t), CHIME_ECLOSED);
		CHECK(!is_open(wake));
		CHECK_EQ(is_open(fd), detach);
		if (detach)
			close(fd);
		stuck_free(&k);
	}
}

/* detach wakes them too, and the descriptor stays open: it is the caller's. */
TEST(detach_wakes_and_keeps_the_descriptor)
{
	struct stuck k = { 0 };
	struct stuck_thread t;
	stuck_make_udp(&k);
	stuck_thread_start(&t, &stuck_calls[4], &k);
	int fd = chime_detach(k.s);
	CHECK_EQ(stuck_thread_end(&t), CHIME_ECLOSED);
	CHECK(is_open(fd));
	close(fd);
	stuck_free(&k);
}

/* Closing is no shutdown: the connection lives on in a dup, and the peer notices nothing. */
TEST(close_leaves_a_dup_connected)
{
	struct stuck k = { 0 };
	struct stuck_thread t;
	chime_sock *d;
	stuck_make_tcp(&k);
	CHECK_EQ(chime_dup(k.s, &d), 0);
	stuck_thread_start(&t, &stuck_calls[1], &k);
	CHECK_EQ(chime_close(k.s), 0);
	CHECK_EQ(stuck_thread_end(&t), CHIME_ECLOSED);
	CHECK_EQ(chime_recv(k.peer, k.buf, 1, MSG_DONTWAIT), -EAGAIN);
	CHECK_EQ(chime_send(d, "alive", 5, 0), 5);
	CHECK_EQ(chime_recv(k.peer, k.buf, 10, 0), 5);
	chime_free(&d);
	stuck_free(&k);
}

/* shutdown from another thread ends a receive with the end of the stream. */
TEST(shutdown_wakes_a_receiver)
{
	struct stuck k = { 0 };
	struct stuck_thread t;
	stuck_make_tcp(&k);
	stuck_thread_start(&t, &stuck_calls[1], &k);
	CHECK_EQ(chime_shutdown(k.s, SHUT_RDWR), 0);
	CHECK_EQ(stuck_thread_end(&t), 0);
	stuck_free(&k);
}

/* A child that closes its copy of the handle leaves its parent waiting, asleep; its own descriptor is closed. */
TEST(close_in_a_child_leaves_the_parent_waiting)
{
	struct stuck k;
	struct stuck_thread t;
	receive_begins(&k, &t);
	pid_t pid = fork();
	if (pid == 0) {
		int fd = chime_fileno(k.s), wake = atomic_load(&k.s->wake), failed = 0;
		failed |= chime_set_timeout(k.s, 0) < 0;
		failed |= chime_recv(k.s, k.buf, 1, 0) != -EAGAIN;
		/* it does not hear what wakes the parent, nor take that away */
		failed |= atomic_load(&k.s->wake) != -1;
		failed |= chime_close(k.s) < 0;
		failed |= is_open(fd); /* though a thread was in recv, in the parent */
		failed |= is_open(wake);
		_exit(failed);
	}
	child_ends_well(pid);
	struct pollfd p = { atomic_load(&k.s->wake), POLLIN, 0 };
	CHECK_EQ(poll(&p, 1, 0), 0); /* nobody woke it */
	CHECK_EQ(chime_set_timeout(k.s, CHIME_FOREVER), 0);
	receive_ends(&k, &t);
}

/* So it is when that is the child's first call. A detached descriptor is the child's. */
TEST(first_call_of_a_child_ends_its_handle)
{
	for (int way = 0; way < 3; way++) {
		struct stuck k;
		struct stuck_thread t;
		receive_begins(&k, &t);
		pid_t pid = fork();
		if (pid == 0) {
			int fd = chime_fileno(k.s), wake = atomic_load(&k.s->wake), failed = 0;
			if (way == 0)
				failed |= chime_close(k.s) < 0;
			else if (way == 1)
				chime_free(&k.s);
			else
				failed |= chime_detach(k.s) != fd;
			_exit(failed | is_open(wake) | (is_open(fd) != (way == 2)));
		}
		child_ends_well(pid);
		receive_ends(&k, &t);
	}
}

/* A child that fork handlers never saw does wake the parent: its thread sleeps again, and does not spin. */
TEST(close_in_an_unseen_child_is_calmed)
{
	struct stuck k;
	struct stuck_thread t;
	receive_begins(&k, &t);
	pid_t pid = _Fork();
	if (pid == 0) {
		chime_close(k.s);
		_exit(0);
	}
	child_ends_well(pid);
	for (int seen = 0; seen < 5; usleep(1000)) {
		struct pollfd p = { atomic_load(&k.s->wake), POLLIN, 0 };
		seen = poll(&p, 1, 0) == 0 && test_asleep(t.tid) ? seen + 1 : 0;
	}
	receive_ends(&k, &t);
}

static void closed_with_so_many(rlim_t descriptors)
{
	struct stuck k = { 0 };
	struct stuck_thread t = { .c = &stuck_calls[0], .k = &k };
	struct rlimit old, none;
	stuck_make_stream(&k);
	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = old;
	none.rlim_cur = descriptors;
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
	CHECK_EQ(pthread_create(&t.thread, NULL, stuck_thread_run, &t), 0);
	while (atomic_load(&k.s->calls) == 0)
		usleep(1000);
	pid_t pid = fork(); /* looks until it waits: a child may have a descriptor for that */
	if (pid == 0) {
		setrlimit(RLIMIT_NOFILE, &old);
		for (int seen = 0; seen < 3; usleep(1000))
			seen = test_asleep(t.tid) ? seen + 1 : 0;
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, NULL, 0), pid);
	CHECK_EQ(atomic_load(&k.s->wake), -1);
	CHECK_EQ(chime_close(k.s), 0);
	CHECK_EQ(stuck_thread_end(&t), CHIME_ECLOSED);
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
	stuck_free(&k);
}

/*
 * Where the process has no descriptor left for the wake-up, calls wait all the same and closing still ends them; also where it may have
 * one alone, and so poll no more.
 */
TEST(close_wakes_without_a_descriptor_to_spare)
{
	closed_with_so_many(3);
	closed_with_so_many(1);
}

struct crossing {
	chime_sock *s;
	_Atomic int64_t bytes;
};

static void *crossing_send(void *arg)
{
	struct crossing *x = arg;
	char buf[300] = { 0 };
	for (;;) {
		ssize_t n = chime_send(x->s, buf, sizeof(buf), 0);
		if (n < 0)
			return (void *)(intptr_t)n;
	}
}

static void *crossing_recv(void *arg)
{
	struct crossing *x = arg;
	char buf[700];
	for (;;) {
		ssize_t n = chime_recv(x->s, buf, sizeof(buf), 0);
		if (n < 0)
			return (void *)(intptr_t)n;
		atomic_fetch_add(&x->bytes, n);
		chime_last_error(x->s, buf, sizeof(buf));
	}
}

/* One thread sends, one receives, a third closes at any moment: both end with CHIME_ECLOSED, nothing else happens. */
TEST_LIMIT(send_recv_and_close_at_once, 60)
{
	for (int round = 0; round < 60; round++) {
		struct crossing x = { 0 };
		pthread_t tx, rx;
		void *sent, *received;
		chime_sock *p[2];
		CHECK_EQ(chime_socketpair(p, AF_UNIX, SOCK_DGRAM, 0), 0);
		CHECK_EQ(chime_set_timeout(p[0], round % 2 ? CHIME_FOREVER : 50 * CHIME_SEC), 0);
		/* Connected to itself, in effect: a dup of the peer echoes. */
		struct crossing back = { .s = p[1] };
		pthread_t echo;
		x.s = p[0];
		CHECK_EQ(pthread_create(&tx, NULL, crossing_send, &x), 0);
		CHECK_EQ(pthread_create(&rx, NULL, crossing_recv, &x), 0);
		CHECK_EQ(pthread_create(&echo, NULL, crossing_send, &back), 0);
		int64_t until = test_now() + (int64_t)(test_random() % (2 * CHIME_MSEC));
		while (test_now() < until)
			;
		CHECK_EQ(chime_close(p[0]), 0);
		pthread_join(tx, &sent);
		pthread_join(rx, &received);
		CHECK_EQ((intptr_t)sent, CHIME_ECLOSED);
		CHECK_EQ((intptr_t)received, CHIME_ECLOSED);
		pthread_join(echo, &sent);
		CHECK_EQ((intptr_t)sent, -ECONNREFUSED);
		chime_free(&p[0]);
		chime_free(&p[1]);
	}
}

static void *close_it(void *arg)
{
	return (void *)(intptr_t)chime_close(arg);
}

/* Closing from many threads closes once. */
TEST(close_from_many_threads)
{
	for (int round = 0; round < 50; round++) {
		struct stuck k = { 0 };
		struct stuck_thread t;
		pthread_t closer[4];
		stuck_make_udp(&k);
		stuck_thread_start(&t, &stuck_calls[4], &k);
		for (int i = 0; i < 4; i++)
			CHECK_EQ(pthread_create(&closer[i], NULL, close_it, k.s), 0);
		for (int i = 0; i < 4; i++) {
			void *err;
			pthread_join(closer[i], &err);
			CHECK_EQ((intptr_t)err, 0);
		}
		CHECK_EQ(stuck_thread_end(&t), CHIME_ECLOSED);
		stuck_free(&k);
	}
}

/* ---- closing and detaching at once, with calls under way ---- */

enum part {
	CLOSES,
	DETACHES,
	RECEIVES,
	SENDS,
	SETS_LIMIT,
	DUPS,
	PARTS
};

struct racer {
	struct race *race;
	enum part part;
	unsigned delay; /* turns of a loop, before it begins */
	pthread_t thread;
	int result;
	chime_sock *dup;
};

struct race {
	chime_sock *s;
	pthread_barrier_t start;
	struct racer racer[10];
};

static void *race_run(void *arg)
{
	struct racer *r = arg;
	chime_sock *s = r->race->s;
	char b[8] = { 0 };
	pthread_barrier_wait(&r->race->start);
	for (volatile unsigned i = 0; i < r->delay; i++)
		;
	switch (r->part) {
	case CLOSES:
		r->result = chime_close(s);
		break;
	case DETACHES:
		r->result = chime_detach(s);
		break;
	case RECEIVES:
		r->result = (int)chime_recv(s, b, sizeof b, 0);
		break;
	case SENDS:
		do
			r->result = (int)chime_send(s, b, sizeof b, 0);
		while (r->result > 0);
		break;
	case SETS_LIMIT:
		do
			r->result = chime_set_timeout(s, 60 * CHIME_SEC);
		while (r->result == 0);
		break;
	default:
		r->result = chime_dup(s, &r->dup);
	}
	return NULL;
}

static ino_t inode(int fd)
{
	struct stat st;
	return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

static void race_once(unsigned spread)
{
	static const enum part parts[] = { CLOSES, CLOSES,   DETACHES, DETACHES,   RECEIVES,
					   SENDS,  RECEIVES, DUPS,     SETS_LIMIT, DUPS };
	struct race race;
	chime_sock *p[2];
	int detached = -1, fd;
	CHECK_EQ(chime_socketpair(p, AF_UNIX, SOCK_STREAM, 0), 0);
	race.s = p[0];
	fd = chime_fileno(p[0]);
	const ino_t its_own = inode(fd);
	CHECK_EQ(pthread_barrier_init(&race.start, NULL, 10), 0);
	for (int i = 0; i < 10; i++) {
		race.racer[i] = (struct racer){ &race, parts[i], (unsigned)test_random() % spread, 0, 0, NULL };
		CHECK_EQ(pthread_create(&race.racer[i].thread, NULL, race_run, &race.racer[i]), 0);
	}
	for (int i = 0; i < 10; i++)
		pthread_join(race.racer[i].thread, NULL);
	pthread_barrier_destroy(&race.start);
	for (int i = 0; i < 10; i++) {
		struct racer *r = &race.racer[i];
		if (r->part == CLOSES || (r->part == DUPS && r->result == 0)) {
			CHECK_EQ(r->result, 0);
		} else if (r->part == DETACHES && r->result >= 0) {
			CHECK_EQ(detached, -1); /* it has one owner */
			CHECK_EQ(detached = r->result, fd);
		} else {
			CHECK_EQ(r->result, CHIME_ECLOSED);
		}
		if (r->part != DUPS)
			continue;
		CHECK_EQ(!r->dup, r->result < 0);
		if (r->dup) /* nobody has closed it, nor put another in its place */
			CHECK_EQ(inode(chime_fileno(r->dup)), its_own);
		chime_free(&r->dup);
	}
	CHECK_EQ(chime_fileno(p[0]), -1);
	CHECK_EQ(atomic_load(&p[0]->fd), -1);
	CHECK_EQ(atomic_load(&p[0]->wake), -1);
	CHECK_EQ(atomic_load(&p[0]->calls), SOCK_CLOSED);
	if (detached >= 0) {
		CHECK_EQ(inode(detached), its_own);
		CHECK_EQ(close(detached), 0);
	}
	char got[4096];
	ssize_t n;
	while ((n = chime_recv(p[1], got, sizeof got, 0)) > 0)
		;
	CHECK_EQ(n, 0); /* it is closed now, everywhere */
	chime_free(&p[0]);
	chime_free(&p[1]);
}

/*
 * Closing and detaching from several threads while others receive, send, set limits and dup: one owner gets the descriptor, or it is
 * closed, once; every call ends, and nothing of the handle stays open.
 */
TEST(close_and_detach_at_once)
{
	const int64_t until = test_now() + CHIME_SEC;
	for (unsigned round = 0; round < 400 && (round < 20 || test_now() < until); round++)
		race_once(1 + (20u << round % 12));
}

/* Waiting costs one descriptor, which goes with the handle; not waiting costs none. */
TEST(wake_descriptor_is_made_late_and_closed)
{
	struct stuck k = { 0 };
	stuck_make_stream(&k);
	stuck_send_five(&k);
	CHECK_EQ(chime_recv(k.s, k.buf, 5, 0), 5);
	CHECK_EQ(atomic_load(&k.s->wake), -1);
	CHECK_EQ(chime_set_timeout(k.s, CHIME_MSEC), 0);
	CHECK_EQ(chime_recv(k.s, k.buf, 5, 0), CHIME_ETIMEOUT);
	int wake = atomic_load(&k.s->wake);
	CHECK(wake >= 0);
	CHECK_EQ(fcntl(wake, F_GETFD), FD_CLOEXEC);
	CHECK_EQ(chime_close(k.s), 0);
	CHECK(!is_open(wake));
	stuck_free(&k);
}

/* While a call is under way a closed handle keeps its descriptor, for that call alone: nobody else gets it, in a child neither. */
TEST(closed_with_a_call_under_way)
{
	struct stuck k = { 0 };
	stuck_make_udp(&k);
	int fd = chime__sock_enter(k.s);
	CHECK_EQ(chime_close(k.s), 0);
	CHECK_EQ(chime_detach(k.s), CHIME_ECLOSED);
	CHECK_EQ(chime_recv(k.s, k.buf, 1, MSG_DONTWAIT), CHIME_ECLOSED);
	CHECK(is_open(fd));
	pid_t pid = fork();
	if (pid == 0) {
		int failed = chime_recv(k.s, k.buf, 1, MSG_DONTWAIT) != CHIME_ECLOSED;
		failed |= chime_detach(k.s) != CHIME_ECLOSED;
		chime_free(&k.s); /* the call is none of the child's: nothing keeps it from the end */
		_exit(failed | is_open(fd));
	}
	child_ends_well(pid);
	chime__sock_leave(k.s);
	CHECK(!is_open(fd));
	stuck_free(&k);
}

/* A child may use a handle whose locks another thread of the parent held when it was made. */
TEST(locks_of_the_parent_bind_no_child)
{
	struct stuck k = { 0 };
	chime_addr at;
	char text[256];
	stuck_make_listener(&k);
	STUCK_OK(chime_connect(k.peer, &k.at));
	STUCK_OK(chime_set_timeout(k.s, 30 * CHIME_SEC));
	pthread_mutex_lock(&k.s->accept_lock);
	pthread_mutex_lock(&k.s->about_lock);
	pid_t pid = fork();
	if (pid == 0) {
		chime_sock *a;
		alarm(30);
		at = k.at;
		if (chime_accept(k.s, &a, NULL) != 0)
			_exit(1);
		_exit(chime_bind(k.s, &at) != -EINVAL || chime_last_error(k.s, text, sizeof text) == 0);
	}
	child_ends_well(pid);
	pthread_mutex_unlock(&k.s->accept_lock);
	pthread_mutex_unlock(&k.s->about_lock);
	stuck_free(&k);
}

/* From here on close(2) of fd fails so, as on a file system that lost its server. */
static bool let_close_fail(int fd, int with)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_close, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, args) + (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 4 : 0)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)fd, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)with),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof code / sizeof code[0], code };
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* What close(2) says is told, but for what is no failure of a close: that the peer is gone, and that a signal came. */
TEST(close_tells_failures_and_no_others)
{
	static const struct {
		int system, ours;
	} cases[] = { { EIO, -EIO }, { ENOSPC, -ENOSPC }, { ECONNRESET, 0 }, { EINTR, 0 } };
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		chime_sock *s;
		CHECK_EQ(chime_open(&s, AF_INET, SOCK_STREAM, 0), 0);
		int first = chime_detach(s), fd = fcntl(first, F_DUPFD_CLOEXEC, 100);
		CHECK_EQ(close(first), 0);
		chime_free(&s);
		CHECK_EQ(chime_from_fd(&s, fd), 0);
		if (!let_close_fail(fd, cases[i].system)) {
			chime_free(&s);
			SKIP("no system call can be made to fail here");
		}
		CHECK_EQ(chime_close(s), cases[i].ours);
		chime_free(&s);
		CHECK_EQ(syscall(SYS_close_range, fd, fd, 0), 0); /* it was open still */
	}
}

TEST_MAIN()
