/* Endpoints as they are served: added, with the options of the engine and of the service, before anything is opened. */
#include "server/server.h"

#include <errno.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RATE_MANY 100  /* answers a second to one source of what it sent to a group or to broadcast */
#define NOT_GIVEN (-2) /* no value that a row lets through */
#define WORDS_GUARDED "udp, udplite, icmp and ip"
#define WORDS_CONNECTED "schemes with connections, rdm and sctp+seqpacket"

static const struct chime_option engine_options[] = {
	{ .name = "rate",
	  .type = CHIME_OPTION_INT,
	  .offset = offsetof(struct served_options, rate),
	  .min = 0,
	  .max = 1000000000,
	  .metavar = "N",
	  .help = "answers a second to one source, 0 for no limit, for " WORDS_GUARDED
		  " (default 10000; 100 to groups and broadcast)" },
	{ .name = "idle-timeout",
	  .type = CHIME_OPTION_DURATION,
	  .offset = offsetof(struct served_options, idle_timeout_ns),
	  .min = CHIME_MSEC,
	  .max = CHIME_FOREVER,
	  .metavar = "DURATION",
	  .help = "a connection is closed when nothing came or went so long, for " WORDS_CONNECTED
		  " (default: the command's)" },
	{ .name = NULL },
};

const struct chime_option *chime_server_options(void)
{
	return engine_options;
}

static unsigned rows(const struct chime_option *table)
{
	unsigned n = 0;
	while (table && table[n].name)
		n++;
	return n;
}

/* Where the service's configuration begins behind the engine's options in one piece of memory. */
static size_t config_offset(void)
{
	size_t a = alignof(max_align_t);
	return (sizeof(struct served_options) + a - 1) / a * a;
}

/* Both tables as one, the service's rows moved behind the engine's values. NULL: no memory. */
static struct chime_option *join_options(const chime_service *service)
{
	unsigned n = rows(engine_options), m = rows(service->options);
	struct chime_option *all = calloc(n + m + 1, sizeof *all);
	if (!all)
		return NULL;
	memcpy(all, engine_options, n * sizeof *all);
	for (unsigned i = 0; i < m; i++) {
		all[n + i] = service->options[i];
		all[n + i].offset += config_offset();
	}
	return all;
}

__attribute__((format(printf, 3, 4))) static int bad(struct chime_endpoint_error *error, int code, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	if (error) {
		error->at = 0;
		vsnprintf(error->message, sizeof error->message, fmt, ap);
	}
	va_end(ap);
	return code;
}

/* Which service the text asks for. */
static int choose_service(const char *text, const chime_service **service, struct chime_endpoint_error *error)
{
	char name[32];
	size_t len = chime_endpoint_service(text, name, sizeof name);
	if (*service) {
		if (len && strcmp(name, (*service)->name))
			return bad(error, -EINVAL,
				   "this endpoint names the service \"%s\", it is to be served by \"%s\"", name,
				   (*service)->name);
	} else {
		*service = chime_service_find(len ? name : "stamp");
		if (!*service) {
			char known[128] = "";
			for (unsigned i = 0; chime_service_at(i); i++)
				snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "",
					 chime_service_at(i)->name);
			return bad(error, -ENOENT, "no service \"%s\": expected one of %s", name, known);
		}
	}
	if ((*service)->size != sizeof **service || !(*service)->received || !(*service)->name)
		return bad(error, -EINVAL, "the service's table is not of this version, or lacks .received or .name");
	return 0;
}

void chime__served_free(struct served *v)
{
	if (!v)
		return;
	chime__listen_close(&v->set);
	chime_rdm_free(&v->rdm);
	free(v->config);
	free(v);
}

/* What is sent to many is answered by many: each of them answers less. */
static int64_t default_rate(const chime_server *s, const chime_endpoint *e)
{
	int64_t rate = s->config.datagram_rate;
	chime_addr at;
	bool many = e->set.broadcast || (chime_addr_ip(&at, AF_UNSPEC, e->host, 0) == 0 &&
					 (chime_addr_is_multicast(&at) || chime_addr_is_broadcast(&at)));
	return many && (rate == 0 || rate > RATE_MANY) ? RATE_MANY : rate;
}

/* What raw sockets would answer beside the kernel: other people's connections, and what keeps the network together. */
static bool kernels_own(int protocol)
{
	static const uint8_t own[] = { IPPROTO_ICMP, IPPROTO_IGMP,   IPPROTO_TCP,  IPPROTO_UDP,
				       IPPROTO_IPV6, IPPROTO_ICMPV6, IPPROTO_SCTP, IPPROTO_UDPLITE };
	return memchr(own, protocol, sizeof own) != NULL;
}

/* An option that was given and does nothing on such an endpoint is refused, its place marked, as the sockets' own are. */
static int refuse_useless(const struct served_options *own, const char *text, enum chime_scheme scheme,
			  struct chime_endpoint_error *error)
{
	bool guarded = scheme == CHIME_UDP || scheme == CHIME_UDPLITE || scheme == CHIME_ICMP || scheme == CHIME_IP;
	bool ends = chime_scheme_info(scheme)->connected || scheme == CHIME_RDM || scheme == CHIME_SCTP_SEQPACKET;
	const char *name = own->rate != NOT_GIVEN && !guarded           ? "rate"
			   : own->idle_timeout_ns != NOT_GIVEN && !ends ? "idle-timeout"
									: NULL;
	if (!name)
		return 0;
	const char *at = strchr(text, '?');
	for (size_t len = strlen(name); at && (strncmp(at + 1, name, len) != 0 || at[1 + len] != '=');)
		at = strchr(at + 1, '&');
	int err = bad(error, CHIME_ESYNTAX, "expected no %s: it is for %s", name,
		      *name == 'r' ? WORDS_GUARDED : WORDS_CONNECTED);
	if (error && at)
		error->at = (size_t)(at + 1 - text);
	return err;
}

static int parse_served(struct served *v, chime_server *s, const char *text, const void *config,
			struct chime_endpoint_error *error)
{
	const chime_service *service = v->service;
	struct chime_option *options = join_options(service);
	unsigned char *base = calloc(1, config_offset() + service->config_size + 1);
	int err = options && base ? 0 : -ENOMEM;
	if (err < 0) {
		bad(error, err, "no memory");
	} else {
		struct served_options *own = (struct served_options *)base;
		own->rate = own->idle_timeout_ns = NOT_GIVEN;
		if (!config)
			config = service->config_default;
		if (config)
			memcpy(base + config_offset(), config, service->config_size);
		err = chime_endpoint_parse(&v->endpoint, text, options, base, error);
	}
	if (err == 0 && !chime_scheme_info(v->endpoint.scheme)->opens)
		err = bad(error, CHIME_ESCHEME, "%s:// cannot be served: %s",
			  chime_scheme_info(v->endpoint.scheme)->name, chime_scheme_info(v->endpoint.scheme)->lacks);
	if (err == 0)
		err = refuse_useless((struct served_options *)base, text, v->endpoint.scheme, error);
	if (err == 0) {
		struct served_options *own = (struct served_options *)base;
		v->rate = own->rate != NOT_GIVEN ? own->rate : default_rate(s, &v->endpoint);
		v->idle_timeout_ns =
			own->idle_timeout_ns != NOT_GIVEN ? own->idle_timeout_ns : s->config.idle_timeout_ns;
		if (v->endpoint.set.backlog < 0 && s->config.backlog > 0)
			v->endpoint.set.backlog = s->config.backlog;
		v->config = malloc(service->config_size + 1);
		if (v->config)
			memcpy(v->config, base + config_offset(), service->config_size);
		else
			err = bad(error, -ENOMEM, "no memory");
	}
	if (err == 0 && v->endpoint.scheme == CHIME_IP && kernels_own(v->endpoint.port))
		err = bad(error, -EINVAL,
			  "protocol %d is the kernel's own: its packets are no messages. 253 and 254 are kept for "
			  "experiments",
			  v->endpoint.port);
	if (err == 0 && v->endpoint.scheme == CHIME_IP && !service->marks)
		err = bad(error, -EINVAL,
			  "%s cannot be served on ip://: without ports its answers would be taken for requests",
			  service->name);
	v->asked_port = v->endpoint.port;
	v->asked_number = v->endpoint.number[1];
	v->endpoint.service[0] = 0; /* known by now; it would only be printed twice */
	free(options);
	free(base);
	return err;
}

int chime_server_add(chime_server *s, const char *endpoint, const chime_service *service, const void *config,
		     struct chime_endpoint_error *error)
{
	if (s->opened)
		return bad(error, -EALREADY, "the server is open already");
	int err = choose_service(endpoint, &service, error);
	if (err < 0)
		return err;
	struct served **more = realloc(s->served, (s->served_count + 1) * sizeof(struct served *));
	if (more)
		s->served = more;
	struct served *v = more ? calloc(1, sizeof *v) : NULL;
	if (!v)
		return bad(error, -ENOMEM, "no memory");
	v->service = service;
	err = parse_served(v, s, endpoint, config, error);
	if (err < 0) {
		chime__served_free(v);
		return err;
	}
	s->served[s->served_count++] = v;
	return 0;
}

const chime_endpoint *chime_server_endpoint(const chime_server *s, unsigned n)
{
	return n < s->served_count ? &s->served[n]->endpoint : NULL;
}

const char *chime_server_service(const chime_server *s, unsigned n)
{
	return n < s->served_count ? s->served[n]->service->name : NULL;
}
