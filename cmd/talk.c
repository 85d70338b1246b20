/* chime talk: options, the connection, and the choice between terminal, pipe and raw. */
#include "talk.h"
#include "complain.h"
#include "option.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_ENDPOINT "tcp://127.0.0.1:9999"

static const struct talk_options talk_default = { .timeout_ns = 5 * CHIME_SEC };

static const struct verb_option talk_options[] = {
	OPT_TIME('t', "timeout", struct talk_options, timeout_ns, CHIME_MSEC, CHIME_FOREVER,
		 "how long to wait for a connection and for an answer to go on (default 5s)"),
	OPT_TEXT(
		'b', "bind", struct talk_options, bind, 107, "ADDR",
		"the local address: ADDR, ADDR:PORT, [ADDR]:PORT, a unix path or @NAME (default: the system's choice)"),
	OPT_FLAG(0, "rtt", struct talk_options, rtt,
		 "say how long each answer took and how far the server's clock is from ours"),
	OPT_FLAG('n', "newline", struct talk_options, newline, "send the newline of a line too (for frame=line)"),
	OPT_FLAG('r', "raw", struct talk_options, raw,
		 "streams: pass bytes on as they are, from standard input and to standard output"),
	OPT_END,
};

static int run_talk(const struct verb *verb, int argc, char **argv);

const struct verb verb_talk = {
	.name = "talk",
	.operands = "[ENDPOINT]",
	.operands_max = 1,
	.help = "send lines and show the answers",
	.about = "Sends each line to ENDPOINT and shows the answer. The default is " DEFAULT_ENDPOINT ". "
		 "On a terminal it prompts with '>>:'; an empty line or ctrl-D ends. In a pipe it "
		 "is lock-step: a line, its answer alone on standard output, the next line; an "
		 "empty line ends.",
	.options = talk_options,
	.examples = "  chime talk\n"
		    "  printf 'i\\n' | chime talk udp://127.0.0.1:9999\n"
		    "  chime talk --raw unix:/run/chime.sock <request >response\n",
	.run = run_talk,
};

/* The socket file of --bind, which goes when we do. */
static char bound_path[108];

static void remove_bound(int sig)
{
	unlink(bound_path);
	signal(sig, SIG_DFL);
	raise(sig);
}

/* The family that the endpoint pins, by its scheme or by a numeric host; AF_UNSPEC: a name's addresses will tell. */
static int family_of(const struct talk *t)
{
	chime_addr host;
	int family = t->to.family ? t->to.family : t->scheme->family;
	if (family == AF_UNSPEC && t->to.host[0] && chime_addr_ip(&host, AF_UNSPEC, t->to.host, 0) == 0)
		family = chime_addr_family(&host);
	return family;
}

/* Takes --bind ADDR apart. 0 or an exit code after telling. */
static int read_bind(const struct talk *t, chime_addr *out)
{
	int err = chime_addr_ip(out, AF_UNSPEC, t->opts.bind, 0);
	if (err == CHIME_ESYNTAX)
		err = chime_addr_parse(out, t->opts.bind);
	if (err < 0) {
		bool told = err == CHIME_ESYNTAX || err == -ERANGE;
		complain("talk", "--bind '%s': %s%sexpected ADDR, ADDR:PORT, [ADDR]:PORT, a unix path or @NAME",
			 t->opts.bind, told ? "" : chime_strerror(err), told ? "" : "; ");
		return complain_exit(err);
	}
	int family = chime_addr_family(out), wanted = family_of(t);
	bool ip = family == AF_INET || family == AF_INET6;
	if (t->scheme->ip && wanted == AF_UNSPEC ? !ip : family != wanted) {
		complain("talk", "--bind '%s': not an address that %s can be reached from", t->opts.bind, t->name);
		return EXIT_USAGE;
	}
	return EXIT_DONE;
}

static void watch_bound(const chime_addr *a)
{
	static const int ends[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE };
	const char *path = a->u.un.sun_path;
	if (chime_addr_family(a) != AF_UNIX || !path[0])
		return;
	snprintf(bound_path, sizeof bound_path, "%.*s", (int)sizeof a->u.un.sun_path, path);
	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
		signal(ends[i], remove_bound);
}

static int connect_to(struct talk *t)
{
	char why[1024] = "";
	chime_addr at = chime_addr_none();
	struct chime_connect_config config = CHIME_CONNECT_CONFIG_INIT;
	config.timeout_ns = t->opts.timeout_ns;
	config.why = why;
	config.why_size = sizeof why;
	if (t->opts.bind[0]) {
		int code = read_bind(t, &at);
		if (code != EXIT_DONE)
			return code;
		config.bind = &at;
	}
	int err = t->to.scheme == CHIME_RDM || t->to.scheme == CHIME_SCTP_SEQPACKET
			  ? talk_wire_connect(t, &config)
			  : chime_connect_endpoint(&t->sock, &t->to, &config);
	if (err < 0) {
		if (err == CHIME_ESCHEME && t->scheme->lacks)
			complain("talk", "%s: %s", t->name, t->scheme->lacks);
		else
			complain("talk", "%s", why[0] ? why : chime_strerror(err));
		return complain_exit(err) == EXIT_USAGE ? EXIT_SYSTEM : complain_exit(err);
	}
	if (config.bind)
		watch_bound(&at);
	if (t->rdm)
		return EXIT_DONE;
	t->fd = chime_fileno(t->sock);
	err = talk_wire_open(t);
	if (err < 0) {
		complain("talk", "%s: %s", t->name, chime_strerror(err));
		return complain_exit(err);
	}
	chime_set_timeout(t->sock, 0); /* every wait is a poll on more than the socket */
	return EXIT_DONE;
}

/* As if the signal had not been taken: what runs us sees how we ended. */
static void end_by(int sig)
{
	sigset_t set;
	fflush(stdout);
	signal(sig, SIG_DFL);
	raise(sig);
	sigemptyset(&set);
	sigaddset(&set, sig);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static int run_talk(const struct verb *verb, int argc, char **argv)
{
	struct talk t = { .opts = talk_default, .fd = -1, .signal_fd = -1 };
	struct chime_endpoint_error error;
	int n = option_read(verb, &t.opts, argc, argv);
	if (n < 0)
		return OPTION_EXIT(n);
	const char *text = n ? argv[0] : DEFAULT_ENDPOINT;
	if (chime_endpoint_parse(&t.to, text, NULL, NULL, &error) < 0) {
		complain_at(verb->name, text, &error);
		return EXIT_USAGE;
	}
	if (t.to.service[0]) {
		error.at = 0;
		snprintf(error.message, sizeof error.message,
			 "expected an endpoint alone: a service is what one serves");
		complain_at(verb->name, text, &error);
		return EXIT_USAGE;
	}
	t.scheme = chime_scheme_info(t.to.scheme);
	chime_endpoint_print(&t.to, t.name, sizeof t.name);
	if (t.opts.raw && (t.scheme->messages || t.opts.rtt || t.opts.newline)) {
		complain(verb->name,
			 t.scheme->messages
				 ? "--raw is for streams; %s keeps messages apart"
				 : "--raw passes bytes on as they are: it does not go with --rtt or --newline",
			 t.name);
		return EXIT_USAGE;
	}
	answer_init(&t.answer);
	int code = connect_to(&t);
	if (code == EXIT_DONE) {
		if (t.opts.raw)
			code = talk_raw(&t);
		else if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO))
			code = talk_terminal(&t);
		else
			code = talk_pipe(&t);
	}
	if (bound_path[0])
		unlink(bound_path);
	for (unsigned i = 0; i < t.late_count; i++)
		free(t.late[i].line);
	answer_free(&t.answer);
	talk_wire_close(&t);
	chime_free(&t.sock);
	if (t.ended_by)
		end_by(t.ended_by);
	return code;
}
