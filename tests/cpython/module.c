/* The module itself: its types, its functions, and the capsule by which _ssl finds it. */
#include "binding.h"

PyObject *py_gaierror, *py_herror;

/* What _ssl expects behind "_socket.CAPI". */
static struct {
	PyTypeObject *type;
	PyObject *error, *timeout_error;
} capi;

int py_add_capsule(PyObject *module)
{
	capi.type = (PyTypeObject *)Py_NewRef(py_sock_type);
	capi.error = Py_NewRef(PyExc_OSError);
	capi.timeout_error = Py_NewRef(PyExc_TimeoutError);
	PyObject *capsule = PyCapsule_New(&capi, "_socket.CAPI", NULL);
	int err = PyModule_AddObjectRef(module, "CAPI", capsule);
	Py_XDECREF(capsule);
	return err;
}

static int add_exceptions(PyObject *module)
{
	py_herror = PyErr_NewException("socket.herror", PyExc_OSError, NULL);
	py_gaierror = PyErr_NewException("socket.gaierror", PyExc_OSError, NULL);
	if (!py_herror || !py_gaierror)
		return -1;
	if (PyModule_AddObjectRef(module, "error", PyExc_OSError) < 0 ||
	    PyModule_AddObjectRef(module, "timeout", PyExc_TimeoutError) < 0 ||
	    PyModule_AddObjectRef(module, "herror", py_herror) < 0)
		return -1;
	return PyModule_AddObjectRef(module, "gaierror", py_gaierror);
}

static struct PyModuleDef definition = { PyModuleDef_HEAD_INIT, .m_name = "_socket", .m_doc = "Sockets of libchime.",
					 .m_size = -1 };

static int fill(PyObject *module)
{
	if (PyModule_AddFunctions(module, py_socket_functions) < 0 ||
	    PyModule_AddFunctions(module, py_name_functions) < 0 ||
	    PyModule_AddFunctions(module, py_number_functions) < 0)
		return -1;
	if (add_exceptions(module) < 0 || py_add_socket_type(module) < 0 || py_add_capsule(module) < 0)
		return -1;
	/* By this name a program sees which module it has. */
	if (PyModule_AddStringConstant(module, "__backend__", "libchime") < 0)
		return -1;
	return py_add_constants(module);
}

PyMODINIT_FUNC PyInit__socket(void)
{
	PyObject *module = PyModule_Create(&definition);
	if (!module)
		return NULL;
	if (fill(module) < 0) {
		Py_DECREF(module);
		return NULL;
	}
	py_watch_signals();
	return module;
}
