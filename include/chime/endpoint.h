/*
 * chime/endpoint.h - one text that names any socket: tcp://:9999, unix:/run/chime.sock?mode=0660, udp://[::1]:9999.
 * The grammar is in chime-endpoint(7). Parsing asks the system nothing.
 */
#ifndef CHIME_ENDPOINT_H
#define CHIME_ENDPOINT_H

#include <chime/addr.h>
#include <chime/option.h>

#ifdef __cplusplus
extern "C" {
#endif

enum chime_scheme {
	CHIME_TCP,
	CHIME_UDP,
	CHIME_UDPLITE,
	CHIME_MPTCP,
	CHIME_SCTP,
	CHIME_SCTP_SEQPACKET,
	CHIME_TLS,
	CHIME_UNIX,
	CHIME_UNIX_DGRAM,
	CHIME_UNIX_SEQPACKET,
	CHIME_VSOCK,
	CHIME_VSOCK_SEQPACKET,
	CHIME_TIPC,
	CHIME_TIPC_RDM,
	CHIME_TIPC_SEQPACKET,
	CHIME_TIPC_DGRAM,
	CHIME_RDS,
	CHIME_RDM,
	CHIME_ICMP,
	CHIME_IP,
	CHIME_STAMP,
	CHIME_FD,
	CHIME_SCHEMES
};

/* What a scheme is; see chime_scheme_info(). */
struct chime_scheme_info {
	const char *name; /* "tcp" */
	int family;       /* AF_UNIX ...; AF_UNSPEC: AF_INET and AF_INET6, or not known before the descriptor is (fd) */
	int type;         /* SOCK_STREAM ...; 0 for fd */
	int protocol;     /* IPPROTO_TCP ...; 0 */
	bool ip;          /* HOST:PORT, and a 4 or 6 may end the scheme */
	bool messages;    /* boundaries are kept: datagram, seqpacket, rdm, raw */
	bool connected;   /* a listener accepts connections */
	bool opens;       /* this release opens it; else chime_endpoint_open calls say CHIME_ESCHEME */
	const char *lacks; /* where .opens is false: why, and what would help, a sentence */
};

/* Socket settings that the query of an endpoint can carry; "as the system does" is -1. */
struct chime_endpoint_settings {
	int64_t mode;                   /* unix: permission bits of the socket file */
	int64_t backlog;                /* stream and seqpacket: listen(2) */
	int64_t rcvbuf, sndbuf;         /* SO_RCVBUF, SO_SNDBUF, bytes */
	bool reuseport;                 /* serve: share the port with other processes on purpose */
	int64_t coverage, min_coverage; /* udplite: bytes under the checksum, sent and at least received; 0 all */
	int64_t udp_port; /* rdm, sctp+seqpacket: UDP encapsulation port (RFC 6951); 0: a free one, to serve */
	int64_t rto_ns;   /* rdm, sctp+seqpacket: the least time before something is sent again */
	int carrier;      /* rdm, sctp+seqpacket: enum chime_rdm_carrier (chime/rdm.h), 0 is either */
	char interface[16]; /* udp, udplite, icmp, ip: where groups are joined and sent to, or the only interface; "" any */
	int64_t ttl;        /* TTL or hop limit of all that is sent */
	int loop;           /* groups: 1, 0: members on this machine get what is sent */
	char source[64]; /* groups: the one source to hear; "" any */
	bool broadcast;  /* IPv4: send to broadcast addresses; serve: answer what was sent to one */
};

typedef struct chime_endpoint {
	enum chime_scheme scheme;
	int family;              /* ip schemes: AF_INET or AF_INET6 where pinned (tcp4://), else AF_UNSPEC */
	char service[32];        /* in front of '=', "" if none */
	char host[256];          /* ip schemes: "" any; a name or a numeric address (no brackets; %scope stays). udp,
				    udplite and stamp tell "*", any, from "", which serves loopback (chime-endpoint(7)) */
	int port;                /* ip schemes 0..65535; ip://HOST/PROTO: the protocol 0..255; -1 none */
	uint32_t number[2];      /* vsock: cid, port (UINT32_MAX is any, '*'); tipc: type, instance */
	unsigned char path[108]; /* unix, as chime_addr_unix() takes it (abstract: a leading NUL) */
	size_t path_len;
	int fd;           /* fd://N; -1 where it is named */
	char fd_name[64]; /* fd://NAME */
	struct chime_endpoint_settings set;
	char options[512]; /* the query, normalised, "" if none: what is printed back */
} chime_endpoint;

/* What was wrong with a text, and where. */
struct chime_endpoint_error {
	size_t at;         /* byte offset in the text; its length: at the end */
	char message[256]; /* "expected a port from 0 to 65535" */
};

/*
 * Reads text. further (may be NULL) are the caller's own options, whose values go into base as chime_option_set() does
 * (a service's chunk=, format=); an option in neither table is refused. An option given twice is refused.
 * error (may be NULL) is filled on failure.
 * 0; CHIME_ESYNTAX, -ERANGE, -ENAMETOOLONG. On failure *out and base are not to be used.
 */
CHIME_API int chime_endpoint_parse(chime_endpoint *out, const char *text, const struct chime_option *further,
				   void *base, struct chime_endpoint_error *error);

/*
 * Prints it in the normal form: what is read from it is the same endpoint (its further options as they were given,
 * percent-encoded as needed). Always NUL-terminated; returns the length, as snprintf(3) does.
 * CHIME_ENDPOINT_TEXT is always enough.
 */
CHIME_API size_t chime_endpoint_print(const chime_endpoint *e, char *buf, size_t size);
#define CHIME_ENDPOINT_TEXT 1536

/* Only its service, if any, without reading the rest: how a caller knows which table to parse with. Length, 0 none. */
CHIME_API size_t chime_endpoint_service(const char *text, char *buf, size_t size);

/* Never NULL for a valid scheme. */
CHIME_API const struct chime_scheme_info *chime_scheme_info(enum chime_scheme scheme);

/* The options that src/net itself knows, for help; each row's help names the schemes it is for. */
CHIME_API const struct chime_option *chime_endpoint_options(void);

#ifdef __cplusplus
}
#endif

#endif
