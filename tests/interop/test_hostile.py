"""Peers that do what they should not, and limits that are reached: the server stays small, awake and fair."""
import os
import resource
import select
import signal
import struct
import threading
import time

from chime_case import *

MB = 1_000_000


def sanitized():
    """Sanitizers keep freed memory and shadow it: byte counts say nothing there."""
    with open(PROGRAM, "rb") as f:
        data = f.read()
    return b"__asan_init" in data or b"__tsan_init" in data


def kernels_share():
    """The most that the kernel may keep of one connection over the loopback, both directions, in bytes."""
    most = 0
    for name in ("tcp_rmem", "tcp_wmem"):
        with open(f"/proc/sys/net/ipv4/{name}") as f:
            most += 2 * int(f.read().split()[2])
    return most


@case
def a_peer_that_never_reads_is_not_read_from():
    """
    Peers that read nothing offer 16 MB more than the kernel can keep of them: the server's memory stays flat, others are served, and what
    was taken is answered.
    """
    total = kernels_share() + 16 * MB
    data = random_of("hog").randbytes(1 << 20)
    with Server("tcp://127.0.0.1:0", workers=2) as server, server.connect() as good:
        ask(good, b"i")
        before, start = rss(server.pid), time.time()
        hogs = [server.connect() for _ in range(4)]
        sent = []
        for s in hogs:
            sent.append(fill(server, s, data, total))
            ask(good, b"still here")
        grown = rss(server.pid) - before
        check(all(n < total for n in sent), f"it took all: {sent} of {total}")
        if not sanitized():
            pool = 2 * 20 * MB if BACKEND == "uring" else 0  # two workers' receive buffers, all touched by now
            check(grown < 16 * MB + pool, f"the server grew by {grown} bytes")
        hogs[0].setblocking(True)
        hogs[0].settimeout(LIMIT)
        hogs[0].shutdown(socket.SHUT_WR)
        answer = recv_to_end(hogs[0])
        check_answer(answer, (data * (sent[0] // len(data) + 1))[:sent[0]], start, time.time())
        for s in hogs[1:]:
            s.close()


@case
def slow_peers_are_no_burden():
    """A hundred peers that send a byte now and then: each byte has its answer, costs one turn or two (three on a busy machine), and the server sleeps again."""
    with Server("tcp://127.0.0.1:0") as server:
        clients = [server.connect() for _ in range(100)]
        for s in clients:
            ask(s, b"i")
        before = server.counters()["workers_turns"]
        for _ in range(3):
            for s in clients:
                ask(s, b"i")
            wait_for(lambda: asleep(server.pid), what="sleep")
        turns = server.counters()["workers_turns"] - before
        for s in clients:
            s.close()
        check(turns <= 3 * 300, f"{turns} turns for 300 bytes")


@case
def a_reset_in_any_state_is_no_crash():
    """Resets before, between and after everything: the server lives, counts them, and has its descriptors back."""
    rng = random_of("reset")
    linger = struct.pack("ii", 1, 0)
    with Server("tcp://127.0.0.1:0") as server:
        with server.connect() as s:
            ask(s, b"i")
        base = wait_for(lambda: descriptors(server.pid), what="descriptors")
        for n in range(600):
            s = server.connect()
            what = rng.randrange(6)
            if what >= 1:
                s.sendall(rng.randbytes(rng.choice((1, 100, 5000, 60_000))))
            if what == 2:
                s.recv(10)
            if what == 3:
                s.shutdown(socket.SHUT_WR)
            if what == 4:
                s.setblocking(False)
                try:
                    for _ in range(64):
                        s.send(b"x" * 65536)
                except BlockingIOError:
                    pass
            if what == 5:
                wait_for(lambda: taken(s) if rng.randrange(2) else (end := far_end(s)) and end.accepted, what="the server's attention")
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            s.close()
        check(server.alive(), f"the server died: {server.text()}")
        wait_for(lambda: descriptors(server.pid) <= base, what="the descriptors' return")
        with server.connect() as s:
            ask(s, b"i")
        counters = server.counters()
        check(counters["peer_resets"] > 50, f"{counters['peer_resets']} resets counted")
        same(counters["open"] <= 1, True, f"{counters['open']} connections are open, 1 or less")


def connected_from(server, host):
    """A connection of a source address of its own: one has not ports enough for very many."""
    s = socket.create_connection(("127.0.0.1", server.port), LIMIT, (host, 0))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


@case(limit=240)
def nineteen_thousand_idle_connections_are_held_and_drained():
    """So many are open at once, all are answered, twice; idle they cost no CPU and little memory; ending, the server ends each."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = 19_000
    if hard < count + 200:
        raise Skip(f"{hard} descriptors are allowed, {count + 200} are needed")
    with Server("tcp://127.0.0.1:0", workers=2, flags=["--grace", "100s"]) as server:
        with server.connect() as s:
            ask(s, b"i")
        before = rss(server.pid)
        clients = []
        try:
            for n in range(count):
                clients.append(connected_from(server, f"127.0.0.{2 + n // 5000}"))
            for _ in range(2):
                for s in clients:
                    s.sendall(b"i")
                for s in clients:
                    same(recv_exactly(s, STAMP + 1)[STAMP:], b"i", "the answer")
            each = (rss(server.pid) - before) / count
            print(f"# {each:.0f} bytes of the server's own memory a connection")
            if not sanitized():
                check(each <= 512, f"{each:.0f} bytes a connection, wanted at most 512")
            check_rests(server.pid)
            counters = server.counters()
            same((counters["accepted"], counters["answers"]), (count + 1, 2 * count + 1), "accepted and answers")
            server.signal(signal.SIGTERM)
            for s in clients:
                same(s.recv(1), b"", "the end of an idle connection")
            for s in clients:
                s.close()
            same(server.wait(), 0, "exit code")
            same("event=cut" in server.text(), False, "connections were cut off")
        finally:
            for s in clients:
                s.close()


@case
def over_the_ceiling_connections_are_closed_and_counted():
    """--max-conns: over it a connection is accepted and closed at once; one that leaves makes room."""
    with Server("tcp://127.0.0.1:0", flags=["--max-conns", "5"], workers=1) as server:
        inside = [server.connect() for _ in range(5)]
        for s in inside:
            ask(s, b"i")
        for _ in range(20):
            with server.connect() as s:
                try:
                    same(s.recv(1), b"", "what one too many gets")
                except ConnectionResetError:
                    pass
        same(server.counters()["refused"], 20, "refused")
        inside.pop().close()

        def room():
            with server.connect() as s:
                try:
                    s.sendall(b"i")
                    return len(s.recv(100)) == STAMP + 1
                except OSError:
                    return False
        wait_for(room, what="room for one more")
        for s in inside:
            ask(s, b"still")
            s.close()


@case
def running_out_of_descriptors_is_survived():
    """EMFILE while accepting: those inside are served, it tries again ten times a second, and the waiting ones come in when some leave."""
    need("prlimit")
    # From the start: io_uring goes by the limit of when an accept began.
    with Server("tcp://127.0.0.1:0", workers=1, flags=["--max-conns", "1000"], prefix=["prlimit", "--nofile=30:30"]) as server:
        inside = [server.connect() for _ in range(5)]
        for s in inside:
            ask(s, b"i")
        waiting = [server.connect() for _ in range(30)]
        for s in waiting:
            s.sendall(b"w")
        for s in inside:
            ask(s, b"inside")
        start, first = time.monotonic(), server.counters()
        later = wait_for(lambda: (c := server.counters())["emfile"] >= first["emfile"] + 10 and c, what="ten more tries")
        most = 10 * (time.monotonic() - start) + 2
        tries, turns = (later[k] - first[k] for k in ("emfile", "workers_turns"))
        check(tries <= most and turns <= 3 * most, f"{tries} tries and {turns} turns, wanted at most {most:.0f} tries")
        for s in inside:
            ask(s, b"still inside")
            s.close()
        served = 0
        for s in waiting:
            same(recv_exactly(s, STAMP + 1)[STAMP:], b"w", "the answer of one that waited")
            s.close()
            served += 1
        same(served, 30, "how many that waited were served")
        check(server.counters()["emfile"] > 0, "emfile is not counted")


@case
def an_idle_server_sleeps():
    """No connections, no CPU, no turns of its loops."""
    with Server("tcp://127.0.0.1:0", "udp://127.0.0.1:0") as server:
        turns = server.counters()["workers_turns"]
        check_rests(server.pid, 2)
        check(server.counters()["workers_turns"] - turns <= 4, "its loops turned")


@case
def an_idle_limit_closes_who_says_nothing():
    """--idle-timeout closes an idle connection, and not one that keeps talking."""
    def closed():
        """False if we did not keep talking: between two requests went more than the limit."""
        began = time.monotonic()
        with server.connect() as idle, server.connect() as busy:
            last = now = time.monotonic()
            try:
                while not select.select([idle], [], [], 0.1)[0]:
                    now = time.monotonic()
                    ask(busy, b"i")
                    last = now
                same(idle.recv(1), b"", "what the idle one gets")
                took = time.monotonic() - began
                check(took >= limit, f"it was closed after {took:.2f} s")
                now = time.monotonic()
                ask(busy, b"i")
            except (OSError, Failure):
                if time.monotonic() - last >= limit:
                    return False
                raise
            return True
    limit = 2 * SLOW
    with Server("tcp://127.0.0.1:0", flags=["--idle-timeout", f"{limit}s"]) as server:
        wait_for(closed, 4 * LIMIT, what="a talker who is never late")
        same(server.counters()["idle_closed"] >= 1, True, "counted")


@case
def who_spoke_while_the_server_was_held_up_is_not_idle():
    """Stopped for longer than the idle limit, the server answers all that was sent meanwhile, and closes nobody who sent it."""
    def held():
        """False if it could not be stopped before the limit."""
        clients = []
        try:
            with Server("tcp://127.0.0.1:0", workers=1, flags=["--idle-timeout", f"{limit}s"]) as server:
                start = time.monotonic()
                for _ in range(400):
                    clients.append(server.connect())
                    ask(clients[-1], b"i")
                server.signal(signal.SIGSTOP)
                if time.monotonic() - start > limit / 2:
                    server.signal(signal.SIGCONT)
                    return False
                for s in clients:
                    s.sendall(b"meanwhile")
                time.sleep(limit)  # what is tested: the limit passes, and only the server is held
                server.signal(signal.SIGCONT)
                for s in clients:
                    same(recv_exactly(s, STAMP + 9)[STAMP:], b"meanwhile", "the answer")
                return True
        finally:
            for s in clients:
                s.close()
    limit = 2 * SLOW
    wait_for(held, 4 * LIMIT, what="a server that is stopped in time")


@case
def a_thousand_short_connections():
    """Open, ask, close, a thousand times, some without asking: none is left over."""
    with Server("tcp://127.0.0.1:0") as server:
        base = descriptors(server.pid)
        for n in range(1000):
            with server.connect() as s:
                if n % 3:
                    ask(s, b"i")
        wait_for(lambda: descriptors(server.pid) <= base, what="the descriptors' return")
        wait_for(lambda: server.counters()["accepted"] == 1000, what="the thousandth")


@case
def a_log_that_nobody_reads_stops_nothing():
    """stdout and stderr are pipes that are full: connections are still served, and the end still comes."""
    process = subprocess.Popen([PROGRAM, "serve", "tcp://127.0.0.1:0"], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        port = listening_port(process)
        for _ in range(3000):
            with socket.create_connection(("127.0.0.1", port), LIMIT) as s:
                ask(s, b"i")
        process.send_signal(signal.SIGTERM)
        same(process.wait(LIMIT), 0, "exit code")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


main()
