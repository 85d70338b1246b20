/* The version of the library. */
#include <chime/base.h>

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

const char *chime_version(void)
{
	return TEXT(CHIME_VERSION_MAJOR) "." TEXT(CHIME_VERSION_MINOR) "." TEXT(CHIME_VERSION_PATCH);
}
