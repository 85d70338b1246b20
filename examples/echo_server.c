/* An echo server on libchime's engine, every core at work. usage: echo_server [ENDPOINT...]   (default tcp://:7777) */
#include <chime/server.h>

#include <signal.h>
#include <stdio.h>

static ssize_t echo(const struct chime_input *in, chime_reply *out)
{
	int err = chime_reply_add(out, in->data, in->len);
	return err < 0 ? err : (ssize_t)in->len;
}

static const chime_service service = {
	.size = sizeof service, .name = "myecho", .help = "says it again", .received = echo
};
static chime_server *server;

static void stop(int sig)
{
	(void)sig;
	chime_server_stop(server); /* answers what has come, then ends */
}

int main(int argc, char **argv)
{
	struct chime_server_config config = CHIME_SERVER_CONFIG_INIT;
	struct chime_endpoint_error wrong;
	int err = chime_server_new(&server, &config);
	for (int i = 1; err == 0 && (i < argc || i == 1); i++) {
		const char *endpoint = i < argc ? argv[i] : "tcp://:7777";
		err = chime_server_add(server, endpoint, &service, NULL, &wrong);
		if (err < 0)
			fprintf(stderr, "%s: %s\n", endpoint, wrong.message);
	}
	signal(SIGTERM, stop);
	signal(SIGINT, stop);
	if (err == 0 && (err = chime_server_start(server)) < 0)
		fprintf(stderr, "%s\n", chime_server_why(server));
	for (unsigned n = 0; err == 0 && chime_server_endpoint(server, n); n++) {
		char text[CHIME_ENDPOINT_TEXT];
		chime_endpoint_print(chime_server_endpoint(server, n), text, sizeof text);
		printf("listening %s\n", text); /* port 0 is a real one by now */
	}
	fflush(stdout);
	if (err == 0)
		err = chime_server_wait(server, CHIME_FOREVER);
	chime_server_free(&server);
	return err < 0;
}
