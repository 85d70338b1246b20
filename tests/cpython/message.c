/* Messages with ancillary data. */
#include "binding.h"

#include <limits.h>
#include <linux/if_alg.h>
#include <string.h>

/* ---- buffers ---- */

/* The buffers of a call: those that Python lends, and as the library wants them. */
struct buffers {
	Py_ssize_t n;
	Py_buffer *buf;
	struct iovec *iov;
};

static void buffers_free(struct buffers *b)
{
	for (Py_ssize_t i = 0; i < b->n; i++)
		PyBuffer_Release(&b->buf[i]);
	PyMem_Free(b->buf);
	PyMem_Free(b->iov);
	*b = (struct buffers){ 0 };
}

/* format: how each item is read; false: an exception, and nothing is left. */
static bool buffers_from(PyObject *items, const char *format, const char *not_iterable, const char *too_long,
			 struct buffers *out)
{
	*out = (struct buffers){ 0 };
	PyObject *list = PySequence_Fast(items, not_iterable);
	if (!list)
		return false;
	Py_ssize_t n = PySequence_Fast_GET_SIZE(list);
	bool ok = n <= INT_MAX;
	if (!ok)
		PyErr_SetString(PyExc_OSError, too_long);
	if (ok && n > 0) {
		out->buf = PyMem_New(Py_buffer, (size_t)n);
		out->iov = PyMem_New(struct iovec, (size_t)n);
		ok = out->buf && out->iov;
		if (!ok)
			PyErr_NoMemory();
	}
	for (Py_ssize_t i = 0; ok && i < n; i++) {
		ok = PyArg_Parse(PySequence_Fast_GET_ITEM(list, i), format, &out->buf[i]);
		if (ok) {
			out->iov[i] = (struct iovec){ out->buf[i].buf, (size_t)out->buf[i].len };
			out->n = i + 1;
		}
	}
	Py_DECREF(list);
	if (!ok)
		buffers_free(out);
	return ok;
}

/* ---- receiving ---- */

/* [(level, type, bytes), ...]; NULL: an exception. */
static PyObject *control_to(const struct chime_control *c)
{
	struct chime_cmsg m = { 0 };
	PyObject *list = PyList_New(0);
	while (list && chime_control_next(c, &m)) {
		if (m.cut && PyErr_WarnEx(PyExc_RuntimeWarning,
					  "received malformed or improperly-truncated ancillary data", 1) < 0) {
			Py_CLEAR(list);
			break;
		}
		PyObject *item = Py_BuildValue("iiy#", m.level, m.type, (const char *)m.data, (Py_ssize_t)m.len);
		if (!item || PyList_Append(list, item) < 0)
			Py_CLEAR(list);
		Py_XDECREF(item);
	}
	return list;
}

/* Receives into iov and gives (what made of the count, ancillary data, flags, address). */
static PyObject *receive(struct py_sock *s, const struct iovec *iov, Py_ssize_t iovs, int flags, Py_ssize_t room,
			 PyObject *(*made)(ssize_t n, void *arg), void *arg)
{
	struct chime_msg m = { .flags = 0 };
	PyObject *got = NULL, *control = NULL, *from = NULL;
	chime_sock *handle = py_handle(s);
	if (!handle)
		return NULL;
	if (room < 0 || room > INT_MAX) {
		PyErr_SetString(PyExc_ValueError, "invalid ancillary data buffer length");
		return NULL;
	}
	void *control_buf = room > 0 ? PyMem_Malloc((size_t)room) : NULL;
	if (room > 0 && !control_buf)
		return PyErr_NoMemory();
	chime_control_init(&m.control, control_buf, (size_t)room);
	ssize_t n;
	WAIT(n, chime_recvmsg_into(handle, iov, (size_t)iovs, flags, &m));
	if (n < 0) {
		PyMem_Free(control_buf);
		return py_raise((int)n);
	}
	control = control_to(&m.control);
	from = control ? py_address_to(&m.addr, s->proto) : NULL;
	got = from ? made(n, arg) : NULL;
	if (!got) /* nobody will hear of the descriptors */
		chime_control_close_fds(&m.control);
	PyMem_Free(control_buf);
	if (got)
		return Py_BuildValue("NNiN", got, control, m.flags, from);
	Py_XDECREF(control);
	Py_XDECREF(from);
	return NULL;
}

static PyObject *made_bytes(ssize_t n, void *arg)
{
	PyObject **bytes = arg, *cut;
	if (n != PyBytes_GET_SIZE(*bytes))
		_PyBytes_Resize(bytes, n);
	cut = *bytes;
	*bytes = NULL;
	return cut;
}

static PyObject *made_count(ssize_t n, void *arg)
{
	(void)arg;
	return PyLong_FromSsize_t(n);
}

PyObject *py_recvmsg(struct py_sock *s, PyObject *args)
{
	Py_ssize_t len, room = 0;
	int flags = 0;
	if (!PyArg_ParseTuple(args, "n|ni:recvmsg", &len, &room, &flags))
		return NULL;
	if (len < 0) {
		PyErr_SetString(PyExc_ValueError, "negative buffer size in recvmsg()");
		return NULL;
	}
	PyObject *bytes = PyBytes_FromStringAndSize(NULL, len);
	if (!bytes)
		return NULL;
	struct iovec iov = { PyBytes_AS_STRING(bytes), (size_t)len };
	PyObject *result = receive(s, &iov, 1, flags, room, made_bytes, &bytes);
	Py_XDECREF(bytes);
	return result;
}

PyObject *py_recvmsg_into(struct py_sock *s, PyObject *args)
{
	struct buffers b;
	Py_ssize_t room = 0;
	PyObject *items;
	int flags = 0;
	if (!PyArg_ParseTuple(args, "O|ni:recvmsg_into", &items, &room, &flags))
		return NULL;
	if (!buffers_from(items,
			  "w*;recvmsg_into() argument 1 must be an iterable of single-segment read-write buffers",
			  "recvmsg_into() argument 1 must be an iterable", "recvmsg_into() argument 1 is too long", &b))
		return NULL;
	PyObject *result = receive(s, b.iov, b.n, flags, room, made_count, NULL);
	buffers_free(&b);
	return result;
}

/* ---- sending ---- */

/* One item of sendmsg()'s second argument, appended; the buffer was made large enough for all. */
static bool control_add(struct chime_control *c, int level, int type, const void *data, size_t len)
{
	int err;
	CALL(err, chime_control_add(c, level, type, data, len));
	if (err == 0)
		return true;
	py_raise(err);
	return false;
}

struct ancillary {
	int level, type;
	Py_buffer data;
};

/* Reads the items; *n counts those that are to be released. */
static bool items_from(PyObject *list, struct ancillary *item, Py_ssize_t *n, size_t *room)
{
	*room = 0;
	for (*n = 0; *n < PySequence_Fast_GET_SIZE(list);) {
		struct ancillary *a = &item[*n];
		if (!PyArg_Parse(PySequence_Fast_GET_ITEM(list, *n), "(iiy*):[sendmsg() ancillary data items]",
				 &a->level, &a->type, &a->data))
			return false;
		(*n)++;
		ssize_t space = chime_control_space((size_t)a->data.len);
		if (space < 0) {
			PyErr_SetString(PyExc_OSError, "ancillary data item too large");
			return false;
		}
		*room += (size_t)space;
		if (*room > INT_MAX) {
			PyErr_SetString(PyExc_OSError, "too much ancillary data");
			return false;
		}
	}
	return true;
}

/* Builds the control messages; the buffer in c is PyMem_Free()'s. */
static bool control_from(PyObject *items, struct chime_control *c)
{
	*c = (struct chime_control){ 0 };
	if (!items)
		return true;
	PyObject *list = PySequence_Fast(items, "sendmsg() argument 2 must be an iterable");
	if (!list)
		return false;
	size_t room = 0;
	Py_ssize_t n = PySequence_Fast_GET_SIZE(list);
	struct ancillary *item = PyMem_New(struct ancillary, (size_t)(n > 0 ? n : 1));
	bool ok = item;
	if (!ok)
		PyErr_NoMemory();
	n = 0;
	ok = ok && items_from(list, item, &n, &room);
	if (ok && room > 0) {
		void *buf = PyMem_Malloc(room);
		ok = buf;
		if (!ok)
			PyErr_NoMemory();
		chime_control_init(c, buf, buf ? room : 0);
	}
	for (Py_ssize_t i = 0; ok && i < n; i++)
		ok = control_add(c, item[i].level, item[i].type, item[i].data.buf, (size_t)item[i].data.len);
	for (Py_ssize_t i = 0; i < n; i++)
		PyBuffer_Release(&item[i].data);
	PyMem_Free(item);
	Py_DECREF(list);
	if (!ok)
		PyMem_Free(c->buf);
	return ok;
}

PyObject *py_sendmsg(struct py_sock *s, PyObject *args)
{
	PyObject *items, *ancillary = NULL, *address = Py_None;
	struct chime_msg m = { .flags = 0 };
	struct buffers b;
	int flags = 0;
	if (!PyArg_ParseTuple(args, "O|OiO:sendmsg", &items, &ancillary, &flags, &address))
		return NULL;
	chime_sock *handle = py_handle(s);
	if (!handle)
		return NULL;
	if (address == Py_None)
		address = NULL;
	if (address && !py_address_from(s, address, "sendmsg", &m.addr))
		return NULL;
	if (PySys_Audit("socket.sendmsg", "OO", s, address ? address : Py_None) < 0)
		return NULL;
	if (!buffers_from(items, "y*;sendmsg() argument 1 must be an iterable of bytes-like objects",
			  "sendmsg() argument 1 must be an iterable", "sendmsg() argument 1 is too long", &b))
		return NULL;
	if (!control_from(ancillary, &m.control)) {
		buffers_free(&b);
		return NULL;
	}
	ssize_t n;
	WAIT(n, chime_sendmsg(handle, b.iov, (size_t)b.n, flags, &m));
	PyMem_Free(m.control.buf);
	buffers_free(&b);
	return n < 0 ? py_raise((int)n) : PyLong_FromSsize_t(n);
}

/* ---- the kernel's ciphers ---- */

/* The initial vector with its length in front, as the kernel wants it. */
static bool add_iv(struct chime_control *c, const Py_buffer *iv)
{
	uint32_t len = (uint32_t)iv->len;
	char *data = PyMem_Malloc(sizeof len + (size_t)iv->len);
	if (!data) {
		PyErr_NoMemory();
		return false;
	}
	memcpy(data, &len, sizeof len);
	memcpy(data + sizeof len, iv->buf, (size_t)iv->len);
	bool ok = control_add(c, SOL_ALG, ALG_SET_IV, data, sizeof len + (size_t)iv->len);
	PyMem_Free(data);
	return ok;
}

static PyObject *send_alg(chime_sock *handle, const struct buffers *b, int op, const Py_buffer *iv, int assoc,
			  int flags)
{
	uint32_t word = (uint32_t)op;
	struct chime_msg m = { .flags = 0 };
	size_t room = (size_t)chime_control_space(sizeof word) * 2;
	if (iv->buf)
		room += (size_t)chime_control_space(sizeof word + (size_t)iv->len);
	void *buf = PyMem_Malloc(room);
	if (!buf)
		return PyErr_NoMemory();
	chime_control_init(&m.control, buf, room);
	bool ok = control_add(&m.control, SOL_ALG, ALG_SET_OP, &word, sizeof word) &&
		  (!iv->buf || add_iv(&m.control, iv));
	word = (uint32_t)assoc;
	if (ok && assoc >= 0)
		ok = control_add(&m.control, SOL_ALG, ALG_SET_AEAD_ASSOCLEN, &word, sizeof word);
	ssize_t n = -EINVAL;
	if (ok)
		WAIT(n, chime_sendmsg(handle, b->iov, (size_t)b->n, flags, &m));
	PyMem_Free(buf);
	return n < 0 ? py_raise((int)n) : PyLong_FromSsize_t(n);
}

PyObject *py_sendmsg_afalg(struct py_sock *s, PyObject *args, PyObject *kwds)
{
	static char *names[] = { "msg", "op", "iv", "assoclen", "flags", NULL };
	PyObject *items = NULL, *op_object = NULL, *assoc_object = NULL, *result = NULL;
	int op = -1, flags = 0, assoc = -1;
	Py_buffer iv = { .buf = NULL };
	struct buffers b = { 0 };
	if (s->family != AF_ALG) {
		PyErr_SetString(PyExc_OSError, "algset is only supported for AF_ALG");
		return NULL;
	}
	if (!PyArg_ParseTupleAndKeywords(args, kwds, "|O$O!y*O!i:sendmsg_afalg", names, &items, &PyLong_Type,
					 &op_object, &iv, &PyLong_Type, &assoc_object, &flags))
		return NULL;
	if (op_object)
		op = (int)PyLong_AsLong(op_object);
	if (assoc_object)
		assoc = (int)PyLong_AsLong(assoc_object);
	chime_sock *handle = py_handle(s);
	if (PyErr_Occurred() || !handle)
		;
	else if (op < 0)
		PyErr_SetString(PyExc_TypeError, "Invalid or missing argument 'op'");
	else if (assoc_object && assoc < 0)
		PyErr_SetString(PyExc_TypeError, "assoclen must be positive");
	else if (!items ||
		 buffers_from(items, "y*;sendmsg_afalg() argument 1 must be an iterable of bytes-like objects",
			      "sendmsg_afalg() argument 1 must be an iterable",
			      "sendmsg_afalg() argument 1 is too long", &b))
		result = send_alg(handle, &b, op, &iv, assoc, flags);
	buffers_free(&b);
	if (iv.buf)
		PyBuffer_Release(&iv);
	return result;
}
