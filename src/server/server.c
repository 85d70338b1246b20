/* A server's life: its endpoints opened, served by workers, drained. */
#include "server/server.h"

#include "server/acceptor.h"
#include "server/dgram.h"
#include "server/envelope.h"
#include "server/mailbox.h"
#include "server/steer.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define WORKERS_MAX 256
#define SPARE_FDS 64 /* descriptors that are not for connections: loops, logs, what services open */

static int cores(void)
{
	cpu_set_t set;
	return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

static bool config_valid(const struct chime_server_config *c)
{
	return c->size == sizeof *c && c->workers <= WORKERS_MAX && c->queue_conn_max > 0 && c->queue_total_max > 0 &&
	       c->grace_ns >= 0 && c->spin_ns >= 0 && c->spin_ns <= 10 * CHIME_MSEC && c->datagram_rate >= 0 &&
	       c->datagram_rate_total >= 0 && c->backlog >= 0 && c->backlog <= INT_MAX &&
	       (c->idle_timeout_ns > 0 || c->idle_timeout_ns == CHIME_FOREVER) &&
	       (c->stall_timeout_ns > 0 || c->stall_timeout_ns == CHIME_FOREVER);
}

/* What a backend's probe may have failed for. */
static const char *probe_hint(int err)
{
	if (err == -ENOSYS || err == -EPERM || err == -EACCES)
		return " (this kernel has no io_uring, or sysctl kernel.io_uring_disabled or seccomp forbids it)";
	return err == -EOPNOTSUPP ? " (Linux 6.1 or newer is needed)" : "";
}

/* Why this backend: for who asked for none in particular, what was measured, or what the kernel says. */
static void choose_why(chime_server *s, bool automatic)
{
	struct backend_caps caps;
	int err = automatic ? chime__backend_uring.probe(&caps) : 0;
	if (!automatic)
		snprintf(s->backend_why, sizeof s->backend_why, "as asked for");
	else if (err < 0)
		snprintf(s->backend_why, sizeof s->backend_why, "io_uring is not to be had: %s%s", chime_strerror(err),
			 probe_hint(err));
	else
		snprintf(s->backend_why, sizeof s->backend_why,
			 "io_uring gains little over it on loopback: docs/performance.md");
}

int chime_server_new(chime_server **out, const struct chime_server_config *config)
{
	*out = NULL;
	if (!config || !config_valid(config))
		return -EINVAL;
	const char *name = config->backend ? config->backend : "auto";
	if (strcmp(name, "auto") && strcmp(name, "epoll") && strcmp(name, "uring"))
		return -EPROTONOSUPPORT;
	chime_server *s = calloc(1, sizeof *s);
	if (!s)
		return -ENOMEM;
	s->config = *config;
	s->backend = strcmp(name, "uring") ? &chime__backend_epoll : &chime__backend_uring;
	choose_why(s, !strcmp(name, "auto"));
	if (s->config.workers == 0)
		s->config.workers = (unsigned)cores() < WORKERS_MAX ? (unsigned)cores() : WORKERS_MAX;
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->ended, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&s->lock, NULL);
	*out = s;
	return 0;
}

__attribute__((format(printf, 2, 3))) static void set_why(chime_server *s, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(s->why, sizeof s->why, fmt, ap);
	va_end(ap);
}

const char *chime_server_why(const chime_server *s)
{
	return s->why;
}

const char *chime_server_carrier(const chime_server *s, unsigned n)
{
	return n < s->served_count && s->served[n]->carrier[0] ? s->served[n]->carrier : NULL;
}

const char *chime_server_backend(const chime_server *s, const char **why)
{
	if (why)
		*why = s->backend_why;
	return s->backend->name;
}

unsigned chime_server_workers(const chime_server *s)
{
	return s->config.workers;
}

uint64_t chime_server_max_conns(const chime_server *s)
{
	return s->max_conns;
}

/* ---- opening ---- */

static int by_number(const void *a, const void *b)
{
	return *(const uint16_t *)a - *(const uint16_t *)b;
}

/* The UDP ports that are served: a datagram from one of them is never answered. */
static int collect_ports(chime_server *s)
{
	unsigned n = 0;
	for (unsigned i = 0; i < s->served_count; i++)
		n += s->served[i]->set.n;
	s->udp_ports = malloc((n + 1) * sizeof *s->udp_ports);
	if (!s->udp_ports)
		return -ENOMEM;
	for (unsigned i = 0; i < s->served_count; i++)
		for (unsigned k = 0; k < s->served[i]->set.n; k++) {
			const struct listen_sock *sock = &s->served[i]->set.socks[k];
			int port = chime_addr_port(&sock->addr);
			if (sock->type == SOCK_DGRAM && port > 0)
				s->udp_ports[s->udp_port_count++] = (uint16_t)port;
		}
	qsort(s->udp_ports, s->udp_port_count, sizeof *s->udp_ports, by_number);
	return 0;
}

static void find_ceiling(chime_server *s)
{
	struct rlimit limit;
	uint64_t used = SPARE_FDS + 2 * s->config.workers;
	for (unsigned i = 0; i < s->served_count; i++)
		used += (uint64_t)s->served[i]->set.n * s->config.workers;
	s->max_conns = s->config.max_conns;
	if (s->max_conns == 0) {
		uint64_t fds = getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 1024;
		s->max_conns = fds > 2 * used ? fds - used : fds / 2;
	}
}

/* A core for each worker. */
static int choose_cores(chime_server *s)
{
	cpu_set_t set;
	int count = cores();
	if (!s->config.pin)
		return 0;
	if (s->config.workers > (unsigned)count || sched_getaffinity(0, sizeof set, &set) < 0) {
		set_why(s, "%u workers cannot have a core each: there %s %d", s->config.workers,
			count == 1 ? "is" : "are", count);
		return -EINVAL;
	}
	s->cores = malloc(s->config.workers * sizeof *s->cores);
	if (!s->cores)
		return -ENOMEM;
	for (unsigned i = 0, core = 0; i < s->config.workers; core++)
		if (CPU_ISSET(core, &set))
			s->cores[i++] = (int)core;
	return 0;
}

/* Whether the kernel lets us have the backend. */
static int check_backend(chime_server *s)
{
	struct backend_caps caps;
	int err = s->backend->probe(&caps);
	if (err < 0)
		set_why(s, "backend %s: %s%s", s->backend->name, chime_strerror(err), probe_hint(err));
	return err;
}

/* ---- running ---- */

static void *worker_main(void *arg)
{
	struct chime_worker *w = arg;
	chime_server *s = w->server;
	chime__worker_run(w);
	pthread_mutex_lock(&s->lock);
	s->running--;
	pthread_cond_broadcast(&s->ended);
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* Hands a worker its listeners. */
static int equip(chime_server *s, struct chime_worker *w)
{
	int err = 0;
	for (unsigned i = 0; i < s->served_count && err == 0; i++) {
		struct served *v = s->served[i];
		if (v->rdm && w->number == 0)
			err = chime__mailbox_open(w, v);
		for (unsigned k = 0; k < v->set.n && err == 0; k++) {
			struct listen_sock *sock = &v->set.socks[k];
			if (sock->fds[w->number] < 0)
				continue; /* another worker's alone */
			if (s->cores && sock->connected && !sock->shared && w->number == 0 && s->config.workers > 1)
				(void)chime__steer_by_core(sock->fds[0], s->cores, s->config.workers);
			if (!sock->connected)
				err = chime__dgram_open(w, v, sock, s->udp_ports, s->udp_port_count);
			else
				err = chime__acceptor_open(w, v, sock);
		}
	}
	return err;
}

/* Ends the workers that have no thread, from this one. */
static void end_threadless(chime_server *s)
{
	__atomic_store_n(&s->stops, 2, __ATOMIC_RELEASE);
	for (unsigned i = s->started; i < s->ready; i++)
		chime__worker_run(&s->workers[i]);
}

/* All must have ended. */
static void free_workers(chime_server *s)
{
	unsigned ready = s->ready;
	__atomic_store_n(&s->ready, 0,
			 __ATOMIC_SEQ_CST); /* first: a signal's chime_server_stop() may come in between */
	for (unsigned i = 0; i < ready; i++)
		chime__worker_fini(&s->workers[i]);
	free(s->workers);
	free(s->udp_ports);
	free(s->cores);
	s->workers = NULL;
	s->udp_ports = NULL;
	s->cores = NULL;
	s->udp_port_count = 0;
}

static int make_workers(chime_server *s)
{
	int err = 0;
	s->workers = calloc(s->config.workers, sizeof *s->workers);
	if (!s->workers)
		return -ENOMEM;
	for (unsigned i = 0; i < s->config.workers && err == 0; i++) {
		err = chime__worker_init(&s->workers[i], s, &s->config, i, s->backend, NULL);
		if (err == 0) {
			__atomic_add_fetch(&s->ready, 1, __ATOMIC_SEQ_CST);
			err = equip(s, &s->workers[i]);
		}
		if (err < 0)
			set_why(s, "worker %u: %s", i, chime_strerror(err));
	}
	return err;
}

/* Who serves icmp:// is told that he is not the only one to answer. */
static void note_kernel_echoes(const chime_server *s, const struct served *v)
{
	struct chime_log_event e = { .level = CHIME_LOG_WARN, .event = "note", .endpoint = &v->endpoint, .count = 1 };
	if (v->endpoint.scheme != CHIME_ICMP || !s->config.log || s->config.log_level < e.level)
		return;
	for (unsigned i = 0; i < v->set.n; i++) {
		bool six = v->set.socks[i].family == AF_INET6;
		if (!chime__kernel_echoes(v->set.socks[i].family))
			continue;
		e.msg = six ? "the kernel answers echo requests too, without a stamp, and first: sysctl "
			      "net.ipv6.icmp.echo_ignore_all=1 leaves them to us"
			    : "the kernel answers echo requests too, without a stamp, and first: sysctl "
			      "net.ipv4.icmp_echo_ignore_all=1 leaves them to us";
		s->config.log(s->config.log_arg, &e);
	}
}

static int open_served(chime_server *s, struct served *v)
{
	if (v->endpoint.scheme != CHIME_RDM && v->endpoint.scheme != CHIME_SCTP_SEQPACKET)
		return chime__listen_open(&v->set, &v->endpoint, s->config.workers, s->why, sizeof s->why);
	int err = chime__mailbox_open_handle(v, &s->config, s->why, sizeof s->why);
	if (err == 0)
		snprintf(v->carrier, sizeof v->carrier, "%s", chime_rdm_carried_by(v->rdm));
	return err;
}

/* As it was before it was opened: a port that the kernel chose may be somebody else's when it is opened again. */
static void close_served(struct served *v)
{
	chime__listen_close(&v->set);
	chime_rdm_free(&v->rdm);
	v->endpoint.port = v->asked_port;
	v->endpoint.number[1] = v->asked_number;
	v->carrier[0] = 0;
}

int chime_server_open(chime_server *s)
{
	int err = 0;
	if (s->opened)
		return 0;
	if (s->served_count == 0) {
		set_why(s, "no endpoint to serve");
		return -EINVAL;
	}
	s->why[0] = 0;
	err = check_backend(s);
	if (err == 0)
		err = choose_cores(s);
	for (unsigned i = 0; i < s->served_count && err == 0; i++)
		err = open_served(s, s->served[i]);
	if (err == 0)
		err = collect_ports(s);
	if (err == 0) {
		find_ceiling(s);
		err = make_workers(s);
	}
	if (err < 0) {
		end_threadless(s);
		free_workers(s);
		for (unsigned i = 0; i < s->served_count; i++)
			close_served(s->served[i]);
		s->stops = 0;
		return err;
	}
	s->opened = true;
	for (unsigned i = 0; i < s->served_count; i++)
		note_kernel_echoes(s, s->served[i]);
	return 0;
}

static int start_thread(struct chime_worker *w)
{
	char name[16];
	sigset_t all, before;
	pthread_attr_t attr;
	int err = -pthread_attr_init(&attr);
	if (err < 0)
		return err;
	if (w->server->cores) {
		cpu_set_t own;
		CPU_ZERO(&own);
		CPU_SET((unsigned)w->server->cores[w->number], &own);
		err = -pthread_attr_setaffinity_np(&attr, sizeof own, &own);
	}
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (err == 0)
		err = -pthread_create(&w->thread, &attr, worker_main, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	if (err == 0) {
		snprintf(name, sizeof name, "chime-%u", w->number);
		pthread_setname_np(w->thread, name);
	}
	return err;
}

int chime_server_start(chime_server *s)
{
	if (s->started)
		return -EALREADY;
	int err = chime_server_open(s);
	if (err < 0)
		return err;
	s->running = s->ready;
	while (s->started < s->ready && err == 0) {
		err = start_thread(&s->workers[s->started]);
		if (err == 0)
			s->started++;
	}
	if (err < 0) {
		set_why(s, "thread of worker %u: %s", s->started, chime_strerror(err));
		pthread_mutex_lock(&s->lock);
		s->running -= s->ready - s->started;
		pthread_mutex_unlock(&s->lock);
		end_threadless(s);
		chime_server_stop(s);
	}
	return err;
}

/*
 * Wakes every worker whose loop is there, not only those known to have a thread: a thread may be at work before the call that
 * made it has returned to chime_server_start(). One that begins later sees the stop before it sleeps.
 */
void chime_server_stop(chime_server *s)
{
	if (!s)
		return;
	__atomic_add_fetch(&s->stops, 1, __ATOMIC_SEQ_CST);
	unsigned ready = __atomic_load_n(&s->ready, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < ready; i++)
		s->workers[i].loop.backend->wake(&s->workers[i].loop);
}

int chime_server_wait(chime_server *s, int64_t timeout_ns)
{
	int err = 0;
	struct timespec until;
	int64_t at = 0;
	if (timeout_ns != CHIME_FOREVER && __builtin_add_overflow(chime_now_mono(), timeout_ns, &at))
		at = INT64_MAX;
	until = (struct timespec){ at / CHIME_SEC, at % CHIME_SEC };
	pthread_mutex_lock(&s->lock);
	while (s->running && err == 0)
		err = timeout_ns == CHIME_FOREVER ? pthread_cond_wait(&s->ended, &s->lock)
						  : pthread_cond_timedwait(&s->ended, &s->lock, &until);
	pthread_mutex_unlock(&s->lock);
	if (err)
		return CHIME_ETIMEOUT;
	for (unsigned i = 0; i < s->started; i++)
		if (s->workers[i].result < 0)
			return s->workers[i].result;
	return 0;
}

void chime_server_free(chime_server **out)
{
	chime_server *s = out ? *out : NULL;
	if (!s)
		return;
	*out = NULL;
	if (s->started)
		chime_server_stop(s);
	for (unsigned i = 0; i < s->started; i++)
		pthread_join(s->workers[i].thread, NULL);
	if (s->opened)
		end_threadless(s);
	free_workers(s);
	for (unsigned i = 0; i < s->served_count; i++)
		chime__served_free(s->served[i]);
	free(s->served);
	pthread_cond_destroy(&s->ended);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* ---- from other threads ---- */

struct posted {
	struct loop_task task;
	chime_post_fn *fn;
	void *arg;
};

static void run_posted(struct loop *lp, struct loop_task *task)
{
	struct posted *p = (struct posted *)task;
	struct chime_worker *w = (struct chime_worker *)((char *)lp - offsetof(struct chime_worker, loop));
	p->fn(w, p->arg);
	free(p);
}

int chime_server_post_from_any(chime_server *s, unsigned worker, chime_post_fn *fn, void *arg)
{
	if (worker >=
	    __atomic_load_n(&s->ready, __ATOMIC_SEQ_CST)) /* its thread may begin later than another's callbacks */
		return -ENOENT;
	struct posted *p = malloc(sizeof *p);
	if (!p)
		return -ENOMEM;
	*p = (struct posted){ { NULL, run_posted }, fn, arg };
	int err = chime__loop_post_from_any(&s->workers[worker].loop, &p->task);
	if (err < 0)
		free(p);
	return err;
}
