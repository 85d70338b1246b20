/* Module functions that only convert: byte order, addresses as text, sizes of control messages. */
#include "binding.h"

#include <arpa/inet.h>

/* ---- byte order ---- */

static bool short_from(PyObject *arg, const char *caller, uint16_t *out)
{
	int value;
#if PY_VERSION_HEX >= 0x030d0000
	if (!py_int(arg, &value))
		return false;
#else
	if (!PyArg_Parse(arg, "i", &value))
		return false;
#endif
	if (value >= 0 && value <= 0xffff) {
		*out = (uint16_t)value;
		return true;
	}
	PyErr_Format(PyExc_OverflowError,
		     value < 0 ? "%s: can't convert negative Python int to C 16-bit unsigned integer"
			       : "%s: Python int too large to convert to C 16-bit unsigned integer",
		     caller);
	return false;
}

static PyObject *htons_(PyObject *module, PyObject *arg)
{
	uint16_t value;
	(void)module;
	return short_from(arg, "htons", &value) ? PyLong_FromLong(htons(value)) : NULL;
}

static PyObject *ntohs_(PyObject *module, PyObject *arg)
{
	uint16_t value;
	(void)module;
	return short_from(arg, "ntohs", &value) ? PyLong_FromLong(ntohs(value)) : NULL;
}

static bool long_from(PyObject *arg, uint32_t *out)
{
	if (!PyLong_Check(arg)) {
		PyErr_Format(PyExc_TypeError, "expected int, %s found", Py_TYPE(arg)->tp_name);
		return false;
	}
	unsigned long value = PyLong_AsUnsignedLong(arg);
	if (value == (unsigned long)-1 && PyErr_Occurred())
		return false;
	*out = (uint32_t)value;
	if (*out == value)
		return true;
	PyErr_SetString(PyExc_OverflowError, "int larger than 32 bits");
	return false;
}

static PyObject *htonl_(PyObject *module, PyObject *arg)
{
	uint32_t value;
	(void)module;
	return long_from(arg, &value) ? PyLong_FromUnsignedLong(htonl(value)) : NULL;
}

static PyObject *ntohl_(PyObject *module, PyObject *arg)
{
	uint32_t value;
	(void)module;
	return long_from(arg, &value) ? PyLong_FromUnsignedLong(ntohl(value)) : NULL;
}

/* ---- addresses as text ---- */

/* From 3.13 on it is a function of one argument, which its message does not number. */
#if PY_VERSION_HEX >= 0x030d0000
#define INET_ATON METH_O
#else
#define INET_ATON METH_VARARGS
#endif

static const char *text_arg(PyObject *arg)
{
#if PY_VERSION_HEX >= 0x030d0000
	if (PyUnicode_Check(arg))
		return PyUnicode_AsUTF8(arg);
	PyErr_Format(PyExc_TypeError, "inet_aton() argument must be str, not %.50s", Py_TYPE(arg)->tp_name);
	return NULL;
#else
	const char *text;
	return PyArg_ParseTuple(arg, "s:inet_aton", &text) ? text : NULL;
#endif
}

static PyObject *inet_aton_(PyObject *module, PyObject *arg)
{
	const char *text = text_arg(arg);
	struct in_addr a;
	int err;
	(void)module;
	if (!text)
		return NULL;
	CALL(err, chime_inet_aton(text, &a));
	if (err == 0)
		return PyBytes_FromStringAndSize((const char *)&a, sizeof a);
	PyErr_SetString(PyExc_OSError, "illegal IP address string passed to inet_aton");
	return NULL;
}

static PyObject *inet_ntoa_(PyObject *module, PyObject *args)
{
	char text[INET6_ADDRSTRLEN];
	Py_buffer bytes;
	int err;
	(void)module;
	if (!PyArg_ParseTuple(args, "y*:inet_ntoa", &bytes))
		return NULL;
	CALL(err, chime_inet_ntop(AF_INET, bytes.buf, (size_t)bytes.len, text, sizeof text));
	PyBuffer_Release(&bytes);
	if (err == 0)
		return PyUnicode_FromString(text);
	PyErr_SetString(PyExc_OSError, "packed IP wrong length for inet_ntoa");
	return NULL;
}

static PyObject *inet_pton_(PyObject *module, PyObject *args)
{
	const char *text;
	char bytes[16];
	int err, family;
	(void)module;
	if (!PyArg_ParseTuple(args, "is:inet_pton", &family, &text))
		return NULL;
	CALL(err, chime_inet_pton(family, text, bytes));
	if (err == 0)
		return PyBytes_FromStringAndSize(bytes, family == AF_INET ? 4 : 16);
	if (err != CHIME_ESYNTAX)
		return py_raise(err);
	PyErr_SetString(PyExc_OSError, "illegal IP address string passed to inet_pton");
	return NULL;
}

static PyObject *inet_ntop_(PyObject *module, PyObject *args)
{
	char text[INET6_ADDRSTRLEN];
	Py_buffer bytes;
	int err, family;
	(void)module;
	if (!PyArg_ParseTuple(args, "iy*:inet_ntop", &family, &bytes))
		return NULL;
	CALL(err, chime_inet_ntop(family, bytes.buf, (size_t)bytes.len, text, sizeof text));
	PyBuffer_Release(&bytes);
	if (err == 0)
		return PyUnicode_FromString(text);
	if (err == -EAFNOSUPPORT)
		PyErr_Format(PyExc_ValueError, "unknown address family %d", family);
	else
		PyErr_SetString(PyExc_ValueError, "invalid length of packed IP address string");
	return NULL;
}

/* ---- sizes of control messages ---- */

static PyObject *size_of(PyObject *args, const char *format, ssize_t (*size)(size_t len), const char *range)
{
	Py_ssize_t len;
	ssize_t n = -EOVERFLOW;
	if (!PyArg_ParseTuple(args, format, &len))
		return NULL;
	if (len >= 0)
		CALL(n, size((size_t)len));
	if (n >= 0)
		return PyLong_FromSsize_t(n);
	PyErr_SetString(PyExc_OverflowError, range);
	return NULL;
}

static PyObject *cmsg_len(PyObject *module, PyObject *args)
{
	(void)module;
	return size_of(args, "n:CMSG_LEN", chime_control_len, "CMSG_LEN() argument out of range");
}

static PyObject *cmsg_space(PyObject *module, PyObject *args)
{
	(void)module;
	return size_of(args, "n:CMSG_SPACE", chime_control_space, "CMSG_SPACE() argument out of range");
}

PyMethodDef py_number_functions[] = {
	{ "CMSG_LEN", cmsg_len, METH_VARARGS, "the length of a control message" },
	{ "CMSG_SPACE", cmsg_space, METH_VARARGS, "the same, with the padding behind it" },
	{ "htonl", htonl_, METH_O, "32 bits in the network's order" },
	{ "htons", htons_, METH_O, "16 bits in the network's order" },
	{ "inet_aton", inet_aton_, INET_ATON, "4 bytes of an IPv4 address, in older forms too" },
	{ "inet_ntoa", inet_ntoa_, METH_VARARGS, "the text of 4 bytes" },
	{ "inet_ntop", inet_ntop_, METH_VARARGS, "the text of an address's bytes" },
	{ "inet_pton", inet_pton_, METH_VARARGS, "the bytes of an address" },
	{ "ntohl", ntohl_, METH_O, "32 bits in this machine's order" },
	{ "ntohs", ntohs_, METH_O, "16 bits in this machine's order" },
	{ NULL, NULL, 0, NULL },
};
