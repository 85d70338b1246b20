/* chime serve: endpoints from the command line, a server on them, and signals until it ends. */
#include "complain.h"
#include "log.h"
#include "option.h"
#include "verb.h"

#include <chime/server.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* Settings of services may be given as flags too: unset until then, so that a service's own default stands. */
struct serve {
	int64_t chunk;
	int format, frame;
	bool utc;
	int64_t workers, max_conns, backlog;
	int backend, log_level, log_format;
	int64_t idle_timeout_ns, grace_ns, spin_ns;
	bool quiet, pin;
};

static const struct serve serve_default = {
	.chunk = -1,
	.format = -1,
	.frame = -1,
	.log_level = -1,
	.idle_timeout_ns = CHIME_FOREVER,
	.grace_ns = 5 * CHIME_SEC,
};

static const char *const formats[] = { "ctime", "rfc3339", "rfc3339ns", "unix", "unixns", NULL };
static const char *const frames[] = { "chunk", "line", NULL };
static const char *const backends[] = { "auto", "epoll", "uring", NULL };
static const char *const log_levels[] = { "error", "warn", "info", "debug", NULL };
static const char *const log_formats[] = { "text", "json", NULL };

#define DEFAULT_ENDPOINT "tcp://:9999"

static const struct verb_option serve_options[] = {
	OPT_SIZE('c', "chunk", struct serve, chunk, 1, 65536,
		 "stamp: a stream is answered in pieces of so many bytes (default 1024)"),
	OPT_CHOICE('f', "format", struct serve, format, formats, "stamp: how the time is written (default ctime)"),
	OPT_FLAG('u', "utc", struct serve, utc, "stamp: universal time instead of local time"),
	OPT_CHOICE(0, "frame", struct serve, frame, frames, "stamp: answer what comes, or each line (default chunk)"),
	OPT_INT('w', "workers", struct serve, workers, 1, 256, "N",
		"threads (default: one for each core it may run on)"),
	OPT_FLAG(0, "pin", struct serve, pin,
		 "a core of its own for each worker, and the connections that come in on it"),
	OPT_CHOICE(0, "backend", struct serve, backend, backends, "how the kernel is asked (default auto)"),
	OPT_INT(0, "max-conns", struct serve, max_conns, 1, 100000000, "N",
		"connections at once (default: as many as there may be descriptors)"),
	OPT_TIME(0, "idle-timeout", struct serve, idle_timeout_ns, CHIME_MSEC, CHIME_FOREVER,
		 "close a connection on which nothing came or went so long (default forever)"),
	OPT_TIME(0, "grace", struct serve, grace_ns, 0, 24 * CHIME_HOUR,
		 "how long ending may take, answers to what came included (default 5s)"),
	OPT_TIME(0, "spin", struct serve, spin_ns, 0, 10 * CHIME_MSEC,
		 "look for work so long before sleeping: quicker answers, more CPU (default 0, off)"),
	OPT_INT(0, "backlog", struct serve, backlog, 1, 1000000, "N",
		"connections that may wait to be accepted (default: the system's most)"),
	OPT_CHOICE(0, "log-level", struct serve, log_level, log_levels, "the least that is logged (default info)"),
	OPT_CHOICE(0, "log-format", struct serve, log_format, log_formats, "key=value or JSON lines (default text)"),
	OPT_FLAG('q', "quiet", struct serve, quiet, "only ready lines, warnings and errors"),
	OPT_END,
};

static int run_serve(const struct verb *verb, int argc, char **argv);

const struct verb verb_serve = {
	.name = "serve",
	.operands = "[[SERVICE=]ENDPOINT...]",
	.operands_max = 1000,
	.help = "answer what comes, with the time in front",
	.about = "Answers what comes on each ENDPOINT, by default with the time in front of what was sent. "
		 "The default is " DEFAULT_ENDPOINT ". All endpoints come up, or none. Options are defaults; what an "
		 "endpoint's own query says counts more.",
	.options = serve_options,
	.examples = "  chime serve\n"
		    "  chime serve 'tcp://*:9999' 'udp://*:9999' unix:/tmp/chime.sock\n"
		    "  chime serve --format rfc3339 echo=tcp://127.0.0.1:7 'tcp://:9999?frame=line'\n",
	.run = run_serve,
};

/* ---- settings of services ---- */

static const char *const service_flags[] = { "chunk", "format", "utc", "frame", NULL };

/* The value given for one of them, as text. false: it was not given. */
static bool flag_text(const struct serve *opts, const char *name, char *out, size_t size)
{
	for (const struct verb_option *o = serve_options; o->value.name; o++) {
		const char *at = (const char *)opts + o->value.offset;
		if (strcmp(o->value.name, name) != 0)
			continue;
		if (o->value.type == CHIME_OPTION_BOOL     ? !*(const bool *)(const void *)at
		    : o->value.type == CHIME_OPTION_CHOICE ? *(const int *)(const void *)at < 0
							   : *(const int64_t *)(const void *)at < 0)
			return false;
		chime_option_print(&o->value, opts, out, size);
		return true;
	}
	return false;
}

/* Puts the flags that the service knows over its defaults; taken notes which. 0, or an exit code after telling. */
static int apply_flags(const struct serve *opts, const chime_service *service, void *config, unsigned *taken)
{
	for (unsigned i = 0; service_flags[i]; i++) {
		char text[64], why[192];
		const struct chime_option *o =
			chime_option_find(service->options, service_flags[i], strlen(service_flags[i]));
		if (!o || !flag_text(opts, service_flags[i], text, sizeof text))
			continue;
		*taken |= 1u << i;
		if (chime_option_set(o, config, text, why, sizeof why) < 0) {
			complain("serve", "--%s '%s' for the service %s: %s", o->name, text, service->name, why);
			return EXIT_USAGE;
		}
	}
	return EXIT_DONE;
}

/* 0, or an exit code after telling what is wrong. */
static int add_endpoint(chime_server *server, const char *text, const struct serve *opts, unsigned *taken)
{
	struct chime_endpoint_error error = { 0 };
	const chime_service *service = NULL;
	void *config = NULL;
	char name[32];
	int code = EXIT_DONE, err;

	size_t len = chime_endpoint_service(text, name, sizeof name);
	if (len < sizeof name) /* a longer name is nobody's: let chime_server_add() say so, and where */
		service = chime_service_find(len ? name : !strncmp(text, "stamp:", 6) ? "reflector" : "stamp");
	if (service && service->config_size) {
		config = calloc(1, service->config_size);
		if (!config) {
			complain("serve", "%s", chime_strerror(-ENOMEM));
			return EXIT_SYSTEM;
		}
		if (service->config_default)
			memcpy(config, service->config_default, service->config_size);
		code = apply_flags(opts, service, config, taken);
	}
	if (code == EXIT_DONE) {
		err = chime_server_add(server, text, service, config, &error);
		if (err < 0) {
			complain_at("serve", text, &error);
			code = err == CHIME_ESCHEME || err == -ENOMEM ? EXIT_SYSTEM : EXIT_USAGE;
		}
	}
	free(config);
	return code;
}

static int add_endpoints(chime_server *server, int n, char **texts, const struct serve *opts)
{
	unsigned taken = 0;
	int code = n ? EXIT_DONE : add_endpoint(server, DEFAULT_ENDPOINT, opts, &taken);
	for (int i = 0; code == EXIT_DONE && i < n; i++)
		code = add_endpoint(server, texts[i], opts, &taken);
	for (unsigned i = 0; code == EXIT_DONE && service_flags[i]; i++) {
		char text[64];
		if (!(taken & 1u << i) && flag_text(opts, service_flags[i], text, sizeof text)) {
			complain("serve", "--%s: no service here has such a setting", service_flags[i]);
			code = EXIT_USAGE;
		}
	}
	return code;
}

/* ---- running ---- */

struct waiter {
	chime_server *server;
	pthread_t main;
	int result;
	bool over; /* atomic: the server has ended, and SIGUSR2 is from here, not from somebody's kill(1) */
};

/* Tells the main thread, which waits for signals, that the server has ended. */
static void *wait_for_end(void *arg)
{
	struct waiter *w = arg;
	w->result = chime_server_wait(w->server, CHIME_FOREVER);
	__atomic_store_n(&w->over, true, __ATOMIC_RELEASE);
	pthread_kill(w->main, SIGUSR2);
	return NULL;
}

static void totals(struct log *log, chime_server *server, bool asked)
{
	struct chime_server_stats stats;
	chime_server_stats(server, &stats);
	log_totals(log, &stats, asked);
}

/* Sleeps in sigwait and acts on signals, until the server has ended. */
static void mind_signals(const sigset_t *signals, struct log *log, const struct waiter *waiter)
{
	chime_server *server = waiter->server;
	bool terminal = isatty(STDIN_FILENO), ending = false;
	for (;;) {
		int sig;
		if (sigwait(signals, &sig) != 0)
			continue;
		if (sig == SIGUSR2) {
			if (__atomic_load_n(&waiter->over, __ATOMIC_ACQUIRE))
				return;
			continue;
		}
		if (sig == SIGUSR1) {
			totals(log, server, true);
			continue;
		}
		if (sig == SIGHUP && !terminal) {
			log_note(log, CHIME_LOG_INFO, "hangup", "nothing that could be read again is in use");
			continue;
		}
		log_note(log, CHIME_LOG_INFO, "drain", "%s: %s",
			 sig == SIGINT    ? "interrupted"
			 : sig == SIGTERM ? "asked to end"
					  : "the terminal is gone",
			 ending ? "ending at once" : "answering what came, then ending; once more ends at once");
		chime_server_stop(server);
		ending = true;
	}
}

static int serve_until_signal(const sigset_t *signals, struct log *log, chime_server *server)
{
	struct waiter waiter = { .server = server, .main = pthread_self() };
	struct chime_server_stats stats;
	pthread_t thread;
	int err = pthread_create(&thread, NULL, wait_for_end, &waiter);
	if (err) {
		log_note(log, CHIME_LOG_ERROR, "error", "starting a thread: %s", chime_strerror(-err));
		return EXIT_SYSTEM;
	}
	mind_signals(signals, log, &waiter);
	pthread_join(thread, NULL);
	chime_server_stats(server, &stats);
	if (stats.cut)
		log_note(log, CHIME_LOG_WARN, "cut", "%llu connections were ended before they were done",
			 (unsigned long long)stats.cut);
	log_totals(log, &stats, false);
	if (waiter.result < 0) {
		log_note(log, CHIME_LOG_ERROR, "error", "a worker ended: %s", chime_strerror(waiter.result));
		return complain_exit(waiter.result) == EXIT_DONE ? EXIT_DONE : EXIT_SYSTEM;
	}
	return EXIT_DONE;
}

/* Raises the soft limit of descriptors to the hard one. */
static void raise_descriptors(struct rlimit *before, struct rlimit *now)
{
	getrlimit(RLIMIT_NOFILE, before);
	*now = *before;
	now->rlim_cur = now->rlim_max;
	if (setrlimit(RLIMIT_NOFILE, now) < 0)
		*now = *before;
}

static int up_and_serve(const sigset_t *signals, struct log *log, chime_server *server, const struct rlimit *before,
			const struct rlimit *now)
{
	const char *why = NULL;
	int err = chime_server_open(server);
	if (err == 0) {
		for (unsigned n = 0; chime_server_endpoint(server, n); n++)
			log_ready(log, chime_server_service(server, n), chime_server_endpoint(server, n),
				  chime_server_carrier(server, n));
		log_words(log, "waiting for connection...");
		err = chime_server_start(server);
	}
	if (err < 0) {
		complain("serve", "%s", chime_server_why(server)[0] ? chime_server_why(server) : chime_strerror(err));
		return CHIME_IS_EAI(err) ? EXIT_PEER : EXIT_SYSTEM;
	}
	const char *backend = chime_server_backend(server, &why);
	log_note(log, CHIME_LOG_INFO, "start", "chime %s, pid %d, %u worker%s, backend %s%s%s", chime_version(),
		 (int)getpid(), chime_server_workers(server), chime_server_workers(server) == 1 ? "" : "s", backend,
		 why ? ": " : "", why ? why : "");
	log_note(log, CHIME_LOG_INFO, "limits", "%llu descriptors (the soft limit was %llu), at most %llu connections",
		 (unsigned long long)now->rlim_cur, (unsigned long long)before->rlim_cur,
		 (unsigned long long)chime_server_max_conns(server));
	return serve_until_signal(signals, log, server);
}

static int run_serve(const struct verb *verb, int argc, char **argv)
{
	struct serve opts = serve_default;
	struct chime_server_config config = CHIME_SERVER_CONFIG_INIT;
	struct rlimit before, now;
	chime_server *server = NULL;
	struct log *log = NULL;
	sigset_t signals;

	int n = option_read(verb, &opts, argc, argv);
	if (n < 0)
		return OPTION_EXIT(n);
	if (opts.quiet && opts.log_level > CHIME_LOG_WARN) {
		complain(verb->name, "--quiet leaves warnings and errors: it does not go with --log-level %s",
			 log_levels[opts.log_level]);
		return EXIT_USAGE;
	}
	if (opts.log_level < 0)
		opts.log_level = opts.quiet ? CHIME_LOG_WARN : CHIME_LOG_INFO;

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	sigaddset(&signals, SIGUSR1);
	sigaddset(&signals, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a log file that may not grow is no reason to end */
	raise_descriptors(&before, &now);

	const struct log_config log_config = { (enum chime_log_level)opts.log_level, opts.log_format == 1, opts.quiet };
	int err = log_new(&log, &log_config);
	if (err < 0) {
		complain(verb->name, "starting the log: %s", chime_strerror(err));
		return EXIT_SYSTEM;
	}
	config.workers = (unsigned)opts.workers;
	config.backend = backends[opts.backend];
	config.max_conns = (uint64_t)opts.max_conns;
	config.idle_timeout_ns = opts.idle_timeout_ns;
	config.grace_ns = opts.grace_ns;
	config.spin_ns = opts.spin_ns;
	config.backlog = opts.backlog;
	config.pin = opts.pin;
	config.log = log_event;
	config.log_arg = log;
	config.log_level = opts.quiet ? CHIME_LOG_WARN : CHIME_LOG_INFO;
	if (opts.log_level == CHIME_LOG_DEBUG)
		config.log_level = CHIME_LOG_DEBUG;

	int code;
	err = chime_server_new(&server, &config);
	if (err == -EPROTONOSUPPORT) {
		complain(verb->name, "--backend %s is not in this build", backends[opts.backend]);
		code = EXIT_SYSTEM;
	} else if (err < 0) {
		complain(verb->name, "%s", chime_strerror(err));
		code = EXIT_SYSTEM;
	} else {
		code = add_endpoints(server, n, argv, &opts);
		if (code == EXIT_DONE)
			code = up_and_serve(&signals, log, server, &before, &now);
	}
	chime_server_free(&server);
	log_free(&log, CHIME_SEC / 2);
	return code;
}
