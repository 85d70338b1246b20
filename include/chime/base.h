/*
 * chime/base.h - what every public header stands on: the version, and how a symbol is exported.
 */
#ifndef CHIME_BASE_H
#define CHIME_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CHIME_VERSION_MAJOR 0
#define CHIME_VERSION_MINOR 1
#define CHIME_VERSION_PATCH 0

#if defined(__GNUC__)
#define CHIME_API __attribute__((visibility("default")))
#define CHIME_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define CHIME_API
#define CHIME_PRINTF(fmt, args)
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the library that is running, "0.1.0"; a static string. */
CHIME_API const char *chime_version(void);

#ifdef __cplusplus
}
#endif

#endif
