/* Which of the sockets that share a port gets what comes: filters on their group (SO_REUSEPORT, socket(7)). */
#include "server/steer.h"

#include <errno.h>
#include <linux/filter.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>

static int attach(int fd, struct sock_filter *code, size_t n)
{
	struct sock_fprog program = { (unsigned short)n, code };
	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program) < 0 ? -errno : 0;
}

int chime__steer_by_source(int fd, unsigned workers)
{
	uint32_t factor = 0;
	if (getrandom(&factor, sizeof factor, GRND_NONBLOCK) != sizeof factor)
		factor = 0x9e3779b1;
	factor |= 1;
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, (uint32_t)SKF_NET_OFF), /* the IP header's first byte: the version */
		BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 4),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 6, 2, 0),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_NET_OFF + 12)), /* IPv4's source */
		BPF_STMT(BPF_JMP | BPF_JA, 6),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_NET_OFF + 12)), /* IPv6's: bits 32 to 55 */
		BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 8),
		BPF_STMT(BPF_ALU | BPF_MUL | BPF_K, factor),
		BPF_STMT(BPF_MISC | BPF_TAX, 0),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_NET_OFF + 8)), /* and 0 to 31 */
		BPF_STMT(BPF_ALU | BPF_XOR | BPF_X, 0),
		BPF_STMT(BPF_ALU | BPF_MUL | BPF_K, factor),
		BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 16), /* the product's better half */
		BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, workers),
		BPF_STMT(BPF_RET | BPF_A, 0),
	};
	return attach(fd, code, sizeof code / sizeof *code);
}

int chime__steer_by_core(int fd, const int *cores, unsigned workers)
{
	struct sock_filter *code = malloc((2 * (size_t)workers + 3) * sizeof *code), *p = code;
	if (!code)
		return -ENOMEM;
	*p++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_CPU));
	for (unsigned i = 0; i < workers; i++) {
		*p++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)cores[i], 0, 1);
		*p++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, i);
	}
	*p++ = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, workers);
	*p++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_A, 0);
	int err = attach(fd, code, (size_t)(p - code));
	free(code);
	return err;
}
