/*
 * net/stuck.h - every call of sock.h that can wait, each in a place where it has to.
 */
#ifndef NET_STUCK_H
#define NET_STUCK_H

#include "net/sock.h"

#include <chime/connect.h>
#include <chime/errqueue.h>
#include <runner/test.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct stuck {
	chime_sock *s;    /* the one that waits */
	chime_sock *peer; /* who can end the wait */
	chime_sock *crowd[4];
	chime_addr at;
	char buf[4096];
};

struct stuck_call {
	const char *name;
	void (*make)(struct stuck *k);
	ssize_t (*call)(struct stuck *k); /* waits until release() */
	void (*release)(struct stuck *k); /* by another thread or a hook */
	ssize_t result;                   /* what the call gives then */
	int would_block;                  /* what it gives at limit 0 */
};

#define STUCK_OK(expr)                                                                                                 \
	do {                                                                                                           \
		long long got_ = (expr);                                                                               \
		if (got_ < 0) {                                                                                        \
			fprintf(stderr, "%s:%d: %s gave %lld\n", __FILE__, __LINE__, #expr, got_);                     \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

static inline void stuck_free(struct stuck *k)
{
	chime_free(&k->s);
	chime_free(&k->peer);
	for (int i = 0; i < 4; i++)
		chime_free(&k->crowd[i]);
}

/* ---- receiving ---- */

static inline void stuck_pair(struct stuck *k, int type)
{
	chime_sock *p[2];
	STUCK_OK(chime_socketpair(p, AF_UNIX, type, 0));
	k->s = p[0];
	k->peer = p[1];
}

static inline void stuck_make_stream(struct stuck *k)
{
	stuck_pair(k, SOCK_STREAM);
}

static inline void stuck_make_seqpacket(struct stuck *k)
{
	stuck_pair(k, SOCK_SEQPACKET);
}

/* The one that waits is the accepted one: it has not waited before, as the other may have for its connection. */
static inline void stuck_make_tcp(struct stuck *k)
{
	chime_sock *l;
	STUCK_OK(chime_create_server(&l, AF_INET, "127.0.0.1", 0, -1, false, false));
	STUCK_OK(chime_getsockname(l, &k->at));
	STUCK_OK(chime_open(&k->peer, AF_INET, SOCK_STREAM, 0));
	STUCK_OK(chime_connect(k->peer, &k->at));
	STUCK_OK(chime_accept(l, &k->s, NULL));
	chime_free(&l);
}

static inline void stuck_make_udp(struct stuck *k)
{
	STUCK_OK(chime_open(&k->s, AF_INET, SOCK_DGRAM, 0));
	STUCK_OK(chime_open(&k->peer, AF_INET, SOCK_DGRAM, 0));
	STUCK_OK(chime_addr_ip(&k->at, AF_INET, "127.0.0.1", 0));
	STUCK_OK(chime_bind(k->s, &k->at));
	STUCK_OK(chime_getsockname(k->s, &k->at));
}

static inline ssize_t stuck_recv(struct stuck *k)
{
	return chime_recv(k->s, k->buf, 100, 0);
}

static inline ssize_t stuck_recv_peek(struct stuck *k)
{
	return chime_recv(k->s, k->buf, 100, MSG_PEEK);
}

static inline ssize_t stuck_recvfrom(struct stuck *k)
{
	chime_addr from;
	return chime_recvfrom(k->s, k->buf, 100, 0, &from);
}

static inline ssize_t stuck_recv_exact(struct stuck *k)
{
	return chime_recv_exact(k->s, k->buf, 5, 0, NULL);
}

static inline void stuck_send_five(struct stuck *k)
{
	STUCK_OK(chime_send(k->peer, "12345", 5, 0));
}

static inline void stuck_sendto_five(struct stuck *k)
{
	STUCK_OK(chime_sendto(k->peer, "12345", 5, 0, &k->at));
}

/* ---- sending ---- */

static inline void stuck_fill(struct stuck *k)
{
	while (chime_send(k->s, k->buf, sizeof(k->buf), MSG_DONTWAIT) > 0)
		;
}

static inline void stuck_make_full_stream(struct stuck *k)
{
	stuck_make_stream(k);
	stuck_fill(k);
}

/* A unix datagram socket whose queue is full; the sender is not connected, so that poll calls it writable all the time. */
static inline void stuck_make_full_dgram(struct stuck *k)
{
	STUCK_OK(chime_open(&k->s, AF_UNIX, SOCK_DGRAM, 0));
	STUCK_OK(chime_open(&k->peer, AF_UNIX, SOCK_DGRAM, 0));
	STUCK_OK(chime_addr_unix(&k->at, NULL, 0));
	k->at.len = sizeof(sa_family_t);
	k->at.u.sa.sa_family = AF_UNIX;
	STUCK_OK(chime_bind(k->peer, &k->at));
	STUCK_OK(chime_getsockname(k->peer, &k->at));
	while (chime_sendto(k->s, "x", 1, MSG_DONTWAIT, &k->at) > 0)
		;
}

static inline ssize_t stuck_send(struct stuck *k)
{
	return chime_send(k->s, k->buf, 5, 0);
}

static inline ssize_t stuck_sendall(struct stuck *k)
{
	return chime_sendall(k->s, k->buf, 5, 0, NULL);
}

static inline ssize_t stuck_sendto(struct stuck *k)
{
	return chime_sendto(k->s, k->buf, 5, 0, &k->at);
}

static inline ssize_t stuck_recvmsg(struct stuck *k)
{
	char control[64];
	struct chime_msg m = { .control = { control, sizeof(control), 0 } };
	return chime_recvmsg(k->s, k->buf, 100, 0, &m);
}

static inline ssize_t stuck_recvmsg_into(struct stuck *k)
{
	struct iovec iov[2] = { { k->buf, 3 }, { k->buf + 10, 2 } };
	return chime_recvmsg_into(k->s, iov, 2, MSG_WAITALL, NULL);
}

static inline ssize_t stuck_recv_fds(struct stuck *k)
{
	int fds[2];
	size_t n = 2;
	return chime_recv_fds(k->s, k->buf, 100, fds, &n, 0, NULL, NULL);
}

static inline ssize_t stuck_recv_many(struct stuck *k)
{
	struct iovec iov[2] = { { k->buf, 100 }, { k->buf + 100, 100 } };
	struct chime_packet p[2] = { { .iov = iov, .iovs = 1 }, { .iov = iov + 1, .iovs = 1 } };
	ssize_t n = chime_recv_many(k->s, p, 2, 0);
	return n == 1 ? (ssize_t)p[0].bytes : n;
}

static inline void stuck_make_udp_pair(struct stuck *k)
{
	stuck_make_udp(k);
	STUCK_OK(chime_getsockname(k->s, &k->at));
	chime_addr mine = k->at;
	STUCK_OK(chime_addr_set_port(&mine, 0));
	STUCK_OK(chime_bind(k->peer, &mine));
	STUCK_OK(chime_getsockname(k->peer, &mine));
	STUCK_OK(chime_connect(k->s, &mine));
	STUCK_OK(chime_timestamping(k->s, CHIME_STAMP_TX));
}

static inline ssize_t stuck_recv_queued(struct stuck *k)
{
	struct chime_queued q;
	return chime_recv_queued(k->s, &q, 0);
}

/* By another thread or the hook, while the first one waits. */
static inline void stuck_send_stamped(struct stuck *k)
{
	STUCK_OK(chime_send(k->s, "x", 1, 0));
}

static inline ssize_t stuck_sendmsg(struct stuck *k)
{
	struct iovec iov[2] = { { k->buf, 3 }, { k->buf + 10, 2 } };
	return chime_sendmsg(k->s, iov, 2, 0, NULL);
}

static inline ssize_t stuck_send_fds(struct stuck *k)
{
	int fd = 0;
	return chime_send_fds(k->s, k->buf, 5, &fd, 1, 0, NULL);
}

static inline ssize_t stuck_send_many(struct stuck *k)
{
	struct iovec iov = { k->buf, 5 };
	struct chime_packet p = { .iov = &iov, .iovs = 1, .msg = { .addr = k->at } };
	ssize_t n = chime_send_many(k->s, &p, 1, 0);
	return n == 1 ? (ssize_t)p.bytes : n;
}

/* TCP moves what was sent on for a while: full is when it has begun to ask the peer whether there is room at last. */
static inline void stuck_make_full_zerocopy(struct stuck *k)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof info;
	stuck_make_tcp(k);
	STUCK_OK(chime_setsockopt_int(k->s, SOL_SOCKET, SO_ZEROCOPY, 1));
	STUCK_OK(chime_setsockopt_int(k->s, SOL_SOCKET, SO_SNDBUF, 4096));
	for (; info.tcpi_unacked || !info.tcpi_backoff; usleep(1000)) {
		stuck_fill(k);
		STUCK_OK(getsockopt(chime_fileno(k->s), IPPROTO_TCP, TCP_INFO, &info, &len));
	}
}

static inline ssize_t stuck_send_zerocopy(struct stuck *k)
{
	return chime_send_zerocopy(k->s, k->buf, 5, 0);
}

/* So long, because up to Linux 6.4 a full socket still takes pages of a file, as many as go behind what it has last. */
static inline ssize_t stuck_sendfile(struct stuck *k)
{
	static const char bytes[100000];
	int file = memfd_create("stuck", MFD_CLOEXEC);
	STUCK_OK(write(file, bytes, sizeof(bytes)));
	int err = chime_sendfile(k->s, file, 0, -1, NULL);
	close(file);
	return err;
}

static inline void stuck_drain(struct stuck *k)
{
	char got[4096];
	while (chime_recv(k->peer, got, sizeof(got), MSG_DONTWAIT) > 0)
		;
}

/* ---- connections ---- */

static inline void stuck_make_listener(struct stuck *k)
{
	STUCK_OK(chime_create_server(&k->s, AF_INET, "127.0.0.1", 0, -1, false, false));
	STUCK_OK(chime_getsockname(k->s, &k->at));
	STUCK_OK(chime_open(&k->peer, AF_INET, SOCK_STREAM, 0));
}

static inline ssize_t stuck_accept(struct stuck *k)
{
	chime_sock *out;
	int err = chime_accept(k->s, &out, NULL);
	chime_free(&out);
	return err;
}

static inline void stuck_connect_to_it(struct stuck *k)
{
	STUCK_OK(chime_connect(k->peer, &k->at));
}

/* A listener without room: TCP drops what asks to connect, unix says EAGAIN. */
static inline void stuck_crowd(struct stuck *k, int family)
{
	STUCK_OK(chime_bind(k->peer, &k->at));
	STUCK_OK(chime_listen(k->peer, 0));
	STUCK_OK(chime_getsockname(k->peer, &k->at));
	STUCK_OK(chime_open(&k->crowd[0], family, SOCK_STREAM, 0));
	STUCK_OK(chime_connect(k->crowd[0], &k->at));
	struct pollfd full = { chime_fileno(k->peer), POLLIN, 0 };
	STUCK_OK(poll(&full, 1, -1)); /* who has connected may still be on his way into the queue */
	STUCK_OK(chime_open(&k->s, family, SOCK_STREAM, 0));
}

static inline void stuck_make_full_tcp(struct stuck *k)
{
	STUCK_OK(chime_open(&k->peer, AF_INET, SOCK_STREAM, 0));
	STUCK_OK(chime_addr_ip(&k->at, AF_INET, "127.0.0.1", 0));
	stuck_crowd(k, AF_INET);
}

static inline void stuck_make_full_unix(struct stuck *k)
{
	STUCK_OK(chime_open(&k->peer, AF_UNIX, SOCK_STREAM, 0));
	k->at.len = sizeof(sa_family_t);
	k->at.u.sa.sa_family = AF_UNIX;
	stuck_crowd(k, AF_UNIX);
}

static inline ssize_t stuck_connect(struct stuck *k)
{
	return chime_connect(k->s, &k->at);
}

static inline void stuck_accept_one(struct stuck *k)
{
	STUCK_OK(chime_accept(k->peer, &k->crowd[1], NULL));
}

static const struct stuck_call stuck_calls[] = {
	{ "recv", stuck_make_stream, stuck_recv, stuck_send_five, 5, -EAGAIN },
	{ "recv of TCP", stuck_make_tcp, stuck_recv, stuck_send_five, 5, -EAGAIN },
	{ "recv of seqpacket", stuck_make_seqpacket, stuck_recv, stuck_send_five, 5, -EAGAIN },
	{ "recv with MSG_PEEK", stuck_make_tcp, stuck_recv_peek, stuck_send_five, 5, -EAGAIN },
	{ "recvfrom", stuck_make_udp, stuck_recvfrom, stuck_sendto_five, 5, -EAGAIN },
	{ "recv_exact", stuck_make_tcp, stuck_recv_exact, stuck_send_five, 0, -EAGAIN },
	{ "send", stuck_make_full_stream, stuck_send, stuck_drain, 5, -EAGAIN },
	{ "sendall", stuck_make_full_stream, stuck_sendall, stuck_drain, 0, -EAGAIN },
	{ "sendto", stuck_make_full_dgram, stuck_sendto, stuck_drain, 5, -EAGAIN },
	{ "accept", stuck_make_listener, stuck_accept, stuck_connect_to_it, 0, -EAGAIN },
	{ "connect", stuck_make_full_tcp, stuck_connect, stuck_accept_one, 0, -EINPROGRESS },
	{ "connect of unix", stuck_make_full_unix, stuck_connect, stuck_accept_one, 0, -EAGAIN },
	{ "recvmsg", stuck_make_udp, stuck_recvmsg, stuck_sendto_five, 5, -EAGAIN },
	{ "recvmsg_into with MSG_WAITALL", stuck_make_tcp, stuck_recvmsg_into, stuck_send_five, 5, -EAGAIN },
	{ "recv_fds", stuck_make_stream, stuck_recv_fds, stuck_send_five, 5, -EAGAIN },
	{ "recv_many", stuck_make_udp, stuck_recv_many, stuck_sendto_five, 5, -EAGAIN },
	{ "recv_queued", stuck_make_udp_pair, stuck_recv_queued, stuck_send_stamped, 0, -EAGAIN },
	{ "sendmsg", stuck_make_full_stream, stuck_sendmsg, stuck_drain, 5, -EAGAIN },
	{ "send_fds", stuck_make_full_stream, stuck_send_fds, stuck_drain, 5, -EAGAIN },
	{ "send_many", stuck_make_full_dgram, stuck_send_many, stuck_drain, 5, -EAGAIN },
	{ "send_zerocopy", stuck_make_full_zerocopy, stuck_send_zerocopy, stuck_drain, 5, -EAGAIN },
	{ "sendfile", stuck_make_full_stream, stuck_sendfile, stuck_drain, 0, -EINVAL },
};
#define STUCK_CALLS (sizeof(stuck_calls) / sizeof(stuck_calls[0]))

/* Whether the kernel has what the call needs: programs in qemu-user have neither option. */
static inline bool stuck_here(const struct stuck_call *c)
{
	chime_sock *s;
	int err = 0;
	STUCK_OK(chime_open(&s, AF_INET, SOCK_STREAM, 0));
	if (c->call == stuck_recv_queued)
		err = chime_timestamping(s, CHIME_STAMP_TX);
	else if (c->call == stuck_send_zerocopy)
		err = chime_setsockopt_int(s, SOL_SOCKET, SO_ZEROCOPY, 1);
	chime_free(&s);
	if (err == -ENOPROTOOPT)
		print_message("%s is left out: this kernel has no such option\n", c->name);
	return err != -ENOPROTOOPT;
}

#define FOR_EACH_CALL(c_)                                                                                              \
	for (const struct stuck_call *c_ = stuck_calls; c_ < stuck_calls + STUCK_CALLS; c_++)                          \
		if (stuck_here(c_))

/* ---- the call in a thread ---- */

struct stuck_thread {
	const struct stuck_call *c;
	struct stuck *k;
	pthread_t thread;
	_Atomic pid_t tid;
	atomic_bool over;
	ssize_t result;
};

static inline void *stuck_thread_run(void *arg)
{
	struct stuck_thread *t = arg;
	atomic_store(&t->tid, (pid_t)syscall(SYS_gettid));
	t->result = t->c->call(t->k);
	atomic_store(&t->over, true);
	return NULL;
}

/* Starts it and comes back when it waits (it has its wake descriptor, and sleeps), or is over, which stuck_thread_end() tells. */
static inline void stuck_thread_start(struct stuck_thread *t, const struct stuck_call *c, struct stuck *k)
{
	*t = (struct stuck_thread){ .c = c, .k = k, .result = -99999 };
	STUCK_OK(-pthread_create(&t->thread, NULL, stuck_thread_run, t));
	for (int seen = 0; seen < 3 && !atomic_load(&t->over); usleep(1000))
		seen = atomic_load(&t->tid) && atomic_load(&k->s->wake) >= 0 && test_asleep(t->tid) ? seen + 1 : 0;
}

static inline ssize_t stuck_thread_end(struct stuck_thread *t)
{
	pthread_join(t->thread, NULL);
	return t->result;
}

#endif
