/* Options of a socket, and whether programs started by exec get its descriptor. */
#include "net/sock.h"

#include <errno.h>
#include <fcntl.h>

int chime_getsockopt(chime_sock *s, int level, int name, void *value, socklen_t *len)
{
	int fd = chime__sock_enter(s);
	if (fd < 0)
		return chime__sock_failed(s, ACT_GETSOCKOPT, fd, NULL);
	int err = getsockopt(fd, level, name, value, len) < 0 ? -errno : 0;
	chime__sock_leave(s);
	return err < 0 ? chime__sock_failed(s, ACT_GETSOCKOPT, err, NULL) : 0;
}

int chime_setsockopt(chime_sock *s, int level, int name, const void *value, socklen_t len)
{
	int fd = chime__sock_enter(s);
	if (fd < 0)
		return chime__sock_failed(s, ACT_SETSOCKOPT, fd, NULL);
	int err = setsockopt(fd, level, name, value, len) < 0 ? -errno : 0;
	chime__sock_leave(s);
	return err < 0 ? chime__sock_failed(s, ACT_SETSOCKOPT, err, NULL) : 0;
}

int chime_getsockopt_int(chime_sock *s, int level, int name, int *value)
{
	socklen_t len = sizeof(*value);
	*value = 0; /* some options are shorter than an int */
	return chime_getsockopt(s, level, name, value, &len);
}

int chime_setsockopt_int(chime_sock *s, int level, int name, int value)
{
	return chime_setsockopt(s, level, name, &value, sizeof(value));
}

int chime_set_inheritable(chime_sock *s, bool inheritable)
{
	int fd = chime__sock_enter(s);
	if (fd < 0)
		return chime__sock_failed(s, ACT_SET_INHERITABLE, fd, NULL);
	int flags = fcntl(fd, F_GETFD), err = 0;
	if (flags < 0 || fcntl(fd, F_SETFD, inheritable ? flags & ~FD_CLOEXEC : flags | FD_CLOEXEC) < 0)
		err = -errno;
	chime__sock_leave(s);
	return err < 0 ? chime__sock_failed(s, ACT_SET_INHERITABLE, err, NULL) : 0;
}

int chime_inheritable(chime_sock *s)
{
	int fd = chime__sock_enter(s);
	if (fd < 0)
		return chime__sock_failed(s, ACT_INHERITABLE, fd, NULL);
	int flags = fcntl(fd, F_GETFD), err = flags < 0 ? -errno : 0;
	chime__sock_leave(s);
	return err < 0 ? chime__sock_failed(s, ACT_INHERITABLE, err, NULL) : !(flags & FD_CLOEXEC);
}
