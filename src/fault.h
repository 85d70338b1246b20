/*
 * fault.h - faults that are planted to see that the simulation finds them: docs/simulation.md.
 *
 * Only a build of the tests' own, with CHIME_FAULTS, has them, and one at a time. In every other build FAULT() is false, and the
 * compiler leaves nothing of it.
 */
#ifndef FAULT_H
#define FAULT_H

enum fault {
	FAULT_NONE,
	/* connections */
	FAULT_OLD_STAMP,    /* the stamp is of the beginning of the turn */
	FAULT_READ_STAMP,   /* one stamp a read, not one a chunk */
	FAULT_CLOSE_EARLY,  /* closed with an operation under way: its event meets whoever has the descriptor next */
	FAULT_LOST_TAIL,    /* half a line at the end of stream is dropped */
	FAULT_NO_RESUME,    /* nothing goes on when a blocked peer has room again */
	FAULT_EMPTY_IS_END, /* an empty message is taken for the end */
	FAULT_GLUED,        /* messages that come during an answer are put together */
	FAULT_LATE_INPUT,   /* what comes after a cancel is dropped */
	FAULT_LOST_PART,    /* the rest of a partial write is lost */
	FAULT_TWICE,        /* one completion is accounted for twice */
	FAULT_HALVES_KEPT,  /* unfinished lines may be kept over the ceiling of all queues */
	FAULT_NO_PROGRESS,  /* who takes a little counts as stalled */
	FAULT_QUEUED_KEPT,  /* queued bytes of a connection that ends are not given back */
	FAULT_CEILING_KEPT, /* a refused connection stays counted */
	FAULT_CEILING_EACH, /* each worker has the whole ceiling of connections */
	FAULT_SAME_IDS,     /* connections of two workers have the same numbers */
	FAULT_LINGER_LONG,  /* whoever does not end lingers for ever */
	/* outgoing connections */
	FAULT_CONNECTED_ANYWAY, /* one that was refused is opened all the same */
	FAULT_CONNECTING_KEPT,  /* draining waits for those that are being connected */
	/* draining */
	FAULT_DRAIN_UNREAD, /* what has come is not read */
	FAULT_HOLD_IGNORED, /* an answer that is to come later is not waited for */
	FAULT_NO_GRACE,     /* nothing ends the wait */
	FAULT_UNACCEPTED,   /* the listener is closed before its queue is accepted */
	FAULT_DGRAM_UNREAD, /* datagrams that wait in the socket are not read */
	/* listeners */
	FAULT_PAUSE_FOREVER, /* out of descriptors once, accepting never goes on */
	/* timers */
	FAULT_TIMER_ROUND, /* what is due in a later round of the wheel runs in this one */
	FAULT_TIMER_EARLY, /* a timer runs at the tick before its time */
	/* datagrams */
	FAULT_NO_RETRY,      /* a full peer is not tried again */
	FAULT_CUT_ANSWERED,  /* a message that was too long to be received whole is answered */
	FAULT_MANY_ANSWERED, /* a message to a broadcast address is answered */
	FAULT_BATCH_DROPPED, /* an answer that fails takes those of its batch with it, uncounted */
	FAULT_REORDERED,     /* what could not be sent goes behind what came later */
	FAULTS
};

#ifdef CHIME_FAULTS
extern unsigned chime__fault; /* the one that is on */
#define FAULT(name) (chime__fault == FAULT_##name)
#else
#define FAULT(name) 0
#endif

#endif
