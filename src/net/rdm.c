/* A chime_rdm's life: its carrier chosen, opened to talk or to be talked to, ended. */
#include "net/rdm.h"
#include "net/sock.h"

#include <chime/connect.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define NEXT_NS CHIME_SEC /* how long one of several addresses is tried before the next has its turn */

static const struct rdm_carrier *const carriers[] = { &chime__rdm_kernel, &chime__rdm_user };
#define WAYS_OUT                                                                                                       \
	"load the kernel's module sctp (modprobe sctp), or use a build with libusrsctp (Debian: libusrsctp-dev)"

int chime__rdm_say(struct chime_rdm *r, int code, const char *fmt, ...)
{
	va_list ap;
	if (r->why_size) {
		va_start(ap, fmt);
		vsnprintf(r->why, r->why_size, fmt, ap);
		va_end(ap);
	}
	return code;
}

/* ---- what carries it ---- */

int chime_rdm_available(enum chime_rdm_carrier carrier)
{
	int err = -EINVAL;
	for (size_t i = 0; i < sizeof carriers / sizeof *carriers; i++)
		if (carrier == CHIME_RDM_AUTO || carrier == carriers[i]->kind) {
			err = carriers[i]->available();
			if (err == 0)
				return 0;
		}
	return carrier == CHIME_RDM_AUTO ? -ESOCKTNOSUPPORT : err;
}

const char *chime_rdm_carrier_name(enum chime_rdm_carrier carrier)
{
	for (size_t i = 0; i < sizeof carriers / sizeof *carriers; i++)
		if (carrier == carriers[i]->kind || (carrier == CHIME_RDM_AUTO && carriers[i]->available() == 0))
			return carriers[i]->name;
	return "nothing: " WAYS_OUT;
}

static int choose(struct chime_rdm *r)
{
	int want = r->set.carrier;
	for (size_t i = 0; i < sizeof carriers / sizeof *carriers && !r->carrier; i++) {
		if (want != CHIME_RDM_AUTO && want != (int)carriers[i]->kind)
			continue;
		int err = carriers[i]->available();
		if (err == 0)
			r->carrier = carriers[i];
		else if (want == CHIME_RDM_KERNEL)
			return chime__rdm_say(
				r, err,
				"carrier=kernel: this kernel has no SCTP sockets: modprobe sctp, or leave "
				"the choice to a build with libusrsctp");
		else if (want == CHIME_RDM_USER)
			return chime__rdm_say(
				r, err,
				"carrier=user: this build has no libusrsctp: build with libusrsctp-dev, or "
				"load the kernel's module sctp (modprobe sctp)");
	}
	if (!r->carrier)
		return chime__rdm_say(r, -ESOCKTNOSUPPORT, "nothing here carries reliable messages: " WAYS_OUT);
	r->lock_used = r->carrier->lock ? r->carrier->lock : &r->lock;
	return 0;
}

/* ---- making and unmaking ---- */

static unsigned tries(unsigned first_ms, unsigned max_ms, int64_t give_up_ns)
{
	unsigned n = 0;
	for (int64_t wait_ms = first_ms, sum_ms = 0; sum_ms < give_up_ns / CHIME_MSEC && n < UINT16_MAX; n++) {
		sum_ms += wait_ms;
		wait_ms = 2 * wait_ms < max_ms ? 2 * wait_ms : max_ms;
	}
	return n;
}

struct rdm_patience chime__rdm_patience(const struct chime_rdm *r)
{
	struct rdm_patience p = { .rto_min_ms = (unsigned)((r->rto_ns + CHIME_MSEC - 1) / CHIME_MSEC) };
	p.rto_max_ms = r->carrier->rto_max_ms > 4 * p.rto_min_ms ? r->carrier->rto_max_ms : 4 * p.rto_min_ms;
	p.init_ms = p.rto_min_ms > RDM_INIT_MS ? p.rto_min_ms : RDM_INIT_MS;
	p.init_max_ms = p.init_ms > RDM_INIT_MAX_MS ? p.init_ms : RDM_INIT_MAX_MS;
	p.tries = tries(p.rto_min_ms, p.rto_max_ms, r->give_up_ns);
	p.init_tries = tries(p.init_ms, p.init_max_ms, r->give_up_ns);
	return p;
}

static int make_fds(struct chime_rdm *r)
{
	struct epoll_event ev = { .events = EPOLLIN };
	if ((r->inner_fd = epoll_create1(EPOLL_CLOEXEC)) < 0 || (r->fd = epoll_create1(EPOLL_CLOEXEC)) < 0 ||
	    (r->ready_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0 ||
	    (r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0 ||
	    epoll_ctl(r->fd, EPOLL_CTL_ADD, r->inner_fd, &ev) < 0 ||
	    epoll_ctl(r->fd, EPOLL_CTL_ADD, r->ready_fd, &ev) < 0)
		return chime__rdm_say(r, -errno, "descriptors: %s", chime_strerror(-errno));
	return 0;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

/* Frees what is no handle's any more. */
static void unmake(struct chime_rdm *r)
{
	chime__rdm_queue_fini(r);
	chime__rdm_assocs_fini(&r->assocs);
	close_fd(r->fd);
	close_fd(r->inner_fd);
	close_fd(r->ready_fd);
	close_fd(r->wake_fd);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

static const struct chime_rdm_config config_default = CHIME_RDM_CONFIG_INIT;

static bool valid(const struct chime_rdm_config *c)
{
	return c->size == sizeof *c && c->timeout_ns >= CHIME_FOREVER && c->give_up_ns >= CHIME_SEC &&
	       c->give_up_ns <= CHIME_HOUR && c->peers_max > 0 &&
	       (c->idle_ns == CHIME_FOREVER || (c->idle_ns >= CHIME_SEC && c->idle_ns <= INT32_MAX * CHIME_SEC));
}

static int make(struct chime_rdm **out, const chime_endpoint *e, const struct chime_rdm_config *c, bool serving)
{
	*out = NULL;
	if (c->why_size)
		c->why[0] = 0;
	if (!valid(c))
		return -EINVAL;
	if (e->scheme != CHIME_RDM && e->scheme != CHIME_SCTP_SEQPACKET)
		return CHIME_ESCHEME;
	struct chime_rdm *r = calloc(1, sizeof *r);
	if (!r)
		return -ENOMEM;
	pthread_mutex_init(&r->lock, NULL);
	atomic_init(&r->timeout_ns, c->timeout_ns);
	atomic_init(&r->closed, false);
	r->generation = atomic_load_explicit(&chime__fork_generation, memory_order_relaxed);
	r->ordered = e->scheme == CHIME_SCTP_SEQPACKET;
	r->serving = serving;
	r->set = e->set;
	r->rto_ns = e->set.rto_ns > 0 ? e->set.rto_ns : RDM_RTO_NS;
	r->give_up_ns = c->give_up_ns;
	r->idle_ns = c->idle_ns;
	r->peers_max = c->peers_max;
	r->answers_only = c->answers_only && serving;
	r->end = &r->first;
	r->fd = r->inner_fd = r->ready_fd = r->wake_fd = -1;
	r->why = c->why;
	r->why_size = c->why_size;
	int err = choose(r);
	if (err == 0)
		err = make_fds(r);
	if (err < 0)
		unmake(r);
	else
		*out = r;
	return err;
}

static void shut(struct chime_rdm *r)
{
	pthread_mutex_lock(r->lock_used);
	r->carrier->shut(r);
	chime__rdm_queue_fini(r);
	chime__rdm_assocs_fini(&r->assocs);
	pthread_mutex_unlock(r->lock_used);
}

static int open_at(struct chime_rdm *r, const chime_addr *addrs, unsigned n, const chime_addr *bind_to)
{
	pthread_mutex_lock(r->lock_used);
	int err = r->carrier->open(r, addrs, n, bind_to);
	pthread_mutex_unlock(r->lock_used);
	if (err < 0)
		shut(r);
	return err;
}

static int resolve(struct chime_rdm *r, const chime_endpoint *e, bool passive, int64_t limit_ns,
		   struct chime_target *targets)
{
	int n = chime_endpoint_resolve(e, passive, limit_ns, targets, CHIME_TARGETS);
	if (n < 0)
		return chime__rdm_say(r, n, "resolve %s: %s", e->host, chime_strerror(n));
	for (int i = 0; i < n; i++) { /* sockets of IPv6 are for it alone where one address is meant */
		targets[i].addr = chime_addr_unmap(&targets[i].addr);
		targets[i].family = chime_addr_family(&targets[i].addr);
	}
	return n;
}

/* ---- to talk ---- */

/* Waits until there is an association. The error it ended with. */
static int wait_up(struct chime_rdm *r, int64_t deadline)
{
	for (;;) {
		int err = chime__rdm_enter(r);
		if (err < 0)
			return err;
		r->carrier->serve(r);
		bool up = false;
		for (struct rdm_item *i = r->first; i; i = i->next) {
			up = up || i->event.kind == CHIME_RDM_UP;
			if (i->event.kind == CHIME_RDM_DOWN)
				err = i->event.why ? i->event.why : -ECONNREFUSED;
		}
		if (!up && err == 0 && r->refused)
			err = -ECONNREFUSED;
		chime__rdm_leave(r);
		if (up || err < 0)
			return up ? 0 : err;
		err = chime__rdm_wait(r, r->inner_fd, deadline);
		if (err < 0)
			return err;
	}
}

static int try_target(struct chime_rdm *r, const chime_addr *to, const chime_addr *bind_to, int64_t deadline)
{
	char text[CHIME_ADDR_TEXT];
	int err = open_at(r, to, 1, bind_to);
	if (err < 0)
		return err;
	r->connected = true;
	r->peer = (struct chime_rdm_peer){ .addr = *to };
	pthread_mutex_lock(r->lock_used);
	err = r->carrier->connect(r, &r->peer);
	pthread_mutex_unlock(r->lock_used);
	if (err == 0)
		err = wait_up(r, deadline);
	if (err == 0) {
		free(chime__rdm_pop(r)); /* CHIME_RDM_UP, which this call says */
		return 0;
	}
	chime_addr_print(to, text, sizeof text);
	chime__rdm_say(r, err, "connect %s by %s: %s%s", text, r->carried_by, chime_strerror(err),
		       r->carrier->kind == CHIME_RDM_KERNEL && r->set.udp_port <= 0
			       ? " (a peer without the kernel's SCTP is reached with ?udp=9899 or ?carrier=user)"
			       : "");
	shut(r);
	return err;
}

int chime_rdm_connect(chime_rdm **out, const chime_endpoint *e, const struct chime_rdm_config *config)
{
	struct chime_target targets[CHIME_TARGETS];
	const struct chime_rdm_config *c = config ? config : &config_default;
	struct chime_rdm *r;
	int64_t deadline = rdm_deadline(c->timeout_ns);
	int err = make(&r, e, c, false);
	*out = NULL;
	if (err < 0)
		return err;
	int n = resolve(r, e, false, c->timeout_ns, targets);
	err = n < 0 ? n : -EAFNOSUPPORT;
	for (int i = 0; i < n; i++) {
		int64_t until = i + 1 < n ? rdm_deadline(NEXT_NS) : deadline;
		if (c->bind && chime_addr_family(c->bind) != targets[i].family)
			continue;
		err = try_target(r, &targets[i].addr, c->bind, until < deadline ? until : deadline);
		if (err == 0 || err == -EINTR || chime_now_mono() >= deadline)
			break;
	}
	r->why_size = 0;
	if (err == 0)
		*out = r;
	else
		unmake(r);
	return err;
}

/* ---- to be talked to ---- */

static int open_any(struct chime_rdm *r, chime_endpoint *e)
{
	chime_addr a;
	int err = -EAFNOSUPPORT;
	if (e->family != AF_INET) {
		r->dual = e->family == AF_UNSPEC;
		err = chime_addr_ip(&a, AF_INET6, "", e->port);
		if (err == 0)
			err = open_at(r, &a, 1, NULL);
	}
	if (err == -EAFNOSUPPORT && e->family != AF_INET6) {
		r->dual = false;
		err = chime_addr_ip(&a, AF_INET, "", e->port);
		if (err == 0)
			err = open_at(r, &a, 1, NULL);
	}
	return err;
}

static int open_named(struct chime_rdm *r, chime_endpoint *e)
{
	struct chime_target targets[CHIME_TARGETS];
	chime_addr addrs[RDM_LOCALS];
	unsigned count = 0;
	int n = resolve(r, e, true, 30 * CHIME_SEC, targets);
	if (n < 0)
		return n;
	for (int i = 0; i < n && count < RDM_LOCALS; i++)
		addrs[count++] = targets[i].addr;
	return open_at(r, addrs, count, NULL);
}

/* Writes the UDP port that was got over the 0 in the endpoint's options. */
static void name_udp(chime_endpoint *e, int64_t port)
{
	char text[sizeof e->options], *at = e->options;
	while (*at && strncmp(at, "udp=", 4) != 0) {
		at += strcspn(at, "&");
		at += *at == '&';
	}
	if (*at) {
		snprintf(text, sizeof text, "%.*sudp=%d%s", (int)(at - e->options), e->options, (int)port,
			 at + strcspn(at, "&"));
		memcpy(e->options, text, sizeof text);
	}
	e->set.udp_port = port;
}

int chime_rdm_serve(chime_rdm **out, chime_endpoint *e, const struct chime_rdm_config *config)
{
	struct chime_rdm *r;
	const struct chime_rdm_config *c = config ? config : &config_default;
	int err = make(&r, e, c, true);
	*out = NULL;
	if (err < 0)
		return err;
	err = !e->host[0] || !strcmp(e->host, "*") ? open_any(r, e) : open_named(r, e);
	r->why_size = 0;
	if (err < 0) {
		unmake(r);
		return err;
	}
	e->port = chime_addr_port(&r->locals[0]);
	if (e->set.udp_port == 0)
		name_udp(e, r->set.udp_port);
	*out = r;
	return 0;
}

/* ---- ending ---- */

/* Asks every association to end in order, and waits for it. */
static int wind_up(struct chime_rdm *r, int64_t timeout_ns)
{
	int64_t deadline = rdm_deadline(timeout_ns);
	bool asked = false;
	for (;;) {
		int err = chime__rdm_enter(r);
		if (err < 0)
			return err;
		if (!asked)
			chime__rdm_each(r, chime__rdm_end_one);
		asked = true;
		r->carrier->serve(r);
		for (struct rdm_item *i; (i = chime__rdm_pop(r));)
			free(i);
		unsigned left = r->assocs.count;
		chime__rdm_leave(r);
		if (left == 0)
			return 0;
		err = chime__rdm_wait(r, r->inner_fd, deadline);
		if (err < 0)
			return err;
	}
}

int chime_rdm_close(chime_rdm *r, int64_t timeout_ns)
{
	int err = timeout_ns == 0 ? 0 : wind_up(r, timeout_ns);
	if (chime__rdm_enter(r) < 0)
		return err == CHIME_ECLOSED ? 0 : err;
	if (timeout_ns == 0 && r->assocs.unsure)
		err = CHIME_ETIMEOUT;
	atomic_store(&r->closed, true);
	eventfd_write(r->wake_fd, 1);
	r->carrier->shut(r);
	chime__rdm_leave(r);
	return err;
}

void chime_rdm_free(chime_rdm **out)
{
	struct chime_rdm *r = out ? *out : NULL;
	if (!r)
		return;
	*out = NULL;
	if (r->generation == atomic_load_explicit(&chime__fork_generation, memory_order_relaxed))
		(void)chime_rdm_close(r, 0);
	else if (r->impl)
		r->carrier->leave(r);
	unmake(r);
}

/* ---- what it is ---- */

enum chime_rdm_carrier chime_rdm_carrier(const chime_rdm *r)
{
	return r->carrier->kind;
}

const char *chime_rdm_carried_by(const chime_rdm *r)
{
	return r->carried_by;
}

bool chime_rdm_ordered(const chime_rdm *r)
{
	return r->ordered;
}

int chime_rdm_fileno(const chime_rdm *r)
{
	return r->fd;
}

int chime_rdm_local(const chime_rdm *r, unsigned n, chime_addr *out)
{
	if (n >= r->local_count)
		return -ENOENT;
	*out = r->locals[n];
	return 0;
}

int chime_rdm_set_timeout(chime_rdm *r, int64_t timeout_ns)
{
	if (timeout_ns < CHIME_FOREVER)
		return -EINVAL;
	atomic_store(&r->timeout_ns, timeout_ns);
	return 0;
}

int64_t chime_rdm_timeout(const chime_rdm *r)
{
	return atomic_load(&r->timeout_ns);
}

void chime_rdm_stats(chime_rdm *r, struct chime_rdm_stats *out)
{
	bool used = chime__rdm_enter(r) == 0;
	*out = r->stats;
	out->associations = r->assocs.count;
	if (used)
		chime__rdm_leave(r);
}
