/* Addresses of the IP families and of unix sockets, as Python writes them. */
#include "binding.h"

#include <string.h>

/* ---- names of hosts ---- */

int py_host_name(PyObject *object, void *out)
{
	struct py_host_name *name = out;
	Py_ssize_t len;
	if (!object) {
		Py_CLEAR(name->object);
		return 1;
	}
	name->object = NULL;
	if (PyUnicode_Check(object)) {
		if (PyUnicode_IS_ASCII(object)) {
			name->object = Py_NewRef(object);
			name->text = PyUnicode_AsUTF8AndSize(object, &len);
		} else {
			name->object = PyUnicode_AsEncodedString(object, "idna", NULL);
			if (!name->object) {
				PyErr_SetString(PyExc_TypeError, "encoding of hostname failed");
				return 0;
			}
			name->text = PyBytes_AS_STRING(name->object);
			len = PyBytes_GET_SIZE(name->object);
		}
	} else if (PyBytes_Check(object)) {
		name->object = Py_NewRef(object);
		name->text = PyBytes_AS_STRING(object);
		len = PyBytes_GET_SIZE(object);
	} else if (PyByteArray_Check(object)) {
		name->object = Py_NewRef(object);
		name->text = PyByteArray_AS_STRING(object);
		len = PyByteArray_GET_SIZE(object);
	} else {
		PyErr_Format(PyExc_TypeError, "str, bytes or bytearray expected, not %s", Py_TYPE(object)->tp_name);
		return 0;
	}
	if (name->text && strlen(name->text) == (size_t)len)
		return Py_CLEANUP_SUPPORTED;
	Py_CLEAR(name->object);
	PyErr_SetString(PyExc_TypeError, "host name must not contain null character");
	return 0;
}

static bool refuse(const char *why)
{
	PyErr_SetString(PyExc_OSError, why);
	return false;
}

bool py_look_up(const char *name, int family, chime_addr *out)
{
	struct chime_addrinfo *list;
	int err = CHIME_ESYNTAX;
	if (!*name && family == AF_UNSPEC)
		return refuse("wildcard resolved to multiple address");
	if (!strcmp(name, "<broadcast>") || !strcmp(name, "255.255.255.255")) {
		if (family != AF_INET && family != AF_UNSPEC)
			return refuse("address family mismatched");
		name = "255.255.255.255";
	}
	/* A scope is the resolver's to read: it takes one only where it means something. */
	if (!strchr(name, '%'))
		CALL(err, chime_addr_ip(out, family, name, 0));
	if (err != CHIME_ESYNTAX)
		return err == 0 || py_raise(err);
	WAIT(err, chime_getaddrinfo(name, NULL, family, 0, 0, 0, CHIME_FOREVER, &list));
	if (err < 0)
		return py_raise(err);
	*out = list->count > 0 ? list->at[0].addr : chime_addr_none();
	chime_addrinfo_free(&list);
	return true;
}

/* ---- from Python ---- */

static bool is_tuple(PyObject *object, const char *caller, const char *family)
{
	if (PyTuple_Check(object))
		return true;
	PyErr_Format(PyExc_TypeError, "%s(): %s address must be tuple, not %.500s", caller, family,
		     Py_TYPE(object)->tp_name);
	return false;
}

static bool bad_port(const char *caller)
{
	PyErr_Format(PyExc_OverflowError, "%s(): port must be 0-65535.", caller);
	return false;
}

/* The tuple's members were read, or not (read is false): its host is looked up and given the port. */
static bool with_port(bool read, struct py_host_name *name, int family, int port, const char *caller, chime_addr *out)
{
	if (!read) {
		if (PyErr_ExceptionMatches(PyExc_OverflowError))
			bad_port(caller);
		return false;
	}
	bool found = py_look_up(name->text, family, out);
	py_host_name(NULL, name);
	if (!found)
		return false;
	int err;
	CALL(err, chime_addr_set_port(out, port));
	return err == 0 || bad_port(caller);
}

static bool inet_from(PyObject *object, const char *caller, chime_addr *out)
{
	struct py_host_name name;
	int port = 0;
	if (!is_tuple(object, caller, "AF_INET"))
		return false;
	bool read =
		PyArg_ParseTuple(object, "O&i;AF_INET address must be a pair (host, port)", py_host_name, &name, &port);
	return with_port(read, &name, AF_INET, port, caller, out);
}

static bool inet6_from(PyObject *object, const char *caller, chime_addr *out)
{
	struct py_host_name name;
	unsigned flow = 0, scope = 0;
	int port = 0;
	if (!is_tuple(object, caller, "AF_INET6"))
		return false;
	bool read = PyArg_ParseTuple(object,
				     "O&i|II;AF_INET6 address must be a tuple "
				     "(host, port[, flowinfo[, scopeid]])",
				     py_host_name, &name, &port, &flow, &scope);
	if (!with_port(read, &name, AF_INET6, port, caller, out))
		return false;
	if (flow > 0xfffff) {
		PyErr_Format(PyExc_OverflowError, "%s(): flowinfo must be 0-1048575.", caller);
		return false;
	}
	out->u.in6.sin6_flowinfo = htonl(flow);
	out->u.in6.sin6_scope_id = scope; /* the tuple's, whatever stands behind a '%' */
	return true;
}

static bool unix_from(PyObject *object, chime_addr *out)
{
	Py_buffer path;
	PyObject *encoded = PyUnicode_Check(object) ? PyUnicode_EncodeFSDefault(object) : Py_NewRef(object);
	if (!encoded)
		return false;
	bool read = PyArg_Parse(encoded, "y*", &path);
	Py_DECREF(encoded);
	if (!read)
		return false;
	size_t len = (size_t)path.len;
	/* A path ends at its first NUL, for the system as well. */
	if (len > 0 && *(const char *)path.buf)
		len = strnlen(path.buf, len);
	int err;
	CALL(err, chime_addr_unix(out, path.buf, len));
	PyBuffer_Release(&path);
	return err == 0 || refuse("AF_UNIX path too long");
}

bool py_address_from(struct py_sock *s, PyObject *object, const char *caller, chime_addr *out)
{
	*out = chime_addr_none();
	switch (s->family) {
	case AF_INET:
	case AF_RDS:
		return inet_from(object, caller, out);
	case AF_INET6:
		return inet6_from(object, caller, out);
	case AF_UNIX:
		return unix_from(object, out);
	default:
		return py_family_from(s, object, caller, out);
	}
}

/* ---- to Python ---- */

static PyObject *ip_text(int family, const void *bytes, size_t len)
{
	char text[INET6_ADDRSTRLEN];
	int err;
	CALL(err, chime_inet_ntop(family, bytes, len, text, sizeof text));
	return err < 0 ? py_raise(err) : PyUnicode_FromString(text);
}

static PyObject *inet_to(const chime_addr *a)
{
	PyObject *host = ip_text(AF_INET, &a->u.in.sin_addr, 4);
	return host ? Py_BuildValue("Ni", host, chime_addr_port(a)) : NULL;
}

static PyObject *inet6_to(const chime_addr *a)
{
	PyObject *host = ip_text(AF_INET6, &a->u.in6.sin6_addr, 16);
	return host ? Py_BuildValue("NiII", host, chime_addr_port(a), ntohl(a->u.in6.sin6_flowinfo),
				    a->u.in6.sin6_scope_id)
		    : NULL;
}

/* Abstract names are bytes, paths are text; a path of full length has no NUL of its own. */
static PyObject *unix_to(const chime_addr *a)
{
	size_t head = offsetof(struct sockaddr_un, sun_path), len = a->len > head ? a->len - head : 0;
	const char *path = a->u.un.sun_path;
	if (len > 0 && !path[0])
		return PyBytes_FromStringAndSize(path, (Py_ssize_t)len);
	return PyUnicode_DecodeFSDefaultAndSize(path, (Py_ssize_t)strnlen(path, len));
}

PyObject *py_address_to(const chime_addr *a, int proto)
{
	if (a->len == 0)
		Py_RETURN_NONE;
	switch (chime_addr_family(a)) {
	case AF_INET:
		return inet_to(a);
	case AF_INET6:
		return inet6_to(a);
	case AF_UNIX:
		return unix_to(a);
	default:
		return py_family_to(a, proto);
	}
}
