/* Bytes sent and received. */
#include "binding.h"

/* The bytes object with what the call put in, cut to n; or the exception of the code n. */
static PyObject *cut(PyObject *bytes, ssize_t n)
{
	if (n < 0) {
		Py_DECREF(bytes);
		return py_raise((int)n);
	}
	if (n != PyBytes_GET_SIZE(bytes))
		_PyBytes_Resize(&bytes, n);
	return bytes;
}

static PyObject *buffer_for(Py_ssize_t len, const char *negative)
{
	if (len >= 0)
		return PyBytes_FromStringAndSize(NULL, len);
	PyErr_SetString(PyExc_ValueError, negative);
	return NULL;
}

/* ---- receiving ---- */

PyObject *py_recv(struct py_sock *s, PyObject *args)
{
	Py_ssize_t len;
	int flags = 0;
	if (!PyArg_ParseTuple(args, "n|i:recv", &len, &flags))
		return NULL;
	PyObject *bytes = buffer_for(len, "negative buffersize in recv");
	if (!bytes || len == 0)
		return bytes;
	chime_sock *handle = py_handle(s);
	ssize_t n = -EBADF;
	if (handle)
		WAIT(n, chime_recv(handle, PyBytes_AS_STRING(bytes), (size_t)len, flags));
	return cut(bytes, n);
}

PyObject *py_recvfrom(struct py_sock *s, PyObject *args)
{
	Py_ssize_t len;
	int flags = 0;
	chime_addr from = chime_addr_none();
	if (!PyArg_ParseTuple(args, "n|i:recvfrom", &len, &flags))
		return NULL;
	PyObject *bytes = buffer_for(len, "negative buffersize in recvfrom");
	if (!bytes)
		return NULL;
	chime_sock *handle = py_handle(s);
	ssize_t n = -EBADF;
	if (handle)
		WAIT(n, chime_recvfrom(handle, PyBytes_AS_STRING(bytes), (size_t)len, flags, &from));
	bytes = cut(bytes, n);
	PyObject *address = bytes ? py_address_to(&from, s->proto) : NULL;
	if (!address) {
		Py_XDECREF(bytes);
		return NULL;
	}
	return Py_BuildValue("NN", bytes, address);
}

/* What the forms with a buffer of the caller's are given. */
struct into {
	Py_buffer buf;
	Py_ssize_t len;
	int flags;
};

static bool into_args(PyObject *args, PyObject *kwds, const char *format, const char *negative, const char *small,
		      struct into *i)
{
	static char *names[] = { "buffer", "nbytes", "flags", NULL };
	*i = (struct into){ .len = 0 };
	if (!PyArg_ParseTupleAndKeywords(args, kwds, format, names, &i->buf, &i->len, &i->flags))
		return false;
	const char *why = i->len < 0 ? negative : i->len > i->buf.len ? small : NULL;
	if (why) {
		PyErr_SetString(PyExc_ValueError, why);
		PyBuffer_Release(&i->buf);
		return false;
	}
	if (i->len == 0)
		i->len = i->buf.len;
	return true;
}

PyObject *py_recv_into(struct py_sock *s, PyObject *args, PyObject *kwds)
{
	struct into i;
	if (!into_args(args, kwds, "w*|ni:recv_into", "negative buffersize in recv_into",
		       "buffer too small for requested bytes", &i))
		return NULL;
	chime_sock *handle = i.len > 0 ? py_handle(s) : NULL;
	ssize_t n = i.len > 0 ? -EBADF : 0;
	if (handle)
		WAIT(n, chime_recv(handle, i.buf.buf, (size_t)i.len, i.flags));
	PyBuffer_Release(&i.buf);
	return n < 0 ? py_raise((int)n) : PyLong_FromSsize_t(n);
}

PyObject *py_recvfrom_into(struct py_sock *s, PyObject *args, PyObject *kwds)
{
	struct into i;
	chime_addr from = chime_addr_none();
	if (!into_args(args, kwds, "w*|ni:recvfrom_into", "negative buffersize in recvfrom_into",
		       "nbytes is greater than the length of the buffer", &i))
		return NULL;
	chime_sock *handle = py_handle(s);
	ssize_t n = -EBADF;
	if (handle)
		WAIT(n, chime_recvfrom(handle, i.buf.buf, (size_t)i.len, i.flags, &from));
	PyBuffer_Release(&i.buf);
	if (n < 0)
		return py_raise((int)n);
	PyObject *address = py_address_to(&from, s->proto);
	return address ? Py_BuildValue("nN", n, address) : NULL;
}

/* ---- sending ---- */

PyObject *py_send(struct py_sock *s, PyObject *args)
{
	Py_buffer buf;
	int flags = 0;
	if (!PyArg_ParseTuple(args, "y*|i:send", &buf, &flags))
		return NULL;
	chime_sock *handle = py_handle(s);
	ssize_t n = -EBADF;
	if (handle)
		WAIT(n, chime_send(handle, buf.buf, (size_t)buf.len, flags));
	PyBuffer_Release(&buf);
	return n < 0 ? py_raise((int)n) : PyLong_FromSsize_t(n);
}

PyObject *py_sendall(struct py_sock *s, PyObject *args)
{
	Py_buffer buf;
	int err = -EBADF, flags = 0;
	if (!PyArg_ParseTuple(args, "y*|i:sendall", &buf, &flags))
		return NULL;
	chime_sock *handle = py_handle(s);
	if (handle)
		WAIT(err, chime_sendall(handle, buf.buf, (size_t)buf.len, flags, NULL));
	PyBuffer_Release(&buf);
	return py_none_or_raise(err);
}

static bool sendto_args(PyObject *args, Py_buffer *buf, int *flags, PyObject **address)
{
	Py_ssize_t n = PyTuple_GET_SIZE(args);
	if (n == 2)
		return PyArg_ParseTuple(args, "y*O:sendto", buf, address);
	if (n == 3)
		return PyArg_ParseTuple(args, "y*iO:sendto", buf, flags, address);
	PyErr_Format(PyExc_TypeError, "sendto() takes 2 or 3 arguments (%zd given)", n);
	return false;
}

PyObject *py_sendto(struct py_sock *s, PyObject *args)
{
	Py_buffer buf;
	PyObject *address;
	chime_addr to;
	int flags = 0;
	if (!sendto_args(args, &buf, &flags, &address))
		return NULL;
	ssize_t n = -EBADF;
	chime_sock *handle = py_handle(s);
	if (handle && py_address_from(s, address, "sendto", &to) && PySys_Audit("socket.sendto", "OO", s, address) >= 0)
		WAIT(n, chime_sendto(handle, buf.buf, (size_t)buf.len, flags, &to));
	PyBuffer_Release(&buf);
	return n < 0 ? py_raise((int)n) : PyLong_FromSsize_t(n);
}
