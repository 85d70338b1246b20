/*
 * chime-python: this machine's python3 with _socket made of libchime. Debian builds _socket in, and what is built in comes before all
 * paths: so its place in the table of built-in modules is taken, which child processes (sys.executable) get too.
 *
 * CHIME_CALLS=FILE: how many calls of the library a process made is appended there when it ends.
 */
#include "binding.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void tell_calls(void)
{
	const char *path = getenv("CHIME_CALLS");
	FILE *f = path ? fopen(path, "a") : NULL;
	if (!f)
		return;
	fprintf(f, "%llu\n", (unsigned long long)py_library_calls);
	fclose(f);
}

int main(int argc, char **argv)
{
	bool taken = false;
	for (struct _inittab *entry = PyImport_Inittab; entry->name; entry++)
		if (strcmp(entry->name, "_socket") == 0) {
			entry->initfunc = PyInit__socket;
			taken = true;
		}
	if (!taken && PyImport_AppendInittab("_socket", PyInit__socket) < 0)
		return 2;
	atexit(tell_calls);
	return Py_BytesMain(argc, argv);
}
