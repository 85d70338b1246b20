/*
 * Preloaded into user-mode Linux 6.1, which keeps 2696 bytes of a process's extended registers. Where the processor has more
 * (AMX: 11008), Linux gives as many as there is room for, but takes back only all of them: EFAULT, and the guest panics
 * at its first process. So what it keeps is laid over the whole of what the process has.
 */
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <unistd.h>

#define XSTATE_MAX 65536

typedef long ptrace_fn(enum __ptrace_request request, ...);

static ptrace_fn *system_ptrace;

__attribute__((constructor)) static void find(void)
{
	*(void **)(void *)&system_ptrace = dlsym(RTLD_NEXT, "ptrace");
}

static long set_xstate(pid_t pid, void *addr, const struct iovec *kept)
{
	static char all[XSTATE_MAX]; /* UML's kernel is one thread */
	struct iovec whole = { all, sizeof all };
	long err = system_ptrace(PTRACE_GETREGSET, pid, addr, &whole);
	if (err < 0)
		return err;
	memcpy(all, kept->iov_base, kept->iov_len < whole.iov_len ? kept->iov_len : whole.iov_len);
	return system_ptrace(PTRACE_SETREGSET, pid, addr, &whole);
}

__attribute__((visibility("default"))) long ptrace(enum __ptrace_request request, ...)
{
	va_list ap;
	va_start(ap, request);
	pid_t pid = va_arg(ap, pid_t);
	void *addr = va_arg(ap, void *), *data = va_arg(ap, void *);
	va_end(ap);
	if (request == PTRACE_SETREGSET && addr == (void *)NT_X86_XSTATE)
		return set_xstate(pid, addr, data);
	return system_ptrace(request, pid, addr, data);
}
