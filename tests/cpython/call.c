/* How the library is called from Python: without the interpreter's lock, with signals looked at, and its codes as exceptions. */
#include "binding.h"

#include <netdb.h>

_Atomic uint64_t py_library_calls;

/* The interpreter's state of a thread that is inside the library, for the hook; calls nest, for handlers make calls too. */
static _Thread_local PyThreadState *inside;

void py_leave(void)
{
	py_library_calls++;
	inside = PyEval_SaveThread();
}

void py_return(void)
{
	PyThreadState *state = inside;
	inside = NULL;
	PyEval_RestoreThread(state);
}

/* Runs Python's handlers; what they raise ends the call. */
static int interrupted(void *unused)
{
	(void)unused;
	if (!inside)
		return 0;
	py_return();
	int stop = PyErr_CheckSignals() < 0;
	inside = PyEval_SaveThread();
	return stop;
}

void py_watch_signals(void)
{
	chime_set_interrupted(interrupted, NULL);
}

/* ---- errors ---- */

static PyObject *raise_pair(PyObject *type, int code, const char *text)
{
	PyObject *args = Py_BuildValue("(is)", code, text);
	if (args) {
		PyErr_SetObject(type, args);
		Py_DECREF(args);
	}
	return NULL;
}

PyObject *py_raise(int code)
{
	if (PyErr_Occurred())
		return NULL;
	if (code == CHIME_ETIMEOUT) {
		PyErr_SetString(PyExc_TimeoutError, "timed out");
		return NULL;
	}
	if (CHIME_IS_EAI(code))
		return raise_pair(py_gaierror, code - CHIME_EAI(0), gai_strerror(code - CHIME_EAI(0)));
	if (CHIME_IS_HOST(code))
		return raise_pair(py_herror, CHIME_HOST(0) - code, hstrerror(CHIME_HOST(0) - code));
	errno = code == CHIME_ECLOSED ? EBADF : -code;
	return PyErr_SetFromErrno(PyExc_OSError);
}

PyObject *py_raise_errno(void)
{
	return PyErr_SetFromErrno(PyExc_OSError);
}

PyObject *py_none_or_raise(int code)
{
	if (code < 0)
		return py_raise(code);
	Py_RETURN_NONE;
}
