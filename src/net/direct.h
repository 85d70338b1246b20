/*
 * net/direct.h - send(2) and recv(2) by the shortest way, for the calls that count: most of what the library adds is won back here.
 *
 * The C library's wrappers are cancellation points, which costs as much as what ours do besides, and more where there are threads. They are used where others want to
 * see the calls: with a sanitizer in the program, behind LD_PRELOAD; and on every other processor than x86-64.
 */
#ifndef CHIME_NET_DIRECT_H
#define CHIME_NET_DIRECT_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>

#if defined(__x86_64__) && defined(__LP64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define DIRECT 1
#else
#define DIRECT 0
#endif

/* Set before main(), and left alone. */
extern bool chime__direct __attribute__((visibility("hidden")));
/* What it should be. */
bool chime__direct_wanted(void);

#if DIRECT
static inline ssize_t direct_call(long number, int fd, const void *buf, size_t len, int flags)
{
	register long fourth __asm__("r10") = flags;
	register const void *address __asm__("r8") = NULL;
	register long address_len __asm__("r9") = 0;
	ssize_t n;
	__asm__ volatile("syscall"
			 : "=a"(n)
			 : "a"(number), "D"((long)fd), "S"(buf), "d"(len), "r"(fourth), "r"(address), "r"(address_len)
			 : "rcx", "r11", "memory");
	return n;
}
#endif

/* A count or -errno. */
static inline ssize_t direct_send(int fd, const void *buf, size_t len, int flags)
{
#if DIRECT
	if (__builtin_expect(chime__direct, 1))
		return direct_call(SYS_sendto, fd, buf, len, flags);
#endif
	ssize_t n = send(fd, buf, len, flags);
	return n < 0 ? -errno : n;
}

/* A count or -errno. */
static inline ssize_t direct_recv(int fd, void *buf, size_t len, int flags)
{
#if DIRECT
	if (__builtin_expect(chime__direct, 1))
		return direct_call(SYS_recvfrom, fd, buf, len, flags);
#endif
	ssize_t n = recv(fd, buf, len, flags);
	return n < 0 ? -errno : n;
}

#endif
