/*
 * chime/sock.h - Python's socket object in C.
 *
 * A chime_sock is a descriptor with a time limit and the sentence of its last failure. Names, results and meaning are
 * Python's (the socket module's documentation, PEP 446, PEP 475), except that errors are returned.
 *
 * Waiting. timeout_ns of a handle is one of Python's three modes: CHIME_FOREVER blocks, 0 never waits, a time limits each
 * call. "Waits" below means: as that limit says; a signal does not lengthen it. O_NONBLOCK is set on the descriptor
 * exactly when a limit is (0 too); descriptors that share it by dup share that flag.
 *
 * Every call that waits may return
 *   -EAGAIN         the limit is 0 and it would have waited
 *   CHIME_ETIMEOUT  the limit passed; the socket is still usable
 *   -EINTR          a signal came and the interruption hook said stop
 *   CHIME_ECLOSED   the handle is closed, or another thread closed it meanwhile
 * and besides what the system call of that name returns, as -errno.
 *
 * MSG_DONTWAIT in the flags of one call: it does not wait, whatever the limit. Sleeping is done in ppoll(2) alone, so a
 * signal always reaches the hook, whether its handler has SA_RESTART or not.
 *
 * Threads. One thread may receive while another sends; any thread may shut down or close at any time: calls that wait are
 * woken. For that a handle has a second descriptor (eventfd(2)) from its first call that really waits on, to its close; where
 * the process has none left, waits end within 50 ms of the close. chime_free() is the owner's, when no other
 * thread uses the handle any more. A thread must not be cancelled (pthread_cancel(3)) inside a call: for the handle it would never end.
 *
 * Memory. A handle is one piece of memory, allocated by the call that makes it; no other call here allocates.
 *
 * The descriptor is the truth: nothing is read ahead, so poll(2), dup(2), fork(2) and other libraries may use
 * chime_fileno() beside the handle. Descriptors are close-on-exec. SIGPIPE is never raised.
 */
#ifndef CHIME_SOCK_H
#define CHIME_SOCK_H

#include <chime/addr.h>
#include <chime/clock.h>
#include <chime/error.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct chime_sock chime_sock;

/* ---- making and ending ---- */

/*
 * socket(2). type may not carry SOCK_NONBLOCK or SOCK_CLOEXEC. The handle has the default timeout.
 * *out is the caller's, ended by chime_free(); NULL on failure. -EAFNOSUPPORT, -ESOCKTNOSUPPORT, -EPROTONOSUPPORT
 * (this kernel has no such socket), -EPERM or -EACCES (privilege), -EMFILE, -ENFILE, -ENOMEM.
 */
CHIME_API int chime_open(chime_sock **out, int family, int type, int proto);

/*
 * Adopts fd; family, type and protocol are found out (SO_DOMAIN, SO_TYPE, SO_PROTOCOL). The descriptor is the handle's
 * from here on (to keep yours, dup it first). With a default timeout, O_NONBLOCK is set; without, the descriptor's own
 * mode is kept, as Python does: O_NONBLOCK means timeout 0. -EBADF, -ENOTSOCK (fd stays yours), -ENOMEM.
 */
CHIME_API int chime_from_fd(chime_sock **out, int fd);

/* socketpair(2): two connected handles. family is usually AF_UNIX. */
CHIME_API int chime_socketpair(chime_sock *out[2], int family, int type, int proto);

/* A second handle on a duplicate of the descriptor, with the same timeout; not inheritable. */
CHIME_API int chime_dup(chime_sock *s, chime_sock **out);

/*
 * Closes. No call starts any more, those that wait end with CHIME_ECLOSED, and the descriptor goes when the last of them
 * has ended. May be called twice and from any thread. 0, or the error of close(2) (-EIO, -ENOSPC; never -ECONNRESET: that
 * the peer was gone is no failure of a close); it is closed in any case. Does not wait, but as SO_LINGER says, and for a TIPC connection whose peer has
 * stopped reading: Linux waits for it up to 8 s, and so does chime_shutdown(SHUT_RDWR).
 */
CHIME_API int chime_close(chime_sock *s);

/* Closes if need be and gives the memory back; *s becomes NULL. NULL and a NULL *s are fine. */
CHIME_API void chime_free(chime_sock **s);

/*
 * Takes the descriptor out of the handle, which is closed then. The descriptor, now the caller's, or CHIME_ECLOSED. Calls that wait end
 * with CHIME_ECLOSED, but one that has just begun in another thread may still use the descriptor.
 */
CHIME_API int chime_detach(chime_sock *s);

/* shutdown(2): SHUT_RD, SHUT_WR or SHUT_RDWR. -ENOTCONN. Never waits, but for TIPC as chime_close(). */
CHIME_API int chime_shutdown(chime_sock *s, int how);

/*
 * A descriptor that no handle owns. Duplicates it, close-on-exec: the copy is the caller's; -EBADF, -EMFILE. Closes it: as
 * chime_close() says; -EBADF.
 */
CHIME_API int chime_fd_dup(int fd);
CHIME_API int chime_fd_close(int fd);

/* ---- what it is ---- */

CHIME_API int chime_fileno(const chime_sock *s); /* -1 once closed or detached */
CHIME_API int chime_family(const chime_sock *s);
CHIME_API int chime_type(const chime_sock *s);
CHIME_API int chime_proto(const chime_sock *s);

/*
 * The sentence of the last failure of a call on s by this thread or another: "connect 127.0.0.1:9999: connection refused".
 * Copied into buf, NUL-terminated, "" if nothing failed yet. Returns its length, as snprintf(3). Any thread.
 */
CHIME_API size_t chime_last_error(const chime_sock *s, char *buf, size_t size);

/* ---- time limits ---- */

/* Sets the mode: CHIME_FOREVER, 0 or nanoseconds. -EINVAL (negative otherwise), -EBADF, CHIME_ECLOSED. Never waits. */
CHIME_API int chime_set_timeout(chime_sock *s, int64_t timeout_ns);
CHIME_API int64_t chime_timeout(const chime_sock *s);
/* true: CHIME_FOREVER; false: 0. And whether it is not 0. */
CHIME_API int chime_set_blocking(chime_sock *s, bool blocking);
CHIME_API bool chime_blocking(const chime_sock *s);

/* The timeout of handles made from now on, in the whole process; CHIME_FOREVER at first. -EINVAL. Any thread. */
CHIME_API int chime_set_default_timeout(int64_t timeout_ns);
CHIME_API int64_t chime_default_timeout(void);

/*
 * What a waiting call asks when a signal has interrupted it: 0 goes on with what is left of the limit, anything else ends
 * the call with -EINTR (PEP 475). One hook for the process, kept with its argument until replaced; NULL takes it away.
 */
typedef int chime_interrupted_fn(void *arg);
CHIME_API void chime_set_interrupted(chime_interrupted_fn *fn, void *arg);

/* ---- addresses and connections ---- */

CHIME_API int chime_bind(chime_sock *s, const chime_addr *at);
/* backlog < 0 is 0; CHIME_BACKLOG is what Python takes: min(SOMAXCONN, 128). */
#define CHIME_BACKLOG 128
CHIME_API int chime_listen(chime_sock *s, int backlog);

/*
 * Waits for a connection. *out has the default timeout and blocks if there is none, whatever the listener does; never
 * inherits O_NONBLOCK. peer may be NULL. -ECONNABORTED and the like are returned, not hidden.
 * Where other processes or handles accept from the same listener, give it a limit: without one, whoever comes second for a connection
 * waits for the next in the kernel, where no close and no hook reaches him.
 */
CHIME_API int chime_accept(chime_sock *s, chime_sock **out, chime_addr *peer);

/*
 * Waits until connected; a unix listener without room is waited for too. Interrupted by a signal it goes on waiting for the
 * same attempt; so does another call behind one that ended early, if the handle blocks (with a limit, or 0, it is -EALREADY).
 * 0; -EINPROGRESS (limit 0; a full unix listener: -EAGAIN);
 * -ECONNREFUSED, -ETIMEDOUT (the kernel's limit), CHIME_ETIMEOUT (ours), -ENETUNREACH, -EHOSTUNREACH, -ENOENT (unix).
 */
CHIME_API int chime_connect(chime_sock *s, const chime_addr *to);
/* The same with errno as a positive number and 0 for success, as Python has it; EAGAIN where our limit passed. */
CHIME_API int chime_connect_ex(chime_sock *s, const chime_addr *to);

CHIME_API int chime_getsockname(chime_sock *s, chime_addr *out);
CHIME_API int chime_getpeername(chime_sock *s, chime_addr *out); /* -ENOTCONN */

/* ---- data ---- */

/*
 * One send(2): waits for room, then the number of bytes taken, which may be fewer than len: on a stream with a limit often,
 * on one that blocks only if a signal or an error comes half-way. -EPIPE, -ECONNRESET, -EMSGSIZE.
 */
CHIME_API ssize_t chime_send(chime_sock *s, const void *buf, size_t len, int flags);

/*
 * Sends everything; the limit is for the whole call. 0, or the error; *sent (may be NULL) says how many bytes went in either
 * case.
 */
CHIME_API int chime_sendall(chime_sock *s, const void *buf, size_t len, int flags, size_t *sent);

/* As chime_send(). MSG_FASTOPEN (tcp(7)) connects first, and waits for that too; at limit 0 -EINPROGRESS: nothing went yet. */
CHIME_API ssize_t chime_sendto(chime_sock *s, const void *buf, size_t len, int flags, const chime_addr *to);

/*
 * Receives up to len bytes. Waits for data or the end, for len 0 too: then a datagram is taken and lost, a stream keeps its data.
 * The bytes stored; 0 at the end of a stream (on a message socket: an empty message, or the end of a seqpacket connection);
 * -ECONNRESET: only chime_close() is useful now.
 * MSG_WAITALL counts in blocking mode (with MSG_PEEK beside it the wait for the rest is the kernel's: no close ends it);
 * MSG_ERRQUEUE never waits, as in the kernel.
 */
CHIME_API ssize_t chime_recv(chime_sock *s, void *buf, size_t len, int flags);
CHIME_API ssize_t chime_recvfrom(chime_sock *s, void *buf, size_t len, int flags, chime_addr *from);

/*
 * Receives exactly len bytes; the limit is for the whole call. 0; CHIME_EEOF if the peer ended before; any error.
 * *got (may be NULL) is what was stored in either case, so nothing is lost. MSG_PEEK is -EINVAL.
 */
CHIME_API int chime_recv_exact(chime_sock *s, void *buf, size_t len, int flags, size_t *got);

/* ---- options and flags ---- */

/* getsockopt(2) and setsockopt(2). Integers: */
CHIME_API int chime_getsockopt_int(chime_sock *s, int level, int name, int *value);
CHIME_API int chime_setsockopt_int(chime_sock *s, int level, int name, int value);
/* Anything else: *len is the room in, the length out. value may be NULL with a len (Python's form of that name). */
CHIME_API int chime_getsockopt(chime_sock *s, int level, int name, void *value, socklen_t *len);
CHIME_API int chime_setsockopt(chime_sock *s, int level, int name, const void *value, socklen_t len);

/* Whether programs started by exec(2) get the descriptor (PEP 446); false at first. */
CHIME_API int chime_set_inheritable(chime_sock *s, bool inheritable);
CHIME_API int chime_inheritable(chime_sock *s); /* 1, 0, or an error */

#ifdef __cplusplus
}
#endif

#endif
