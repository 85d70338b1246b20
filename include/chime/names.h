/*
 * chime/names.h - names of hosts, services, protocols and interfaces, and addresses as text: Python's functions in C.
 *
 * Look-ups that may ask a server take a limit in nanoseconds (CHIME_FOREVER: none) and run in a helper thread, as
 * chime_resolve() does: CHIME_ETIMEOUT, -EINTR (the interruption hook said stop), -EAGAIN (256 are under way). 0 is -EINVAL. The resolver's
 * own codes are CHIME_EAI(EAI_...), those of the older calls CHIME_HOST(HOST_NOT_FOUND), TRY_AGAIN, NO_RECOVERY and NO_DATA. Texts that do not fit are -ENAMETOOLONG. Any thread; nothing static is handed out.
 */
#ifndef CHIME_NAMES_H
#define CHIME_NAMES_H

#include <chime/connect.h>
#include <netdb.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- hosts ---- */

struct chime_addrinfo {
	size_t count;
	const struct chime_target *at; /* in the order in which to try them */
	const char *canonical;         /* with AI_CANONNAME, else NULL */
};

/*
 * getaddrinfo(3) whole: host or service may be NULL; family, type, protocol 0: any; flags: AI_PASSIVE and the like. *out is one piece of
 * memory, the caller's, ended by chime_addrinfo_free(); NULL on failure. Numeric look-ups (AI_NUMERICHOST) never wait. Allocates.
 */
CHIME_API int chime_getaddrinfo(const char *host, const char *service, int family, int type, int protocol, int flags,
				int64_t timeout_ns, struct chime_addrinfo **out);
CHIME_API void chime_addrinfo_free(struct chime_addrinfo **list);

/*
 * getnameinfo(3): host and service of an address; either may be NULL with size 0. flags: NI_NUMERICHOST and the like; with
 * NI_NUMERICHOST it never waits. Allocates meanwhile, but for NI_NUMERICHOST and NI_NUMERICSERV together.
 */
CHIME_API int chime_getnameinfo(const chime_addr *a, int flags, int64_t timeout_ns, char *host, size_t host_size,
				char *service, size_t service_size);

/* The first IPv4 address of a name, as Python: "" is 0.0.0.0, "<broadcast>" is 255.255.255.255. Port 0. Allocates meanwhile. */
CHIME_API int chime_gethostbyname(const char *name, int64_t timeout_ns, chime_addr *out);

struct chime_host {
	const char *name; /* the primary one */
	size_t aliases;
	const char *const *alias;
	size_t count;
	const chime_addr *addr;
};

/* All names and IPv4 addresses of a name; and of an address, given as text (a name is looked up first,
 * with the resolver's codes; what is said of the address is CHIME_HOST()). *out as above. Allocates. */
CHIME_API int chime_gethostbyname_ex(const char *name, int64_t timeout_ns, struct chime_host **out);
CHIME_API int chime_gethostbyaddr(const char *host, int64_t timeout_ns, struct chime_host **out);
CHIME_API void chime_host_free(struct chime_host **host);

/*
 * The full name of a host: the first of its names with a dot, else the name itself. NULL, "", "0.0.0.0" and "::" mean this one. A
 * look-up that fails is no error, but that it was limited or interrupted is. Allocates meanwhile.
 */
CHIME_API int chime_getfqdn(const char *name, int64_t timeout_ns, char *buf, size_t size);

/* This machine's name. Setting it: -EPERM. Never wait. */
CHIME_API int chime_gethostname(char *buf, size_t size);
CHIME_API int chime_sethostname(const char *name);

/* ---- services, protocols, interfaces ---- */

/* What keeps one of these from being asked for is told as itself: -EMFILE, -ENFILE, -ENOMEM; -ERANGE: an entry over 8 KiB. */

/* A port in host order by service; protocol "tcp", "udp" or NULL: any. CHIME_EAI(EAI_SERVICE): not known. The C library allocates meanwhile. */
CHIME_API int chime_getservbyname(const char *name, const char *protocol);
/* The service of a port; -ERANGE: not 0..65535. The C library allocates meanwhile. */
CHIME_API int chime_getservbyport(int port, const char *protocol, char *buf, size_t size);
/* A protocol's number; CHIME_EAI(EAI_NONAME). The C library allocates meanwhile. */
CHIME_API int chime_getprotobyname(const char *name);

#define CHIME_IF_NAME 16 /* room for an interface's name with its NUL */

struct chime_interface {
	unsigned index;
	char name[CHIME_IF_NAME];
};

/* All interfaces: how many there are; at most max are stored. The C library allocates meanwhile. */
CHIME_API int chime_if_nameindex(struct chime_interface *out, size_t max);
/* Its number, or -ENODEV. */
CHIME_API int chime_if_nametoindex(const char *name);
/* Its name; -ENXIO: no such interface. */
CHIME_API int chime_if_indextoname(unsigned index, char name[CHIME_IF_NAME]);

/* ---- addresses as text ---- */

/*
 * The older form of IPv4 addresses: "127.1", "0x7f.1", "2130706433". Whole text or nothing, unlike the C library's, which
 * takes anything behind a blank. CHIME_ESYNTAX.
 */
CHIME_API int chime_inet_aton(const char *text, struct in_addr *out);
/* out: 4 bytes for AF_INET, 16 for AF_INET6. Whole text. CHIME_ESYNTAX, -EAFNOSUPPORT. */
CHIME_API int chime_inet_pton(int family, const char *text, void *out);
/* len must be 4 or 16, as family says: -EINVAL; INET6_ADDRSTRLEN is always room enough: -ENOSPC. */
CHIME_API int chime_inet_ntop(int family, const void *bytes, size_t len, char *buf, size_t size);

#ifdef __cplusplus
}
#endif

#endif
