/*
 * binding.h - CPython's module _socket on libchime: what its files share. Nothing here or in them calls the system: every
 * socket, name and address goes through libchime (check_symbols looks at the objects).
 *
 * The module is as the interpreter's own in CPython 3.11: one for the process, in statics.
 */
#ifndef CPYTHON_BINDING_H
#define CPYTHON_BINDING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <chime/connect.h>
#include <chime/msg.h>
#include <chime/names.h>

#include <errno.h>

/* The first seven members are what _ssl knows of a socket (CPython's socketmodule.h); ours follow. */
struct py_sock {
	PyObject_HEAD int fd; /* -1: closed, detached, or never opened */
	int family, type, proto;
	PyObject *(*errorhandler)(void);
	int64_t timeout_ns; /* < 0: blocks */
	chime_sock *handle; /* NULL: never opened; kept after closing, until the object goes */
};

extern PyTypeObject *py_sock_type;
extern PyObject *py_gaierror, *py_herror;

/* ---- calling the library ---- */

extern _Atomic uint64_t py_library_calls; /* how many there were */

void py_leave(void);
void py_return(void);

/* result = call, which is quick. */
#define CALL(result, call)                                                                                             \
	do {                                                                                                           \
		py_library_calls++;                                                                                    \
		(result) = (call);                                                                                     \
	} while (0)

/* result = call, which may wait: other threads run Python meanwhile, and signals are looked at. */
#define WAIT(result, call)                                                                                             \
	do {                                                                                                           \
		py_leave();                                                                                            \
		(result) = (call);                                                                                     \
		py_return();                                                                                           \
	} while (0)

/* Has the library ask Python what a signal means. */
void py_watch_signals(void);

/* ---- errors ---- */

/* Raises what a code of the library is in Python; where the hook has raised something, that stays. NULL. */
PyObject *py_raise(int code);
PyObject *py_raise_errno(void); /* for .errorhandler */
/* None, or the exception. */
PyObject *py_none_or_raise(int code);

/* ---- the socket object ---- */

int py_add_socket_type(PyObject *module);
extern PyMethodDef py_sock_methods[];
/* The handle, also a closed one; NULL with an exception: there never was one. */
chime_sock *py_handle(struct py_sock *s);
/* A new object around a handle, which is its own from here on. NULL: an exception, and the handle is gone. */
PyObject *py_sock_wrap(chime_sock *handle, int type);

/* A number that an int holds; "O&" of PyArg_ParseTuple. 0: an exception. */
int py_int(PyObject *object, void *out);

/* None is CHIME_FOREVER, a number seconds. false: an exception. */
bool py_timeout_from(PyObject *object, int64_t *out_ns);
PyObject *py_timeout_to(int64_t ns);

/* Methods, by file. */
PyObject *py_recv(struct py_sock *s, PyObject *args);
PyObject *py_recv_into(struct py_sock *s, PyObject *args, PyObject *kwds);
PyObject *py_recvfrom(struct py_sock *s, PyObject *args);
PyObject *py_recvfrom_into(struct py_sock *s, PyObject *args, PyObject *kwds);
PyObject *py_send(struct py_sock *s, PyObject *args);
PyObject *py_sendall(struct py_sock *s, PyObject *args);
PyObject *py_sendto(struct py_sock *s, PyObject *args);

PyObject *py_recvmsg(struct py_sock *s, PyObject *args);
PyObject *py_recvmsg_into(struct py_sock *s, PyObject *args);
PyObject *py_sendmsg(struct py_sock *s, PyObject *args);
PyObject *py_sendmsg_afalg(struct py_sock *s, PyObject *args, PyObject *kwds);

PyObject *py_getsockopt(struct py_sock *s, PyObject *args);
PyObject *py_setsockopt(struct py_sock *s, PyObject *args);

/* ---- addresses ---- */

/* Reads the address that a call was given, as the socket's family has it; caller is for the messages. false: an exception. */
bool py_address_from(struct py_sock *s, PyObject *object, const char *caller, chime_addr *out);
/* As Python shows it; None where there is none. proto is the socket's: some families have several forms. */
PyObject *py_address_to(const chime_addr *a, int proto);

/* The families that few have: false with no exception: not one of them. */
bool py_family_from(struct py_sock *s, PyObject *object, const char *caller, chime_addr *out);
PyObject *py_family_to(const chime_addr *a, int proto);
/* Whether addresses of that family are known. */
bool py_family_known(int family);

/* A host's name as given to a call; "O&" of PyArg_ParseTuple. Ended by py_host_name(NULL, ...). */
struct py_host_name {
	PyObject *object;
	const char *text;
};
int py_host_name(PyObject *object, void *out);
/* Looks it up: the first address of that family, port 0. false: an exception. */
bool py_look_up(const char *name, int family, chime_addr *out);

/* ---- the module ---- */

extern PyMethodDef py_name_functions[], py_number_functions[], py_socket_functions[];
int py_add_constants(PyObject *module);
int py_add_capsule(PyObject *module);

PyMODINIT_FUNC PyInit__socket(void);

#endif
