/* Methods of the socket object that carry no data: connections, names, modes, ending. And the table of them all. */
#include "binding.h"

/* ---- connections ---- */

static PyObject *sock_accept(struct py_sock *s, PyObject *unused)
{
	chime_sock *handle = py_handle(s), *accepted;
	chime_addr peer;
	int err;
	(void)unused;
	if (!handle)
		return NULL;
	WAIT(err, chime_accept(handle, &accepted, &peer));
	if (err < 0)
		return py_raise(err);
	PyObject *from = py_address_to(&peer, s->proto);
	if (!from) {
		chime_free(&accepted);
		return NULL;
	}
	/* Lib/socket.py makes the object itself. */
	int fd = chime_detach(accepted);
	chime_free(&accepted);
	return Py_BuildValue("iN", fd, from);
}

/* The address of a call that has one alone, with the event that audit hooks see. */
static bool address_arg(struct py_sock *s, PyObject *object, const char *caller, const char *event, chime_addr *out)
{
	return py_address_from(s, object, caller, out) && PySys_Audit(event, "OO", s, object) >= 0;
}

static PyObject *sock_bind(struct py_sock *s, PyObject *address)
{
	chime_sock *handle = py_handle(s);
	chime_addr at;
	int err;
	if (!handle || !address_arg(s, address, "bind", "socket.bind", &at))
		return NULL;
	WAIT(err, chime_bind(handle, &at));
	return py_none_or_raise(err);
}

static PyObject *sock_connect(struct py_sock *s, PyObject *address)
{
	chime_sock *handle = py_handle(s);
	chime_addr to;
	int err;
	if (!handle || !address_arg(s, address, "connect", "socket.connect", &to))
		return NULL;
	WAIT(err, chime_connect(handle, &to));
	return py_none_or_raise(err);
}

static PyObject *sock_connect_ex(struct py_sock *s, PyObject *address)
{
	chime_sock *handle = py_handle(s);
	chime_addr to;
	int code;
	if (!handle || !address_arg(s, address, "connect_ex", "socket.connect", &to))
		return NULL;
	WAIT(code, chime_connect_ex(handle, &to));
	return PyErr_Occurred() ? NULL : PyLong_FromLong(code);
}

static PyObject *sock_listen(struct py_sock *s, PyObject *args)
{
	int err, backlog = CHIME_BACKLOG;
	if (!PyArg_ParseTuple(args, "|i:listen", &backlog))
		return NULL;
	chime_sock *handle = py_handle(s);
	if (!handle)
		return NULL;
	WAIT(err, chime_listen(handle, backlog));
	return py_none_or_raise(err);
}

static PyObject *sock_shutdown(struct py_sock *s, PyObject *arg)
{
	int err, how;
	if (!py_int(arg, &how))
		return NULL;
	chime_sock *handle = py_handle(s);
	if (!handle)
		return NULL;
	WAIT(err, chime_shutdown(handle, how));
	return py_none_or_raise(err);
}

/* ---- names ---- */

typedef int name_fn(chime_sock *s, chime_addr *out);

static PyObject *name_of(struct py_sock *s, name_fn *name)
{
	chime_sock *handle = py_handle(s);
	chime_addr a;
	int err;
	if (!handle)
		return NULL;
	if (!py_family_known(s->family)) {
		PyErr_SetString(PyExc_OSError, "getsockaddrlen: bad family");
		return NULL;
	}
	WAIT(err, name(handle, &a));
	return err < 0 ? py_raise(err) : py_address_to(&a, s->proto);
}

static PyObject *sock_getsockname(struct py_sock *s, PyObject *unused)
{
	(void)unused;
	return name_of(s, chime_getsockname);
}

static PyObject *sock_getpeername(struct py_sock *s, PyObject *unused)
{
	(void)unused;
	return name_of(s, chime_getpeername);
}

static PyObject *sock_fileno(struct py_sock *s, PyObject *unused)
{
	(void)unused;
	return PyLong_FromLong(s->fd);
}

/* ---- modes ---- */

static PyObject *set_mode(struct py_sock *s, int64_t timeout_ns)
{
	chime_sock *handle = py_handle(s);
	int err;
	if (!handle)
		return NULL;
	s->timeout_ns = timeout_ns;
	CALL(err, chime_set_timeout(handle, timeout_ns));
	return py_none_or_raise(err);
}

static PyObject *sock_settimeout(struct py_sock *s, PyObject *arg)
{
	int64_t timeout_ns;
	return py_timeout_from(arg, &timeout_ns) ? set_mode(s, timeout_ns) : NULL;
}

static PyObject *sock_setblocking(struct py_sock *s, PyObject *arg)
{
#if PY_VERSION_HEX >= 0x030d0000
	long block = PyObject_IsTrue(arg);
#else
	long block = PyLong_AsLong(arg);
#endif
	if (block == -1 && PyErr_Occurred())
		return NULL;
	return set_mode(s, block ? CHIME_FOREVER : 0);
}

static PyObject *sock_gettimeout(struct py_sock *s, PyObject *unused)
{
	(void)unused;
	return py_timeout_to(s->timeout_ns);
}

static PyObject *sock_getblocking(struct py_sock *s, PyObject *unused)
{
	(void)unused;
	return PyBool_FromLong(s->timeout_ns != 0);
}

/* ---- ending ---- */

static PyObject *sock_close(struct py_sock *s, PyObject *unused)
{
	int err;
	(void)unused;
	if (s->fd < 0)
		Py_RETURN_NONE;
	s->fd = -1;
	WAIT(err, chime_close(s->handle));
	return py_none_or_raise(err);
}

static PyObject *sock_detach(struct py_sock *s, PyObject *unused)
{
	int fd;
	(void)unused;
	if (s->fd < 0)
		return PyLong_FromLong(-1);
	s->fd = -1;
	CALL(fd, chime_detach(s->handle));
	return fd < 0 ? py_raise(fd) : PyLong_FromLong(fd);
}

#define METHOD(f) ((PyCFunction)(void (*)(void))(f))

PyMethodDef py_sock_methods[] = {
	{ "_accept", METHOD(sock_accept), METH_NOARGS, "waits for a connection: (descriptor, address)" },
	{ "bind", METHOD(sock_bind), METH_O, "gives it an address" },
	{ "close", METHOD(sock_close), METH_NOARGS, "closes it" },
	{ "connect", METHOD(sock_connect), METH_O, "waits until connected" },
	{ "connect_ex", METHOD(sock_connect_ex), METH_O, "the same, with the errno as result" },
	{ "detach", METHOD(sock_detach), METH_NOARGS, "gives the descriptor away" },
	{ "fileno", METHOD(sock_fileno), METH_NOARGS, "the descriptor, -1 once closed" },
	{ "getblocking", METHOD(sock_getblocking), METH_NOARGS, "whether the time limit is not 0" },
	{ "getpeername", METHOD(sock_getpeername), METH_NOARGS, "the peer's address" },
	{ "getsockname", METHOD(sock_getsockname), METH_NOARGS, "its own address" },
	{ "getsockopt", METHOD(py_getsockopt), METH_VARARGS, "reads an option" },
	{ "gettimeout", METHOD(sock_gettimeout), METH_NOARGS, "the time limit in seconds, or None" },
	{ "listen", METHOD(sock_listen), METH_VARARGS, "takes connections from now on" },
	{ "recv", METHOD(py_recv), METH_VARARGS, "waits for bytes" },
	{ "recv_into", METHOD(py_recv_into), METH_VARARGS | METH_KEYWORDS, "the same, into a buffer" },
	{ "recvfrom", METHOD(py_recvfrom), METH_VARARGS, "(bytes, address)" },
	{ "recvfrom_into", METHOD(py_recvfrom_into), METH_VARARGS | METH_KEYWORDS, "(count, address)" },
	{ "recvmsg", METHOD(py_recvmsg), METH_VARARGS, "(bytes, ancillary data, flags, address)" },
	{ "recvmsg_into", METHOD(py_recvmsg_into), METH_VARARGS, "(count, ancillary data, flags, address)" },
	{ "send", METHOD(py_send), METH_VARARGS, "sends what there is room for" },
	{ "sendall", METHOD(py_sendall), METH_VARARGS, "sends everything" },
	{ "sendmsg", METHOD(py_sendmsg), METH_VARARGS, "sends buffers and ancillary data" },
	{ "sendmsg_afalg", METHOD(py_sendmsg_afalg), METH_VARARGS | METH_KEYWORDS, "for the kernel's ciphers" },
	{ "sendto", METHOD(py_sendto), METH_VARARGS, "sends to an address" },
	{ "setblocking", METHOD(sock_setblocking), METH_O, "no time limit, or 0" },
	{ "setsockopt", METHOD(py_setsockopt), METH_VARARGS, "sets an option" },
	{ "settimeout", METHOD(sock_settimeout), METH_O, "the time limit in seconds, or None" },
	{ "shutdown", METHOD(sock_shutdown), METH_O, "ends one direction or both" },
	{ NULL, NULL, 0, NULL },
};
