/* Where libusrsctp was not there when the library was built: no stack in user space. */
#include "net/rdm_stack.h"

#include <errno.h>

bool chime__stack_built(void)
{
	return false;
}

int chime__stack_init(rdm_stack_output_fn *output)
{
	(void)output;
	return -EPROTONOSUPPORT;
}

int chime__stack_open(struct rdm_stack **out, const struct rdm_stack_config *config)
{
	(void)config;
	*out = NULL;
	return -EPROTONOSUPPORT;
}

void chime__stack_close(struct rdm_stack *s)
{
	(void)s;
}

uint16_t chime__stack_port(const struct rdm_stack *s)
{
	(void)s;
	return 0;
}

void chime__stack_know(uint64_t path)
{
	(void)path;
}

void chime__stack_forget(uint64_t path)
{
	(void)path;
}

void chime__stack_input(uint64_t path, const void *packet, size_t len)
{
	(void)path;
	(void)packet;
	(void)len;
}

void chime__stack_tick(unsigned elapsed_ms)
{
	(void)elapsed_ms;
}

uint32_t chime__stack_assoc(struct rdm_stack *s, uint64_t path, uint16_t port)
{
	(void)s;
	(void)path;
	(void)port;
	return 0;
}

int chime__stack_connect(struct rdm_stack *s, uint64_t path, uint16_t port)
{
	(void)s;
	(void)path;
	(void)port;
	return -EPROTONOSUPPORT;
}

void chime__stack_measure(struct rdm_stack *s, uint64_t path, uint16_t port, uint32_t assoc)
{
	(void)s;
	(void)path;
	(void)port;
	(void)assoc;
}

int chime__stack_send(struct rdm_stack *s, uint64_t path, uint16_t port, const void *bytes, size_t len, uint32_t id,
		      bool first)
{
	(void)s;
	(void)path;
	(void)port;
	(void)bytes;
	(void)len;
	(void)id;
	(void)first;
	return -EPROTONOSUPPORT;
}

int chime__stack_end(struct rdm_stack *s, uint64_t path, uint16_t port, bool abort)
{
	(void)s;
	(void)path;
	(void)port;
	(void)abort;
	return -ENOTCONN;
}

bool chime__stack_dry(struct rdm_stack *s, uint32_t assoc)
{
	(void)s;
	(void)assoc;
	return true;
}

void chime__stack_take(struct rdm_stack *s, void *buf, size_t size, struct rdm_stack_event *ev)
{
	(void)s;
	(void)buf;
	(void)size;
	*ev = (struct rdm_stack_event){ .kind = STACK_NOTHING };
}

uint32_t chime__stack_checksum(void *packet, size_t len)
{
	(void)packet;
	(void)len;
	return 0;
}
