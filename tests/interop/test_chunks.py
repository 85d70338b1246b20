"""Whatever pieces a stream comes in, the answer is what was sent, in chunks behind true stamps: nothing lost, doubled or moved."""
import math
import select
import signal
import threading
import time

from chime_case import *

MIB = 1 << 20


def talk_in_pieces(s, sent, rng, largest=70_000):
    """Sends in random pieces while reading, half-closes, reads to the end: the whole answer."""
    s.setblocking(False)
    got, at, upto = bytearray(), 0, 0
    end = time.monotonic() + 5 * LIMIT
    while True:
        if at == upto and at < len(sent):
            upto = min(len(sent), at + max(1, int(math.exp(rng.uniform(0, math.log(largest))))))
        can_read, can_write, _ = select.select([s], [s] if at < len(sent) else [], [], LIMIT)
        check(time.monotonic() < end and (can_read or can_write), f"stuck after {at} bytes sent, {len(got)} bytes of answer")
        if can_read:
            more = s.recv(1 << 17)
            if not more:
                check(at == len(sent), f"the end after {at} of {len(sent)} bytes were sent")
                return bytes(got)
            got += more
        if can_write:
            at += s.send(sent[at:upto])
            if at == len(sent):
                s.shutdown(socket.SHUT_WR)


def many_at_once(connect, name, clients=24, chunk=CHUNK, largest=MIB):
    """Each of many clients sends from 1 byte to largest; the first ones exactly these two."""
    wrong, threads = [], []

    def one(n):
        rng = random_of(f"{name}/{n}")
        size = (1, largest)[n] if n < 2 else max(1, int(math.exp(rng.uniform(0, math.log(largest)))))
        sent = rng.randbytes(size)
        try:
            before = time.time()
            with connect() as s:
                answer = talk_in_pieces(s, sent, rng)
            check_answer(answer, sent, before, time.time(), chunk)
        except Exception as e:
            wrong.append(f"client {n}, {size} bytes: {e!r}")

    for n in range(clients):
        threads.append(threading.Thread(target=one, args=(n,), daemon=True))
        threads[-1].start()
    for t in threads:
        t.join(6 * LIMIT)
    check(not wrong, "\n".join(wrong[:5]))
    check(not any(t.is_alive() for t in threads), "a client did not end")


def unix_client(path, kind=socket.SOCK_STREAM):
    s = socket.socket(socket.AF_UNIX, kind)
    s.settimeout(LIMIT)
    s.connect(path)
    return s


@case(limit=180)
def tcp_in_random_pieces():
    """1 byte to 1 MiB in random pieces by many clients at once: parsed back it is what was sent, and the last answer is before the close."""
    with Server("tcp://127.0.0.1:0") as server:
        many_at_once(server.connect, "tcp")


@case(limit=180)
def unix_in_random_pieces():
    path = f"{folder()}/s"
    with Server(f"unix:{path}"):
        many_at_once(lambda: unix_client(path), "unix")


@case(limit=180)
def chunks_of_one_byte():
    """chunk=1: a stamp for every byte, 25 times what came, through every list of pieces that gets full."""
    with Server("tcp://127.0.0.1:0?chunk=1") as server:
        many_at_once(server.connect, "one", clients=6, chunk=1, largest=60_000)


@case(limit=180)
def chunks_of_other_sizes():
    with Server("tcp://127.0.0.1:0?chunk=7", "tcp://127.0.0.1:0?chunk=64k", "tcp://127.0.0.1:0?chunk=1023") as server:
        for n, chunk in enumerate((7, 65536, 1023)):
            many_at_once(lambda: server.connect(n), f"chunk {chunk}", clients=6, chunk=chunk, largest=MIB // 4)


@case
def lines_in_random_pieces():
    """frame=line: whatever the pieces, one stamp a line, long lines cut at chunk, the tail answered at the end."""
    rng = random_of("lines")
    sent = bytes(rng.choice(b"abcdefghijklmnopqrstuvwxyz\n") for _ in range(30_000)) + b"q" * 3000 + b"\ntail"
    wanted = [line[i:i + CHUNK] for line in sent.splitlines(keepends=True) for i in range(0, len(line), CHUNK)]
    with Server("tcp://127.0.0.1:0?frame=line") as server, server.connect() as s:
        answer = talk_in_pieces(s, sent, rng, largest=300)
        same([chunk for _, chunk in take_apart(answer)], wanted, "the chunks")


@case
def a_stamp_never_predates_what_it_stamps():
    """In nanoseconds: each stamp lies between the sending of its message and the coming of its answer, on every kind of socket."""
    path = folder()
    with Server("tcp://127.0.0.1:0?format=unixns", f"unix:{path}/s?format=unixns", f"unix+seqpacket:{path}/q?format=unixns",
                "udp://127.0.0.1:0?format=unixns") as server:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.settimeout(LIMIT)
        udp.connect(("127.0.0.1", server.ports[3]))
        clients = [server.connect(0), unix_client(f"{path}/s"), unix_client(f"{path}/q", socket.SOCK_SEQPACKET), udp]
        for s in clients:
            with s:
                for _ in range(300):
                    before = time.time_ns()
                    s.send(b"x")
                    answer = s.recv(64)
                    after = time.time_ns()
                    same((len(answer), answer[19:]), (20, b"x"), "the answer")
                    check(before <= int(answer[:19]) <= after, f"{before} <= {answer[:19]} <= {after}")


# ---- draining ----

@case
def draining_answers_all_that_had_come():
    """What lies in the server's queues when SIGTERM comes is answered, be its connection accepted or still in the listener."""
    rng = random_of("drain")
    with Server("tcp://127.0.0.1:0", f"unix:{folder()}/s") as server:
        known = [server.connect() for _ in range(20)] + [unix_client(f"{folder()}/s") for _ in range(20)]
        for s in known:
            ask(s, b"i")
        server.signal(signal.SIGSTOP)
        new = [server.connect() for _ in range(20)] + [unix_client(f"{folder()}/s") for _ in range(20)]
        before = time.time()
        sent = {s: rng.randbytes(rng.randrange(1, 20_000)) for s in known + new}
        for s in known + new:
            s.sendall(sent[s])
        wait_for(lambda: arrived(*(s for s in sent if s.family == socket.AF_INET)), what="the arrival")
        server.signal(signal.SIGTERM)
        server.signal(signal.SIGCONT)
        for s in known + new:
            with s:
                check_answer(recv_to_end(s), sent[s], before, time.time())
        same(server.wait(), 0, "exit code")


@case(limit=180)
def draining_in_mid_flight_cuts_nothing_in_two():
    """SIGTERM while clients send without end: each gets a true beginning of what it sent, then a clean end, never a reset."""
    wrong, done = [], []
    with Server("tcp://127.0.0.1:0") as server:
        enough = threading.Semaphore(0)

        def one(n, sent):
            got, at, before, known = bytearray(), 0, time.time(), False
            try:
                with server.connect() as s:
                    s.setblocking(False)
                    while True:
                        # Each with more under way than the one before: what is answered bounds what is sent, and so what is checked.
                        more_to_send = at < len(sent) and at - len(got) < 8192 << 3 * n
                        can_read, can_write, _ = select.select([s], [s] if more_to_send else [], [], LIMIT)
                        if can_read:
                            more = s.recv(1 << 17)
                            if not more:
                                break
                            got += more
                        elif can_write:
                            at += s.send(sent[at:at + 5000])
                        if len(got) > 200_000 and not known:
                            known = True
                            enough.release()
                done.append((sent, bytes(got), before))
            except OSError as e:
                wrong.append(f"client {n}, {at} bytes sent, {len(got)} of answer: {e!r}")

        threads = [threading.Thread(target=one, args=(n, random_of(f"flight {n}").randbytes(32 * MIB)), daemon=True)
                   for n in range(4)]
        for t in threads:
            t.start()
        for _ in threads:
            check(enough.acquire(timeout=3 * LIMIT), "a client got nothing")
        server.signal(signal.SIGTERM)
        same(server.wait(), 0, "exit code")
        for t in threads:
            t.join(LIMIT)
        check(not wrong, "\n".join(wrong))
        same(len(done), len(threads), "clients that came to their end")
        for sent, got, before in done:
            answered = sum(len(c) for _, c in take_apart(got))
            check_answer(got, sent[:answered], before, time.time())


@case
def draining_closes_idle_connections_at_once():
    """Nobody waits for a peer that says nothing: with idle connections alone the end comes long before the grace."""
    with Server("tcp://127.0.0.1:0", flags=["--grace", "1000s"]) as server:
        clients = [server.connect() for _ in range(50)]
        for s in clients:
            ask(s, b"i")
        server.signal(signal.SIGTERM)
        for s in clients:
            same(s.recv(1), b"", "what an idle client gets")
            s.close()
        same(server.wait(), 0, "exit code")


@case
def what_crosses_the_end_meets_no_reset():
    """A peer that was silent when draining began and sends just then gets our end, not a reset that could overtake an answer."""
    def crossed():
        """Five messages, which the server's kernel has; False if all that took so long that a reset is right."""
        with Server("tcp://127.0.0.1:0") as server, server.connect() as s:
            ask(s, b"i")
            start = time.monotonic()
            server.signal(signal.SIGTERM)
            same(s.recv(1), b"", "our end")
            try:
                for _ in range(5):
                    s.send(b"on its way")
                    same(s.recv(1), b"", "after the end")
                wait_for(lambda: far_end(s) is None or arrived(s), what="the arrival")
                same(s.recv(1), b"", "after the end")
            except OSError as e:
                took = time.monotonic() - start
                check(took >= 0.25, f"{e} after {took:.3f} s; a silent peer has 0.25 s")
                return False
            s.close()
            same(server.wait(), 0, "exit code")
            return True
    wait_for(crossed, what="a peer as quick as that")


@case
def the_grace_cuts_off_who_does_not_read():
    """A peer that takes nothing holds the end up for the grace, and not for ever: exit 0, with a warning."""
    with Server("tcp://127.0.0.1:0", flags=["--grace", "500ms"]) as server, server.connect() as s:
        fill(server, s)
        start = time.monotonic()
        server.signal(signal.SIGTERM)
        same(server.wait(), 0, "exit code")
        check(time.monotonic() - start >= 0.5, f"it took {time.monotonic() - start:.1f} s")
        check(any("cut" in line for line in server.err), f"no warning: {server.text()}")


main()
