/* Names to addresses. getaddrinfo(3) knows no limit, so it is asked in a thread that the caller need not wait for. */
#include "net/resolve.h"
#include "net/sock.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

struct chime__resolver chime__resolver = { getaddrinfo, freeaddrinfo };

/* One look-up, shared by the caller and the thread; whoever is done last frees it. */
struct lookup {
	pthread_mutex_t lock;
	bool done;      /* the thread has its answer */
	bool abandoned; /* the caller has gone, and his descriptor with him */
	int ready;      /* eventfd: the thread's word to the caller */
	int code;       /* 0 or a code of ours */
	struct addrinfo *list;
	struct addrinfo hints;
	char host[];
};

static _Atomic int threads;

void chime__resolve_forked(void)
{
	atomic_store(&threads, 0);
}

int64_t chime__time_left(int64_t deadline)
{
	if (deadline == CHIME_FOREVER)
		return CHIME_FOREVER;
	int64_t left = deadline - chime_now_mono();
	return left > 0 ? left : 0;
}

static void lookup_free(struct lookup *l)
{
	if (l->list)
		chime__resolver.release(l->list);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

static void *lookup_run(void *arg)
{
	struct lookup *l = arg;
	int eai = chime__resolver.ask(l->host, NULL, &l->hints, &l->list);
	int code = eai == 0 ? 0 : eai == EAI_SYSTEM ? -(errno ? errno : EIO) : CHIME_EAI(eai);
	if (code != 0)
		l->list = NULL;
	pthread_mutex_lock(&l->lock);
	l->code = code;
	l->done = true;
	bool abandoned = l->abandoned;
	if (!abandoned)
		eventfd_write(l->ready, 1);
	pthread_mutex_unlock(&l->lock);
	atomic_fetch_sub(&threads, 1);
	if (abandoned)
		lookup_free(l);
	return NULL;
}

/* Starts the thread, with every signal blocked: handlers are for the application's own threads. */
static int lookup_start(struct lookup *l)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, old;
	if (atomic_fetch_add(&threads, 1) >= RESOLVE_THREADS) {
		atomic_fetch_sub(&threads, 1);
		return -EAGAIN;
	}
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 512 * 1024);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int err = pthread_create(&thread, &attr, lookup_run, l);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (err != 0)
		atomic_fetch_sub(&threads, 1);
	return -err;
}

/* Waits for the thread's word. 0, CHIME_ETIMEOUT, or -EINTR if the hook says so. */
static int lookup_wait(struct lookup *l, int64_t deadline)
{
	struct pollfd p = { l->ready, POLLIN, 0 };
	for (;;) {
		int64_t left = chime__time_left(deadline);
		struct timespec ts = { left / CHIME_SEC, left % CHIME_SEC };
		int n = ppoll(&p, 1, left == CHIME_FOREVER ? NULL : &ts, NULL);
		if (n > 0)
			return 0;
		if (n == 0)
			return CHIME_ETIMEOUT;
		if (errno != EINTR)
			return -errno;
		if (chime__interrupted())
			return -EINTR;
	}
}

/* Asks the resolver; *list is the caller's, released by chime__resolver.release(). */
static int look_up(const char *host, int family, int64_t deadline, struct addrinfo **list)
{
	size_t size = strlen(host) + 1;
	struct lookup *l = calloc(1, sizeof(*l) + size);
	if (!l)
		return -ENOMEM;
	memcpy(l->host, host, size);
	pthread_mutex_init(&l->lock, NULL);
	/* One answer for each address: socket types and ports are put in by us, for protocols that netdb never heard of. */
	l->hints.ai_family = family;
	l->hints.ai_socktype = SOCK_STREAM;
	l->ready = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int ready = l->ready, err = ready < 0 ? -errno : lookup_start(l);
	if (err < 0) {
		if (ready >= 0)
			close(ready);
		lookup_free(l);
		return err;
	}
	err = lookup_wait(l, deadline);
	pthread_mutex_lock(&l->lock);
	bool done = l->done;
	l->abandoned = true;
	pthread_mutex_unlock(&l->lock);
	close(ready);
	if (!done)
		return err; /* l is the thread's now */
	if (err == 0 || err == CHIME_ETIMEOUT)
		err = l->code;
	if (err == 0) {
		*list = l->list;
		l->list = NULL;
	}
	lookup_free(l);
	return err;
}

/* ---- targets ---- */

struct targets {
	struct chime_target *out;
	int n, max, type, protocol;
};

static void add(struct targets *t, const chime_addr *a)
{
	for (int i = 0; i < t->n; i++)
		if (chime_addr_equal(&t->out[i].addr, a))
			return;
	if (t->n < t->max)
		t->out[t->n++] = (struct chime_target){ chime_addr_family(a), t->type, t->protocol, *a };
}

/* The any or the loopback addresses: of one family, or of both, six before four or the other way round. */
static int add_plain(struct targets *t, int family, int port, bool any, bool four_first)
{
	int families[2] = { AF_INET6, AF_INET };
	if (four_first)
		families[0] = AF_INET, families[1] = AF_INET6;
	for (int i = 0; i < 2; i++) {
		bool six = families[i] == AF_INET6;
		chime_addr a;
		if (family != AF_UNSPEC && family != families[i])
			continue;
		int err = chime_addr_ip(&a, families[i], any ? "" : six ? "::1" : "127.0.0.1", port);
		if (err < 0)
			return err;
		add(t, &a);
	}
	return t->n;
}

static int resolve_into(struct targets *t, const char *host, int port, int family, int64_t timeout_ns)
{
	struct addrinfo *list = NULL;
	chime_addr a;
	int64_t deadline = timeout_ns < 0 ? CHIME_FOREVER : chime__deadline_after(timeout_ns);
	int err = chime_addr_ip(&a, family, host, port);
	if (err == 0)
		add(t, &a);
	if (err != CHIME_ESYNTAX)
		return err < 0 ? err : t->n;
	if (family != AF_UNSPEC && chime_addr_ip(&a, AF_UNSPEC, host, port) == 0)
		return CHIME_EAI(EAI_ADDRFAMILY);
	err = look_up(host, family, deadline, &list);
	if (err < 0)
		return err;
	for (const struct addrinfo *ai = list; ai; ai = ai->ai_next)
		if (chime_addr_from(&a, ai->ai_addr, ai->ai_addrlen) == 0 && chime_addr_set_port(&a, port) == 0)
			add(t, &a);
	chime__resolver.release(list);
	return t->n > 0 ? t->n : CHIME_EAI(EAI_NONAME);
}

int chime_resolve(const char *host, int port, int family, int type, int protocol, bool passive, int64_t timeout_ns,
		  struct chime_target *out, int max)
{
	struct targets t = { out, 0, max, type, protocol };
	if (port < 0 || port > 65535)
		return -ERANGE;
	if (family != AF_UNSPEC && family != AF_INET && family != AF_INET6)
		return -EAFNOSUPPORT;
	if (max < 1 || timeout_ns < CHIME_FOREVER)
		return -EINVAL;
	if (!host || !*host)
		return add_plain(&t, family, port, passive, false);
	return resolve_into(&t, host, port, family, timeout_ns);
}

int chime_endpoint_resolve(const chime_endpoint *e, bool passive, int64_t timeout_ns, struct chime_target *out, int max)
{
	const struct chime_scheme_info *info = chime_scheme_info(e->scheme);
	struct targets t = { out, 0, max, info->type, info->protocol };
	chime_addr a;
	int err;
	if (!info->opens || e->scheme == CHIME_FD)
		return CHIME_ESCHEME;
	if (max < 1 || timeout_ns < CHIME_FOREVER)
		return -EINVAL;
	if (info->ip) {
		bool star = strcmp(e->host, "*") == 0;
		if (e->host[0] && !star)
			return chime_resolve(e->host, e->port, e->family, t.type, t.protocol, passive, timeout_ns, out,
					     max);
		/* A datagram service that answers is never on every address unless '*' says so. */
		bool answers = info->type == SOCK_DGRAM && !star;
		return add_plain(&t, e->family, e->port, passive && !answers, passive && answers);
	}
	switch (info->family) {
	case AF_UNIX:
		err = chime_addr_unix(&a, e->path, e->path_len);
		break;
	case AF_VSOCK:
		err = chime_addr_vsock(&a, e->number[0], e->number[1]);
		break;
	case AF_TIPC:
		err = chime_addr_tipc(&a, e->number[0], e->number[1]);
		break;
	default:
		return CHIME_ESCHEME;
	}
	if (err < 0)
		return err;
	add(&t, &a);
	return t.n;
}
