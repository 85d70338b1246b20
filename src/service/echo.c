/* RFC 862: what comes goes back. */
#include "service/services.h"

static ssize_t echo_received(const struct chime_input *in, chime_reply *out)
{
	if (in->len == 0 && !in->message)
		return 0;
	int err = chime_reply_add(out, in->data, in->len);
	return err < 0 ? err : (ssize_t)in->len;
}

const chime_service chime__service_echo = {
	.size = sizeof(chime_service),
	.name = "echo",
	.help = "answers with what came (RFC 862)",
	.received = echo_received,
};
