/* The module's constants: constants.list, made into a table by constants.awk, with the values of the system headers. */
#include "binding.h"

#include <linux/can.h>
#include <linux/can/bcm.h>
#include <linux/can/j1939.h>
#include <linux/can/raw.h>
#include <linux/if_alg.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/tipc.h>
#include <linux/vm_sockets.h>
#include <net/ethernet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sys/ioctl.h>

/* What the headers of the kernel have and those of the C library have not. */
#ifndef UDPLITE_SEND_CSCOV
#define UDPLITE_SEND_CSCOV 10
#define UDPLITE_RECV_CSCOV 11
#endif
#ifndef SOL_UDP
#define SOL_UDP 17
#endif
#ifndef SOL_RDS
#define SOL_RDS 276
#endif

struct constant {
	const char *name;
	long long value;
};

static const struct constant constants[] = {
#include "constants.inc"
};

static int add_text(PyObject *module, const char *name, const char *text)
{
	return PyModule_AddStringConstant(module, name, text);
}

int py_add_constants(PyObject *module)
{
	for (size_t i = 0; i < sizeof constants / sizeof constants[0]; i++) {
		PyObject *value = PyLong_FromLongLong(constants[i].value);
		int err = PyModule_AddObjectRef(module, constants[i].name, value);
		Py_XDECREF(value);
		if (err < 0)
			return -1;
	}
	if (add_text(module, "BDADDR_ANY", "00:00:00:00:00:00") < 0 ||
	    add_text(module, "BDADDR_LOCAL", "00:00:00:FF:FF:FF") < 0)
		return -1;
	return PyModule_AddObjectRef(module, "has_ipv6", Py_True);
}
