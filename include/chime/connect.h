/*
 * chime/connect.h - from names to sockets: look-ups with a limit, create_connection, create_server.
 *
 * Memory. A look-up of a name allocates meanwhile; what is numeric does not. The calls that give a chime_sock allocate it.
 */
#ifndef CHIME_CONNECT_H
#define CHIME_CONNECT_H

#include <chime/endpoint.h>
#include <chime/sock.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One place that a name stands for, in the order in which to try them (RFC 6724, as getaddrinfo(3) sorts). */
struct chime_target {
	int family, type, protocol;
	chime_addr addr;
};
#define CHIME_TARGETS 64

/*
 * Looks host up for a socket of that family (AF_UNSPEC: any), type and protocol. Waits for the resolver, at most timeout_ns
 * (CHIME_FOREVER: none), in a helper thread: one that is still asking when the limit passes ends by itself later and
 * leaks nothing. Numeric hosts are not looked up and never wait. host NULL or "": the any addresses if passive, else
 * loopback, IPv6 first. The number of targets stored (at most max, duplicates taken out);
 * CHIME_EAI(EAI_NONAME) and the like; CHIME_ETIMEOUT; -EINTR (the interruption hook said stop); -ERANGE (port);
 * -EAFNOSUPPORT (no family of IP); -ENOMEM, -EMFILE, -EAGAIN (no thread, or 256 look-ups under way).
 */
CHIME_API int chime_resolve(const char *host, int port, int family, int type, int protocol, bool passive,
			    int64_t timeout_ns, struct chime_target *out, int max);

/* The same for an endpoint of any scheme; unix, vsock and tipc give one target without looking anything up.
 * passive as above; for udp and empty hosts passive means 127.0.0.1 and ::1 (chime-endpoint(7)). CHIME_ESCHEME. */
CHIME_API int chime_endpoint_resolve(const chime_endpoint *e, bool passive, int64_t timeout_ns,
				     struct chime_target *out, int max);

/* Puts targets into the order in which connecting tries them: the families in turn (RFC 8305 4), the first one's first, each in the
 * order that it had. At most CHIME_TARGETS of them: -EINVAL. */
CHIME_API int chime_targets_order(struct chime_target *targets, int n);

/* What chime_create_connection() takes; zero it, set size, change what you need. */
struct chime_connect_config {
	size_t size;        /* sizeof(struct chime_connect_config) */
	int64_t timeout_ns; /* for look-up and connecting together; CHIME_FOREVER: none. 0 is -EINVAL */
	const chime_addr *
		bind; /* the local address, or NULL; families that do not fit are left out (all: -EAFNOSUPPORT). A port that
			  several addresses are tried from is bound with SO_REUSEADDR meanwhile */
	int64_t attempt_delay_ns; /* Happy Eyeballs: the next address after this (RFC 8305 5); 0: CHIME_ATTEMPT_DELAY; at least 10 ms */
	char *why; /* where the sentence goes that names every address tried and its error, or NULL */
	size_t why_size;
};
#define CHIME_ATTEMPT_DELAY (250 * CHIME_MSEC)
#define CHIME_CONNECT_CONFIG_INIT                                                                                      \
	{                                                                                                              \
		sizeof(struct chime_connect_config), CHIME_FOREVER, NULL, 0, NULL, 0                                   \
	}

/*
 * Connects to host and port by TCP: all addresses, IPv6 and IPv4 in turn, one every attempt_delay (or at once when one
 * fails), the first to connect wins, the others are closed (RFC 8305). *out has the default timeout, TCP_NODELAY as the
 * system has it. 0; the resolver's error; the last attempt's error; CHIME_ETIMEOUT; -EINTR.
 */
CHIME_API int chime_create_connection(chime_sock **out, const char *host, int port,
				      const struct chime_connect_config *config);

/*
 * The same for an endpoint of any scheme. Datagram and raw sockets are connected too (so that errors come back and only the
 * peer's datagrams are received), but for one to a group or a broadcast address, which would hear nobody then: chime_sendto()
 * to what chime_endpoint_resolve() says, and chime_recvfrom(). icmp:// gives a SOCK_DGRAM socket where
 * net.ipv4.ping_group_range allows it, else SOCK_RAW; chime/raw.h builds and reads its messages, and ip://'s. A unix+dgram client is bound to an abstract name that the kernel makes up, so that answers
 * find it. CHIME_ESCHEME; rdm and sctp+seqpacket too: chime/rdm.h has them.
 */
CHIME_API int chime_connect_endpoint(chime_sock **out, const chime_endpoint *to,
				     const struct chime_connect_config *config);

/*
 * Python's create_server: a listening TCP socket on a numeric address or name (NULL, "": any). family AF_INET or AF_INET6;
 * SO_REUSEADDR is set; IPV6_V6ONLY is set for AF_INET6 unless dualstack; reuse_port sets SO_REUSEPORT; backlog < 0 is
 * CHIME_BACKLOG. The descriptor is closed on every failure. -EAFNOSUPPORT: another family; -EINVAL: dualstack for AF_INET.
 */
CHIME_API int chime_create_server(chime_sock **out, int family, const char *host, int port, int backlog,
				  bool reuse_port, bool dualstack);

/* Whether one socket can serve IPv6 and IPv4 here. */
CHIME_API bool chime_has_dualstack_ipv6(void);

#ifdef __cplusplus
}
#endif

#endif
