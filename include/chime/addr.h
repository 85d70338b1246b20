/*
 * chime/addr.h - a socket address of any family, as a value: copy it, keep it, nothing to free.
 */
#ifndef CHIME_ADDR_H
#define CHIME_ADDR_H

#include <chime/base.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct chime_addr {
	socklen_t len; /* bytes of the address that count; 0: none (an unnamed unix peer has its family's 2) */
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
		struct sockaddr_storage ss;
	} u;
} chime_addr;

/* A text form never needs more, NUL included (an abstract unix name, every byte escaped). */
#define CHIME_ADDR_TEXT 512

/* No address: family AF_UNSPEC, length 0. */
CHIME_API chime_addr chime_addr_none(void);

/* Copies what accept(2) or recvfrom(2) gave; len 0 is no address. -EINVAL: longer than any address can be, or an
 * IP address cut short. */
CHIME_API int chime_addr_from(chime_addr *out, const struct sockaddr *sa, socklen_t len);

/*
 * A numeric IP address and a port; nothing is looked up. host: "192.0.2.1", "::1", "fe80::1%eth0" (scope by
 * interface name or number), "" or NULL for the any address of family; family: AF_INET, AF_INET6, or AF_UNSPEC
 * (whatever host is; "" is AF_INET). port: 0..65535, in host order; an int, so that 70000 is an error and not 4464.
 * Whole text or nothing: "1.2.3.4 " and "1.2.3" are refused.
 * 0, CHIME_ESYNTAX (not numeric, or of the other family), -ERANGE (port), -ENODEV (no such scope; -EMFILE and the like:
 * it could not be asked for), -EAFNOSUPPORT (family is none of these).
 */
CHIME_API int chime_addr_ip(chime_addr *out, int family, const char *host, int port);

/*
 * A unix path, or, with a leading NUL byte, an abstract name. len counts bytes (paths are not text);
 * -ENAMETOOLONG over 107 bytes (108 for abstract names with their leading NUL); len 0 is the unnamed address, which
 * bind(2) turns into a name that the kernel makes up (autobind); unix(7). -EINVAL: a NUL within a path.
 */
CHIME_API int chime_addr_unix(chime_addr *out, const void *path, size_t len);

/* vsock(7): cid and port as they are, 0xffffffff is VMADDR_CID_ANY / VMADDR_PORT_ANY. */
CHIME_API int chime_addr_vsock(chime_addr *out, uint32_t cid, uint32_t port);

/* TIPC service address, scope of the cluster (linux/tipc.h): served as a range of one. */
CHIME_API int chime_addr_tipc(chime_addr *out, uint32_t type, uint32_t instance);

/*
 * Reads what chime_addr_print() prints, for the families that libchime opens:
 *   192.0.2.1:80   [2001:db8::1]:80   [fe80::1%2]:80   /path   ./path   @abstract   unnamed
 *   vsock:CID:PORT ('*' for any)   tipc:TYPE:INSTANCE   tipc:@NODE:REFERENCE (a socket, as the peers of TIPC are named)
 * Whole text or nothing; on failure *out stays as it was.
 * 0, CHIME_ESYNTAX, -ERANGE, -ENAMETOOLONG (a path of 108 bytes, which others may have, is printed but not read), -ENODEV.
 */
CHIME_API int chime_addr_parse(chime_addr *out, const char *text);

/*
 * Prints the address (forms above; an unnamed unix peer is "unnamed"; a path or name with control bytes, blanks
 * or '%' has them as %XX; a path that begins with neither '/' nor '.' gets "./" in front; other families as
 * "family N, M bytes"; a length 0 is "none"). IPv6 scopes are numbers. Always NUL-terminated; returns the length
 * that the text has, as snprintf(3) does.
 */
CHIME_API size_t chime_addr_print(const chime_addr *a, char *buf, size_t size);

CHIME_API int chime_addr_family(const chime_addr *a);

/* The port in host order of an AF_INET or AF_INET6 address, else -1 (vsock and tipc ports have 32 bits: not here). */
CHIME_API int chime_addr_port(const chime_addr *a);
/* 0; -EAFNOSUPPORT for an address without one; -ERANGE. */
CHIME_API int chime_addr_set_port(chime_addr *a, int port);

/* ::ffff:192.0.2.1 becomes 192.0.2.1 (RFC 4291 2.5.5.2); every other address stays as it is. */
CHIME_API chime_addr chime_addr_unmap(const chime_addr *a);

/* What the address is. Mapped IPv4 addresses are judged as IPv4. All false for other families. */
CHIME_API bool chime_addr_is_any(const chime_addr *a);
CHIME_API bool chime_addr_is_loopback(const chime_addr *a);
CHIME_API bool chime_addr_is_multicast(const chime_addr *a);
CHIME_API bool chime_addr_is_broadcast(const chime_addr *a); /* 255.255.255.255 alone: nets are not known here */

/* The same place: family, address, port, scope (flow label and padding do not count). */
CHIME_API bool chime_addr_equal(const chime_addr *a, const chime_addr *b);

#ifdef __cplusplus
}
#endif

#endif
