/* Addresses of the families that few have, as Python writes them: vsock, netlink, packet, TIPC, CAN, ciphers, QRTR, Bluetooth. */
#include "binding.h"

#include <ctype.h>
#include <linux/can.h>
#include <linux/if_alg.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/qrtr.h>
#include <linux/tipc.h>
#include <linux/vm_sockets.h>
#include <string.h>

/* BlueZ's sockaddr structs, whose header may not be there; its numbers are in the bytes' order of Bluetooth. */
struct bt_addr {
	unsigned char b[6];
};
struct bt_l2cap {
	sa_family_t family;
	uint16_t psm;
	struct bt_addr addr;
	uint16_t cid;
	uint8_t addr_type;
};
struct bt_rfcomm {
	sa_family_t family;
	struct bt_addr addr;
	uint8_t channel;
};
struct bt_hci {
	sa_family_t family;
	uint16_t device, channel;
};
struct bt_sco {
	sa_family_t family;
	struct bt_addr addr;
};
enum {
	BT_L2CAP = 0,
	BT_HCI = 1,
	BT_SCO = 2,
	BT_RFCOMM = 3
};

/* Any of them. */
union any {
	struct sockaddr_storage ss;
	struct sockaddr_vm vm;
	struct sockaddr_nl nl;
	struct sockaddr_ll ll;
	struct sockaddr_tipc tipc;
	struct sockaddr_can can;
	struct sockaddr_alg alg;
	struct sockaddr_qrtr qrtr;
	struct bt_l2cap l2cap;
	struct bt_rfcomm rfcomm;
	struct bt_hci hci;
	struct bt_sco sco;
};

static bool is_tuple(PyObject *object, const char *caller, const char *family)
{
	if (PyTuple_Check(object))
		return true;
	PyErr_Format(PyExc_TypeError, "%s%s %s address must be tuple, not %.500s", caller,
		     strcmp(caller, "getsockaddrarg") ? "():" : ":", family, Py_TYPE(object)->tp_name);
	return false;
}

/* An interface's number by its name; none for "". */
static bool interface(const char *name, int *index)
{
	*index = 0;
	if (*name)
		CALL(*index, chime_if_nametoindex(name));
	return *index >= 0 || py_raise(*index);
}

static PyObject *interface_name(int index)
{
	char name[CHIME_IF_NAME] = "";
	int err = 0;
	if (index > 0)
		CALL(err, chime_if_indextoname((unsigned)index, name));
	return PyUnicode_DecodeFSDefault(err == 0 ? name : "");
}

/* ---- from Python; 0: an exception, else the length of the address ---- */

static socklen_t vsock_from(PyObject *object, union any *a)
{
	if (!is_tuple(object, "getsockaddrarg", "AF_VSOCK") ||
	    !PyArg_ParseTuple(object, "II:getsockaddrarg", &a->vm.svm_cid, &a->vm.svm_port))
		return 0;
	return sizeof a->vm;
}

static socklen_t netlink_from(PyObject *object, const char *caller, union any *a)
{
	if (!is_tuple(object, caller, "AF_NETLINK") ||
	    !PyArg_ParseTuple(object, "II;AF_NETLINK address must be a pair (pid, groups)", &a->nl.nl_pid,
			      &a->nl.nl_groups))
		return 0;
	return sizeof a->nl;
}

static socklen_t packet_from(PyObject *object, const char *caller, union any *a)
{
	const char *name;
	int proto, index, type = 0, hardware = 0;
	Py_buffer addr = { .buf = NULL };
	socklen_t len = 0;
	if (!is_tuple(object, caller, "AF_PACKET"))
		return 0;
	if (!PyArg_ParseTuple(object, "si|iiy*;AF_PACKET address must be a tuple of two to five elements", &name,
			      &proto, &type, &hardware, &addr)) {
		if (PyErr_ExceptionMatches(PyExc_OverflowError))
			PyErr_Format(PyExc_OverflowError, "%s(): address argument out of range", caller);
		return 0;
	}
	if (!interface(name, &index)) {
		len = 0;
	} else if (addr.buf && addr.len > (Py_ssize_t)sizeof a->ll.sll_addr) {
		PyErr_SetString(PyExc_ValueError, "Hardware address must be 8 bytes or less");
	} else if (proto < 0 || proto > 0xffff) {
		PyErr_Format(PyExc_OverflowError, "%s(): proto must be 0-65535.", caller);
	} else {
		a->ll.sll_protocol = htons((uint16_t)proto);
		a->ll.sll_ifindex = index;
		a->ll.sll_pkttype = (unsigned char)type;
		a->ll.sll_hatype = (unsigned short)hardware;
		if (addr.buf)
			memcpy(a->ll.sll_addr, addr.buf, (size_t)addr.len);
		a->ll.sll_halen = (unsigned char)addr.len;
		len = sizeof a->ll;
	}
	if (addr.buf)
		PyBuffer_Release(&addr);
	return len;
}

static socklen_t tipc_from(PyObject *object, const char *caller, union any *a)
{
	unsigned type, v1, v2, v3, scope = TIPC_CLUSTER_SCOPE;
	struct sockaddr_tipc *t = &a->tipc;
	if (!is_tuple(object, caller, "AF_TIPC") ||
	    !PyArg_ParseTuple(object, "IIII|I;AF_TIPC address must be a tuple (addr_type, v1, v2, v3[, scope])", &type,
			      &v1, &v2, &v3, &scope))
		return 0;
	t->scope = (signed char)scope;
	t->addrtype = (unsigned char)type;
	switch (type) {
	case TIPC_ADDR_NAMESEQ:
		t->addr.nameseq.type = v1;
		t->addr.nameseq.lower = v2;
		t->addr.nameseq.upper = v3;
		return sizeof *t;
	case TIPC_ADDR_NAME:
		t->addr.name.name.type = v1;
		t->addr.name.name.instance = v2;
		return sizeof *t;
	case TIPC_ADDR_ID:
		t->addr.id.node = v1;
		t->addr.id.ref = v2;
		return sizeof *t;
	default:
		PyErr_SetString(PyExc_TypeError, "Invalid address type");
		return 0;
	}
}

/* The forms of CAN's protocols begin with an interface. */
static socklen_t can_from(PyObject *object, int proto, const char *caller, union any *a)
{
	PyObject *name = NULL;
	unsigned long rx = 0, tx = 0;
	unsigned long long j1939_name = 0;
	unsigned pgn = 0;
	unsigned char addr = 0;
	bool read;
	switch (proto) {
	case CAN_RAW:
	case CAN_BCM:
		if (!is_tuple(object, caller, "AF_CAN"))
			return 0;
		read = PyArg_ParseTuple(object, "O&;AF_CAN address must be a tuple (interface, )",
					PyUnicode_FSConverter, &name);
		break;
	case CAN_ISOTP:
		read = PyArg_ParseTuple(object, "O&kk", PyUnicode_FSConverter, &name, &rx, &tx);
		break;
	case CAN_J1939:
		read = PyArg_ParseTuple(object, "O&KIB", PyUnicode_FSConverter, &name, &j1939_name, &pgn, &addr);
		break;
	default:
		PyErr_Format(PyExc_OSError, "%s(): unsupported CAN protocol", caller);
		return 0;
	}
	if (!read)
		return 0;
	bool found = interface(PyBytes_AS_STRING(name), &a->can.can_ifindex);
	Py_DECREF(name);
	if (proto == CAN_ISOTP) {
		a->can.can_addr.tp.rx_id = (canid_t)rx;
		a->can.can_addr.tp.tx_id = (canid_t)tx;
	} else if (proto == CAN_J1939) {
		a->can.can_addr.j1939.name = j1939_name;
		a->can.can_addr.j1939.pgn = pgn;
		a->can.can_addr.j1939.addr = addr;
	}
	return found ? sizeof a->can : 0;
}

static socklen_t alg_from(PyObject *object, const char *caller, union any *a)
{
	const char *type, *name;
	struct sockaddr_alg *alg = &a->alg;
	if (!is_tuple(object, caller, "AF_ALG") ||
	    !PyArg_ParseTuple(object, "ss|HH;AF_ALG address must be a tuple (type, name [, feat [, mask]])", &type,
			      &name, &alg->salg_feat, &alg->salg_mask))
		return 0;
	bool long_type = strlen(type) >= sizeof alg->salg_type;
	if (long_type || strlen(name) >= sizeof alg->salg_name) {
		PyErr_SetString(PyExc_ValueError, long_type ? "AF_ALG type too long." : "AF_ALG name too long.");
		return 0;
	}
	strcpy((char *)alg->salg_type, type);
	strcpy((char *)alg->salg_name, name);
	return sizeof *alg;
}

static socklen_t qrtr_from(PyObject *object, union any *a)
{
	unsigned node, port;
	if (!is_tuple(object, "getsockaddrarg", "AF_QIPCRTR") ||
	    !PyArg_ParseTuple(object, "II:getsockaddrarg", &node, &port))
		return 0;
	a->qrtr.sq_node = node;
	a->qrtr.sq_port = port;
	return sizeof a->qrtr;
}

/* "00:11:22:33:44:55": the last byte is written first. */
static bool bt_addr_from(const char *text, struct bt_addr *out)
{
	for (int i = 5; i >= 0; i--) {
		unsigned value = 0;
		int digits = 0;
		for (; digits < 2 && isxdigit((unsigned char)*text); digits++, text++)
			value = value * 16 +
				(unsigned)(isdigit((unsigned char)*text) ? *text - '0' : (*text | 32) - 'a' + 10);
		if (digits == 0 || *text != (i > 0 ? ':' : 0)) {
			PyErr_SetString(PyExc_OSError, "bad bluetooth address");
			return false;
		}
		if (i > 0)
			text++;
		out->b[i] = (unsigned char)value;
	}
	return true;
}

static socklen_t bt_from(PyObject *object, int proto, const char *caller, union any *a)
{
	const char *text = NULL;
	int number = 0;
	bool tuple = PyTuple_Check(object);
	switch (proto) {
	case BT_L2CAP:
		if (!tuple || !PyArg_ParseTuple(object, "si", &text, &number))
			break;
		a->l2cap.psm = (uint16_t)number;
		return bt_addr_from(text, &a->l2cap.addr) ? sizeof a->l2cap : 0;
	case BT_RFCOMM:
		if (!tuple || !PyArg_ParseTuple(object, "si", &text, &number))
			break;
		a->rfcomm.channel = (uint8_t)number;
		return bt_addr_from(text, &a->rfcomm.addr) ? sizeof a->rfcomm : 0;
	case BT_HCI:
		if (!tuple || !PyArg_ParseTuple(object, "i", &number))
			break;
		a->hci.device = (uint16_t)number;
		return sizeof a->hci;
	case BT_SCO:
#if PY_VERSION_HEX >= 0x030d0000
		if (PyUnicode_Check(object))
			text = PyUnicode_AsUTF8(object);
#endif
		if (PyBytes_Check(object))
			text = PyBytes_AS_STRING(object);
		if (!text)
			break;
		return bt_addr_from(text, &a->sco.addr) ? sizeof a->sco : 0;
	default:
		PyErr_Format(PyExc_OSError, "%s(): unknown Bluetooth protocol", caller);
		return 0;
	}
	PyErr_Format(PyExc_OSError, "%s(): wrong format", caller);
	return 0;
}

bool py_family_from(struct py_sock *s, PyObject *object, const char *caller, chime_addr *out)
{
	union any a;
	socklen_t len = 0;
	int err;
	memset(&a, 0, sizeof a);
	switch (s->family) {
	case AF_VSOCK:
		len = vsock_from(object, &a);
		break;
	case AF_NETLINK:
		len = netlink_from(object, caller, &a);
		break;
	case AF_PACKET:
		len = packet_from(object, caller, &a);
		break;
	case AF_TIPC:
		len = tipc_from(object, caller, &a);
		break;
	case AF_CAN:
		len = can_from(object, s->proto, caller, &a);
		break;
	case AF_ALG:
		len = alg_from(object, caller, &a);
		break;
	case AF_QIPCRTR:
		len = qrtr_from(object, &a);
		break;
	case AF_BLUETOOTH:
		len = bt_from(object, s->proto, caller, &a);
		break;
	default:
		PyErr_Format(PyExc_OSError, "%s(): bad family", caller);
	}
	if (len == 0)
		return false;
	a.ss.ss_family = (sa_family_t)s->family;
	CALL(err, chime_addr_from(out, (const struct sockaddr *)&a, len));
	return err == 0 || py_raise(err);
}

bool py_family_known(int family)
{
	static const int known[] = { AF_INET,   AF_INET6, AF_UNIX, AF_RDS, AF_VSOCK,   AF_NETLINK,
				     AF_PACKET, AF_TIPC,  AF_CAN,  AF_ALG, AF_QIPCRTR, AF_BLUETOOTH };
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (known[i] == family)
			return true;
	return false;
}

/* ---- to Python ---- */

static PyObject *packet_to(const struct sockaddr_ll *ll)
{
	Py_ssize_t len = ll->sll_halen <= sizeof ll->sll_addr ? ll->sll_halen : (Py_ssize_t)sizeof ll->sll_addr;
	PyObject *name = interface_name(ll->sll_ifindex);
	return name ? Py_BuildValue("Nhbhy#", name, ntohs(ll->sll_protocol), ll->sll_pkttype, ll->sll_hatype,
				    (const char *)ll->sll_addr, len)
		    : NULL;
}

static PyObject *tipc_to(const struct sockaddr_tipc *t)
{
	switch (t->addrtype) {
	case TIPC_ADDR_NAMESEQ:
		return Py_BuildValue("IIIII", t->addrtype, t->addr.nameseq.type, t->addr.nameseq.lower,
				     t->addr.nameseq.upper, t->scope);
	case TIPC_ADDR_NAME:
		return Py_BuildValue("IIIII", t->addrtype, t->addr.name.name.type, t->addr.name.name.instance,
				     t->addr.name.name.instance, t->scope);
	case TIPC_ADDR_ID:
		return Py_BuildValue("IIIII", t->addrtype, t->addr.id.node, t->addr.id.ref, 0, t->scope);
	default:
		PyErr_SetString(PyExc_ValueError, "Invalid address type");
		return NULL;
	}
}

static PyObject *can_to(const struct sockaddr_can *can, int proto)
{
	PyObject *name = interface_name(can->can_ifindex);
	if (!name)
		return NULL;
	if (proto == CAN_ISOTP)
		return Py_BuildValue("Nkk", name, (unsigned long)can->can_addr.tp.rx_id,
				     (unsigned long)can->can_addr.tp.tx_id);
	if (proto == CAN_J1939)
		return Py_BuildValue("NKIB", name, (unsigned long long)can->can_addr.j1939.name,
				     (unsigned)can->can_addr.j1939.pgn, can->can_addr.j1939.addr);
	return Py_BuildValue("(N)", name);
}

static PyObject *bt_addr_to(const struct bt_addr *a)
{
	char text[18], *at = text;
	for (int i = 5; i >= 0; i--) {
		*at++ = "0123456789ABCDEF"[a->b[i] >> 4];
		*at++ = "0123456789ABCDEF"[a->b[i] & 15];
		*at++ = i > 0 ? ':' : 0;
	}
	return PyUnicode_FromString(text);
}

static PyObject *bt_to(const union any *a, int proto)
{
	switch (proto) {
	case BT_L2CAP:
		return Py_BuildValue("Ni", bt_addr_to(&a->l2cap.addr), a->l2cap.psm);
	case BT_RFCOMM:
		return Py_BuildValue("Ni", bt_addr_to(&a->rfcomm.addr), a->rfcomm.channel);
	case BT_HCI:
		return Py_BuildValue("i", a->hci.device);
	case BT_SCO:
		return bt_addr_to(&a->sco.addr);
	default:
		PyErr_SetString(PyExc_ValueError, "Unknown Bluetooth protocol");
		return NULL;
	}
}

PyObject *py_family_to(const chime_addr *addr, int proto)
{
	union any a;
	memcpy(&a, &addr->u, sizeof addr->u);
	switch (chime_addr_family(addr)) {
	case AF_VSOCK:
		return Py_BuildValue("II", a.vm.svm_cid, a.vm.svm_port);
	case AF_NETLINK:
		return Py_BuildValue("II", a.nl.nl_pid, a.nl.nl_groups);
	case AF_PACKET:
		return packet_to(&a.ll);
	case AF_TIPC:
		return tipc_to(&a.tipc);
	case AF_CAN:
		return can_to(&a.can, proto);
	case AF_ALG:
		return Py_BuildValue("s#s#HH", a.alg.salg_type,
				     strnlen((const char *)a.alg.salg_type, sizeof a.alg.salg_type), a.alg.salg_name,
				     strnlen((const char *)a.alg.salg_name, sizeof a.alg.salg_name), a.alg.salg_feat,
				     a.alg.salg_mask);
	case AF_QIPCRTR:
		return Py_BuildValue("II", a.qrtr.sq_node, a.qrtr.sq_port);
	case AF_BLUETOOTH:
		return bt_to(&a, proto);
	default:
		/* As bytes, as many as the smallest struct has. */
		return Py_BuildValue("iy#", addr->u.sa.sa_family, addr->u.sa.sa_data,
				     (Py_ssize_t)sizeof addr->u.sa.sa_data);
	}
}
