/*
 * service/services.h - the services that come with the library; service/table.c lists them.
 */
#ifndef SERVICE_SERVICES_H
#define SERVICE_SERVICES_H

#include <chime/service.h>

extern const chime_service chime__service_stamp;
extern const chime_service chime__service_echo;
extern const chime_service chime__service_discard;

#endif
