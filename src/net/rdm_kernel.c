/* The kernel's SCTP as a carrier: one-to-many sockets, which tell of associations and of what was not delivered. */
#include "net/rdm.h"
#include "net/rdm_paths.h"

#include <errno.h>
#include <linux/sctp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define TAKE_MAX (CHIME_RDM_MAX + 65536)
#define TAKE_ROUNDS 128 /* in a row, before the caller has his turn */
#define MSG_NOTE 0x8000 /* MSG_NOTIFICATION */

struct kernel {
	int fd;
	bool v6;
	bool wants_room; /* EPOLLOUT is watched */
	bool dying;      /* an association is over, and reports of its messages may still stand in the socket */
	unsigned char *message;
	size_t message_len;
	bool message_broken;
};

static int kernel_available(void)
{
	int fd = socket(AF_INET, SOCK_SEQPACKET | SOCK_CLOEXEC, IPPROTO_SCTP);
	if (fd < 0)
		fd = socket(AF_INET6, SOCK_SEQPACKET | SOCK_CLOEXEC, IPPROTO_SCTP);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

/* ---- opening ---- */

static int set(int fd, int level, int name, const void *value, size_t len)
{
	return setsockopt(fd, level, name, value, (socklen_t)len) < 0 ? -errno : 0;
}

static int set_times(const struct chime_rdm *r, int fd)
{
	struct rdm_patience p = chime__rdm_patience(r);
	unsigned idle_s = r->idle_ns == CHIME_FOREVER ? 0 : (unsigned)(r->idle_ns / CHIME_SEC);
	struct sctp_rtoinfo rto = { .srto_initial = p.init_ms, .srto_max = p.rto_max_ms, .srto_min = p.rto_min_ms };
	struct sctp_assocparams params = { .sasoc_asocmaxrxt = (uint16_t)p.tries };
	struct sctp_initmsg init = { .sinit_num_ostreams = 1,
				     .sinit_max_instreams = 1,
				     .sinit_max_attempts = (uint16_t)p.init_tries,
				     .sinit_max_init_timeo = (uint16_t)p.init_max_ms };
	struct sctp_paddrparams path = { .spp_flags = SPP_HB_ENABLE,
					 .spp_hbinterval = 30000,
					 .spp_pathmaxrxt = (uint16_t)p.tries };
	struct sctp_sack_info sack = { .sack_delay = 10, .sack_freq = 2 };
	int err = set(fd, IPPROTO_SCTP, SCTP_RTOINFO, &rto, sizeof rto);
	if (err == 0)
		err = set(fd, IPPROTO_SCTP, SCTP_ASSOCINFO, &params, sizeof params);
	if (err == 0)
		err = set(fd, IPPROTO_SCTP, SCTP_INITMSG, &init, sizeof init);
	if (err == 0)
		err = set(fd, IPPROTO_SCTP, SCTP_PEER_ADDR_PARAMS, &path, sizeof path);
	if (err == 0)
		err = set(fd, IPPROTO_SCTP, SCTP_DELAYED_SACK, &sack, sizeof sack);
	if (err == 0 && idle_s)
		err = set(fd, IPPROTO_SCTP, SCTP_AUTOCLOSE, &idle_s, sizeof idle_s);
	return err;
}

static int buffer(int64_t asked)
{
	int64_t n = asked >= 0 ? asked : RDM_BUFFER;
	return n < 2 * CHIME_RDM_MAX ? 2 * CHIME_RDM_MAX : (int)n;
}

/* Buffers above the system's ceiling are root's to have; without them the longest messages do not go. */
static void set_buffers(const struct chime_rdm *r, int fd)
{
	int in = buffer(r->set.rcvbuf), out = buffer(r->set.sndbuf);
	if (set(fd, SOL_SOCKET, SO_RCVBUFFORCE, &in, sizeof in) < 0)
		(void)set(fd, SOL_SOCKET, SO_RCVBUF, &in, sizeof in);
	if (set(fd, SOL_SOCKET, SO_SNDBUFFORCE, &out, sizeof out) < 0)
		(void)set(fd, SOL_SOCKET, SO_SNDBUF, &out, sizeof out);
}

static int set_messages(int fd)
{
	static const uint16_t wanted[] = { SCTP_ASSOC_CHANGE, SCTP_SEND_FAILED_EVENT, SCTP_SENDER_DRY_EVENT,
					   SCTP_PARTIAL_DELIVERY_EVENT };
	const int one = 1, none = 0;
	int err = set(fd, IPPROTO_SCTP, SCTP_NODELAY, &one, sizeof one);
	if (err == 0)
		err = set(fd, IPPROTO_SCTP, SCTP_RECVRCVINFO, &one, sizeof one);
	if (err == 0)
		err = set(fd, IPPROTO_SCTP, SCTP_FRAGMENT_INTERLEAVE, &none, sizeof none);
	for (size_t i = 0; err == 0 && i < sizeof wanted / sizeof *wanted; i++) {
		struct sctp_event e = { .se_assoc_id = SCTP_FUTURE_ASSOC, .se_type = wanted[i], .se_on = 1 };
		err = set(fd, IPPROTO_SCTP, SCTP_EVENT, &e, sizeof e);
	}
	return err;
}

/* Packets to peers go in UDP to that port; the kernel's own is one for the network namespace, and must be open to serve. */
static int set_encapsulation(struct chime_rdm *r, int fd)
{
	int port = -1;
	struct sctp_udpencaps encaps = { .sue_port = htons((uint16_t)r->set.udp_port) };
	encaps.sue_address.ss_family = AF_UNSPEC;
	FILE *f = fopen("/proc/sys/net/sctp/udp_port", "re");
	if (f && fscanf(f, "%d", &port) != 1)
		port = -1;
	if (f)
		fclose(f);
	if (port < 0)
		return chime__rdm_say(r, -EOPNOTSUPP,
				      "udp=%d: this kernel's SCTP knows no UDP (Linux 5.11 does); ?carrier=user does",
				      (int)r->set.udp_port);
	if (port == 0 || (r->serving && port != r->set.udp_port))
		return chime__rdm_say(
			r, -EADDRNOTAVAIL,
			"udp=%d: the kernel's SCTP has UDP port %d%s: sysctl net.sctp.udp_port=%d, or ?carrier=user",
			(int)r->set.udp_port, port, port ? "" : " (none)", (int)r->set.udp_port);
	int err = set(fd, IPPROTO_SCTP, SCTP_REMOTE_UDP_ENCAPS_PORT, &encaps, sizeof encaps);
	return err < 0 ? chime__rdm_say(r, err, "udp=%d: %s", (int)r->set.udp_port, chime_strerror(err)) : 0;
}

static int bind_all(struct chime_rdm *r, struct kernel *k, const chime_addr *addrs, unsigned n)
{
	char text[CHIME_ADDR_TEXT];
	for (unsigned i = 0; i < n; i++) {
		chime_addr a = addrs[i];
		if (i > 0)
			chime_addr_set_port(&a, chime_addr_port(&r->locals[0]));
		int err = i == 0 ? (bind(k->fd, &a.u.sa, a.len) < 0 ? -errno : 0)
				 : set(k->fd, IPPROTO_SCTP, SCTP_SOCKOPT_BINDX_ADD, &a.u, a.len);
		if (err < 0) {
			chime_addr_print(&a, text, sizeof text);
			return chime__rdm_say(r, err, "bind SCTP %s: %s", text, chime_strerror(err));
		}
		r->locals[i] = a;
		r->locals[i].len = sizeof a.u;
		if (i == 0 && getsockname(k->fd, &r->locals[i].u.sa, &r->locals[i].len) < 0)
			return -errno;
		if (i > 0)
			r->locals[i].len = a.len;
		r->local_count = i + 1;
	}
	return 0;
}

static int kernel_open(struct chime_rdm *r, const chime_addr *addrs, unsigned n, const chime_addr *bind_to)
{
	struct kernel *k = calloc(1, sizeof *k);
	struct epoll_event ev = { .events = EPOLLIN };
	if (!k)
		return -ENOMEM;
	r->impl = k;
	k->fd = -1;
	k->message = malloc(TAKE_MAX);
	if (!k->message)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++)
		k->v6 |= chime_addr_family(&addrs[i]) == AF_INET6; /* such a socket takes IPv4 addresses too */
	k->fd = socket(k->v6 ? AF_INET6 : AF_INET, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_SCTP);
	if (k->fd < 0)
		return chime__rdm_say(r, -errno, "socket: %s", chime_strerror(-errno));
	int only = k->v6 && r->serving && n == 1 && !r->dual, err = 0;
	if (k->v6)
		err = set(k->fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
	set_buffers(r, k->fd);
	if (err == 0)
		err = set_times(r, k->fd);
	if (err == 0)
		err = set_messages(k->fd);
	if (err < 0)
		return chime__rdm_say(r, err, "setting up SCTP: %s", chime_strerror(err));
	if (r->set.udp_port > 0 && (err = set_encapsulation(r, k->fd)) < 0)
		return err;
	if (r->serving)
		err = bind_all(r, k, addrs, n);
	else if (bind_to)
		err = bind_all(r, k, bind_to, 1);
	if (err == 0 && r->serving && listen(k->fd, 1) < 0)
		err = chime__rdm_say(r, -errno, "listen: %s", chime_strerror(-errno));
	if (err == 0 && epoll_ctl(r->inner_fd, EPOLL_CTL_ADD, k->fd, &ev) < 0)
		err = -errno;
	if (r->set.udp_port > 0)
		snprintf(r->carried_by, sizeof r->carried_by, "the kernel's SCTP in UDP, port %d",
			 (int)r->set.udp_port);
	else
		snprintf(r->carried_by, sizeof r->carried_by, "the kernel's SCTP");
	return err;
}

static void kernel_leave(struct chime_rdm *r)
{
	struct kernel *k = r->impl;
	if (k->fd >= 0)
		close(k->fd);
	free(k->message);
	free(k);
	r->impl = NULL;
}

static void kernel_shut(struct chime_rdm *r)
{
	struct kernel *k = r->impl;
	struct linger now = { 1, 0 };
	if (!k)
		return;
	if (k->fd >= 0)
		(void)set(k->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
	kernel_leave(r);
}

/* ---- who the peer is ---- */

static chime_addr native(const struct kernel *k, const chime_addr *to)
{
	chime_addr a = *to;
	if (!k->v6 || chime_addr_family(to) != AF_INET)
		return a;
	a = chime_addr_none();
	a.len = sizeof a.u.in6;
	a.u.in6.sin6_family = AF_INET6;
	a.u.in6.sin6_port = to->u.in.sin_port;
	a.u.in6.sin6_addr.s6_addr[10] = a.u.in6.sin6_addr.s6_addr[11] = 0xff;
	memcpy(&a.u.in6.sin6_addr.s6_addr[12], &to->u.in.sin_addr, 4);
	return a;
}

/* The association with that peer, be it up or being made; over: one that is over, and never had a number. */
static struct rdm_assoc *find_addr(struct chime_rdm *r, const chime_addr *at, bool over)
{
	chime_addr peer = chime_addr_unmap(at);
	uint64_t path = 0;
	(void)chime__path_number(&peer, 0, &path);
	struct rdm_assoc *a = chime__rdm_find_path(&r->assocs, path);
	while (a && (a->path != path || a->over != over || (over && a->id) || !chime_addr_equal(&a->peer.addr, &peer)))
		a = a->by_path;
	return a;
}

/* The one that the kernel speaks of: until it is up it has no number, or 0. */
static struct rdm_assoc *find(struct chime_rdm *r, uint32_t id, const chime_addr *from)
{
	struct rdm_assoc *a = id ? chime__rdm_find(&r->assocs, id) : NULL;
	if (!a && from->len) {
		a = find_addr(r, from, false);
		if (a && a->id)
			a = NULL;
	}
	return a;
}

static struct rdm_assoc *enter(struct chime_rdm *r, uint32_t id, const chime_addr *from)
{
	struct rdm_assoc as = { .id = id, .peer = { .addr = chime_addr_unmap(from) }, .since_ns = chime_now_mono() };
	(void)chime__path_number(&as.peer.addr, 0, &as.path);
	return chime__rdm_add(&r->assocs, &as);
}

/* ---- what goes ---- */

/* To wire or, if there is none, to the association of that number: -EPIPE if the kernel has it no more. */
static int send_flags(struct chime_rdm *r, const chime_addr *wire, uint32_t id, const struct rdm_out *out,
		      unsigned flags)
{
	struct kernel *k = r->impl;
	union {
		struct cmsghdr header;
		unsigned char bytes[CMSG_SPACE(sizeof(struct sctp_sndinfo))];
	} room = { .bytes = { 0 } };
	struct sctp_sndinfo info = { .snd_flags = (uint16_t)flags,
				     .snd_context = out ? out->id : 0,
				     .snd_assoc_id = wire ? 0 : (sctp_assoc_t)id };
	struct iovec iov = { out ? (void *)(uintptr_t)out->bytes : NULL, out ? out->len : 0 };
	struct msghdr m = { .msg_name = wire ? (void *)(uintptr_t)&wire->u : NULL,
			    .msg_namelen = wire ? wire->len : 0,
			    .msg_iov = &iov,
			    .msg_iovlen = out ? 1 : 0,
			    .msg_control = &room,
			    .msg_controllen = sizeof room };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = IPPROTO_SCTP;
	c->cmsg_type = SCTP_SNDINFO;
	c->cmsg_len = CMSG_LEN(sizeof info);
	memcpy(CMSG_DATA(c), &info, sizeof info);
	ssize_t n;
	do {
		n = sendmsg(k->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

static void abort_id(struct chime_rdm *r, uint32_t id)
{
	(void)send_flags(r, NULL, id, NULL, SCTP_ABORT);
}

/* ---- what came ---- */

static bool kernel_dry(struct chime_rdm *r, const struct rdm_assoc *a)
{
	struct kernel *k = r->impl;
	struct sctp_status status = { .sstat_assoc_id = (sctp_assoc_t)a->id };
	socklen_t len = sizeof status;
	if (a->id == 0)
		return false;
	if (getsockopt(k->fd, IPPROTO_SCTP, SCTP_STATUS, &status, &len) < 0)
		return true;
	return status.sstat_unackdata == 0 && status.sstat_penddata == 0;
}

/* The kernel tells not whether the peer ended it or was given up; but that takes its time. */
static int why_lost(const struct chime_rdm *r, const struct rdm_assoc *a, bool never_up)
{
	if (chime_now_mono() - a->since_ns > r->give_up_ns / 2)
		return -ETIMEDOUT;
	return never_up ? -ECONNREFUSED : -ECONNRESET;
}

static void take_change(struct chime_rdm *r, const struct sctp_assoc_change *c, const chime_addr *from)
{
	struct kernel *k = r->impl;
	struct rdm_assoc *a = find(r, (uint32_t)c->sac_assoc_id, from);
	switch (c->sac_state) {
	case SCTP_COMM_UP:
		if (!a && r->assocs.count >= r->peers_max) {
			r->stats.refused++;
			abort_id(r, (uint32_t)c->sac_assoc_id);
			return;
		}
		if (!a)
			a = enter(r, (uint32_t)c->sac_assoc_id, from);
		if (a && a->id == 0)
			a = chime__rdm_renumber(&r->assocs, a, (uint32_t)c->sac_assoc_id);
		if (a)
			chime__rdm_came_up(r, a);
		return;
	case SCTP_RESTART:
		if (a)
			chime__rdm_restarted(r, a);
		return;
	case SCTP_SHUTDOWN_COMP:
	case SCTP_COMM_LOST:
	case SCTP_CANT_STR_ASSOC:
		if (!a)
			return;
		/* What was not delivered is reported behind it. */
		if (c->sac_state != SCTP_SHUTDOWN_COMP && !a->why)
			a->why = why_lost(r, a, c->sac_state == SCTP_CANT_STR_ASSOC);
		a->over = true;
		k->dying = true;
		return;
	default:
		return;
	}
}

static void take_note(struct chime_rdm *r, size_t len, const chime_addr *from)
{
	struct kernel *k = r->impl;
	struct rdm_assoc *a;
	union sctp_notification n;
	memset(&n, 0, sizeof n);
	memcpy(&n, k->message + k->message_len, len < sizeof n ? len : sizeof n);
	switch (n.sn_header.sn_type) {
	case SCTP_ASSOC_CHANGE:
		take_change(r, &n.sn_assoc_change, from);
		return;
	case SCTP_SEND_FAILED_EVENT: {
		struct sctp_send_failed_event failed;
		memset(&failed, 0, sizeof failed);
		memcpy(&failed, k->message + k->message_len, len < sizeof failed ? len : sizeof failed);
		a = chime__rdm_find(&r->assocs, (uint32_t)failed.ssf_assoc_id);
		if (!a)
			a = find_addr(r, from, true);
		if (a)
			chime__rdm_failed(r, a, failed.ssfe_info.snd_context, a->why);
		return;
	}
	case SCTP_SENDER_DRY_EVENT:
		a = chime__rdm_find(&r->assocs, (uint32_t)n.sn_sender_dry_event.sender_dry_assoc_id);
		if (a && kernel_dry(r, a))
			chime__rdm_set_unsure(&r->assocs, a, false);
		return;
	case SCTP_PARTIAL_DELIVERY_EVENT:
		k->message_len = 0;
		k->message_broken = false;
		return;
	default:
		return;
	}
}

static uint32_t number_in(struct msghdr *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c))
		if (c->cmsg_level == IPPROTO_SCTP && c->cmsg_type == SCTP_RCVINFO) {
			struct sctp_rcvinfo info;
			memcpy(&info, CMSG_DATA(c), sizeof info);
			return (uint32_t)info.rcv_assoc_id;
		}
	return 0;
}

static void take_piece(struct chime_rdm *r, struct msghdr *m, size_t len, const chime_addr *from)
{
	struct kernel *k = r->impl;
	uint32_t id = number_in(m);
	struct rdm_assoc *a = chime__rdm_find(&r->assocs, id);
	k->message_len += len;
	if (k->message_len > CHIME_RDM_MAX && !k->message_broken) {
		k->message_broken = true;
		r->stats.dropped_packets++;
		if (a)
			a->why = -EMSGSIZE;
		abort_id(r, id);
	}
	if (k->message_broken)
		k->message_len = 0;
	if (!(m->msg_flags & MSG_EOR))
		return;
	/* Of one that is not in the table any more: nothing can be said to it. */
	struct chime_rdm_peer peer = { .addr = chime_addr_unmap(from), .assoc = UINT32_MAX };
	if (!k->message_broken)
		(void)chime__rdm_push_message(r, a ? &a->peer : &peer, k->message, k->message_len);
	k->message_len = 0;
	k->message_broken = false;
}

static void bury(struct chime_rdm *r, struct rdm_assoc *a)
{
	if (a->over)
		chime__rdm_went_down(r, a, a->why);
}

static void watch_room(struct chime_rdm *r, bool wants)
{
	struct kernel *k = r->impl;
	struct epoll_event ev = { .events = EPOLLIN | (wants ? EPOLLOUT : 0) };
	if (wants != k->wants_room && epoll_ctl(r->inner_fd, EPOLL_CTL_MOD, k->fd, &ev) == 0)
		k->wants_room = wants;
}

static void kernel_serve(struct chime_rdm *r)
{
	struct kernel *k = r->impl;
	watch_room(r, r->senders > 0);
	r->stirred = rdm_queue_full(r);
	for (unsigned i = 0; i < TAKE_ROUNDS && !rdm_queue_full(r); i++) {
		chime_addr from = chime_addr_none();
		union {
			struct cmsghdr header;
			unsigned char bytes[256];
		} room;
		struct iovec iov = { k->message + k->message_len, TAKE_MAX - k->message_len };
		struct msghdr m = { .msg_name = &from.u,
				    .msg_namelen = sizeof from.u,
				    .msg_iov = &iov,
				    .msg_iovlen = 1,
				    .msg_control = &room,
				    .msg_controllen = sizeof room };
		ssize_t n = recvmsg(k->fd, &m, MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			continue; /* of an association; the bound on rounds is for what would stay */
		if (n < 0) {
			if (k->dying)
				chime__rdm_each(r, bury);
			k->dying = false;
			return;
		}
		from.len = m.msg_namelen;
		if (m.msg_flags & MSG_NOTE)
			take_note(r, (size_t)n, &from);
		else
			take_piece(r, &m, (size_t)n, &from);
	}
}

/* ---- messages ---- */

static int kernel_connect(struct chime_rdm *r, const struct chime_rdm_peer *to)
{
	struct kernel *k = r->impl;
	chime_addr wire = native(k, &to->addr);
	int err = connect(k->fd, &wire.u.sa, wire.len) < 0 ? -errno : 0;
	if (err < 0 && err != -EINPROGRESS && err != -EISCONN && err != -EALREADY)
		return err;
	return enter(r, 0, &to->addr) ? 0 : -ENOMEM;
}

static int kernel_send(struct chime_rdm *r, const struct rdm_out *out)
{
	struct kernel *k = r->impl;
	struct rdm_assoc *a = find_addr(r, &out->to->addr, false);
	chime_addr wire = native(k, &out->to->addr);
	bool answer = r->answers_only || out->to->assoc; /* over the association that asked, or not at all */
	uint32_t id = answer && a && rdm_is_it(a, out->to) ? a->id : 0;
	if (answer && !id)
		return -ENOTCONN;
	if (!a && r->assocs.count >= r->peers_max)
		return -ENOBUFS;
	int err = send_flags(r, id ? NULL : &wire, id, out, r->ordered ? 0 : SCTP_UNORDERED);
	if (answer && err == -EPIPE)
		return -ENOTCONN; /* it is over, which is still to be told */
	if (err == -EAGAIN)
		watch_room(r, true);
	if (err < 0)
		return err;
	if (!a)
		a = enter(r, 0, &out->to->addr);
	if (a && !a->unsure)
		a->since_ns = chime_now_mono();
	if (a)
		chime__rdm_set_unsure(&r->assocs, a, true);
	return 0;
}

static int kernel_end(struct chime_rdm *r, struct rdm_assoc *a, bool abort)
{
	chime_addr wire = native(r->impl, &a->peer.addr);
	if (abort && !a->why)
		a->why = -ECONNABORTED;
	return send_flags(r, a->id ? NULL : &wire, a->id, NULL, abort ? SCTP_ABORT : SCTP_EOF);
}

const struct rdm_carrier chime__rdm_kernel = {
	.kind = CHIME_RDM_KERNEL,
	.name = "the kernel's SCTP",
	.rto_max_ms = 2000,
	.available = kernel_available,
	.open = kernel_open,
	.shut = kernel_shut,
	.leave = kernel_leave,
	.connect = kernel_connect,
	.send = kernel_send,
	.serve = kernel_serve,
	.end = kernel_end,
	.dry = kernel_dry,
};
