/* Python's create_server: a listening TCP socket in one call. */
#include "net/sock.h"

#include <chime/connect.h>

#include <errno.h>
#include <netinet/tcp.h>
#include <unistd.h>

static int server_set(chime_sock *s, bool reuse_port, bool dualstack)
{
	int err = chime_setsockopt_int(s, SOL_SOCKET, SO_REUSEADDR, 1);
	if (err == 0 && reuse_port)
		err = chime_setsockopt_int(s, SOL_SOCKET, SO_REUSEPORT, 1);
	if (err == 0 && chime_family(s) == AF_INET6)
		err = chime_setsockopt_int(s, IPPROTO_IPV6, IPV6_V6ONLY, !dualstack);
	return err;
}

int chime_create_server(chime_sock **out, int family, const char *host, int port, int backlog, bool reuse_port,
			bool dualstack)
{
	struct chime_target at;
	chime_sock *s = NULL;
	*out = NULL;
	if (family != AF_INET && family != AF_INET6)
		return -EAFNOSUPPORT;
	if (dualstack && family != AF_INET6)
		return -EINVAL;
	int err = chime_resolve(host, port, family, SOCK_STREAM, IPPROTO_TCP, true, CHIME_FOREVER, &at, 1);
	if (err > 0)
		err = chime_open(&s, family, SOCK_STREAM, IPPROTO_TCP);
	if (err == 0)
		err = server_set(s, reuse_port, dualstack);
	if (err == 0)
		err = chime_bind(s, &at.addr);
	if (err == 0)
		err = chime_listen(s, backlog < 0 ? CHIME_BACKLOG : backlog);
	if (err < 0)
		chime_free(&s);
	*out = s;
	return err;
}

bool chime_has_dualstack_ipv6(void)
{
	int off = 0, fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	bool has = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) == 0;
	close(fd);
	return has;
}
