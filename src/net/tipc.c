/* TIPC's messages that come back. */
#include "net/tipc.h"

#include <chime/msg.h>
#include <chime/tipc.h>

#include <errno.h>
#include <linux/tipc.h>
#include <string.h>

int chime__tipc_error(const void *data)
{
	uint32_t err;
	memcpy(&err, data, sizeof err);
	switch (err) {
	case TIPC_ERR_OVERLOAD:
		return -EAGAIN;
	case TIPC_ERR_NO_PORT:
	case TIPC_CONN_SHUTDOWN:
		return -ECONNREFUSED;
	default: /* no such name, no such node */
		return -EHOSTUNREACH;
	}
}

ssize_t chime_tipc_recv(chime_sock *s, void *buf, size_t len, chime_addr *from, int *returned)
{
	unsigned char room[2048];
	struct chime_msg m = { .control = { .buf = room, .size = sizeof room } };
	struct chime_cmsg c = { 0 };
	ssize_t n = chime_recvmsg(s, buf, len, 0, &m);
	*returned = 0;
	if (from)
		*from = m.addr;
	while (n >= 0 && chime_control_next(&m.control, &c)) {
		if (c.level != SOL_TIPC)
			continue;
		if (c.type == TIPC_ERRINFO && c.len >= 4) {
			*returned = chime__tipc_error(c.data);
		} else if (c.type == TIPC_RETDATA) {
			n = (ssize_t)(c.len < len ? c.len : len);
			memcpy(buf, c.data, (size_t)n);
		}
	}
	return n;
}
