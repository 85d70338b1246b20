/* The socket object: made, adopted, finalized, shown; its time limit. */
#include "binding.h"

#include <math.h>

PyTypeObject *py_sock_type;

chime_sock *py_handle(struct py_sock *s)
{
	if (!s->handle)
		py_raise(-EBADF);
	return s->handle;
}

int py_int(PyObject *object, void *out)
{
	int overflow;
	long value = PyLong_AsLongAndOverflow(object, &overflow);
	if (value == -1 && PyErr_Occurred())
		return 0;
	if (overflow || value != (int)value) {
		PyErr_SetString(PyExc_OverflowError, "Python int too large to convert to C int");
		return 0;
	}
	*(int *)out = (int)value;
	return 1;
}

/* ---- time limits ---- */

#if PY_VERSION_HEX >= 0x030d0000
#define FLOAT_TOO_LARGE "timestamp out of range for platform time_t"
#define INT_TOO_LARGE "timestamp too large to convert to C PyTime_t"
#else
#define FLOAT_TOO_LARGE "timestamp too large to convert to C _PyTime_t"
#define INT_TOO_LARGE FLOAT_TOO_LARGE
#endif

static bool too_large(const char *why)
{
	PyErr_SetString(PyExc_OverflowError, why);
	return false;
}

/* Away from zero: a limit is never shorter than it was said. */
static bool from_float(double seconds, int64_t *out_ns)
{
	if (isnan(seconds)) {
		PyErr_SetString(PyExc_ValueError, "Invalid value NaN (not a number)");
		return false;
	}
	double ns = seconds * 1e9;
	ns = ns >= 0 ? ceil(ns) : floor(ns);
	if (!(ns >= -0x1p63 && ns < 0x1p63))
		return too_large(FLOAT_TOO_LARGE);
	*out_ns = (int64_t)ns;
	return true;
}

static bool from_int(PyObject *object, int64_t *out_ns)
{
	int overflow;
	PyObject *whole = PyNumber_Index(object);
	if (!whole)
		return false;
	long long seconds = PyLong_AsLongLongAndOverflow(whole, &overflow);
	Py_DECREF(whole);
	if (seconds == -1 && !overflow && PyErr_Occurred())
		return false;
	if (overflow || __builtin_mul_overflow(seconds, CHIME_SEC, out_ns))
		return too_large(INT_TOO_LARGE);
	return true;
}

bool py_timeout_from(PyObject *object, int64_t *out_ns)
{
	if (object == Py_None) {
		*out_ns = CHIME_FOREVER;
		return true;
	}
	if (PyFloat_Check(object) ? !from_float(PyFloat_AsDouble(object), out_ns) : !from_int(object, out_ns))
		return false;
	if (*out_ns >= 0)
		return true;
	PyErr_SetString(PyExc_ValueError, "Timeout value out of range");
	return false;
}

PyObject *py_timeout_to(int64_t ns)
{
	if (ns < 0)
		Py_RETURN_NONE;
	return PyFloat_FromDouble((double)ns / 1e9);
}

/* ---- making ---- */

/* The object takes over handle; what it shows may be what the caller said and not what the system knows. */
static void own(struct py_sock *s, chime_sock *handle, int family, int type, int proto, int64_t timeout_ns)
{
	s->fd = chime_fileno(handle);
	s->family = family;
	s->type = type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
	s->proto = proto;
	s->errorhandler = py_raise_errno;
	s->timeout_ns = timeout_ns;
	s->handle = handle;
}

PyObject *py_sock_wrap(chime_sock *handle, int type)
{
	struct py_sock *s = (struct py_sock *)py_sock_type->tp_alloc(py_sock_type, 0);
	if (!s) {
		chime_free(&handle);
		return NULL;
	}
	own(s, handle, chime_family(handle), type, chime_proto(handle), chime_timeout(handle));
	return (PyObject *)s;
}

static PyObject *sock_new(PyTypeObject *type, PyObject *args, PyObject *kwds)
{
	struct py_sock *s = (struct py_sock *)type->tp_alloc(type, 0);
	(void)args;
	(void)kwds;
	if (s) {
		s->fd = -1;
		s->timeout_ns = CHIME_FOREVER;
		s->errorhandler = py_raise_errno;
	}
	return (PyObject *)s;
}

/* A number that is a descriptor, or -1 with an exception. */
static int descriptor_from(PyObject *object)
{
	long fd = -1;
	PyObject *whole = PyNumber_Index(object);
	if (whole) {
		fd = PyLong_AsLong(whole);
		Py_DECREF(whole);
	}
	if (PyErr_Occurred())
		return -1;
	if (fd >= 0)
		return (int)fd;
	PyErr_SetString(PyExc_ValueError, "negative file descriptor");
	return -1;
}

static int adopt(struct py_sock *s, PyObject *number, int family, int type, int proto)
{
	chime_sock *handle;
	int err, fd = descriptor_from(number);
	if (fd < 0)
		return -1;
	CALL(err, chime_from_fd(&handle, fd));
	if (err < 0) {
		py_raise(err);
		return -1;
	}
	/* The limit that Python shows is the default one, although a descriptor that does not block keeps its mode. */
	own(s, handle, family == -1 ? chime_family(handle) : family, type == -1 ? chime_type(handle) : type,
	    proto == -1 ? chime_proto(handle) : proto, chime_default_timeout());
	return 0;
}

static int open_new(struct py_sock *s, int family, int type, int proto)
{
	chime_sock *handle;
	int err;
	family = family == -1 ? AF_INET : family;
	type = type == -1 ? SOCK_STREAM : type;
	proto = proto == -1 ? 0 : proto;
	WAIT(err, chime_open(&handle, family, type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC), proto));
	if (err == 0 && type & SOCK_NONBLOCK) {
		CALL(err, chime_set_timeout(handle, 0));
		if (err < 0)
			chime_free(&handle);
	}
	if (err < 0) {
		py_raise(err);
		return -1;
	}
	own(s, handle, family, type, proto, chime_timeout(handle));
	return 0;
}

static int sock_init(PyObject *self, PyObject *args, PyObject *kwds)
{
	static char *names[] = { "family", "type", "proto", "fileno", NULL };
	struct py_sock *s = (struct py_sock *)self;
	int family = -1, type = -1, proto = -1;
	PyObject *number = Py_None;
	if (!PyArg_ParseTupleAndKeywords(args, kwds, "|O&O&O&O:socket", names, py_int, &family, py_int, &type, py_int,
					 &proto, &number))
		return -1;
	if (PySys_Audit("socket.__new__", "Oiii", self, family, type, proto) < 0)
		return -1;
	if (s->handle) {
		/* Initialised a second time: as in CPython the first descriptor stays open, without an owner. */
		if (s->fd >= 0)
			chime_detach(s->handle);
		chime_free(&s->handle);
		s->fd = -1;
	}
	return number == Py_None ? open_new(s, family, type, proto) : adopt(s, number, family, type, proto);
}

/* ---- ending ---- */

static void sock_finalize(PyObject *self)
{
	struct py_sock *s = (struct py_sock *)self;
	PyObject *type, *value, *trace;
	if (s->fd < 0)
		return;
	PyErr_Fetch(&type, &value, &trace);
	/* A warning that is an error, and an interpreter that has taken its modules down, are nobody's to hear of here. */
	if (PyErr_ResourceWarning(self, 1, "unclosed %R", self) < 0 && PyErr_ExceptionMatches(PyExc_Warning))
		PyErr_WriteUnraisable(self);
	int err;
	s->fd = -1;
	WAIT(err, chime_close(s->handle));
	(void)err;
	PyErr_Restore(type, value, trace);
}

static int sock_traverse(PyObject *self, visitproc visit, void *arg)
{
	Py_VISIT(Py_TYPE(self));
	return 0;
}

static void sock_dealloc(PyObject *self)
{
	PyTypeObject *type = Py_TYPE(self);
	if (PyObject_CallFinalizerFromDealloc(self) < 0)
		return;
	PyObject_GC_UnTrack(self);
	chime_free(&((struct py_sock *)self)->handle);
	type->tp_free(self);
	Py_DECREF(type);
}

/* ---- what it shows ---- */

static PyObject *sock_repr(PyObject *self)
{
	struct py_sock *s = (struct py_sock *)self;
	return PyUnicode_FromFormat("<socket object, fd=%d, family=%d, type=%d, proto=%d>", s->fd, s->family, s->type,
				    s->proto);
}

static PyObject *get_timeout(PyObject *self, void *unused)
{
	(void)unused;
	return py_timeout_to(((struct py_sock *)self)->timeout_ns);
}

static PyMemberDef sock_members[] = {
	{ "family", T_INT, offsetof(struct py_sock, family), READONLY, "the socket's family" },
	{ "type", T_INT, offsetof(struct py_sock, type), READONLY, "the socket's type" },
	{ "proto", T_INT, offsetof(struct py_sock, proto), READONLY, "the socket's protocol" },
	{ NULL, 0, 0, 0, NULL },
};

static PyGetSetDef sock_getset[] = {
	{ "timeout", get_timeout, NULL, "the time limit in seconds; None: there is none", NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

int py_add_socket_type(PyObject *module)
{
	PyType_Slot slots[] = {
		{ Py_tp_new, sock_new },
		{ Py_tp_init, sock_init },
		{ Py_tp_finalize, sock_finalize },
		{ Py_tp_traverse, sock_traverse },
		{ Py_tp_dealloc, sock_dealloc },
		{ Py_tp_repr, sock_repr },
		{ Py_tp_members, sock_members },
		{ Py_tp_getset, sock_getset },
		{ Py_tp_methods, py_sock_methods },
		{ Py_tp_doc, "socket(family=-1, type=-1, proto=-1, fileno=None): a socket of libchime" },
		{ 0, NULL },
	};
	PyType_Spec spec = {
		.name = "_socket.socket",
		.basicsize = sizeof(struct py_sock),
		.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
		.slots = slots,
	};
	py_sock_type = (PyTypeObject *)PyType_FromSpec(&spec);
	if (!py_sock_type)
		return -1;
	if (PyModule_AddObjectRef(module, "socket", (PyObject *)py_sock_type) < 0)
		return -1;
	return PyModule_AddObjectRef(module, "SocketType", (PyObject *)py_sock_type);
}
