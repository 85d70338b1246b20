/* Control messages, built and read by copying: the buffer may have any size, any alignment, any content. */
#include "net/newer.h"
#include "net/sock.h"

#include <chime/msg.h>

#include <errno.h>
#include <limits.h>
#include <linux/sockios.h>
#include <netinet/udp.h>
#include <string.h>
#include <unistd.h>

#define HEAD CMSG_LEN(0)

ssize_t chime_control_len(size_t len)
{
	return len > INT_MAX - HEAD ? -EOVERFLOW : (ssize_t)(HEAD + len);
}

ssize_t chime_control_space(size_t len)
{
	if (len > INT_MAX - CMSG_SPACE(1))
		return -EOVERFLOW;
	return (ssize_t)CMSG_SPACE(len);
}

/* ---- building ---- */

void chime_control_init(struct chime_control *c, void *buf, size_t size)
{
	*c = (struct chime_control){ buf, size, 0 };
}

/* A message's place, header and padding written, data zeroed; NULL with *err. */
static char *place(struct chime_control *c, int level, int type, size_t len, int *err)
{
	struct cmsghdr head;
	ssize_t space = chime_control_space(len);
	*err = space < 0 ? (int)space : c->len > c->size || (size_t)space > c->size - c->len ? -ENOBUFS : 0;
	if (*err < 0)
		return NULL;
	memset(&head, 0, sizeof head);
	head.cmsg_len = CMSG_LEN(len);
	head.cmsg_level = level;
	head.cmsg_type = type;
	char *at = (char *)c->buf + c->len;
	memset(at, 0, (size_t)space);
	memcpy(at, &head, sizeof head);
	c->len += (size_t)space;
	return at + HEAD;
}

int chime_control_add(struct chime_control *c, int level, int type, const void *data, size_t len)
{
	int err;
	char *at = place(c, level, type, len, &err);
	if (at && len > 0)
		memcpy(at, data, len);
	return err;
}

int chime_control_add_fds(struct chime_control *c, const int *fds, size_t n)
{
	size_t bytes;
	if (__builtin_mul_overflow(n, sizeof *fds, &bytes))
		return -EOVERFLOW;
	return chime_control_add(c, SOL_SOCKET, SCM_RIGHTS, fds, bytes);
}

int chime_control_add_creds(struct chime_control *c, const struct chime_creds *creds)
{
	struct ucred u = { creds->pid, creds->uid, creds->gid };
	return chime_control_add(c, SOL_SOCKET, SCM_CREDENTIALS, &u, sizeof u);
}

int chime_control_add_pktinfo(struct chime_control *c, int family, const struct chime_pktinfo *info)
{
	const chime_addr *local = &info->local;
	int of = local->len ? chime_addr_family(local) : family;
	if (of == AF_INET) {
		struct in_pktinfo p = { .ipi_ifindex = (int)info->ifindex };
		if (local->len)
			p.ipi_spec_dst = local->u.in.sin_addr;
		return chime_control_add(c, IPPROTO_IP, IP_PKTINFO, &p, sizeof p);
	}
	if (of == AF_INET6) {
		struct in6_pktinfo p = { .ipi6_ifindex = info->ifindex };
		if (local->len)
			p.ipi6_addr = local->u.in6.sin6_addr;
		if (local->len && p.ipi6_ifindex == 0)
			p.ipi6_ifindex = local->u.in6.sin6_scope_id;
		return chime_control_add(c, IPPROTO_IPV6, IPV6_PKTINFO, &p, sizeof p);
	}
	return -EAFNOSUPPORT;
}

static int add_by_family(struct chime_control *c, int family, int type4, int type6, int value)
{
	if (family == AF_INET)
		return chime_control_add(c, IPPROTO_IP, type4, &value, sizeof value);
	if (family == AF_INET6)
		return chime_control_add(c, IPPROTO_IPV6, type6, &value, sizeof value);
	return -EAFNOSUPPORT;
}

int chime_control_add_hops(struct chime_control *c, int family, int hops)
{
	return add_by_family(c, family, IP_TTL, IPV6_HOPLIMIT, hops);
}

int chime_control_add_tos(struct chime_control *c, int family, int tos)
{
	return add_by_family(c, family, IP_TOS, IPV6_TCLASS, tos);
}

int chime_control_add_segment(struct chime_control *c, uint16_t bytes)
{
	return chime_control_add(c, SOL_UDP, UDP_SEGMENT, &bytes, sizeof bytes);
}

int chime_control_add_txtime(struct chime_control *c, uint64_t ns)
{
	return chime_control_add(c, SOL_SOCKET, SCM_TXTIME, &ns, sizeof ns);
}

/* ---- reading ---- */

bool chime_control_next(const struct chime_control *c, struct chime_cmsg *m)
{
	struct cmsghdr head;
	size_t at = m->next;
	if (at > c->len || c->len - at < HEAD)
		return false;
	memcpy(&head, (const char *)c->buf + at, sizeof head);
	size_t left = c->len - at, whole = head.cmsg_len;
	if (whole < HEAD)
		return false;
	m->level = head.cmsg_level;
	m->type = head.cmsg_type;
	m->data = (const char *)c->buf + at + HEAD;
	m->cut = whole > left;
	m->len = (m->cut ? left : whole) - HEAD;
	/* whole <= left, which is a size in memory: aligning it cannot overflow. */
	size_t step = m->cut ? left : CMSG_ALIGN(whole);
	m->next = step < left ? at + step : c->len;
	return true;
}

static bool is(const struct chime_cmsg *m, int level, int type, size_t len)
{
	return m->level == level && m->type == type && m->len >= len;
}

size_t chime_cmsg_fds(const struct chime_cmsg *m, int *fds, size_t max)
{
	if (!is(m, SOL_SOCKET, SCM_RIGHTS, sizeof(int)))
		return 0;
	size_t n = m->len / sizeof(int), stored = n < max ? n : max;
	if (stored > 0)
		memcpy(fds, m->data, stored * sizeof(int));
	return n;
}

void chime_control_close_fds(const struct chime_control *c)
{
	struct chime_cmsg m = { 0 };
	while (chime_control_next(c, &m)) {
		if (m.level != SOL_SOCKET || (m.type != SCM_RIGHTS && m.type != SCM_PIDFD))
			continue;
		for (size_t i = 0; i + sizeof(int) <= m.len; i += sizeof(int)) {
			int fd;
			memcpy(&fd, (const char *)m.data + i, sizeof fd);
			if (fd >= 0)
				close(fd);
		}
	}
}

bool chime_cmsg_creds(const struct chime_cmsg *m, struct chime_creds *out)
{
	struct ucred u;
	if (!is(m, SOL_SOCKET, SCM_CREDENTIALS, sizeof u))
		return false;
	memcpy(&u, m->data, sizeof u);
	*out = (struct chime_creds){ u.pid, u.uid, u.gid };
	return true;
}

static chime_addr addr4(struct in_addr a)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr = a };
	chime_addr out = chime_addr_none();
	chime_addr_from(&out, (struct sockaddr *)&in, sizeof in);
	return out;
}

static chime_addr addr6(const struct in6_addr *a, unsigned scope)
{
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_addr = *a };
	chime_addr out = chime_addr_none();
	if (IN6_IS_ADDR_LINKLOCAL(a) || IN6_IS_ADDR_MC_LINKLOCAL(a))
		in6.sin6_scope_id = scope;
	chime_addr_from(&out, (struct sockaddr *)&in6, sizeof in6);
	return out;
}

bool chime_cmsg_pktinfo(const struct chime_cmsg *m, struct chime_pktinfo *out)
{
	struct in_pktinfo p4;
	struct in6_pktinfo p6;
	if (is(m, IPPROTO_IP, IP_PKTINFO, sizeof p4)) {
		memcpy(&p4, m->data, sizeof p4);
		out->to = addr4(p4.ipi_addr);
		out->local = addr4(p4.ipi_spec_dst);
		out->ifindex = (unsigned)p4.ipi_ifindex;
		return true;
	}
	if (is(m, IPPROTO_IPV6, IPV6_PKTINFO, sizeof p6)) {
		memcpy(&p6, m->data, sizeof p6);
		out->to = addr6(&p6.ipi6_addr, p6.ipi6_ifindex);
		/* To a group nobody can answer from the group's address. */
		out->local = IN6_IS_ADDR_MULTICAST(&p6.ipi6_addr) ? chime_addr_none() : out->to;
		out->ifindex = p6.ipi6_ifindex;
		return true;
	}
	return false;
}

static bool get_int(const struct chime_cmsg *m, int *out)
{
	memcpy(out, m->data, sizeof *out);
	return true;
}

bool chime_cmsg_hops(const struct chime_cmsg *m, int *out)
{
	if (is(m, IPPROTO_IP, IP_TTL, sizeof *out) || is(m, IPPROTO_IPV6, IPV6_HOPLIMIT, sizeof *out))
		return get_int(m, out);
	return false;
}

bool chime_cmsg_tos(const struct chime_cmsg *m, int *out)
{
	unsigned char byte;
	if (is(m, IPPROTO_IPV6, IPV6_TCLASS, sizeof *out) || is(m, IPPROTO_IP, IP_TOS, sizeof *out))
		return get_int(m, out);
	if (!is(m, IPPROTO_IP, IP_TOS, sizeof byte)) /* a byte, as it is received */
		return false;
	memcpy(&byte, m->data, sizeof byte);
	*out = byte;
	return true;
}

bool chime_cmsg_segment(const struct chime_cmsg *m, int *bytes)
{
	return is(m, SOL_UDP, UDP_GRO, sizeof *bytes) && get_int(m, bytes);
}

/* A time of two numbers, each a long in the old messages and 64 bits in the new ones; the second counts unit ns. */
static int64_t read_time(const void *data, bool old, int64_t unit)
{
	int64_t wide[2];
	long native[2];
	if (old) {
		memcpy(native, data, sizeof native);
		wide[0] = native[0];
		wide[1] = native[1];
	} else {
		memcpy(wide, data, sizeof wide);
	}
	int64_t ns;
	if (__builtin_mul_overflow(wide[0], CHIME_SEC, &ns) || __builtin_mul_overflow(wide[1], unit, &wide[1]) ||
	    __builtin_add_overflow(ns, wide[1], &ns))
		return 0;
	return ns;
}

bool chime_cmsg_stamps(const struct chime_cmsg *m, struct chime_stamps *out)
{
	static const struct {
		int type;
		bool old;
		int64_t unit;
		int times;
	} kinds[] = {
		{ SO_TIMESTAMP_OLD, true, CHIME_USEC, 1 }, { SO_TIMESTAMP_NEW, false, CHIME_USEC, 1 },
		{ SO_TIMESTAMPNS_OLD, true, 1, 1 },        { SO_TIMESTAMPNS_NEW, false, 1, 1 },
		{ SO_TIMESTAMPING_OLD, true, 1, 3 },       { SO_TIMESTAMPING_NEW, false, 1, 3 },
	};
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		size_t each = kinds[i].old ? 2 * sizeof(long) : 2 * sizeof(int64_t);
		if (!is(m, SOL_SOCKET, kinds[i].type, each * (size_t)kinds[i].times))
			continue;
		/* Of three, the middle one is no longer used. */
		const char *third = (const char *)m->data + 2 * each;
		out->software_ns = read_time(m->data, kinds[i].old, kinds[i].unit);
		out->hardware_ns = kinds[i].times == 3 ? read_time(third, kinds[i].old, 1) : 0;
		return true;
	}
	return false;
}

int chime_peer_creds(chime_sock *s, struct chime_creds *out)
{
	struct ucred u;
	socklen_t len = sizeof u;
	int err = chime_getsockopt(s, SOL_SOCKET, SO_PEERCRED, &u, &len);
	/* Where nobody connected, or by no such way, the system says yes, and no user. */
	if (err == 0 && u.uid == (uid_t)-1)
		err = s->family == AF_UNIX ? -ENOTCONN : -ENOPROTOOPT;
	if (err == 0)
		*out = (struct chime_creds){ u.pid, u.uid, u.gid };
	return err;
}
