/* What a service may do with a connection: the chime_conn_ calls. */
#include "server/conn.h"
#include "server/dgram.h"
#include "server/mailbox.h"

#include <errno.h>

/* The connection behind the handle; NULL: it is a datagram endpoint. */
static struct conn *conn_of(chime_conn *base)
{
	return base->datagram ? NULL : (struct conn *)base;
}

uint64_t chime_conn_id(const chime_conn *base)
{
	return base->datagram ? 0 : ((const struct conn *)base)->id;
}

chime_worker *chime_conn_worker(chime_conn *base)
{
	return base->worker;
}

const void *chime_conn_config(const chime_conn *base)
{
	return base->served->config;
}

int chime_conn_fileno(const chime_conn *base)
{
	return base->fd;
}

int chime_conn_peer(const chime_conn *base, chime_addr *out)
{
	out->len = sizeof out->u;
	if (getpeername(base->fd, &out->u.sa, &out->len) < 0) {
		*out = chime_addr_none();
		return -errno;
	}
	if (out->len > sizeof out->u)
		out->len = sizeof out->u;
	return 0;
}

const chime_endpoint *chime_conn_endpoint(const chime_conn *base)
{
	if (!base->datagram && base->served_own)
		return NULL;
	return &base->served->endpoint;
}

int chime_conn_send(chime_conn *base, const void *buf, size_t len)
{
	struct conn *c = conn_of(base);
	if (!c)
		return -EOPNOTSUPP;
	if (c->base.state < CONN_OPEN)
		return -ENOTCONN;
	if (c->base.state > CONN_FLUSHING)
		return -EPIPE;
	if (len == 0 && !c->base.message)
		return 0;
	int err = chime__pending_add(c, buf, len);
	if (err < 0 || c->base.in_call)
		return err; /* it goes out behind the reply of this call */
	err = chime__pending_pump(c);
	if (err < 0) {
		chime__conn_end(c, err, false);
		return -EPIPE;
	}
	chime__conn_settle(c);
	return 0;
}

int chime_conn_sendto(chime_conn *base, const void *buf, size_t len, const chime_addr *to)
{
	switch (base->datagram) {
	case CONN_DGRAM:
		return chime__dgram_sendto((struct dgram *)base, buf, len, to);
	case CONN_MAILBOX:
		return chime__mailbox_sendto((struct mailbox *)base, buf, len, to);
	default:
		return -EOPNOTSUPP;
	}
}

void chime_conn_hold(chime_conn *base)
{
	struct conn *c = conn_of(base);
	if (c && c->base.state < CONN_CLOSING)
		c->holds++;
}

void chime_conn_release(chime_conn *base)
{
	struct conn *c = conn_of(base);
	if (!c || c->base.state >= CONN_CLOSING || c->holds == 0)
		return;
	c->holds--;
	chime__conn_settle(c);
}

void chime_conn_close(chime_conn *base)
{
	struct conn *c = conn_of(base);
	if (!c)
		return;
	if (c->base.state == CONN_CONNECTING)
		chime__conn_end(c, -ECANCELED, false);
	else
		chime__conn_flush(c);
}

void chime_conn_abort(chime_conn *base)
{
	struct conn *c = conn_of(base);
	if (c)
		chime__conn_end(c, -ECANCELED, true);
}
