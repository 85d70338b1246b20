/* Prints an endpoint in the normal form, which chime_endpoint_parse() reads back to the same. */
#include <chime/endpoint.h>

#include "net/text.h"

#include <string.h>

static void print_vsock(struct text *t, uint32_t n)
{
	if (n == UINT32_MAX)
		chime__text_str(t, "*");
	else
		chime__text_number(t, n);
}

static void print_ip(struct text *t, const chime_endpoint *e)
{
	bool brackets = strchr(e->host, ':');
	chime__text_str(t, brackets ? "[" : "");
	chime__text_str(t, e->host);
	chime__text_str(t, brackets ? "]" : "");
	if (e->scheme == CHIME_ICMP)
		return;
	chime__text_str(t, e->scheme == CHIME_IP ? "/" : ":");
	chime__text_number(t, (uint64_t)e->port);
}

static void print_path(struct text *t, const chime_endpoint *e)
{
	bool abstract = e->path_len > 0 && e->path[0] == 0;
	if (abstract)
		chime__text_str(t, "@");
	else if (e->path[0] == '@')
		chime__text_str(t, "%40");
	chime__text_escaped(t, e->path + (abstract || e->path[0] == '@'), e->path_len - (abstract || e->path[0] == '@'),
			    "?#");
}

size_t chime_endpoint_print(const chime_endpoint *e, char *buf, size_t size)
{
	const struct chime_scheme_info *info = chime_scheme_info(e->scheme);
	struct text t;

	chime__text_init(&t, buf, size);
	if (*e->service) {
		chime__text_str(&t, e->service);
		chime__text_str(&t, "=");
	}
	chime__text_str(&t, info->name);
	if (info->ip && e->family != AF_UNSPEC)
		chime__text_str(&t, e->family == AF_INET ? "4" : "6");
	chime__text_str(&t, info->family == AF_UNIX ? ":" : "://");
	if (info->family == AF_UNIX) {
		print_path(&t, e);
	} else if (info->ip) {
		print_ip(&t, e);
	} else if (e->scheme == CHIME_FD && e->fd >= 0) {
		chime__text_number(&t, (uint64_t)e->fd);
	} else if (e->scheme == CHIME_FD) {
		chime__text_escaped(&t, e->fd_name, strlen(e->fd_name), "?#/");
	} else if (info->family == AF_VSOCK) {
		print_vsock(&t, e->number[0]);
		chime__text_str(&t, ":");
		print_vsock(&t, e->number[1]);
	} else {
		chime__text_number(&t, e->number[0]);
		chime__text_str(&t, ":");
		chime__text_number(&t, e->number[1]);
	}
	if (*e->options) {
		chime__text_str(&t, "?");
		chime__text_str(&t, e->options);
	}
	return chime__text_end(&t);
}
