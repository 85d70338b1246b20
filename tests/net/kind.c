/* The table of kinds, and what trying them says. */
#include <chime/kind.h>
#include <chime/sock.h>
#include <runner/test.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- a vsock as the test wants it, whatever this kernel has ---- */

#define NOBODY 0xffffffffu /* VMADDR_CID_ANY */

static bool vsock_is_there;
static unsigned vsock_here; /* the only address that it can be bound to, besides any */
static int vsock_sockets;

int socket(int family, int type, int protocol)
{
	if (vsock_is_there && family == AF_VSOCK) {
		vsock_sockets++;
		family = AF_UNIX;
		type = SOCK_STREAM | (type & SOCK_CLOEXEC);
	}
	return (int)syscall(SYS_socket, family, type, protocol);
}

int bind(int fd, const struct sockaddr *a, socklen_t len)
{
	if (vsock_is_there && a->sa_family == AF_VSOCK) {
		struct sockaddr_vm vm = { 0 };
		memcpy(&vm, a, len < sizeof vm ? len : sizeof vm);
		if (vm.svm_port == VMADDR_PORT_ANY && (vm.svm_cid == NOBODY || vm.svm_cid == vsock_here))
			return 0;
		errno = EADDRNOTAVAIL;
		return -1;
	}
	return (int)syscall(SYS_bind, fd, a, len);
}

static int open_descriptors(void)
{
	int n = 0;
	for (int fd = 0; fd < 200; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* Every kind is in the table once, is found, and has its names. */
TEST(each_kind_is_found)
{
	unsigned n = 0;
	for (const struct chime_kind *k = chime_kind_table(); k->family_name; k++, n++) {
		CHECK_PTR(chime_kind_find(k->family, k->type, k->protocol), k);
		CHECK_EQ(strncmp(k->family_name, "AF_", 3), 0);
		CHECK_EQ(strncmp(k->type_name, "SOCK_", 5), 0);
		CHECK(k->protocol_name != NULL);
	}
	CHECK(n > 30);
	CHECK_PTR(chime_kind_find(AF_UNIX, SOCK_RDM, 0), NULL);
	/* Raw sockets of any protocol are one kind, but for ICMP's. */
	CHECK_PTR(chime_kind_find(AF_INET, SOCK_RAW, 99), chime_kind_find(AF_INET, SOCK_RAW, IPPROTO_RAW));
	CHECK_STR(chime_kind_find(AF_INET6, SOCK_RAW, 99)->protocol_name, "any");
	CHECK_STR(chime_kind_find(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6)->protocol_name, "ICMP");
}

/* Each scheme but those without a kind of their own (tls, stamp, fd) has a row, of its family and type, which keeps messages if it does. */
TEST(each_scheme_has_its_kind)
{
	for (int scheme = 0; scheme < CHIME_SCHEMES; scheme++) {
		const struct chime_scheme_info *info = chime_scheme_info((enum chime_scheme)scheme);
		unsigned rows = 0;
		for (const struct chime_kind *k = chime_kind_table(); k->family_name; k++) {
			if ((int)k->scheme != scheme)
				continue;
			rows++;
			if (info->family != AF_UNSPEC && scheme != CHIME_RDS)
				CHECK_EQ(k->family, info->family);
			if (scheme != CHIME_ICMP) /* raw, or a datagram socket where unprivileged */
				CHECK_EQ(k->type, info->type);
			CHECK_EQ(k->messages, info->messages);
		}
		if (scheme != CHIME_TLS && scheme != CHIME_STAMP && scheme != CHIME_FD)
			CHECK(rows > 0);
	}
}

/* Trying tells what opening a handle tells, and no descriptor stays. */
TEST(trying_is_the_kernels_word)
{
	for (const struct chime_kind *k = chime_kind_table(); k->family_name; k++) {
		char why[256];
		chime_sock *s = NULL;
		int err = chime_kind_try(k, why, sizeof why), opened = chime_open(&s, k->family, k->type, k->protocol);
		chime_free(&s);
		print_message("%s %s %s: %s\n", k->family_name, k->type_name, k->protocol_name, why);
		if (opened < 0)
			CHECK_EQ(err, opened);
		if (err < 0)
			CHECK(strstr(why, opened < 0 ? "socket: " : "bind: ") == why);
		CHECK_EQ(chime_kind_try(k, NULL, 0), err);
	}
}

/* What every machine that runs these tests has. */
TEST(loopback_kinds_are_here)
{
	static const int here[][3] = { { AF_INET, SOCK_STREAM, IPPROTO_TCP },
				       { AF_INET, SOCK_DGRAM, IPPROTO_UDP },
				       { AF_UNIX, SOCK_STREAM, 0 },
				       { AF_UNIX, SOCK_DGRAM, 0 },
				       { AF_UNIX, SOCK_SEQPACKET, 0 } };
	for (size_t i = 0; i < sizeof here / sizeof *here; i++) {
		char why[256] = "x";
		const struct chime_kind *k = chime_kind_find(here[i][0], here[i][1], here[i][2]);
		CHECK(k != NULL);
		CHECK_EQ(chime_kind_try(k, why, sizeof why), 0);
		CHECK_STR(why, "");
	}
}

/*
 * A vsock that reaches other machines alone, not this one, is there, with a note that says so and names the module; with one that
 * reaches this machine there is nothing to say, and other families have no such note.
 */
TEST(vsock_tells_whether_it_reaches_this_machine)
{
	static const unsigned here[] = { 3 /* a guest's own */, 1 /* VMADDR_CID_LOCAL */ };
	static const int types[] = { SOCK_STREAM, SOCK_SEQPACKET };
	char why[256];
	vsock_is_there = true;
	for (int i = 0; i < 2; i++)
		for (int j = 0; j < 2; j++) {
			vsock_here = here[i];
			int before = open_descriptors();
			CHECK_EQ(chime_kind_try(chime_kind_find(AF_VSOCK, types[j], 0), why, sizeof why), 0);
			CHECK_STR(why,
				  i ? "" : "to other machines alone; for this one it takes modprobe vsock_loopback");
			CHECK_EQ(chime_kind_try(chime_kind_find(AF_VSOCK, types[j], 0), NULL, 0), 0);
			CHECK_EQ(open_descriptors(), before);
		}
	CHECK_EQ(vsock_sockets, 12); /* each with one for the question, but where nobody asks why */
	CHECK_EQ(chime_kind_try(chime_kind_find(AF_UNIX, SOCK_STREAM, 0), why, sizeof why), 0);
	CHECK_STR(why, "");
}

/* No Linux has SOCK_RDM over IP, and it says so. */
TEST(rdm_over_ip_is_nowhere)
{
	char why[256];
	CHECK_EQ(chime_kind_try(chime_kind_find(AF_INET, SOCK_RDM, 0), why, sizeof why), -ESOCKTNOSUPPORT);
	CHECK(strstr(why, "no Linux has it") != NULL);
}

/* A module that would help is named with the way to load it. */
TEST(lacking_modules_are_named)
{
	unsigned lacking = 0;
	for (const struct chime_kind *k = chime_kind_table(); k->family_name; k++) {
		char why[256], wanted[64];
		int err = chime_kind_try(k, why, sizeof why);
		if (!k->module || (err != -EAFNOSUPPORT && err != -ESOCKTNOSUPPORT && err != -EPROTONOSUPPORT))
			continue;
		lacking++;
		snprintf(wanted, sizeof wanted, "modprobe %s", k->module);
		if (!strstr(why, wanted))
			CHECK_STR(why, wanted);
	}
	if (!lacking)
		SKIP("this kernel has every module of the table");
}

/* Where the process may have no more descriptors, nothing is said of the kernel. */
TEST(no_descriptors_is_told_as_such)
{
	struct rlimit none = { 0, 0 }, was;
	char why[256];
	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &was), 0);
	none.rlim_max = was.rlim_max;
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
	int err = chime_kind_try(chime_kind_find(AF_INET, SOCK_STREAM, IPPROTO_TCP), why, sizeof why);
	setrlimit(RLIMIT_NOFILE, &was);
	CHECK_EQ(err, -EMFILE);
	CHECK(strstr(why, "socket: ") == why);
}

/*
 * Where the loopback interface has no addresses, the sockets of both IP families are there all the same: what lacks is told, and the way
 * out. (While it is down, and nothing has an address of IPv4, Linux lets that family bind anything.)
 */
TEST(loopback_without_addresses)
{
	unsigned tried = 0;
	if (unshare(CLONE_NEWNET) < 0)
		SKIP("making a network namespace takes root");
	if (system("ip link set lo up && ip addr del 127.0.0.1/8 dev lo && ip link set lo down") != 0)
		SKIP("ip(8) cannot take the loopback address away");
	for (const struct chime_kind *k = chime_kind_table(); k->family_name; k++) {
		char why[256];
		bool ip = k->family == AF_INET || k->family == AF_INET6;
		int err = ip ? chime_kind_try(k, why, sizeof why) : -EAFNOSUPPORT;
		if (err == -EAFNOSUPPORT || err == -ESOCKTNOSUPPORT || err == -EPROTONOSUPPORT || err == -ENOPROTOOPT)
			continue; /* this kernel has not those */
		if (err == -EACCES && k->protocol != IPPROTO_TCP)
			continue; /* ping sockets are nobody's in a new namespace */
		print_message("%s %s %s: %s\n", k->family_name, k->type_name, k->protocol_name, why);
		CHECK_EQ(err, 0);
		CHECK(strstr(why, "ip link set lo up") != NULL);
		CHECK(strstr(why, k->family == AF_INET ? "127.0.0.1" : "::1") != NULL);
		tried++;
	}
	CHECK(tried >= 3);
}

/* MPTCP that is switched off is told apart from MPTCP that is not there. */
TEST(mptcp_switched_off)
{
	char why[256];
	const struct chime_kind *k = chime_kind_find(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
	if (unshare(CLONE_NEWNET) < 0)
		SKIP("making a network namespace takes root");
	int fd = open("/proc/sys/net/mptcp/enabled", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		SKIP("this kernel has no MPTCP");
	CHECK_EQ(write(fd, "0", 1), 1);
	close(fd);
	CHECK_EQ(chime_kind_try(k, why, sizeof why), -ENOPROTOOPT);
	CHECK(strstr(why, "net.mptcp.enabled=1") != NULL);
}

/* connect(2) and every way to send kill here. */
static void forbid_talking(void)
{
	static const unsigned calls[] = { SYS_connect, SYS_sendto, SYS_sendmsg, SYS_sendmmsg };
	struct sock_filter code[12] = { BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0) };
	unsigned n = 1;
	for (unsigned i = 0; i < 4; i++) {
		code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i], 0, 1);
		code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	}
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog filter = { (unsigned short)n, code };
#ifdef SYS_socketcall
	SKIP("all socket calls are one here");
#endif
	CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0)
		SKIP("no seccomp here: %s", strerror(errno));
}

/* Trying connects to nothing and sends nothing, of whatever kind. */
TEST(trying_is_silent)
{
	forbid_talking();
	for (const struct chime_kind *k = chime_kind_table(); k->family_name; k++)
		chime_kind_try(k, NULL, 0);
}

TEST_MAIN()
