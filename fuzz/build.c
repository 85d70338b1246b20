/*
 * Property: control messages that are built are read back, all of them, in order and to the byte; one for which there is no room changes
 * nothing. The bytes say what to build, in a buffer of a size that they say too, set against a page that cannot be written.
 */
#include "fuzz/fuzz.h"
#include "net/edge.h"

#include <chime/errqueue.h>

#include <errno.h>
#include <netinet/in.h>

#define MOST 32

struct built {
	unsigned kind;
	uint8_t arg[4];
};

static chime_addr local(const uint8_t arg[4], int family)
{
	chime_addr a;
	MUST(chime_addr_ip(&a, family, "", 0) == 0);
	if (family == AF_INET)
		memcpy(&a.u.in.sin_addr, arg, 4);
	else
		memcpy(&a.u.in6.sin6_addr, arg, 4);
	return a;
}

static int family_of(const struct built *b)
{
	return b->arg[3] & 1 ? AF_INET6 : AF_INET;
}

static int add(struct chime_control *c, const struct built *b)
{
	int fds[4];
	struct chime_creds creds = { b->arg[0], b->arg[1], b->arg[2] };
	struct chime_pktinfo info = { .local = local(b->arg, family_of(b)), .ifindex = b->arg[2] };
	switch (b->kind) {
	case 0:
		for (int i = 0; i < 4; i++)
			fds[i] = b->arg[i];
		return chime_control_add_fds(c, fds, b->arg[0] % 4 + 1);
	case 1:
		return chime_control_add_creds(c, &creds);
	case 2:
		return chime_control_add_pktinfo(c, family_of(b), &info);
	case 3:
		return chime_control_add_hops(c, family_of(b), b->arg[0]);
	case 4:
		return chime_control_add_tos(c, family_of(b), b->arg[0]);
	case 5:
		return chime_control_add_segment(c, (uint16_t)(b->arg[0] << 8 | b->arg[1]));
	case 6:
		return chime_control_add_txtime(c, (uint64_t)b->arg[0] << 40 | b->arg[1]);
	default:
		return chime_control_add(c, b->arg[0], b->arg[1], b->arg, b->arg[2] % 5);
	}
}

static void check(const struct chime_cmsg *m, const struct built *b)
{
	int fds[4], number = -1;
	struct chime_creds creds = { 0 };
	struct chime_pktinfo info = { 0 };
	chime_addr wanted = local(b->arg, family_of(b));
	MUST(!m->cut);
	switch (b->kind) {
	case 0:
		MUST(chime_cmsg_fds(m, fds, 4) == b->arg[0] % 4u + 1);
		for (int i = 0; i <= b->arg[0] % 4; i++)
			MUST(fds[i] == b->arg[i]);
		break;
	case 1:
		MUST(chime_cmsg_creds(m, &creds));
		MUST(creds.pid == b->arg[0] && creds.uid == b->arg[1] && creds.gid == b->arg[2]);
		break;
	case 2:
		MUST(chime_cmsg_pktinfo(m, &info));
		MUST(info.ifindex == b->arg[2]);
		/* IPv6 has one address for both ways, which is told as where it went */
		MUST(chime_addr_equal(family_of(b) == AF_INET ? &info.local : &info.to, &wanted) ||
		     family_of(b) == AF_INET6);
		break;
	case 3:
		MUST(chime_cmsg_hops(m, &number) && number == b->arg[0]);
		break;
	case 4:
		MUST(chime_cmsg_tos(m, &number) && number == b->arg[0]);
		break;
	case 7:
		MUST(m->level == b->arg[0] && m->type == b->arg[1] && m->len == b->arg[2] % 5u);
		MUST(!memcmp(m->data, b->arg, m->len));
		break;
	default:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static const char zeros[512];
	struct built built[MOST];
	struct chime_control c;
	struct chime_cmsg m = { 0 };
	unsigned n = 0;
	if (len < 1)
		return 0;
	size_t size = bytes[0] * 2;
	chime_control_init(&c, edge_bytes(zeros, size), size);
	for (size_t at = 1; at + 5 <= len && n < MOST; at += 5) {
		struct built b = { .kind = bytes[at] % 8 };
		memcpy(b.arg, bytes + at + 1, 4);
		size_t before = c.len;
		int err = add(&c, &b);
		MUST(err == 0 || err == -ENOBUFS);
		MUST(c.len <= size && (err == 0 || c.len == before));
		if (err == 0)
			built[n++] = b;
	}
	for (unsigned i = 0; i < n; i++) {
		MUST(chime_control_next(&c, &m));
		check(&m, &built[i]);
	}
	MUST(!chime_control_next(&c, &m));
	return 0;
}
