/*
 * The UDP sockets of the carrier in user space: opened, read and written in batches, with the address of ours that a packet came to.
 */
#include "net/rdm_udp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define IN_BATCH 16
#define UDP_BUFFER (4 << 20) /* asked for; the kernel cuts it to rmem_max and wmem_max */

/* ---- packets out ---- */

/* Room for a source address: pktinfo of either family. */
union source {
	struct cmsghdr header;
	unsigned char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

static void set_source(struct msghdr *m, union source *room, const chime_addr *local, bool v6)
{
	if (local->len == 0)
		return;
	memset(room, 0, sizeof *room);
	m->msg_control = room;
	if (v6) {
		struct in6_pktinfo info = { .ipi6_addr = local->u.in6.sin6_addr,
					    .ipi6_ifindex = IN6_IS_ADDR_LINKLOCAL(&local->u.in6.sin6_addr)
								    ? local->u.in6.sin6_scope_id
								    : 0 };
		m->msg_controllen = CMSG_SPACE(sizeof info);
		struct cmsghdr *c = CMSG_FIRSTHDR(m);
		*c = (struct cmsghdr){ .cmsg_level = IPPROTO_IPV6, .cmsg_type = IPV6_PKTINFO };
		c->cmsg_len = CMSG_LEN(sizeof info);
		memcpy(CMSG_DATA(c), &info, sizeof info);
	} else {
		struct in_pktinfo info = { .ipi_spec_dst = local->u.in.sin_addr };
		m->msg_controllen = CMSG_SPACE(sizeof info);
		struct cmsghdr *c = CMSG_FIRSTHDR(m);
		*c = (struct cmsghdr){ .cmsg_level = IPPROTO_IP, .cmsg_type = IP_PKTINFO };
		c->cmsg_len = CMSG_LEN(sizeof info);
		memcpy(CMSG_DATA(c), &info, sizeof info);
	}
}

static void prepare(struct rdm_udp *d, struct msghdr *m, struct iovec *iov, union source *room,
		    struct rdm_udp_packet *p, void *bytes)
{
	*iov = (struct iovec){ bytes, p->len };
	*m = (struct msghdr){ .msg_iov = iov, .msg_iovlen = 1 };
	if (!d->r->connected) {
		m->msg_name = &p->wire.u;
		m->msg_namelen = p->wire.len;
	}
	set_source(m, room, &p->local, d->v6[p->socket]);
}

/* A packet that the system would not take is loss; that nobody is there is remembered for who connects. */
static void not_sent(struct rdm_udp *d, int err)
{
	d->r->stats.dropped_packets++;
	if (err == ECONNREFUSED)
		d->r->refused = true;
}

/* The packets [at, to), which all go by one socket. */
static void send_run(struct rdm_udp *d, unsigned at, unsigned to)
{
	struct mmsghdr m[RDM_UDP_BATCH];
	struct iovec iov[RDM_UDP_BATCH];
	union source room[RDM_UDP_BATCH];
	for (unsigned i = at; i < to; i++)
		prepare(d, &m[i].msg_hdr, &iov[i], &room[i], &d->out[i], d->out[i].bytes);
	bool again = false;
	while (at < to) {
		int n = sendmmsg(d->socks[d->out[at].socket], m + at, to - at, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n > 0) {
			d->r->stats.packets_out += (unsigned)n;
			at += (unsigned)n;
			again = false;
		} else if (n < 0 && errno == EINTR) {
			continue;
		} else if (n < 0 && errno == ECONNREFUSED && !again) {
			again = true; /* told late, of a packet before; telling took it away */
			d->r->refused = true;
		} else {
			not_sent(d, errno);
			at++;
		}
	}
}

void chime__rdm_udp_flush(struct rdm_udp *d)
{
	for (unsigned at = 0, to; at < d->out_count; at = to) {
		for (to = at + 1; to < d->out_count && d->out[to].socket == d->out[at].socket;)
			to++;
		send_run(d, at, to);
	}
	d->out_count = 0;
}

void chime__rdm_udp_put(struct rdm_udp *d, const chime_addr *wire, const chime_addr *local, unsigned char socket,
			const void *packet, size_t len)
{
	if (d->out_count == RDM_UDP_BATCH || len > RDM_UDP_BYTES)
		chime__rdm_udp_flush(d);
	struct rdm_udp_packet *p = &d->out[d->out_count];
	p->wire = *wire;
	p->local = *local;
	p->socket = socket;
	p->len = len;
	if (len <= RDM_UDP_BYTES) {
		memcpy(p->bytes, packet, len);
		d->out_count++;
		return;
	}
	struct msghdr m;
	struct iovec iov;
	union source room;
	prepare(d, &m, &iov, &room, p, (void *)(uintptr_t)packet);
	if (sendmsg(d->socks[socket], &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		not_sent(d, errno);
	else
		d->r->stats.packets_out++;
}

/* ---- packets in ---- */

static chime_addr local_of(struct msghdr *m, bool v6)
{
	chime_addr local = chime_addr_none();
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (v6 && c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo info;
			memcpy(&info, CMSG_DATA(c), sizeof info);
			local.len = sizeof local.u.in6;
			local.u.in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6,
							     .sin6_addr = info.ipi6_addr,
							     .sin6_scope_id = info.ipi6_ifindex };
		} else if (!v6 && c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo info;
			memcpy(&info, CMSG_DATA(c), sizeof info);
			local.len = sizeof local.u.in;
			local.u.in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = info.ipi_spec_dst };
		}
	}
	return local;
}

bool chime__rdm_udp_read(struct rdm_udp *d, unsigned sock, rdm_udp_came_fn *came, int64_t now_ns)
{
	struct mmsghdr m[IN_BATCH];
	struct iovec iov[IN_BATCH];
	struct sockaddr_storage from[IN_BATCH];
	union source room[IN_BATCH];
	for (unsigned i = 0; i < IN_BATCH; i++) {
		iov[i] = (struct iovec){ d->in + (size_t)i * RDM_UDP_PACKET, RDM_UDP_PACKET };
		m[i].msg_hdr = (struct msghdr){ .msg_name = &from[i],
						.msg_namelen = sizeof from[i],
						.msg_iov = &iov[i],
						.msg_iovlen = 1,
						.msg_control = d->any[sock] ? &room[i] : NULL,
						.msg_controllen = d->any[sock] ? sizeof room[i] : 0 };
	}
	int n = recvmmsg(d->socks[sock], m, IN_BATCH, MSG_DONTWAIT, NULL);
	if (n < 0) {
		if (errno == ECONNREFUSED)
			d->r->refused = true;
		return errno != EAGAIN && errno != EBADF;
	}
	for (int i = 0; i < n; i++) {
		struct rdm_path p = { .socket = (unsigned char)sock };
		if (chime_addr_from(&p.wire, (struct sockaddr *)&from[i], m[i].msg_hdr.msg_namelen) < 0)
			continue;
		p.local = local_of(&m[i].msg_hdr, d->v6[sock]);
		d->r->stats.packets_in++;
		came(d->r, &p, iov[i].iov_base, m[i].msg_len, now_ns);
	}
	return n == IN_BATCH;
}

/* ---- opening ---- */

static int open_udp(struct rdm_udp *d, const chime_addr *at, int *udp_port, bool dual)
{
	struct chime_rdm *r = d->r;
	chime_addr a = *at;
	char text[CHIME_ADDR_TEXT];
	int one = 1, only = !dual, size = UDP_BUFFER, family = chime_addr_family(at), err = 0;
	int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP);
	if (fd < 0)
		return chime__rdm_say(r, -errno, "socket: %s", chime_strerror(-errno));
	unsigned i = d->count++;
	d->socks[i] = fd;
	d->v6[i] = family == AF_INET6;
	d->any[i] = chime_addr_is_any(at);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	if (d->v6[i] && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only) < 0)
		err = -errno;
	if (d->any[i])
		(void)setsockopt(fd, d->v6[i] ? IPPROTO_IPV6 : IPPROTO_IP, d->v6[i] ? IPV6_RECVPKTINFO : IP_PKTINFO,
				 &one, sizeof one);
	chime_addr_set_port(&a, *udp_port);
	if (err == 0 && bind(fd, &a.u.sa, a.len) < 0)
		err = -errno;
	a.len = sizeof a.u;
	if (err == 0 && getsockname(fd, &a.u.sa, &a.len) < 0)
		err = -errno;
	struct epoll_event ev = { .events = EPOLLIN };
	if (err == 0 && epoll_ctl(r->inner_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		err = -errno;
	if (err < 0) {
		chime_addr_print(&a, text, sizeof text);
		return chime__rdm_say(r, err, "bind UDP %s: %s%s", text, chime_strerror(err),
				      err == -EADDRINUSE ? "; ?udp= chooses another" : "");
	}
	*udp_port = chime_addr_port(&a);
	return 0;
}

int chime__rdm_udp_open(struct rdm_udp *d, const chime_addr *addrs, unsigned n, const chime_addr *bind_to)
{
	struct chime_rdm *r = d->r;
	char text[CHIME_ADDR_TEXT];
	int udp = r->set.udp_port >= 0 ? (int)r->set.udp_port : CHIME_RDM_UDP_PORT, err = 0;
	d->in = malloc((size_t)IN_BATCH * RDM_UDP_PACKET);
	if (!d->in)
		return -ENOMEM;
	if (r->serving) {
		for (unsigned i = 0; i < n && err == 0; i++)
			err = open_udp(d, &addrs[i], &udp,
				       n == 1 && chime_addr_family(&addrs[i]) == AF_INET6 && r->dual);
		r->set.udp_port = udp;
		return err;
	}
	chime_addr from = chime_addr_none();
	err = bind_to ? 0 : chime_addr_ip(&from, chime_addr_family(&addrs[0]), "", 0);
	udp = bind_to ? chime_addr_port(bind_to) : 0;
	if (err == 0)
		err = open_udp(d, bind_to ? bind_to : &from, &udp, false);
	if (err < 0)
		return err;
	chime_addr to = addrs[0];
	chime_addr_set_port(&to, r->set.udp_port > 0 ? (int)r->set.udp_port : CHIME_RDM_UDP_PORT);
	d->any[0] = false; /* connected: the system knows by which address */
	if (connect(d->socks[0], &to.u.sa, to.len) == 0)
		return 0;
	err = -errno;
	chime_addr_print(&to, text, sizeof text);
	return chime__rdm_say(r, err, "connect UDP %s: %s", text, chime_strerror(err));
}

void chime__rdm_udp_close(struct rdm_udp *d)
{
	for (unsigned i = 0; i < d->count; i++)
		close(d->socks[i]);
	free(d->in);
}

int chime__rdm_udp_path(const struct rdm_udp *d, const struct chime_rdm_peer *to, struct rdm_path *p)
{
	uint16_t udp = to->udp_port;
	if (!udp)
		udp = d->r->set.udp_port > 0 ? (uint16_t)d->r->set.udp_port : CHIME_RDM_UDP_PORT;
	*p = (struct rdm_path){ .wire = to->addr };
	int family = chime_addr_family(&to->addr);
	unsigned i = 0;
	while (i < d->count && !(family == AF_INET6 && d->v6[i]) && !(family == AF_INET && !d->v6[i]))
		i++;
	if (i == d->count && family == AF_INET) /* one of both families, with IPv4 as it is written there */
		for (i = 0; i < d->count && !d->any[i];)
			i++;
	if (i == d->count)
		return -EAFNOSUPPORT;
	if (family == AF_INET && d->v6[i]) {
		p->wire = chime_addr_none();
		p->wire.len = sizeof p->wire.u.in6;
		p->wire.u.in6.sin6_family = AF_INET6;
		p->wire.u.in6.sin6_addr.s6_addr[10] = p->wire.u.in6.sin6_addr.s6_addr[11] = 0xff;
		memcpy(&p->wire.u.in6.sin6_addr.s6_addr[12], &to->addr.u.in.sin_addr, 4);
	}
	chime_addr_set_port(&p->wire, udp);
	p->socket = (unsigned char)i;
	return 0;
}
