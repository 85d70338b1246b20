/* Module functions that look names up: hosts, services, protocols, interfaces. */
#include "binding.h"

#include <stdio.h>

/* ---- hosts ---- */

static PyObject *text_of(const chime_addr *a)
{
	bool six = chime_addr_family(a) == AF_INET6;
	const void *bytes = six ? (const void *)&a->u.in6.sin6_addr : &a->u.in.sin_addr;
	char text[INET6_ADDRSTRLEN];
	int err;
	CALL(err, chime_inet_ntop(chime_addr_family(a), bytes, six ? 16 : 4, text, sizeof text));
	return err < 0 ? py_raise(err) : PyUnicode_FromString(text);
}

static PyObject *gethostbyname_(PyObject *module, PyObject *args)
{
	char *name;
	chime_addr a;
	PyObject *result = NULL;
	(void)module;
	if (!PyArg_ParseTuple(args, "et:gethostbyname", "idna", &name))
		return NULL;
	if (PySys_Audit("socket.gethostbyname", "O", args) >= 0 && py_look_up(name, AF_INET, &a))
		result = text_of(&a);
	PyMem_Free(name);
	return result;
}

/* Appends; takes over item, which may be NULL with an exception. */
static bool append(PyObject *list, PyObject *item)
{
	bool ok = list && item && PyList_Append(list, item) == 0;
	Py_XDECREF(item);
	return ok;
}

static PyObject *host_to(const struct chime_host *h)
{
	PyObject *aliases = PyList_New(0), *addresses = PyList_New(0);
	bool ok = aliases && addresses;
	for (size_t i = 0; ok && i < h->aliases; i++)
		ok = append(aliases, PyUnicode_FromString(h->alias[i]));
	for (size_t i = 0; ok && i < h->count; i++)
		ok = append(addresses, text_of(&h->addr[i]));
	PyObject *name = ok ? PyUnicode_DecodeFSDefault(h->name) : NULL;
	if (name)
		return Py_BuildValue("NNN", name, aliases, addresses);
	Py_XDECREF(aliases);
	Py_XDECREF(addresses);
	return NULL;
}

typedef int host_fn(const char *name, int64_t timeout_ns, struct chime_host **out);

static PyObject *host_by(host_fn *ask, const char *name)
{
	struct chime_host *host;
	int err;
	WAIT(err, ask(name, CHIME_FOREVER, &host));
	if (err < 0)
		return py_raise(err);
	PyObject *result = host_to(host);
	chime_host_free(&host);
	return result;
}

static PyObject *gethostbyname_ex_(PyObject *module, PyObject *args)
{
	char *name;
	chime_addr a;
	PyObject *result = NULL;
	(void)module;
	if (!PyArg_ParseTuple(args, "et:gethostbyname_ex", "idna", &name))
		return NULL;
	if (PySys_Audit("socket.gethostbyname", "O", args) >= 0 && py_look_up(name, AF_INET, &a))
		result = host_by(chime_gethostbyname_ex, name);
	PyMem_Free(name);
	return result;
}

static PyObject *gethostbyaddr_(PyObject *module, PyObject *args)
{
	char *name;
	chime_addr a;
	PyObject *result = NULL;
	(void)module;
	if (!PyArg_ParseTuple(args, "et:gethostbyaddr", "idna", &name))
		return NULL;
	if (PySys_Audit("socket.gethostbyaddr", "O", args) >= 0 && py_look_up(name, AF_UNSPEC, &a)) {
		PyObject *text = text_of(&a);
		result = text ? host_by(chime_gethostbyaddr, PyUnicode_AsUTF8(text)) : NULL;
		Py_XDECREF(text);
	}
	PyMem_Free(name);
	return result;
}

static PyObject *gethostname_(PyObject *module, PyObject *unused)
{
	char name[1025];
	int err;
	(void)module;
	(void)unused;
	if (PySys_Audit("socket.gethostname", NULL) < 0)
		return NULL;
	WAIT(err, chime_gethostname(name, sizeof name));
	return err < 0 ? py_raise(err) : PyUnicode_DecodeFSDefault(name);
}

static PyObject *sethostname_(PyObject *module, PyObject *args)
{
	PyObject *name;
	int err;
	(void)module;
	if (PyArg_ParseTuple(args, "S:sethostname", &name)) {
		Py_INCREF(name);
	} else {
		PyErr_Clear();
		if (!PyArg_ParseTuple(args, "O&:sethostname", PyUnicode_FSConverter, &name))
			return NULL;
	}
	if (PySys_Audit("socket.sethostname", "(O)", name) < 0) {
		Py_DECREF(name);
		return NULL;
	}
	CALL(err, chime_sethostname(PyBytes_AS_STRING(name)));
	Py_DECREF(name);
	return py_none_or_raise(err);
}

/* ---- getaddrinfo, getnameinfo ---- */

/* The text of a host or service and what it lies in, to be released; None is NULL. */
struct text {
	PyObject *object;
	const char *text;
};

static bool host_text(PyObject *object, struct text *t)
{
	*t = (struct text){ NULL, NULL };
	if (object == Py_None)
		return true;
	if (PyUnicode_Check(object)) {
		t->object = PyUnicode_AsEncodedString(object, "idna", NULL);
	} else if (PyBytes_Check(object)) {
		t->object = Py_NewRef(object);
	} else {
		PyErr_SetString(PyExc_TypeError, "getaddrinfo() argument 1 must be string or None");
		return false;
	}
	t->text = t->object ? PyBytes_AS_STRING(t->object) : NULL;
	return t->object;
}

static bool service_text(PyObject *object, struct text *t)
{
	*t = (struct text){ NULL, NULL };
	if (PyLong_CheckExact(object)) {
#if PY_VERSION_HEX < 0x030c0000
		long value = PyLong_AsLong(object);
		if (value == -1 && PyErr_Occurred())
			return false;
#endif
		t->object = PyObject_Str(object);
		t->text = t->object ? PyUnicode_AsUTF8(t->object) : NULL;
	} else if (PyUnicode_Check(object)) {
		t->object = Py_NewRef(object);
		t->text = PyUnicode_AsUTF8(object);
	} else if (PyBytes_Check(object)) {
		t->object = Py_NewRef(object);
		t->text = PyBytes_AS_STRING(object);
	} else if (object == Py_None) {
		return true;
	} else {
		PyErr_SetString(PyExc_OSError, "Int or String expected");
	}
	return t->text;
}

static PyObject *list_to(const struct chime_addrinfo *found, int proto)
{
	PyObject *list = PyList_New(0);
	for (size_t i = 0; list && i < found->count; i++) {
		const struct chime_target *at = &found->at[i];
		PyObject *address = py_address_to(&at->addr, proto), *item = NULL;
		const char *name = i == 0 && found->canonical ? found->canonical : "";
		if (address)
			item = Py_BuildValue("iiisN", at->family, at->type, at->protocol, name, address);
		if (!append(list, item))
			Py_CLEAR(list);
	}
	return list;
}

static PyObject *getaddrinfo_(PyObject *module, PyObject *args, PyObject *kwds)
{
	static char *names[] = { "host", "port", "family", "type", "proto", "flags", NULL };
	PyObject *host_object, *port_object, *result = NULL;
	int err, family = AF_UNSPEC, type = 0, proto = 0, flags = 0;
	struct chime_addrinfo *found = NULL;
	struct text host = { NULL, NULL }, service = { NULL, NULL };
	(void)module;
	if (!PyArg_ParseTupleAndKeywords(args, kwds, "OO|iiii:getaddrinfo", names, &host_object, &port_object, &family,
					 &type, &proto, &flags))
		return NULL;
	if (host_text(host_object, &host) && service_text(port_object, &service) &&
	    PySys_Audit("socket.getaddrinfo", "OOiii", host_object, port_object, family, type, proto) >= 0) {
		WAIT(err,
		     chime_getaddrinfo(host.text, service.text, family, type, proto, flags, CHIME_FOREVER, &found));
		result = err < 0 ? py_raise(err) : list_to(found, proto);
		chime_addrinfo_free(&found);
	}
	Py_XDECREF(host.object);
	Py_XDECREF(service.object);
	return result;
}

/* The address of a tuple for getnameinfo(): numeric, of either IP family. */
static bool numeric_from(PyObject *object, chime_addr *out)
{
	const char *host;
	int err, port;
	unsigned flow = 0, scope = 0;
	char service[16];
	struct chime_addrinfo *found;
	if (!PyTuple_Check(object)) {
		PyErr_SetString(PyExc_TypeError, "getnameinfo() argument 1 must be a tuple");
		return false;
	}
	if (!PyArg_ParseTuple(object, "si|II;getnameinfo(): illegal sockaddr argument", &host, &port, &flow, &scope))
		return false;
	if (flow > 0xfffff) {
		PyErr_SetString(PyExc_OverflowError, "getnameinfo(): flowinfo must be 0-1048575.");
		return false;
	}
	if (PySys_Audit("socket.getnameinfo", "(O)", object) < 0)
		return false;
	snprintf(service, sizeof service, "%d", port);
	/* A datagram socket's, so that numbers are taken for any service. */
	WAIT(err, chime_getaddrinfo(host, service, AF_UNSPEC, SOCK_DGRAM, 0, AI_NUMERICHOST, CHIME_FOREVER, &found));
	if (err < 0)
		return py_raise(err);
	const char *why = found->count != 1 ? "sockaddr resolved to multiple addresses" : NULL;
	if (!why)
		*out = found->at[0].addr;
	chime_addrinfo_free(&found);
	if (!why && chime_addr_family(out) == AF_INET && PyTuple_GET_SIZE(object) != 2)
		why = "IPv4 sockaddr must be 2 tuple";
	if (why) {
		PyErr_SetString(PyExc_OSError, why);
		return false;
	}
	if (chime_addr_family(out) == AF_INET6) {
		out->u.in6.sin6_flowinfo = htonl(flow);
		out->u.in6.sin6_scope_id = scope;
	}
	return true;
}

static PyObject *getnameinfo_(PyObject *module, PyObject *args)
{
	char host[NI_MAXHOST], service[NI_MAXSERV];
	PyObject *object;
	chime_addr a;
	int err, flags;
	(void)module;
	if (!PyArg_ParseTuple(args, "Oi:getnameinfo", &object, &flags) || !numeric_from(object, &a))
		return NULL;
	WAIT(err, chime_getnameinfo(&a, flags, CHIME_FOREVER, host, sizeof host, service, sizeof service));
	if (err < 0)
		return py_raise(err);
	PyObject *name = PyUnicode_DecodeFSDefault(host);
	return name ? Py_BuildValue("Ns", name, service) : NULL;
}

/* ---- services and protocols ---- */

static PyObject *unknown(const char *why)
{
	PyErr_SetString(PyExc_OSError, why);
	return NULL;
}

static PyObject *getservbyname_(PyObject *module, PyObject *args)
{
	const char *name, *proto = NULL;
	int port;
	(void)module;
	if (!PyArg_ParseTuple(args, "s|s:getservbyname", &name, &proto))
		return NULL;
	if (PySys_Audit("socket.getservbyname", "ss", name, proto) < 0)
		return NULL;
	WAIT(port, chime_getservbyname(name, proto));
	return port < 0 ? unknown("service/proto not found") : PyLong_FromLong(port);
}

static PyObject *getservbyport_(PyObject *module, PyObject *args)
{
	const char *proto = NULL;
	char name[1024];
	int err, port;
	(void)module;
	if (!PyArg_ParseTuple(args, "i|s:getservbyport", &port, &proto))
		return NULL;
	if (port < 0 || port > 0xffff) {
		PyErr_SetString(PyExc_OverflowError, "getservbyport: port must be 0-65535.");
		return NULL;
	}
	if (PySys_Audit("socket.getservbyport", "is", port, proto) < 0)
		return NULL;
	WAIT(err, chime_getservbyport(port, proto, name, sizeof name));
	return err < 0 ? unknown("port/proto not found") : PyUnicode_FromString(name);
}

static PyObject *getprotobyname_(PyObject *module, PyObject *args)
{
	const char *name;
	int number;
	(void)module;
	if (!PyArg_ParseTuple(args, "s:getprotobyname", &name))
		return NULL;
	WAIT(number, chime_getprotobyname(name));
	return number < 0 ? unknown("protocol not found") : PyLong_FromLong(number);
}

/* ---- interfaces ---- */

static PyObject *if_nameindex_(PyObject *module, PyObject *unused)
{
	int n, room = 64;
	struct chime_interface *found = NULL;
	(void)module;
	(void)unused;
	for (;; room = n) {
		struct chime_interface *more = PyMem_Resize(found, struct chime_interface, (size_t)room);
		if (!more) {
			PyMem_Free(found);
			return PyErr_NoMemory();
		}
		found = more;
		WAIT(n, chime_if_nameindex(found, (size_t)room));
		if (n <= room)
			break;
	}
	PyObject *list = n < 0 ? py_raise(n) : PyList_New(0);
	for (int i = 0; list && i < n; i++)
		if (!append(list, Py_BuildValue("IO&", found[i].index, PyUnicode_DecodeFSDefault, found[i].name)))
			Py_CLEAR(list);
	PyMem_Free(found);
	return list;
}

static PyObject *if_nametoindex_(PyObject *module, PyObject *args)
{
	PyObject *name;
	int index;
	(void)module;
	if (!PyArg_ParseTuple(args, "O&:if_nametoindex", PyUnicode_FSConverter, &name))
		return NULL;
	CALL(index, chime_if_nametoindex(PyBytes_AS_STRING(name)));
	Py_DECREF(name);
	return index < 0 ? unknown("no interface with this name") : PyLong_FromLong(index);
}

static PyObject *if_indextoname_(PyObject *module, PyObject *arg)
{
	char name[CHIME_IF_NAME];
	unsigned long index = PyLong_AsUnsignedLong(arg);
	int err = -ENXIO;
	(void)module;
	if (index == (unsigned long)-1 && PyErr_Occurred())
		return NULL;
#if PY_VERSION_HEX >= 0x030d0000
	if (index > UINT32_MAX) {
		PyErr_SetString(PyExc_OverflowError, "index is too large");
		return NULL;
	}
#endif
	if (index <= UINT32_MAX)
		CALL(err, chime_if_indextoname((unsigned)index, name));
	return err < 0 ? py_raise(err) : PyUnicode_DecodeFSDefault(name);
}

#define FUNCTION(f) ((PyCFunction)(void (*)(void))(f))

PyMethodDef py_name_functions[] = {
	{ "getaddrinfo", FUNCTION(getaddrinfo_), METH_VARARGS | METH_KEYWORDS, "addresses of a host and a service" },
	{ "gethostbyaddr", FUNCTION(gethostbyaddr_), METH_VARARGS, "(name, aliases, addresses) of an address" },
	{ "gethostbyname", FUNCTION(gethostbyname_), METH_VARARGS, "an IPv4 address of a name" },
	{ "gethostbyname_ex", FUNCTION(gethostbyname_ex_), METH_VARARGS, "(name, aliases, addresses) of a name" },
	{ "gethostname", FUNCTION(gethostname_), METH_NOARGS, "this machine's name" },
	{ "getnameinfo", FUNCTION(getnameinfo_), METH_VARARGS, "host and service of an address" },
	{ "getprotobyname", FUNCTION(getprotobyname_), METH_VARARGS, "a protocol's number" },
	{ "getservbyname", FUNCTION(getservbyname_), METH_VARARGS, "a service's port" },
	{ "getservbyport", FUNCTION(getservbyport_), METH_VARARGS, "a port's service" },
	{ "if_indextoname", FUNCTION(if_indextoname_), METH_O, "an interface's name" },
	{ "if_nameindex", FUNCTION(if_nameindex_), METH_NOARGS, "all interfaces" },
	{ "if_nametoindex", FUNCTION(if_nametoindex_), METH_VARARGS, "an interface's number" },
	{ "sethostname", FUNCTION(sethostname_), METH_VARARGS, "sets this machine's name" },
	{ NULL, NULL, 0, NULL },
};
