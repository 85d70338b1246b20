/* The system calls behind the operations. */
#include "loop/backend/syscalls.h"

#include "net/came.h"
#include "net/tipc.h"
#include <chime/service.h>

#include <errno.h>
#include <limits.h>
#include <linux/tipc.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CUT_IOVS 64
#define CUT_MOST 32768    /* of a buffer of 200 KB: more at once would wait for more room */
#define RETURNS_ROOM 2048 /* of a buffer, for control messages: TIPC sends back at most 1024 bytes of a message */

ssize_t chime__recvmsg(int fd, struct msghdr *msg)
{
	return syscall(SYS_recvmsg, fd, msg, MSG_DONTWAIT);
}

/* The source address of a datagram, as a control message. */
static void set_source(struct msghdr *h, void *control, const struct op_msg *m)
{
	struct cmsghdr *c = control;
	if (m->local.len == 0)
		return;
	h->msg_control = control;
	memset(control, 0, CONTROL_ROOM);
	if (m->local.u.sa.sa_family == AF_INET) {
		struct in_pktinfo info = { .ipi_ifindex = (int)m->local_if, .ipi_spec_dst = m->local.u.in.sin_addr };
		*c = (struct cmsghdr){ CMSG_LEN(sizeof info), IPPROTO_IP, IP_PKTINFO };
		memcpy(CMSG_DATA(c), &info, sizeof info);
		h->msg_controllen = CMSG_SPACE(sizeof info);
	} else {
		struct in6_pktinfo info = { m->local.u.in6.sin6_addr, m->local_if };
		*c = (struct cmsghdr){ CMSG_LEN(sizeof info), IPPROTO_IPV6, IPV6_PKTINFO };
		memcpy(CMSG_DATA(c), &info, sizeof info);
		h->msg_controllen = CMSG_SPACE(sizeof info);
	}
}

/* The bytes of op from there on, at most so many; how many pieces, *bytes in all. */
static unsigned cut_out(const struct op *op, size_t from, size_t most, struct iovec out[CUT_IOVS], size_t *bytes)
{
	unsigned n = 0;
	*bytes = 0;
	for (unsigned i = 0; i < op->n && n < CUT_IOVS && *bytes < most; i++) {
		struct iovec v = op->u.iov[i];
		size_t skip = from < v.iov_len ? from : v.iov_len;
		from -= skip;
		v.iov_base = (char *)v.iov_base + skip;
		v.iov_len -= skip;
		if (v.iov_len > most - *bytes)
			v.iov_len = most - *bytes;
		if (v.iov_len == 0)
			continue;
		*bytes += v.iov_len;
		out[n++] = v;
	}
	return n;
}

/* By halves down to a byte, so that where there is any room at all it is filled: poll(2) says so then, and must not be wrong. */
int chime__send_pieces(const struct op *op)
{
	struct iovec iov[CUT_IOVS];
	size_t sent = 0, most = CUT_MOST, bytes;
	for (;;) {
		struct msghdr msg = { .msg_iov = iov };
		msg.msg_iovlen = cut_out(op, sent, most, iov, &bytes);
		if (sent && !bytes)
			break;
		ssize_t n = sendmsg(op->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n > 0)
			sent += (size_t)n;
		else if (n == 0 || (errno != EAGAIN && errno != EMSGSIZE) || bytes <= 1)
			break;
		else
			most = bytes / 2;
	}
	return sent ? (int)sent : -errno;
}

/* RDS takes neither MSG_NOSIGNAL nor the MSG_BATCH that sendmmsg(2) sets. As that returns. */
static int send_each(int fd, const struct mmsghdr *hdr, unsigned n)
{
	unsigned sent = 0;
	while (sent < n && sendmsg(fd, &hdr[sent].msg_hdr, MSG_DONTWAIT) >= 0)
		sent++;
	return sent ? (int)sent : -1;
}

int chime__send_msgs(const struct op *op)
{
	struct mmsghdr hdr[OP_MSGS];
	union {
		char bytes[CONTROL_ROOM];
		struct cmsghdr align;
	} control[OP_MSGS];
	unsigned n = op->n < OP_MSGS ? op->n : OP_MSGS;
	for (unsigned i = 0; i < n; i++) {
		struct op_msg *m = &op->u.msgs[i];
		hdr[i].msg_len = 0;
		hdr[i].msg_hdr = (struct msghdr){ .msg_name = m->peer.len ? &m->peer.u.sa : NULL,
						  .msg_namelen = m->peer.len,
						  .msg_iov = m->iov,
						  .msg_iovlen = (size_t)m->n };
		set_source(&hdr[i].msg_hdr, control[i].bytes, m);
	}
	int sent =
		op->flags & OP_BARE ? send_each(op->fd, hdr, n) : sendmmsg(op->fd, hdr, n, MSG_NOSIGNAL | MSG_DONTWAIT);
	return sent < 0 ? -errno : sent;
}

bool chime__poll_now(int fd, bool out)
{
	struct pollfd p = { fd, out ? POLLOUT : POLLIN, 0 };
	return poll(&p, 1, 0) > 0;
}

int chime__socket(int family, int type)
{
	int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	return fd < 0 ? -errno : fd;
}

int chime__connect_result(int fd)
{
	int err = 0;
	socklen_t len = sizeof err;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		return -errno;
	return -err;
}

/* What the control messages say of where the datagram came to. */
static void read_local(struct op_msg *m, struct msghdr *h)
{
	m->local.len = 0;
	m->local_if = 0;
	m->to_many = false;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo info;
			memcpy(&info, CMSG_DATA(c), sizeof info);
			m->local.u.in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = info.ipi_spec_dst };
			m->local.len = sizeof m->local.u.in;
			m->to_many = info.ipi_addr.s_addr != info.ipi_spec_dst.s_addr;
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo info;
			memcpy(&info, CMSG_DATA(c), sizeof info);
			m->local.u.in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_addr = info.ipi6_addr };
			m->local.len = sizeof m->local.u.in6;
			if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr))
				m->local_if = info.ipi6_ifindex;
			m->to_many = chime_addr_is_multicast(&m->local) || chime_addr_is_broadcast(&m->local);
			if (m->to_many)
				m->local.len = 0; /* no source address: the kernel chooses */
		}
	}
}

/* A message of ours that TIPC could not deliver has no data; why, and its beginning, are in control messages. */
static void read_returned(struct op_msg *m, struct msghdr *h)
{
	m->local.len = 0;
	m->local_if = 0;
	m->to_many = false;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		size_t len = c->cmsg_len - CMSG_LEN(0);
		if (c->cmsg_level != SOL_TIPC)
			continue;
		if (c->cmsg_type == TIPC_ERRINFO && len >= 4) {
			m->returned = chime__tipc_error(CMSG_DATA(c));
		} else if (c->cmsg_type == TIPC_RETDATA) {
			m->data = CMSG_DATA(c);
			m->len = len;
		}
	}
}

/* Makes the n-th place of the batch ready to be received into. */
static int ready_place(struct batch *bt, struct buf_pool *pool, unsigned n, uint8_t flags)
{
	if (!bt->buf[n]) {
		bt->buf[n] = chime__buf_get(pool);
		if (!bt->buf[n])
			return -ENOMEM;
	}
	struct buf *b = bt->buf[n];
	bool returns = flags & OP_RETURNS;
	bt->iov[n] = (struct iovec){ b->data, CHIME_MESSAGE_MAX - (returns ? RETURNS_ROOM : 0) };
	bt->hdr[n].msg_hdr = (struct msghdr){ .msg_name = &bt->msg[n].peer.u.sa,
					      .msg_namelen = sizeof bt->msg[n].peer.u,
					      .msg_iov = &bt->iov[n],
					      .msg_iovlen = 1 };
	if (returns) {
		bt->hdr[n].msg_hdr.msg_control = b->data + CHIME_MESSAGE_MAX - RETURNS_ROOM;
		bt->hdr[n].msg_hdr.msg_controllen = RETURNS_ROOM;
	} else if (flags & OP_PKTINFO) {
		bt->hdr[n].msg_hdr.msg_control = bt->control[n].bytes;
		bt->hdr[n].msg_hdr.msg_controllen = CONTROL_ROOM;
	}
	return 0;
}

int chime__batch_recv(struct batch *bt, struct buf_pool *pool, int fd, uint8_t flags)
{
	unsigned room = 0;
	if (bt->flags != flags)
		bt->ready = 0;
	bt->flags = flags;
	while (room < OP_MSGS && ((room >= bt->used && room < bt->ready) || ready_place(bt, pool, room, flags) == 0))
		room++;
	bt->ready = room;
	bt->used = 0;
	if (room == 0)
		return -ENOMEM;
	int n = recvmmsg(fd, bt->hdr, room, MSG_DONTWAIT, NULL);
	if (n < 0)
		return -errno;
	bt->used = (unsigned)n;
	for (int i = 0; i < n; i++) {
		struct op_msg *m = &bt->msg[i];
		struct msghdr *h = &bt->hdr[i].msg_hdr;
		m->buf = bt->buf[i];
		m->data = m->buf->data;
		m->len = bt->hdr[i].msg_len;
		m->truncated = h->msg_flags & MSG_TRUNC;
		chime__addr_came(&m->peer, h->msg_namelen);
		m->returned = 0;
		if (flags & OP_RETURNS)
			read_returned(m, h);
		else
			read_local(m, h);
	}
	return n;
}

void chime__batch_done(struct batch *bt, int n)
{
	for (int i = 0; i < n; i++)
		if (bt->buf[i]->refs > 1) { /* its owner keeps it: another will take its place */
			buf_unref(bt->buf[i]);
			bt->buf[i] = NULL;
		}
}

void chime__batch_fini(struct batch *bt)
{
	for (unsigned i = 0; i < OP_MSGS; i++)
		if (bt->buf[i])
			buf_unref(bt->buf[i]);
}
