/* The queues between the workers, which never wait, and two threads that write. */
#include "log.h"
#include "log_line.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define QUEUE 512 /* records a sink holds */
#define KINDS 24  /* kinds of events that are limited separately; those beyond share the last one's limit */
#define TELL_DROPPED (10 * CHIME_SEC) /* between two lines that tell of dropped ones */
#define PATIENCE 100                  /* ms between looks whether the log is ending, while a reader does not read */

struct sink {
	struct log *log;
	pthread_t thread;
	pthread_cond_t wake;
	struct log_record *queue;
	unsigned first, used;
	uint64_t dropped, dropped_told; /* lines that found the queue full or could not be written */
	int64_t tell_at_ns;             /* when that may be told again */
	int fd;
	bool words; /* stdout */
};

/* How often one kind of event was told in the present second. */
struct limit {
	enum log_kind kind;
	char event[16];
	int64_t end_ns; /* atomic, as are the next two: a flood is counted without the lock */
	unsigned told;
	uint64_t more;
	enum chime_log_level level;
};

struct log {
	struct log_config config;
	pthread_mutex_t lock;
	struct sink err, out;
	struct limit limits[KINDS];
	unsigned limit_count;
	bool ending;
	int64_t end_ns; /* monotonic: not waited for a reader any longer */
};

static void copy(char *to, size_t size, const char *from)
{
	size_t len = from ? strnlen(from, size - 1) : 0;
	memcpy(to, from ? from : "", len);
	to[len] = 0;
}

/* With the lock held. */
static void queue(struct sink *s, const struct log_record *r)
{
	if (s->used == QUEUE) {
		s->dropped++;
		return;
	}
	s->queue[(s->first + s->used++) % QUEUE] = *r;
	pthread_cond_signal(&s->wake);
}

static struct log_record record(enum log_kind kind, enum chime_log_level level, const char *event)
{
	struct log_record r = { .kind = kind, .level = level, .time_ns = chime_now_real(), .count = 1 };
	copy(r.event, sizeof r.event, event);
	return r;
}

/* ---- limits ---- */

static struct limit *limit_find(struct log *l, enum log_kind kind, const char *event)
{
	unsigned n = __atomic_load_n(&l->limit_count, __ATOMIC_ACQUIRE);
	for (unsigned i = 0; i < n; i++)
		if (l->limits[i].kind == kind && !strncmp(l->limits[i].event, event, sizeof l->limits[i].event - 1))
			return &l->limits[i];
	return NULL;
}

/* With the lock held. */
static struct limit *limit_make(struct log *l, enum log_kind kind, const char *event)
{
	struct limit *m = limit_find(l, kind, event);
	if (m || l->limit_count == KINDS)
		return m ? m : &l->limits[KINDS - 1];
	m = &l->limits[l->limit_count];
	m->kind = kind;
	copy(m->event, sizeof m->event, event);
	__atomic_store_n(&l->limit_count, l->limit_count + 1, __ATOMIC_RELEASE);
	return m;
}

/* Tells how many were not told in the second that is over, and begins another. With the lock held. */
static void limit_turn(struct log *l, struct limit *m, int64_t end_ns)
{
	uint64_t more = __atomic_exchange_n(&m->more, 0, __ATOMIC_RELAXED);
	if (more) {
		struct log_record r = record(m->kind, m->level, m->event);
		r.count = more > 1 ? more : 2; /* "1 more" reads as one that is told by name */
		copy(r.msg, sizeof r.msg, "so many more of these within a second, not told one by one");
		queue(m->kind == LOG_CONNECTED ? &l->out : &l->err, &r);
	}
	__atomic_store_n(&m->told, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&m->end_ns, end_ns, __ATOMIC_RELAXED);
}

/* Whether one more may be told now; counts it if not. Without the lock. */
static bool limit_flooded(struct limit *m, int64_t now_ns, uint64_t count)
{
	if (!m || __atomic_load_n(&m->told, __ATOMIC_RELAXED) < LOG_LINES_A_SECOND ||
	    now_ns >= __atomic_load_n(&m->end_ns, __ATOMIC_RELAXED))
		return false;
	__atomic_fetch_add(&m->more, count, __ATOMIC_RELAXED);
	return true;
}

/* Queues r, or counts it, as its kind's limit says. */
static void tell_limited(struct log *l, struct log_record *r)
{
	int64_t now = chime_now_mono();
	if (limit_flooded(limit_find(l, r->kind, r->event), now, r->count))
		return;
	pthread_mutex_lock(&l->lock);
	struct limit *m = limit_make(l, r->kind, r->event);
	if (now >= m->end_ns)
		limit_turn(l, m, now + CHIME_SEC);
	m->level = r->level;
	if (m->told < LOG_LINES_A_SECOND)
		queue(r->kind == LOG_CONNECTED ? &l->out : &l->err, r);
	else
		__atomic_fetch_add(&m->more, r->count, __ATOMIC_RELAXED);
	__atomic_store_n(&m->told, m->told + 1, __ATOMIC_RELAXED);
	if (m->told == LOG_LINES_A_SECOND)
		pthread_cond_signal(&l->err.wake); /* its thread tells the rest when the second is over */
	pthread_mutex_unlock(&l->lock);
}

/* Ends the seconds that are over. The next one to end, or CHIME_FOREVER. With the lock held. */
static int64_t limits_tick(struct log *l, bool all)
{
	int64_t now = chime_now_mono(), next = CHIME_FOREVER;
	for (unsigned i = 0; i < l->limit_count; i++) {
		struct limit *m = &l->limits[i];
		if (m->told < LOG_LINES_A_SECOND)
			continue;
		if (all || now >= m->end_ns)
			limit_turn(l, m, 0);
		else if (next == CHIME_FOREVER || m->end_ns < next)
			next = m->end_ns;
	}
	return next;
}

/* ---- writing ---- */

static bool given_up(struct log *l)
{
	pthread_mutex_lock(&l->lock);
	bool late = l->ending && chime_now_mono() >= l->end_ns;
	pthread_mutex_unlock(&l->lock);
	return late;
}

/* Whether the descriptor took the whole line. Waits for a reader, for this is the one thread that may. */
static bool write_line(struct sink *s, const char *line, size_t len)
{
	while (len) {
		struct pollfd p = { s->fd, POLLOUT, 0 };
		bool late = given_up(s->log);
		int n = poll(&p, 1, late ? 0 : PATIENCE);
		if (n == 0 && late)
			return false;
		if (n <= 0)
			continue;
		ssize_t done = write(s->fd, line, len);
		if (done < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (done <= 0)
			return false;
		line += done;
		len -= (size_t)done;
	}
	return true;
}

static void count_dropped(struct sink *s)
{
	pthread_mutex_lock(&s->log->lock);
	s->dropped++;
	pthread_mutex_unlock(&s->log->lock);
}

static void write_record(struct sink *s, const struct log_record *r)
{
	char line[LOG_LINE_MAX];
	size_t len = s->words              ? log_line_words(r, line)
		     : s->log->config.json ? log_line_json(r, line)
					   : log_line_text(r, line);
	if (!write_line(s, line, len))
		count_dropped(s);
}

/* After lines were dropped, and there is room again, says how many; stdout's are told on stderr. With the lock held. */
static void tell_dropped(struct log *l, struct sink *s)
{
	uint64_t lost = s->dropped - s->dropped_told;
	if (!lost || s->used > QUEUE / 2 || l->err.used == QUEUE || chime_now_mono() < s->tell_at_ns)
		return;
	s->tell_at_ns = chime_now_mono() + TELL_DROPPED;
	struct log_record r = record(LOG_EVENT, CHIME_LOG_WARN, "log");
	s->dropped_told = s->dropped;
	r.count = lost;
	snprintf(r.msg, sizeof r.msg, "%llu lines for %s were dropped: they could not be written",
		 (unsigned long long)lost, s->words ? "stdout" : "stderr");
	queue(&l->err, &r);
}

static void wait_until(pthread_cond_t *wake, pthread_mutex_t *lock, int64_t at_ns)
{
	struct timespec ts = { at_ns / CHIME_SEC, at_ns % CHIME_SEC };
	if (at_ns == CHIME_FOREVER)
		pthread_cond_wait(wake, lock);
	else
		pthread_cond_timedwait(wake, lock, &ts);
}

static void *sink_run(void *arg)
{
	struct sink *s = arg;
	struct log *l = s->log;
	pthread_mutex_lock(&l->lock);
	for (;;) {
		int64_t next = CHIME_FOREVER;
		if (!s->words && !l->ending)
			next = limits_tick(l, false);
		tell_dropped(l, s);
		if (s->used) {
			struct log_record r = s->queue[s->first];
			s->first = (s->first + 1) % QUEUE;
			s->used--;
			pthread_mutex_unlock(&l->lock);
			write_record(s, &r);
			pthread_mutex_lock(&l->lock);
		} else if (l->ending) {
			break;
		} else {
			wait_until(&s->wake, &l->lock, next);
		}
	}
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

/* ---- what callers tell ---- */

void log_event(void *arg, const struct chime_log_event *e)
{
	struct log *l = arg;
	bool opened = !strcmp(e->event, "open");
	/* stdout tells of every connection, in the tutorial's words; the log repeats it only where everything is wanted */
	if (opened && !l->config.quiet && e->peer) {
		struct log_record r = record(LOG_CONNECTED, CHIME_LOG_INFO, e->event);
		r.peer = chime_addr_unmap(e->peer);
		tell_limited(l, &r);
	}
	if (e->level > l->config.level || (opened && l->config.level < CHIME_LOG_DEBUG))
		return;
	int64_t now = chime_now_mono();
	if (limit_flooded(limit_find(l, LOG_EVENT, e->event), now, e->count))
		return;
	struct log_record r = record(LOG_EVENT, e->level, e->event);
	r.conn = e->conn;
	r.count = e->count ? e->count : 1;
	r.err = e->err;
	if (e->peer)
		r.peer = chime_addr_unmap(e->peer);
	if (e->endpoint) {
		char text[CHIME_ENDPOINT_TEXT];
		chime_endpoint_print(e->endpoint, text, sizeof text);
		copy(r.endpoint, sizeof r.endpoint, text);
	}
	copy(r.op, sizeof r.op, e->op);
	copy(r.msg, sizeof r.msg, e->msg);
	tell_limited(l, &r);
}

static void tell(struct log *l, struct sink *s, const struct log_record *r)
{
	pthread_mutex_lock(&l->lock);
	queue(s, r);
	pthread_mutex_unlock(&l->lock);
}

void log_note(struct log *l, enum chime_log_level level, const char *event, const char *fmt, ...)
{
	struct log_record r = record(LOG_EVENT, level, event);
	va_list ap;
	if (level > l->config.level)
		return;
	va_start(ap, fmt);
	vsnprintf(r.msg, sizeof r.msg, fmt, ap);
	va_end(ap);
	tell(l, &l->err, &r);
}

void log_ready(struct log *l, const char *service, const chime_endpoint *endpoint, const char *carrier)
{
	struct log_record r = record(LOG_READY, CHIME_LOG_INFO, "listening");
	chime_endpoint bare = *endpoint;
	char text[CHIME_ENDPOINT_TEXT];
	bare.service[0] = 0; /* the line names it already */
	chime_endpoint_print(&bare, text, sizeof text);
	copy(r.service, sizeof r.service, service);
	copy(r.endpoint, sizeof r.endpoint, text);
	if (carrier)
		copy(r.msg, sizeof r.msg, carrier);
	tell(l, &l->err, &r);
}

void log_words(struct log *l, const char *words)
{
	struct log_record r = record(LOG_WORDS, CHIME_LOG_INFO, "");
	if (l->config.quiet)
		return;
	copy(r.msg, sizeof r.msg, words);
	tell(l, &l->out, &r);
}

void log_totals(struct log *l, const struct chime_server_stats *stats, bool asked)
{
	struct log_record r = record(LOG_TOTALS, CHIME_LOG_INFO, "totals");
	if (!asked && l->config.level < CHIME_LOG_INFO)
		return;
	r.stats = *stats;
	pthread_mutex_lock(&l->lock);
	r.lost_lines = l->err.dropped + l->out.dropped;
	queue(&l->err, &r);
	pthread_mutex_unlock(&l->lock);
}

/* ---- life ---- */

static int sink_start(struct sink *s, struct log *l, int fd, bool words)
{
	pthread_condattr_t attr;
	s->log = l;
	s->fd = fd;
	s->words = words;
	s->queue = calloc(QUEUE, sizeof *s->queue);
	if (!s->queue)
		return -ENOMEM;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->wake, &attr);
	pthread_condattr_destroy(&attr);
	int err = pthread_create(&s->thread, NULL, sink_run, s);
	if (err) {
		pthread_cond_destroy(&s->wake);
		free(s->queue);
		s->queue = NULL;
	}
	return -err;
}

static void sink_end(struct sink *s)
{
	if (!s->queue)
		return;
	pthread_cond_destroy(&s->wake);
	free(s->queue);
}

int log_new(struct log **out, const struct log_config *config)
{
	struct log *l = calloc(1, sizeof *l);
	*out = NULL;
	if (!l)
		return -ENOMEM;
	l->config = *config;
	if (config->quiet && l->config.level > CHIME_LOG_WARN)
		l->config.level = CHIME_LOG_WARN;
	pthread_mutex_init(&l->lock, NULL);
	int err = sink_start(&l->err, l, STDERR_FILENO, false);
	if (err == 0)
		err = sink_start(&l->out, l, STDOUT_FILENO, true);
	if (err < 0)
		log_free(&l, 0);
	*out = l;
	return err;
}

void log_free(struct log **log, int64_t limit_ns)
{
	struct log *l = *log;
	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	limits_tick(l, true); /* now, while both sinks are there to tell it */
	l->ending = true;
	l->end_ns = chime_now_mono() + limit_ns;
	if (l->err.queue)
		pthread_cond_signal(&l->err.wake);
	if (l->out.queue)
		pthread_cond_signal(&l->out.wake);
	pthread_mutex_unlock(&l->lock);
	/* both, before either's memory goes: each may tell of the other */
	if (l->err.queue)
		pthread_join(l->err.thread, NULL);
	if (l->out.queue)
		pthread_join(l->out.thread, NULL);
	sink_end(&l->out);
	sink_end(&l->err);
	pthread_mutex_destroy(&l->lock);
	free(l);
	*log = NULL;
}
