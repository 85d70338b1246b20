/*
 * Property: whatever bytes stand in a control buffer, walking it ends, stays within it (a page behind it cannot be read) and goes
 * forward; every getter bears what it finds; and the whole messages, built anew, are read as the same.
 */
#include "fuzz/fuzz.h"
#include "net/edge.h"

#include <chime/errqueue.h>

static void ask_everything(const struct chime_cmsg *m)
{
	struct chime_creds creds;
	struct chime_pktinfo info;
	struct chime_stamps stamps;
	int fds[4], number;
	size_t n = chime_cmsg_fds(m, fds, 4);
	MUST(n * sizeof(int) <= m->len);
	chime_cmsg_creds(m, &creds);
	if (chime_cmsg_pktinfo(m, &info))
		MUST(chime_addr_port(&info.to) == 0);
	chime_cmsg_hops(m, &number);
	chime_cmsg_tos(m, &number);
	chime_cmsg_segment(m, &number);
	chime_cmsg_stamps(m, &stamps);
	struct chime_queued q = { .about = chime_addr_none() };
	if (chime_cmsg_queued(m, &q))
		MUST(q.kind <= CHIME_QUEUED_ERROR && q.error <= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static char room[2 * EDGE_ROOM];
	struct chime_control c, built;
	struct chime_cmsg m = { 0 }, again = { 0 };
	if (len >= EDGE_ROOM)
		return 0;
	c = (struct chime_control){ edge_bytes(bytes, len), len, len };
	chime_control_init(&built, room, sizeof room);
	for (size_t at = 0; chime_control_next(&c, &m); at = m.next) {
		const char *data = m.data, *begin = c.buf;
		MUST(m.next > at && m.next <= len);
		MUST(data >= begin + at && m.len <= (size_t)(begin + len - data));
		MUST(!m.cut || m.next == len);
		ask_everything(&m);
		MUST(chime_control_add(&built, m.level, m.type, m.data, m.len) == 0);
	}
	m = (struct chime_cmsg){ 0 };
	while (chime_control_next(&c, &m)) {
		MUST(chime_control_next(&built, &again));
		MUST(again.level == m.level && again.type == m.type && again.len == m.len && !again.cut);
		MUST(!memcmp(again.data, m.data, m.len));
	}
	MUST(!chime_control_next(&built, &again));
	return 0;
}
