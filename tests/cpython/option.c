/* Options of a socket. */
#include "binding.h"

#define BYTES_MAX 1024

/* Vsock's are of 64 bits. */
static PyObject *get_vsock(chime_sock *handle, int level, int name, int len)
{
	uint64_t value = 0;
	socklen_t size = sizeof value;
	int err;
	if (len != 0) {
		PyErr_SetString(PyExc_OSError, "getsockopt string buffer not allowed");
		return NULL;
	}
	CALL(err, chime_getsockopt(handle, level, name, &value, &size));
	return err < 0 ? py_raise(err) : PyLong_FromUnsignedLong(value);
}

static PyObject *get_bytes(chime_sock *handle, int level, int name, socklen_t len)
{
	PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)len);
	int err;
	if (!bytes)
		return NULL;
	CALL(err, chime_getsockopt(handle, level, name, PyBytes_AS_STRING(bytes), &len));
	if (err < 0) {
		Py_DECREF(bytes);
		return py_raise(err);
	}
	_PyBytes_Resize(&bytes, (Py_ssize_t)len);
	return bytes;
}

PyObject *py_getsockopt(struct py_sock *s, PyObject *args)
{
	int level, name, value, err, len = 0;
	if (!PyArg_ParseTuple(args, "ii|i:getsockopt", &level, &name, &len))
		return NULL;
	chime_sock *handle = py_handle(s);
	if (!handle)
		return NULL;
	if (s->family == AF_VSOCK)
		return get_vsock(handle, level, name, len);
	if (len < 0 || len > BYTES_MAX) {
		PyErr_SetString(PyExc_OSError, "getsockopt buflen out of range");
		return NULL;
	}
	if (len > 0)
		return get_bytes(handle, level, name, (socklen_t)len);
	CALL(err, chime_getsockopt_int(handle, level, name, &value));
	return err < 0 ? py_raise(err) : PyLong_FromLong(value);
}

/* The forms in turn, as CPython tries them: a vsock number, a number, None with a length, bytes. */
PyObject *py_setsockopt(struct py_sock *s, PyObject *args)
{
	int level, name, value, err;
	unsigned long long wide;
	unsigned int len;
	PyObject *none;
	Py_buffer buf;
	chime_sock *handle = py_handle(s);
	if (!handle)
		return NULL;
	if (s->family == AF_VSOCK) {
		if (PyArg_ParseTuple(args, "iiK:setsockopt", &level, &name, &wide)) {
			CALL(err, chime_setsockopt(handle, level, name, &(uint64_t){ wide }, sizeof(uint64_t)));
			return py_none_or_raise(err);
		}
		PyErr_Clear();
	}
	if (PyArg_ParseTuple(args, "iii:setsockopt", &level, &name, &value)) {
		CALL(err, chime_setsockopt_int(handle, level, name, value));
		return py_none_or_raise(err);
	}
	PyErr_Clear();
	if (PyArg_ParseTuple(args, "iiO!I:setsockopt", &level, &name, Py_TYPE(Py_None), &none, &len)) {
		CALL(err, chime_setsockopt(handle, level, name, NULL, len));
		return py_none_or_raise(err);
	}
	PyErr_Clear();
	if (!PyArg_ParseTuple(args, "iiy*:setsockopt", &level, &name, &buf))
		return NULL;
	CALL(err, chime_setsockopt(handle, level, name, buf.buf, (socklen_t)buf.len));
	PyBuffer_Release(&buf);
	return py_none_or_raise(err);
}
