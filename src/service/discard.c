/* RFC 863: what comes is thrown away. */
#include "service/services.h"

static ssize_t discard_received(const struct chime_input *in, chime_reply *out)
{
	(void)out;
	return (ssize_t)in->len;
}

const chime_service chime__service_discard = {
	.size = sizeof(chime_service),
	.name = "discard",
	.help = "takes what comes and never answers (RFC 863)",
	.marks = true,
	.received = discard_received,
};
