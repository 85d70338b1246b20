/* Outgoing connections on a worker's loop. */
#include "server/conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What an outgoing connection has of its own; freed with it as its base.served. */
struct outgoing {
	struct served served; /* first: base.served points here */
	chime_addr to;
};

static struct outgoing *new_outgoing(const chime_service *service, const void *config, const chime_addr *to)
{
	struct outgoing *o = calloc(1, sizeof *o);
	void *copy = service->config_size ? calloc(1, service->config_size) : NULL;
	if (!o || (service->config_size && !copy)) {
		free(o);
		free(copy);
		return NULL;
	}
	if (!config)
		config = service->config_default;
	if (copy && config)
		memcpy(copy, config, service->config_size);
	o->served = (struct served){ .service = service, .config = copy, .idle_timeout_ns = CHIME_FOREVER };
	o->to = *to;
	return o;
}

static void free_outgoing(struct outgoing *o)
{
	if (o)
		free(o->served.config);
	free(o);
}

int chime_worker_connect(chime_worker *w, const chime_service *service, const void *config, const chime_addr *to,
			 int type, const void *arg, size_t arg_size, chime_conn **out)
{
	*out = NULL;
	if (!service || service->size != sizeof *service || !service->received ||
	    (type != SOCK_STREAM && type != SOCK_SEQPACKET))
		return -EINVAL;
	if (w->cut) /* the grace is over: nobody would end it */
		return -ECANCELED;
	int fd = w->loop.backend->socket(&w->loop, chime_addr_family(to), type);
	if (fd < 0)
		return fd;
	struct outgoing *o = new_outgoing(service, config, to);
	struct conn *c = NULL;
	int err = o ? 0 : -ENOMEM;
	if (err == 0 && !chime__worker_admit(w))
		err = -EMFILE;
	if (err < 0) {
		free_outgoing(o);
		w->loop.backend->close(&w->loop, fd, false);
		return err;
	}
	c = chime__conn_new(w, &o->served, type, fd);
	if (!c) {
		chime__worker_leave(w);
		free_outgoing(o);
		w->loop.backend->close(&w->loop, fd, false);
		return -ENOMEM;
	}
	c->base.served_own = true;
	c->base.state = CONN_CONNECTING;
	if (arg_size)
		memcpy(chime_conn_state(&c->base), arg,
		       arg_size < service->state_size ? arg_size : service->state_size);
	struct pending *p = chime__pending_get(c);
	err = p ? 0 : -ENOMEM;
	if (p) {
		p->out.kind = OP_CONNECT;
		p->out.u.to = &o->to;
		err = op_submit(&w->loop, &p->out);
	}
	if (err < 0) { /* NOLINT(clang-analyzer-unix.Malloc): o goes with c, which owns it */
		chime__conn_end(c, -ECANCELED, false); /* .closed is not owed: the caller has the error */
		return err;
	}
	c->base.owed = true;
	*out = &c->base;
	return 0;
}
