/* A stranger's program: every public header, a word through a socket pair, an engine that is made and freed. */
#include <chime/addr.h>
#include <chime/base.h>
#include <chime/clock.h>
#include <chime/connect.h>
#include <chime/endpoint.h>
#include <chime/error.h>
#include <chime/errqueue.h>
#include <chime/kind.h>
#include <chime/msg.h>
#include <chime/multicast.h>
#include <chime/names.h>
#include <chime/opt.h>
#include <chime/option.h>
#include <chime/raw.h>
#include <chime/server.h>
#include <chime/service.h>
#include <chime/sock.h>
#include <chime/stamp.h>
#include <chime/stream.h>
#include <chime/timer.h>
#include <chime/tipc.h>

#include <stdio.h>

int main(void)
{
	char answer[6] = "";
	chime_server *server = NULL;
	struct chime_server_config config = CHIME_SERVER_CONFIG_INIT;
	struct chime_connect_config connecting = CHIME_CONNECT_CONFIG_INIT;
	chime_sock *pair[2];
	int err = chime_socketpair(pair, AF_UNIX, SOCK_STREAM, 0);
	if (err == 0)
		err = chime_sendall(pair[0], "hello", 5, 0, NULL);
	if (err == 0)
		err = chime_recv_exact(pair[1], answer, 5, 0, NULL);
	if (err == 0)
		err = chime_server_new(&server, &config);
	chime_server_free(&server);
	if (err < 0 || connecting.size != sizeof connecting) {
		fprintf(stderr, "%s\n", chime_strerror(err));
		return 1;
	}
	chime_free(&pair[0]);
	chime_free(&pair[1]);
	printf("chime %s says %s\n", chime_version(), answer);
	return 0;
}
