/* Datagrams of one source to one worker: a filter on the group of sockets that share the port (SO_REUSEPORT, socket(7)). */
#include "server/steer.h"

#include <errno.h>
#include <linux/filter.h>
#include <stdint.h>
#include <sys/random.h>
#include <sys/socket.h>

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
	struct sock_fprog program = { sizeof code / sizeof *code, code };
	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program) < 0)
		return -errno;
	return 0;
}
