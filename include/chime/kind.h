/*
 * chime/kind.h - kinds of sockets (family, type, protocol): what each promises, which endpoints are such sockets, and
 * whether this kernel has them.
 */
#ifndef CHIME_KIND_H
#define CHIME_KIND_H

#include <chime/endpoint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct chime_kind {
	int family, type, protocol;
	const char *family_name;   /* "AF_INET", as in the system's headers */
	const char *type_name;     /* "SOCK_STREAM" */
	const char *protocol_name; /* "TCP", or "" where the family needs none */
	enum chime_scheme
		scheme; /* the endpoints that are such sockets; CHIME_SCHEMES: none, chime_open() makes them */
	bool reliable;  /* what the kernel took arrives, or the connection ends with an error */
	bool ordered;
	bool messages;      /* boundaries are kept; else bytes */
	const char *remark; /* what these words leave out, a sentence, or NULL */
	const char
		*module; /* the kernel module that brings it ("sctp"), or NULL: it is built in, or no kernel has it */
};

/* All that libchime knows, family by family, ended by a row whose family_name is NULL. */
CHIME_API const struct chime_kind *chime_kind_table(void);

/* The row of a family, type and protocol, or NULL. */
CHIME_API const struct chime_kind *chime_kind_find(int family, int type, int protocol);

/*
 * Finds out by trying whether this kernel gives this process such sockets: one is opened, bound where that can be done without
 * anyone noticing (an IP loopback address or, where there is none, the any address; any vsock port), and closed. Nothing is sent and nothing is connected. The kernel
 * may load the module on its own.
 * 0; -EAFNOSUPPORT, -ESOCKTNOSUPPORT, -EPROTONOSUPPORT and others: it has none; -EPERM, -EACCES: it does not give them to us;
 * -EMFILE, -ENFILE, -ENOMEM, -ENOBUFS: not known. why (may be NULL if size is 0): "" or a sentence with the call, the reason
 * and what would help, "socket: protocol not supported; the kernel module sctp brings it (modprobe sctp)"; with 0 too, where something is lacking
 * all the same. Any thread; never waits.
 */
CHIME_API int chime_kind_try(const struct chime_kind *kind, char *why, size_t size);

#ifdef __cplusplus
}
#endif

#endif
