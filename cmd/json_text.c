/* Texts that may hold bytes of any kind as strings of JSON. */
#include "json_text.h"

#include <chime/endpoint.h>

#include <stdio.h>

json_t *json_text(const char *text)
{
	char safe[3 * CHIME_ENDPOINT_TEXT];
	size_t used = 0;
	json_t *j = json_string(text);
	if (j)
		return j;
	for (const unsigned char *p = (const unsigned char *)text; *p && used + 4 <= sizeof safe; p++)
		used += (size_t)snprintf(safe + used, sizeof safe - used, *p < 128 ? "%c" : "%%%02X", *p);
	return json_string(safe);
}
