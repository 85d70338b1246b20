/* Socket addresses: made from numbers, paths and text, asked what they are, printed. */
#include <chime/addr.h>
#include <chime/error.h>
#include <chime/names.h>

#include "net/text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/tipc.h>
#include <linux/vm_sockets.h>
#include <string.h>

#define UNIX_PATH offsetof(struct sockaddr_un, sun_path)
#define UNIX_MAX sizeof(((struct sockaddr_un *)0)->sun_path)

chime_addr chime_addr_none(void)
{
	chime_addr a;
	memset(&a, 0, sizeof a);
	a.u.sa.sa_family = AF_UNSPEC;
	return a;
}

int chime_addr_from(chime_addr *out, const struct sockaddr *sa, socklen_t len)
{
	chime_addr a = chime_addr_none();
	size_t least = sizeof sa->sa_family;
	if (len == 0) {
		*out = a;
		return 0;
	}
	if (len > sizeof a.u || len < least)
		return -EINVAL;
	memcpy(&a.u, sa, len);
	if (a.u.sa.sa_family == AF_INET)
		least = sizeof a.u.in;
	else if (a.u.sa.sa_family == AF_INET6)
		least = sizeof a.u.in6;
	if (len < least)
		return -EINVAL;
	/* unix(7): a path of 108 bytes comes back with a NUL behind the struct, and is not taken with it. */
	if (a.u.sa.sa_family == AF_UNIX && len == sizeof a.u.un + 1)
		len--;
	if (a.u.sa.sa_family == AF_UNIX && len > sizeof a.u.un)
		return -EINVAL;
	a.len = len;
	*out = a;
	return 0;
}

static int read_scope(const char *scope, uint32_t *out)
{
	uint64_t n = 0;
	if (!*scope)
		return CHIME_ESYNTAX;
	if (!scope[strspn(scope, "0123456789")]) {
		if (chime__number(scope, strlen(scope), UINT32_MAX, &n) < 0)
			return -ENODEV;
	} else {
		int index = chime_if_nametoindex(scope);
		if (index < 0)
			return index;
		n = (uint64_t)index;
	}
	*out = (uint32_t)n;
	return 0;
}

/* host is host_len bytes of a longer text. */
static int read_ip(chime_addr *out, int family, const char *host, size_t host_len, int port)
{
	chime_addr a = chime_addr_none();
	char number[INET6_ADDRSTRLEN + 1 + 64];
	char *scope;

	if (port < 0 || port > 65535)
		return -ERANGE;
	if (host_len >= sizeof number || memchr(host, 0, host_len))
		return CHIME_ESYNTAX;
	memcpy(number, host, host_len);
	number[host_len] = 0;
	scope = strchr(number, '%');
	if (scope)
		*scope++ = 0;

	if (family != AF_INET6 && !scope && (!host_len || inet_pton(AF_INET, number, &a.u.in.sin_addr) == 1)) {
		a.len = sizeof a.u.in;
		a.u.in.sin_family = AF_INET;
		a.u.in.sin_port = htons((uint16_t)port);
	} else if (family != AF_INET && (!host_len || inet_pton(AF_INET6, number, &a.u.in6.sin6_addr) == 1)) {
		int err = scope ? read_scope(scope, &a.u.in6.sin6_scope_id) : 0;
		if (err < 0)
			return err;
		a.len = sizeof a.u.in6;
		a.u.in6.sin6_family = AF_INET6;
		a.u.in6.sin6_port = htons((uint16_t)port);
	} else {
		return CHIME_ESYNTAX;
	}
	*out = a;
	return 0;
}

int chime_addr_ip(chime_addr *out, int family, const char *host, int port)
{
	if (family != AF_INET && family != AF_INET6 && family != AF_UNSPEC)
		return -EAFNOSUPPORT;
	if (!host)
		host = "";
	return read_ip(out, family, host, strlen(host), port);
}

int chime_addr_unix(chime_addr *out, const void *path, size_t len)
{
	chime_addr a = chime_addr_none();
	bool abstract = len > 0 && *(const unsigned char *)path == 0;

	if (len > UNIX_MAX - !abstract)
		return -ENAMETOOLONG;
	if (len > 0 && !abstract && memchr(path, 0, len))
		return -EINVAL;
	a.u.un.sun_family = AF_UNIX;
	if (len > 0)
		memcpy(a.u.un.sun_path, path, len);
	a.len = (socklen_t)(UNIX_PATH + len + (len > 0 && !abstract));
	*out = a;
	return 0;
}

int chime_addr_vsock(chime_addr *out, uint32_t cid, uint32_t port)
{
	chime_addr a = chime_addr_none();
	struct sockaddr_vm vm = { .svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port };
	memcpy(&a.u, &vm, sizeof vm);
	a.len = sizeof vm;
	*out = a;
	return 0;
}

int chime_addr_tipc(chime_addr *out, uint32_t type, uint32_t instance)
{
	chime_addr a = chime_addr_none();
	struct sockaddr_tipc tipc = { .family = AF_TIPC, .addrtype = TIPC_SERVICE_ADDR, .scope = TIPC_CLUSTER_SCOPE };
	tipc.addr.name.name.type = type;
	tipc.addr.name.name.instance = instance;
	memcpy(&a.u, &tipc, sizeof tipc);
	a.len = sizeof tipc;
	*out = a;
	return 0;
}

/* What TIPC itself calls a socket by: what accept(2), getpeername(2) and recvfrom(2) give. */
static chime_addr tipc_socket(uint32_t node, uint32_t ref)
{
	chime_addr a = chime_addr_none();
	struct sockaddr_tipc tipc = { .family = AF_TIPC, .addrtype = TIPC_SOCKET_ADDR };
	tipc.addr.id.node = node;
	tipc.addr.id.ref = ref;
	memcpy(&a.u, &tipc, sizeof tipc);
	a.len = sizeof tipc;
	return a;
}

/* A 32-bit number, or '*' for all ones. */
static int read_number(const char *text, size_t len, bool star, uint32_t *out)
{
	uint64_t n = UINT32_MAX;
	if (!star || len != 1 || *text != '*') {
		int err = chime__number(text, len, UINT32_MAX, &n);
		if (err < 0)
			return err;
	}
	*out = (uint32_t)n;
	return 0;
}

/* "A:B" */
static int read_pair(const char *text, bool star, uint32_t pair[2])
{
	const char *colon = strchr(text, ':');
	int err;
	if (!colon)
		return CHIME_ESYNTAX;
	err = read_number(text, (size_t)(colon - text), star, &pair[0]);
	if (err == 0 || err == -ERANGE) {
		int err2 = read_number(colon + 1, strlen(colon + 1), star, &pair[1]);
		err = err2 == CHIME_ESYNTAX || err == 0 ? err2 : err;
	}
	return err;
}

static int parse_unix(chime_addr *out, const char *text)
{
	unsigned char path[UNIX_MAX + 1];
	bool abstract = *text == '@';
	size_t len;
	int err;

	path[0] = 0;
	err = chime__percent_decode(text + abstract, strlen(text + abstract), path + abstract, sizeof path - abstract,
				    &len);
	if (err < 0)
		return err;
	len += abstract;
	if (!abstract && memchr(path, 0, len < sizeof path ? len : sizeof path))
		return CHIME_ESYNTAX;
	if (len > sizeof path)
		return -ENAMETOOLONG;
	return chime_addr_unix(out, path, len);
}

static int parse_ip(chime_addr *out, const char *text)
{
	bool brackets = *text == '[';
	const char *host = text + brackets;
	const char *end = strchr(text, brackets ? ']' : ':');
	uint64_t port = 0;
	int err;

	if (!end || end == host || (brackets && end[1] != ':'))
		return CHIME_ESYNTAX;
	err = chime__number(end + 1 + brackets, strlen(end + 1 + brackets), 65535, &port);
	if (err == CHIME_ESYNTAX)
		return err;
	int host_err = read_ip(out, brackets ? AF_INET6 : AF_INET, host, (size_t)(end - host), 0);
	if (host_err < 0)
		return host_err;
	return err < 0 ? err : chime_addr_set_port(out, (int)port);
}

int chime_addr_parse(chime_addr *out, const char *text)
{
	chime_addr a;
	uint32_t pair[2];
	int err;

	if (*text == '/' || *text == '.' || *text == '@') {
		err = parse_unix(&a, text);
	} else if (!strcmp(text, "unnamed")) {
		err = chime_addr_unix(&a, "", 0);
	} else if (!strncmp(text, "vsock:", 6)) {
		err = read_pair(text + 6, true, pair);
		if (err == 0)
			err = chime_addr_vsock(&a, pair[0], pair[1]);
	} else if (!strncmp(text, "tipc:@", 6)) {
		err = read_pair(text + 6, false, pair);
		if (err == 0)
			a = tipc_socket(pair[0], pair[1]);
	} else if (!strncmp(text, "tipc:", 5)) {
		err = read_pair(text + 5, false, pair);
		if (err == 0)
			err = chime_addr_tipc(&a, pair[0], pair[1]);
	} else {
		err = parse_ip(&a, text);
	}
	if (err == 0)
		*out = a;
	return err;
}

/* The bytes of a unix name, without the NUL that ends a path; an abstract one begins with its NUL. */
static size_t unix_name(const chime_addr *a, const char **name)
{
	size_t len = a->len > UNIX_PATH ? a->len - UNIX_PATH : 0;
	*name = a->u.un.sun_path;
	if (len > UNIX_MAX)
		len = UNIX_MAX;
	return len > 0 && **name ? strnlen(*name, len) : len;
}

static void print_unix(struct text *t, const chime_addr *a)
{
	const char *name;
	size_t len = unix_name(a, &name);
	if (len == 0) {
		chime__text_str(t, "unnamed");
	} else if (!*name) {
		chime__text_str(t, "@");
		chime__text_escaped(t, name + 1, len - 1, "");
	} else {
		if (*name != '/' && *name != '.')
			chime__text_str(t, "./");
		chime__text_escaped(t, name, len, "");
	}
}

static void print_ip(struct text *t, const chime_addr *a)
{
	char host[INET6_ADDRSTRLEN];
	if (a->u.sa.sa_family == AF_INET) {
		chime__text_str(t, inet_ntop(AF_INET, &a->u.in.sin_addr, host, sizeof host));
	} else {
		chime__text_str(t, "[");
		chime__text_str(t, inet_ntop(AF_INET6, &a->u.in6.sin6_addr, host, sizeof host));
		if (a->u.in6.sin6_scope_id) {
			chime__text_str(t, "%");
			chime__text_number(t, a->u.in6.sin6_scope_id);
		}
		chime__text_str(t, "]");
	}
	chime__text_str(t, ":");
	chime__text_number(t, ntohs(a->u.in.sin_port)); /* sin6_port is at the same place */
}

static void print_vsock_number(struct text *t, uint32_t n)
{
	if (n == UINT32_MAX)
		chime__text_str(t, "*");
	else
		chime__text_number(t, n);
}

/* A service address, or a range of one. */
static bool tipc_service(const chime_addr *a, struct sockaddr_tipc *out)
{
	if (a->u.sa.sa_family != AF_TIPC || a->len < sizeof *out)
		return false;
	memcpy(out, &a->u, sizeof *out);
	return out->addrtype == TIPC_SERVICE_ADDR ||
	       (out->addrtype == TIPC_SERVICE_RANGE && out->addr.nameseq.lower == out->addr.nameseq.upper);
}

static bool is_tipc_socket(const chime_addr *a, struct sockaddr_tipc *out)
{
	if (a->u.sa.sa_family != AF_TIPC || a->len < sizeof *out)
		return false;
	memcpy(out, &a->u, sizeof *out);
	return out->addrtype == TIPC_SOCKET_ADDR;
}

static bool is_vsock(const chime_addr *a, struct sockaddr_vm *out)
{
	if (a->u.sa.sa_family != AF_VSOCK || a->len < sizeof *out)
		return false;
	memcpy(out, &a->u, sizeof *out);
	return true;
}

size_t chime_addr_print(const chime_addr *a, char *buf, size_t size)
{
	struct sockaddr_tipc tipc;
	struct sockaddr_vm vm;
	struct text t;

	chime__text_init(&t, buf, size);
	if (a->len == 0) {
		chime__text_str(&t, "none");
	} else if (a->u.sa.sa_family == AF_UNIX) {
		print_unix(&t, a);
	} else if (chime_addr_port(a) >= 0) {
		print_ip(&t, a);
	} else if (is_vsock(a, &vm)) {
		chime__text_str(&t, "vsock:");
		print_vsock_number(&t, vm.svm_cid);
		chime__text_str(&t, ":");
		print_vsock_number(&t, vm.svm_port);
	} else if (is_tipc_socket(a, &tipc)) {
		chime__text_str(&t, "tipc:@");
		chime__text_number(&t, tipc.addr.id.node);
		chime__text_str(&t, ":");
		chime__text_number(&t, tipc.addr.id.ref);
	} else if (tipc_service(a, &tipc)) {
		chime__text_str(&t, "tipc:");
		chime__text_number(&t, tipc.addr.nameseq.type); /* name.type and name.instance are at the same places */
		chime__text_str(&t, ":");
		chime__text_number(&t, tipc.addr.nameseq.lower);
	} else {
		chime__text_str(&t, "family ");
		chime__text_number(&t, a->u.sa.sa_family);
		chime__text_str(&t, ", ");
		chime__text_number(&t, a->len);
		chime__text_str(&t, " bytes");
	}
	return chime__text_end(&t);
}

int chime_addr_family(const chime_addr *a)
{
	return a->len ? a->u.sa.sa_family : AF_UNSPEC;
}

static bool is_in(const chime_addr *a)
{
	return a->len >= sizeof a->u.in && a->u.sa.sa_family == AF_INET;
}

static bool is_in6(const chime_addr *a)
{
	return a->len >= sizeof a->u.in6 && a->u.sa.sa_family == AF_INET6;
}

int chime_addr_port(const chime_addr *a)
{
	if (is_in(a))
		return ntohs(a->u.in.sin_port);
	return is_in6(a) ? ntohs(a->u.in6.sin6_port) : -1;
}

int chime_addr_set_port(chime_addr *a, int port)
{
	if (chime_addr_port(a) < 0)
		return -EAFNOSUPPORT;
	if (port < 0 || port > 65535)
		return -ERANGE;
	if (is_in(a))
		a->u.in.sin_port = htons((uint16_t)port);
	else
		a->u.in6.sin6_port = htons((uint16_t)port);
	return 0;
}

chime_addr chime_addr_unmap(const chime_addr *a)
{
	chime_addr v4 = chime_addr_none();
	if (!is_in6(a) || !IN6_IS_ADDR_V4MAPPED(&a->u.in6.sin6_addr))
		return *a;
	v4.len = sizeof v4.u.in;
	v4.u.in.sin_family = AF_INET;
	v4.u.in.sin_port = a->u.in6.sin6_port;
	memcpy(&v4.u.in.sin_addr, &a->u.in6.sin6_addr.s6_addr[12], 4);
	return v4;
}

/* Whether a is IPv4, or a mapped one; *out in host order. */
static bool ipv4(const chime_addr *a, uint32_t *out)
{
	chime_addr v4 = chime_addr_unmap(a);
	*out = is_in(&v4) ? ntohl(v4.u.in.sin_addr.s_addr) : 0;
	return is_in(&v4);
}

bool chime_addr_is_any(const chime_addr *a)
{
	uint32_t ip;
	return ipv4(a, &ip) ? ip == INADDR_ANY : is_in6(a) && IN6_IS_ADDR_UNSPECIFIED(&a->u.in6.sin6_addr);
}

bool chime_addr_is_loopback(const chime_addr *a)
{
	uint32_t ip;
	return ipv4(a, &ip) ? ip >> 24 == 127 : is_in6(a) && IN6_IS_ADDR_LOOPBACK(&a->u.in6.sin6_addr);
}

bool chime_addr_is_multicast(const chime_addr *a)
{
	uint32_t ip;
	return ipv4(a, &ip) ? IN_MULTICAST(ip) : is_in6(a) && IN6_IS_ADDR_MULTICAST(&a->u.in6.sin6_addr);
}

bool chime_addr_is_broadcast(const chime_addr *a)
{
	uint32_t ip;
	return ipv4(a, &ip) && ip == INADDR_BROADCAST;
}

bool chime_addr_equal(const chime_addr *a, const chime_addr *b)
{
	struct sockaddr_tipc tipc_a, tipc_b;
	struct sockaddr_vm vm_a, vm_b;
	const char *name_a, *name_b;

	if (chime_addr_family(a) != chime_addr_family(b))
		return false;
	if (is_in(a) && is_in(b))
		return a->u.in.sin_addr.s_addr == b->u.in.sin_addr.s_addr && a->u.in.sin_port == b->u.in.sin_port;
	if (is_in6(a) && is_in6(b))
		return IN6_ARE_ADDR_EQUAL(&a->u.in6.sin6_addr, &b->u.in6.sin6_addr) &&
		       a->u.in6.sin6_port == b->u.in6.sin6_port && a->u.in6.sin6_scope_id == b->u.in6.sin6_scope_id;
	if (is_vsock(a, &vm_a) && is_vsock(b, &vm_b))
		return vm_a.svm_cid == vm_b.svm_cid && vm_a.svm_port == vm_b.svm_port;
	if (tipc_service(a, &tipc_a) && tipc_service(b, &tipc_b))
		return tipc_a.addr.nameseq.type == tipc_b.addr.nameseq.type &&
		       tipc_a.addr.nameseq.lower == tipc_b.addr.nameseq.lower;
	if (is_tipc_socket(a, &tipc_a) && is_tipc_socket(b, &tipc_b))
		return tipc_a.addr.id.node == tipc_b.addr.id.node && tipc_a.addr.id.ref == tipc_b.addr.id.ref;
	if (a->len && a->u.sa.sa_family == AF_UNIX) {
		size_t len = unix_name(a, &name_a);
		return len == unix_name(b, &name_b) && !memcmp(name_a, name_b, len);
	}
	return a->len == b->len && !memcmp(&a->u, &b->u, a->len);
}
