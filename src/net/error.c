/* What every code is called and means: one table for each range. */
#include <chime/error.h>

#include <errno.h>
#include <netdb.h>

struct row {
	const char *name, *text;
};

/* Of the system, by errno. */
#define ROW(code, text) [code] = { #code, text }
static const struct row system_rows[] = {
	ROW(EPERM, "operation not permitted"),
	ROW(ENOENT, "no such file or directory"),
	ROW(ESRCH, "no such process"),
	ROW(EINTR, "interrupted system call"),
	ROW(EIO, "input/output error"),
	ROW(ENXIO, "no such device or address"),
	ROW(E2BIG, "argument list too long"),
	ROW(ENOEXEC, "exec format error"),
	ROW(EBADF, "bad file descriptor"),
	ROW(ECHILD, "no child processes"),
	ROW(EAGAIN, "resource temporarily unavailable"),
	ROW(ENOMEM, "cannot allocate memory"),
	ROW(EACCES, "permission denied"),
	ROW(EFAULT, "bad address"),
	ROW(ENOTBLK, "block device required"),
	ROW(EBUSY, "device or resource busy"),
	ROW(EEXIST, "file exists"),
	ROW(EXDEV, "invalid cross-device link"),
	ROW(ENODEV, "no such device"),
	ROW(ENOTDIR, "not a directory"),
	ROW(EISDIR, "is a directory"),
	ROW(EINVAL, "invalid argument"),
	ROW(ENFILE, "too many open files in system"),
	ROW(EMFILE, "too many open files"),
	ROW(ENOTTY, "inappropriate ioctl for device"),
	ROW(ETXTBSY, "text file busy"),
	ROW(EFBIG, "file too large"),
	ROW(ENOSPC, "no space left on device"),
	ROW(ESPIPE, "illegal seek"),
	ROW(EROFS, "read-only file system"),
	ROW(EMLINK, "too many links"),
	ROW(EPIPE, "broken pipe"),
	ROW(EDOM, "numerical argument out of domain"),
	ROW(ERANGE, "numerical result out of range"),
	ROW(EDEADLK, "resource deadlock avoided"),
	ROW(ENAMETOOLONG, "file name too long"),
	ROW(ENOLCK, "no locks available"),
	ROW(ENOSYS, "function not implemented"),
	ROW(ENOTEMPTY, "directory not empty"),
	ROW(ELOOP, "too many levels of symbolic links"),
	ROW(ENOMSG, "no message of desired type"),
	ROW(EIDRM, "identifier removed"),
	ROW(ECHRNG, "channel number out of range"),
	ROW(EL2NSYNC, "level 2 not synchronized"),
	ROW(EL3HLT, "level 3 halted"),
	ROW(EL3RST, "level 3 reset"),
	ROW(ELNRNG, "link number out of range"),
	ROW(EUNATCH, "protocol driver not attached"),
	ROW(ENOCSI, "no CSI structure available"),
	ROW(EL2HLT, "level 2 halted"),
	ROW(EBADE, "invalid exchange"),
	ROW(EBADR, "invalid request descriptor"),
	ROW(EXFULL, "exchange full"),
	ROW(ENOANO, "no anode"),
	ROW(EBADRQC, "invalid request code"),
	ROW(EBADSLT, "invalid slot"),
	ROW(EBFONT, "bad font file format"),
	ROW(ENOSTR, "device not a stream"),
	ROW(ENODATA, "no data available"),
	ROW(ETIME, "timer expired"),
	ROW(ENOSR, "out of streams resources"),
	ROW(ENONET, "machine is not on the network"),
	ROW(ENOPKG, "package not installed"),
	ROW(EREMOTE, "object is remote"),
	ROW(ENOLINK, "link has been severed"),
	ROW(EADV, "advertise error"),
	ROW(ESRMNT, "srmount error"),
	ROW(ECOMM, "communication error on send"),
	ROW(EPROTO, "protocol error"),
	ROW(EMULTIHOP, "multihop attempted"),
	ROW(EDOTDOT, "RFS specific error"),
	ROW(EBADMSG, "bad message"),
	ROW(EOVERFLOW, "value too large for defined data type"),
	ROW(ENOTUNIQ, "name not unique on network"),
	ROW(EBADFD, "file descriptor in bad state"),
	ROW(EREMCHG, "remote address changed"),
	ROW(ELIBACC, "can not access a needed shared library"),
	ROW(ELIBBAD, "accessing a corrupted shared library"),
	ROW(ELIBSCN, ".lib section in a.out corrupted"),
	ROW(ELIBMAX, "attempting to link in too many shared libraries"),
	ROW(ELIBEXEC, "cannot exec a shared library directly"),
	ROW(EILSEQ, "invalid or incomplete multibyte or wide character"),
	ROW(ERESTART, "interrupted system call should be restarted"),
	ROW(ESTRPIPE, "streams pipe error"),
	ROW(EUSERS, "too many users"),
	ROW(ENOTSOCK, "socket operation on non-socket"),
	ROW(EDESTADDRREQ, "destination address required"),
	ROW(EMSGSIZE, "message too long"),
	ROW(EPROTOTYPE, "protocol wrong type for socket"),
	ROW(ENOPROTOOPT, "protocol not available"),
	ROW(EPROTONOSUPPORT, "protocol not supported"),
	ROW(ESOCKTNOSUPPORT, "socket type not supported"),
	ROW(EOPNOTSUPP, "operation not supported"),
	ROW(EPFNOSUPPORT, "protocol family not supported"),
	ROW(EAFNOSUPPORT, "address family not supported by protocol"),
	ROW(EADDRINUSE, "address already in use"),
	ROW(EADDRNOTAVAIL, "cannot assign requested address"),
	ROW(ENETDOWN, "network is down"),
	ROW(ENETUNREACH, "network is unreachable"),
	ROW(ENETRESET, "network dropped connection on reset"),
	ROW(ECONNABORTED, "software caused connection abort"),
	ROW(ECONNRESET, "connection reset by peer"),
	ROW(ENOBUFS, "no buffer space available"),
	ROW(EISCONN, "transport endpoint is already connected"),
	ROW(ENOTCONN, "transport endpoint is not connected"),
	ROW(ESHUTDOWN, "cannot send after transport endpoint shutdown"),
	ROW(ETOOMANYREFS, "too many references"),
	ROW(ETIMEDOUT, "connection timed out"),
	ROW(ECONNREFUSED, "connection refused"),
	ROW(EHOSTDOWN, "host is down"),
	ROW(EHOSTUNREACH, "no route to host"),
	ROW(EALREADY, "operation already in progress"),
	ROW(EINPROGRESS, "operation now in progress"),
	ROW(ESTALE, "stale file handle"),
	ROW(EUCLEAN, "structure needs cleaning"),
	ROW(ENOTNAM, "not a XENIX named type file"),
	ROW(ENAVAIL, "no XENIX semaphores available"),
	ROW(EISNAM, "is a named type file"),
	ROW(EREMOTEIO, "remote I/O error"),
	ROW(EDQUOT, "disk quota exceeded"),
	ROW(ENOMEDIUM, "no medium found"),
	ROW(EMEDIUMTYPE, "wrong medium type"),
	ROW(ECANCELED, "operation canceled"),
	ROW(ENOKEY, "required key not available"),
	ROW(EKEYEXPIRED, "key has expired"),
	ROW(EKEYREVOKED, "key has been revoked"),
	ROW(EKEYREJECTED, "key was rejected by service"),
	ROW(EOWNERDEAD, "owner died"),
	ROW(ENOTRECOVERABLE, "state not recoverable"),
	ROW(ERFKILL, "operation not possible due to RF-kill"),
	ROW(EHWPOISON, "memory page has hardware error"),
};

/* Of the resolver, by the EAI_ code made positive. */
#define EAI_ROW(code, text) [-(code)] = { #code, text }
static const struct row resolver_rows[] = {
	EAI_ROW(EAI_BADFLAGS, "bad flags for a look-up"),
	EAI_ROW(EAI_NONAME, "name or service not known"),
	EAI_ROW(EAI_AGAIN, "temporary failure in name resolution"),
	EAI_ROW(EAI_FAIL, "the name server failed for good"),
	EAI_ROW(EAI_NODATA, "the name has no address"),
	EAI_ROW(EAI_FAMILY, "the look-up knows no such address family"),
	EAI_ROW(EAI_SOCKTYPE, "the look-up knows no such socket type"),
	EAI_ROW(EAI_SERVICE, "no such service for this socket type"),
	EAI_ROW(EAI_ADDRFAMILY, "the name has no address of this family"),
	EAI_ROW(EAI_MEMORY, "no memory for the look-up"),
	EAI_ROW(EAI_SYSTEM, "the system failed in the look-up"),
	EAI_ROW(EAI_OVERFLOW, "the look-up's answer is too long"),
	EAI_ROW(EAI_INPROGRESS, "the look-up is under way"),
	EAI_ROW(EAI_CANCELED, "the look-up was cancelled"),
	EAI_ROW(EAI_NOTCANCELED, "the look-up could not be cancelled"),
	EAI_ROW(EAI_ALLDONE, "all look-ups are done"),
	EAI_ROW(EAI_INTR, "a signal interrupted the look-up"),
	EAI_ROW(EAI_IDN_ENCODE, "the name cannot be written as an international domain name"),
};

/* Of the older look-ups. */
#define HOST_ROW(code, text) [code] = { #code, text }
static const struct row host_rows[] = {
	HOST_ROW(HOST_NOT_FOUND, "unknown host"),
	HOST_ROW(TRY_AGAIN, "temporary failure in the look-up of a host"),
	HOST_ROW(NO_RECOVERY, "the look-up of a host failed for good"),
	HOST_ROW(NO_DATA, "the host has no address"),
};

/* Ours, from CHIME_ETIMEOUT downwards. */
#define OWN_ROW(code, text) [CHIME_ETIMEOUT - (code)] = { #code, text }
static const struct row own_rows[] = {
	OWN_ROW(CHIME_ETIMEOUT, "timed out"),
	OWN_ROW(CHIME_ESYNTAX, "not of the form that was expected"),
	OWN_ROW(CHIME_ECLOSED, "the socket is closed"),
	OWN_ROW(CHIME_EEOF, "the peer ended the stream too early"),
	OWN_ROW(CHIME_ESCHEME, "this build or release cannot open such a scheme"),
	OWN_ROW(CHIME_ETOOLONG, "longer than the limit"),
	OWN_ROW(CHIME_ESHORT, "the packet is cut short"),
	OWN_ROW(CHIME_EVERSION, "a packet of another version of the protocol"),
	OWN_ROW(CHIME_ELENGTH, "the lengths in the packet contradict each other"),
	OWN_ROW(CHIME_ECHECKSUM, "the packet's checksum is wrong"),
};

static const struct row success = { "OK", "success" };
static const struct row unknown = { "UNKNOWN", "unknown error" };

#define COUNT(rows) (int)(sizeof(rows) / sizeof(rows)[0])

static const struct row *find(int code)
{
	const struct row *row = NULL;
	if (code >= 0)
		return &success;
	if (code > -COUNT(system_rows))
		row = &system_rows[-code];
	else if (code <= CHIME_EAI(0) && code > CHIME_EAI(-COUNT(resolver_rows)))
		row = &resolver_rows[CHIME_EAI(0) - code];
	else if (code <= CHIME_HOST(0) && code > CHIME_HOST(COUNT(host_rows)))
		row = &host_rows[CHIME_HOST(0) - code];
	else if (code <= CHIME_ETIMEOUT && code > CHIME_ETIMEOUT - COUNT(own_rows))
		row = &own_rows[CHIME_ETIMEOUT - code];
	return row && row->name ? row : &unknown;
}

const char *chime_strerror(int code)
{
	return find(code)->text;
}

const char *chime_errname(int code)
{
	return find(code)->name;
}
