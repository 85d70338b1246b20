/* Descriptors that travel with data. */
#include "net/sock.h"

#include <chime/msg.h>

#include <errno.h>
#include <linux/limits.h>
#include <string.h>
#include <unistd.h>

#define FDS_BYTES (CHIME_FDS_MAX * sizeof(int))

ssize_t chime_send_fds(chime_sock *s, const void *buf, size_t len, const int *fds, size_t n, int flags,
		       const chime_addr *to)
{
	char room[CMSG_SPACE(FDS_BYTES)];
	struct chime_msg m = { .addr = to ? *to : chime_addr_none() };
	struct iovec iov = { (void *)(uintptr_t)buf, len };
	chime_control_init(&m.control, room, sizeof room);
	int err = n > CHIME_FDS_MAX ? -EINVAL : n > 0 ? chime_control_add_fds(&m.control, fds, n) : 0;
	if (err < 0)
		return chime__sock_failed(s, ACT_SEND_FDS, err, to);
	ssize_t sent = chime_sendmsg(s, &iov, 1, flags, &m);
	return sent < 0 ? chime__sock_failed(s, ACT_SEND_FDS, (int)sent, to) : sent;
}

/* Takes the descriptors out of one control message: what has no room is closed. Whether all had. */
static bool take(const struct chime_cmsg *m, int *fds, size_t room, size_t *n)
{
	bool all = true;
	for (size_t i = 0; i + sizeof(int) <= m->len; i += sizeof(int)) {
		int fd;
		memcpy(&fd, (const char *)m->data + i, sizeof fd);
		if (*n < room) {
			fds[(*n)++] = fd;
		} else {
			close(fd);
			all = false;
		}
	}
	return all;
}

ssize_t chime_recv_fds(chime_sock *s, void *buf, size_t len, int *fds, size_t *n, int flags, int *msg_flags,
		       chime_addr *from)
{
	/* Room for as many as can come and for what options may put in front: credentials, a security label, a pidfd. */
	char room[CMSG_SPACE(FDS_BYTES) + CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(NAME_MAX) +
		  CMSG_SPACE(sizeof(int))];
	struct chime_msg m = { .control = { room, sizeof room, 0 } };
	struct chime_control others = { room, 0, 0 };
	struct chime_cmsg c = { 0 };
	size_t max = *n;
	*n = 0;
	if (msg_flags)
		*msg_flags = 0;
	if (from)
		*from = chime_addr_none();
	ssize_t got = chime_recvmsg(s, buf, len, flags, &m);
	if (got < 0)
		return chime__sock_failed(s, ACT_RECV_FDS, (int)got, NULL);
	for (size_t at = 0; chime_control_next(&m.control, &c); at = c.next) {
		if (c.level == SOL_SOCKET && c.type == SCM_RIGHTS) {
			if (!take(&c, fds, max, n))
				m.flags |= MSG_CTRUNC;
			continue;
		}
		others = (struct chime_control){ room + at, c.next - at, c.next - at };
		chime_control_close_fds(&others);
	}
	if (msg_flags)
		*msg_flags = m.flags;
	if (from)
		*from = m.addr;
	return got;
}
