/* The services by name. */
#include "service/services.h"

#include <string.h>

static const chime_service *const services[] = {
	&chime__service_stamp,
	&chime__service_echo,
	&chime__service_discard,
};

const chime_service *chime_service_at(unsigned n)
{
	return n < sizeof services / sizeof *services ? services[n] : NULL;
}

const chime_service *chime_service_find(const char *name)
{
	const chime_service *s;
	for (unsigned n = 0; (s = chime_service_at(n)); n++)
		if (!strcmp(s->name, name))
			return s;
	return NULL;
}
