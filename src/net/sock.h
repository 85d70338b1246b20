/*
 * net/sock.h - what is inside a chime_sock, and the one way in which its calls run.
 *
 * A call is entered, runs its system call without waiting (MSG_DONTWAIT where there is such a flag), waits in
 * chime__sock_run() if it must, and is left. Nothing but ppoll(2) ever sleeps: it watches the descriptor and the
 * handle's wake descriptor, so that chime_close() from another thread ends every wait, in every mode and family, without
 * touching the connection that a dup or a child may share.
 */
#ifndef NET_SOCK_H
#define NET_SOCK_H

#include <chime/sock.h>

#include <pthread.h>
#include <stdatomic.h>
#include <sys/single_threaded.h>

/* What was being done, for the sentence of the last failure; chime__act_name() prints it. */
enum chime__act {
	ACT_NONE,
	ACT_BIND,
	ACT_LISTEN,
	ACT_ACCEPT,
	ACT_CONNECT,
	ACT_SHUTDOWN,
	ACT_GETSOCKNAME,
	ACT_GETPEERNAME,
	ACT_SEND,
	ACT_SENDALL,
	ACT_SENDTO,
	ACT_RECV,
	ACT_RECVFROM,
	ACT_RECV_EXACT,
	ACT_SENDMSG,
	ACT_RECVMSG,
	ACT_SEND_FDS,
	ACT_RECV_FDS,
	ACT_SEND_MANY,
	ACT_RECV_MANY,
	ACT_SENDFILE,
	ACT_RECV_QUEUED,
	ACT_TIMESTAMPING,
	ACT_JOIN_GROUP,
	ACT_LEAVE_GROUP,
	ACT_GETSOCKOPT,
	ACT_SETSOCKOPT,
	ACT_SET_TIMEOUT,
	ACT_SET_INHERITABLE,
	ACT_INHERITABLE,
	ACT_DUP,
	ACT_DETACH,
	ACT_CLOSE,
	ACTS
};

#define SOCK_CLOSED 0x80000000u /* in .calls: no call starts any more */

struct chime_sock {
	_Atomic uint32_t calls; /* calls under way, and SOCK_CLOSED; the last to leave a closed handle closes .fd */
	_Atomic int fd;         /* -1: gone */
	_Atomic uint32_t generation; /* chime__fork_generation when .calls was true */
	_Atomic int64_t timeout_ns;
	_Atomic int wake;        /* eventfd, made by the first call that really waits; -1: none yet */
	_Atomic int untold;      /* an error that was met behind what a call gave: the next receive tells it; 0 none */
	_Atomic uint64_t last;   /* the last failure: act << 32 | code */
	int family, type, proto; /* never change */
	pthread_mutex_t accept_lock; /* between looking for a connection and taking it */
	pthread_mutex_t about_lock;  /* of .about, and of .last where it speaks of .about */
	chime_addr about;            /* the address that the last failure with one was about */
};

/* A new handle that owns fd from here on; family, type and proto are believed. NULL: no memory (fd stays the caller's). */
struct chime_sock *chime__sock_new(int fd, int family, int type, int proto, int64_t timeout_ns);

/* Closes the descriptors of a closed handle that no call uses any more. 0 or close(2)'s error. */
int chime__sock_finish(struct chime_sock *s);

static inline int chime__sock_leave(struct chime_sock *s)
{
	uint32_t before = atomic_load_explicit(&s->calls, memory_order_relaxed);
	if (__libc_single_threaded && !(before & SOCK_CLOSED)) {
		atomic_store_explicit(&s->calls, before - 1, memory_order_relaxed);
		return 0;
	}
	before = atomic_fetch_sub(&s->calls, 1);
	return __builtin_expect(before == (SOCK_CLOSED | 1), 0) ? chime__sock_finish(s) : 0;
}

/* How many forks lie between this process and the one that loaded the library. */
extern _Atomic uint32_t chime__fork_generation __attribute__((visibility("hidden")));

/* Makes the handle this process's own, after a fork. */
void chime__sock_renew(struct chime_sock *s);

static inline void chime__sock_own(struct chime_sock *s)
{
	if (__builtin_expect(atomic_load_explicit(&s->generation, memory_order_acquire) !=
				     atomic_load_explicit(&chime__fork_generation, memory_order_relaxed),
			     0))
		chime__sock_renew(s);
}

/*
 * Counts the call in: the descriptor to use until chime__sock_leave(), or CHIME_ECLOSED (then there is nothing to leave).
 * A process that has one thread pays no locked instruction: nobody can enter beside it.
 */
static inline int chime__sock_enter(struct chime_sock *s)
{
	uint32_t before;
	chime__sock_own(s);
	if (__libc_single_threaded) {
		before = atomic_load_explicit(&s->calls, memory_order_relaxed);
		atomic_store_explicit(&s->calls, before + 1, memory_order_relaxed);
	} else {
		before = atomic_fetch_add(&s->calls, 1);
	}
	if (__builtin_expect(!(before & SOCK_CLOSED), 1)) {
		int fd = atomic_load_explicit(&s->fd, memory_order_relaxed);
		if (__builtin_expect(fd >= 0, 1))
			return fd; /* else chime_detach() was faster */
	}
	chime__sock_leave(s);
	return CHIME_ECLOSED;
}

/*
 * The system tells an error of a connection once. A call of several system calls that meets one behind the first, receiving or sending,
 * answers with what it has, and keeps the error for the next receive, or a broken stream would look like one that ended.
 */
void chime__sock_keep(struct chime_sock *s, ssize_t err);

/* What was kept, which is told then; 0 nothing. flags: the receive's. */
static inline int chime__sock_untold(struct chime_sock *s, int flags)
{
	if (__builtin_expect(atomic_load_explicit(&s->untold, memory_order_relaxed) == 0, 1) || flags & MSG_ERRQUEUE)
		return 0;
	return atomic_exchange_explicit(&s->untold, 0, memory_order_relaxed);
}

static inline bool chime__sock_is_closed(const struct chime_sock *s)
{
	return atomic_load(&s->calls) & SOCK_CLOSED;
}

/* Remembers a failure for chime_last_error(); about may be NULL. Returns code. */
int chime__sock_failed(struct chime_sock *s, enum chime__act act, int code, const chime_addr *about);

/* One call under way, from entering to leaving; what its maker does not set is zero. */
struct chime__call {
	ssize_t (*op)(struct chime_sock *s, int fd, struct chime__call *c); /* a count or -errno, at once */
	void *buf;
	size_t len;
	int flags;
	short events;     /* what op needs before it is tried again: POLLIN, POLLOUT, POLLPRI */
	bool no_wait;     /* -EAGAIN is the answer whatever the limit (MSG_DONTWAIT) */
	bool partial;     /* something was done: a signal ends the call without asking the hook */
	bool under_way;   /* connect: the attempt has begun */
	int false_ready;  /* how often in a row poll said ready and op did not find it so */
	int64_t limit_ns; /* the handle's timeout, taken at the first wait; valid when .timed */
	int64_t deadline; /* of the call; valid when .timed and limit_ns > 0 */
	bool timed;
	chime_addr *from;
	const chime_addr *to;
};

/* Gives c the flags that the kernel gets, and the readiness to wait for: events, or POLLPRI for data out of band. */
void chime__call_flags(struct chime__call *c, int flags, short events);
/* A blocking stream: the kernel would not come back before the whole was done (send, and receive with MSG_WAITALL). */
bool chime__does_all(const struct chime_sock *s, int flags);

/*
 * What the first try at sending comes to. With MSG_FASTOPEN it has begun a connection, over which the rest goes as ever; and where nothing
 * went along (-EINPROGRESS), the connection is waited for, by a call that may wait.
 */
ssize_t chime__fast_opened(const struct chime_sock *s, struct chime__call *c, ssize_t first);

/* Runs c->op until it ends: the one waiting function. Its count, or why not. */
ssize_t chime__sock_run(struct chime_sock *s, int fd, struct chime__call *c);
/* The same where the caller has made the first try himself. */
ssize_t chime__sock_go_on(struct chime_sock *s, int fd, struct chime__call *c, ssize_t first);

/* What the application's hook says about a signal that came: 0 go on, or -EINTR. */
int chime__interrupted(void);
void chime__interrupted_forked(void);

/* What makes descriptors that come with a message close-on-exec: only unix sockets carry them, and packet sockets refuse it. */
static inline int chime__cloexec_flag(const struct chime_sock *s)
{
	return s->family == AF_UNIX ? MSG_CMSG_CLOEXEC : 0;
}

/* now + limit, without overflow. */
int64_t chime__deadline_after(int64_t limit_ns);

/* Sets or clears O_NONBLOCK: 0 or -errno. */
int chime__set_nonblock(int fd, bool on);

/* Around a system call that knows no MSG_DONTWAIT: 1 O_NONBLOCK was set for it, 0 it was already, or -errno. What begin gave is for end. */
int chime__nonblock_begin(int fd);
void chime__nonblock_end(struct chime_sock *s, int fd, int begun);

/* Wakes what waits on a handle that was just closed. */
void chime__sock_wake(struct chime_sock *s);

/* For sending: SIGPIPE is nobody's wish. RDS raises none, and takes no such flag. */
static inline int chime__no_signal(const chime_sock *s)
{
	return s->family == AF_RDS ? 0 : MSG_NOSIGNAL;
}

#endif
