/* Module functions that make sockets or concern them all. The last two are libchime's own, for Lib/socket.py's to be replaced by. */
#include "binding.h"

static int descriptor_from(PyObject *arg)
{
	PyObject *whole = PyNumber_Index(arg);
	long fd = whole ? PyLong_AsLong(whole) : -1;
	Py_XDECREF(whole);
	return (int)fd;
}

static PyObject *close_(PyObject *module, PyObject *arg)
{
	int err, fd = descriptor_from(arg);
	(void)module;
	if (PyErr_Occurred())
		return NULL;
	WAIT(err, chime_fd_close(fd));
	return py_none_or_raise(err);
}

static PyObject *dup_(PyObject *module, PyObject *arg)
{
	int fd = descriptor_from(arg);
	(void)module;
	if (PyErr_Occurred())
		return NULL;
	CALL(fd, chime_fd_dup(fd));
	return fd < 0 ? py_raise(fd) : PyLong_FromLong(fd);
}

static PyObject *socketpair_(PyObject *module, PyObject *args)
{
	int err, family = AF_UNIX, type = SOCK_STREAM, proto = 0;
	chime_sock *pair[2];
	(void)module;
	if (!PyArg_ParseTuple(args, "|iii:socketpair", &family, &type, &proto))
		return NULL;
	int bare = type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
	CALL(err, chime_socketpair(pair, family, bare, proto));
	for (int i = 0; i < 2 && err == 0 && type & SOCK_NONBLOCK; i++)
		CALL(err, chime_set_timeout(pair[i], 0));
	if (err < 0) {
		chime_free(&pair[0]);
		chime_free(&pair[1]);
		return py_raise(err);
	}
	PyObject *a = py_sock_wrap(pair[0], bare), *b = py_sock_wrap(pair[1], bare);
	if (a && b)
		return Py_BuildValue("NN", a, b);
	Py_XDECREF(a);
	Py_XDECREF(b);
	return NULL;
}

static PyObject *getdefaulttimeout_(PyObject *module, PyObject *unused)
{
	(void)module;
	(void)unused;
	return py_timeout_to(chime_default_timeout());
}

static PyObject *setdefaulttimeout_(PyObject *module, PyObject *arg)
{
	int64_t ns;
	int err;
	(void)module;
	if (!py_timeout_from(arg, &ns))
		return NULL;
	CALL(err, chime_set_default_timeout(ns));
	return py_none_or_raise(err);
}

/* The descriptor of a socket that is Python's from here on. */
static PyObject *give_away(chime_sock *s)
{
	int fd = chime_detach(s);
	chime_free(&s);
	return PyLong_FromLong(fd);
}

/* (family, host, port, backlog, reuse_port, dualstack): the listener's descriptor. */
static PyObject *create_server_(PyObject *module, PyObject *args)
{
	int err, family, port, backlog, reuse_port, dualstack;
	const char *host;
	chime_sock *s;
	(void)module;
	if (!PyArg_ParseTuple(args, "iziipp:create_server", &family, &host, &port, &backlog, &reuse_port, &dualstack))
		return NULL;
	WAIT(err, chime_create_server(&s, family, host, port, backlog, reuse_port, dualstack));
	return err < 0 ? py_raise(err) : give_away(s);
}

/* Connects from source, or from its counterpart of the other family where that leads nowhere. false: an exception. */
static bool connect_from(const char *source, int source_port, const char *host, int port,
			 struct chime_connect_config config, chime_sock **out)
{
	static const int families[] = { AF_INET6, AF_INET };
	int err = -EAFNOSUPPORT, now;
	chime_addr at;
	for (int i = 0; i < 2 && err < 0; i++) {
		PyErr_Clear();
		if (!py_look_up(source, families[i], &at))
			continue;
		CALL(now, chime_addr_set_port(&at, source_port));
		config.bind = &at;
		if (now == 0)
			WAIT(now, chime_create_connection(out, host, port, &config));
		if (now != -EAFNOSUPPORT)
			err = now;
	}
	return err == 0 || py_raise(err);
}

/* (host, port, timeout, source host or None, source port): the descriptor, or the error that came last. */
static PyObject *create_connection_(PyObject *module, PyObject *args)
{
	struct chime_connect_config config = CHIME_CONNECT_CONFIG_INIT;
	int err, port, source_port;
	const char *host, *source;
	PyObject *timeout;
	chime_sock *s = NULL;
	(void)module;
	if (!PyArg_ParseTuple(args, "ziOzi:create_connection", &host, &port, &timeout, &source, &source_port))
		return NULL;
	if (!py_timeout_from(timeout, &config.timeout_ns))
		return NULL;
	if (source)
		return connect_from(source, source_port, host, port, config, &s) ? give_away(s) : NULL;
	WAIT(err, chime_create_connection(&s, host, port, &config));
	return err < 0 ? py_raise(err) : give_away(s);
}

PyMethodDef py_socket_functions[] = {
	{ "close", close_, METH_O, "closes a descriptor" },
	{ "dup", dup_, METH_O, "duplicates a descriptor" },
	{ "getdefaulttimeout", getdefaulttimeout_, METH_NOARGS, "the time limit of new sockets" },
	{ "setdefaulttimeout", setdefaulttimeout_, METH_O, "sets it" },
	{ "socketpair", socketpair_, METH_VARARGS, "two connected sockets" },
	{ "_chime_create_connection", create_connection_, METH_VARARGS, "libchime's create_connection" },
	{ "_chime_create_server", create_server_, METH_VARARGS, "libchime's create_server" },
	{ NULL, NULL, 0, NULL },
};
