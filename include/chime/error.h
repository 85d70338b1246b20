/*
 * chime/error.h - the one kind of error that every call of libchime returns.
 *
 * A call returns a count or 0, or a negative code. errno is never the channel. Codes have ranges:
 *
 *   -1 .. -4095            -errno, what the system said (errno(3))
 *   CHIME_EAI(x)           what the resolver said: x is one of netdb.h's EAI_ codes (getaddrinfo(3))
 *   CHIME_HOST(x)          what the older look-ups said: HOST_NOT_FOUND, TRY_AGAIN, NO_RECOVERY or NO_DATA (gethostbyname(3))
 *   CHIME_ETIMEOUT ...     ours, named below
 *   -40000 .. -49999       kept for TLS
 */
#ifndef CHIME_ERROR_H
#define CHIME_ERROR_H

#include <chime/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A resolver's code as ours. glibc's EAI_ codes are negative (-1 .. -200). */
#define CHIME_EAI(eai) (-20000 + (eai))
/* True for what CHIME_EAI() makes. */
#define CHIME_IS_EAI(code) ((code) <= -20000 && (code) > -21000)

/* The same for h_errno, whose codes are 1 .. 4. */
#define CHIME_HOST(h) (-21000 - (h))
#define CHIME_IS_HOST(code) ((code) < -21000 && (code) > -22000)

enum chime_error {
	CHIME_ETIMEOUT = -30001,  /* a time limit of ours passed (the kernel's own limit is -ETIMEDOUT) */
	CHIME_ESYNTAX = -30002,   /* a text (endpoint, address, duration) could not be read */
	CHIME_ECLOSED = -30003,   /* the handle was closed before, or by another thread during, the call */
	CHIME_EEOF = -30004,      /* the peer ended the stream before the bytes that were asked for */
	CHIME_ESCHEME = -30005,   /* a scheme that this build or this release cannot open */
	CHIME_ETOOLONG = -30006,  /* a line or message is longer than the caller's limit */
	CHIME_ESHORT = -30007,    /* a packet ends before its header, or what that promises, does (chime/raw.h) */
	CHIME_EVERSION = -30008,  /* a packet of another protocol version */
	CHIME_ELENGTH = -30009,   /* a packet whose lengths contradict each other */
	CHIME_ECHECKSUM = -30010, /* a packet whose checksum is wrong */
};

/*
 * What a code means, in plain lower-case words: "connection refused". Never NULL, a static string, for
 * codes that nobody knows too ("unknown error"); 0 and counts are "success". Any thread, also in signal handlers.
 */
CHIME_API const char *chime_strerror(int code);

/* Its name: "ECONNREFUSED", "EAI_NONAME", "HOST_NOT_FOUND", "CHIME_ETIMEOUT"; "UNKNOWN" where there is none, "OK" for 0 and
 * counts. As above. */
CHIME_API const char *chime_errname(int code);

#ifdef __cplusplus
}
#endif

#endif
