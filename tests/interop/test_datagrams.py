"""Messages: UDP and its guards, unix datagrams, seqpacket."""
import os
import select
import struct
import time

from chime_case import *


def udp(source="127.0.0.1", family=socket.AF_INET, timeout=LIMIT):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.bind((source, 0))
    s.settimeout(timeout)
    return s


def ask_message(s, request):
    before = int(time.time())
    s.send(request)
    answer = s.recv(1 << 19)
    same(answer[STAMP:], request, "what came back")
    check_time(answer[:STAMP], before, time.time())


def forge(source, target, data):
    """Sends a UDP datagram that says it came from source."""
    try:
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    except PermissionError:
        raise Skip("forging a source needs CAP_NET_RAW") from None
    with raw:
        header = struct.pack("!HHHH", source[1], target[1], 8 + len(data), 0)
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + 8 + len(data), 1, 0, 64, 17, 0, socket.inet_aton(source[0]),
                         socket.inet_aton(target[0]))
        raw.sendto(ip + header + data, target)


@case
def every_datagram_is_answered():
    """Sizes from nothing to what still fits, whole, one answer each."""
    with Server("udp://127.0.0.1:0") as server, udp() as s:
        s.connect(("127.0.0.1", server.port))
        for size in (0, 1, 24, 48, 1023, 1024, 1025, 8000, 65507 - STAMP):
            ask_message(s, b"q" * size)


@case
def a_message_whose_answer_cannot_fit_is_counted():
    """A datagram so long that stamp and it are no datagram any more is not answered, is counted, and harms nothing."""
    with Server("udp://127.0.0.1:0") as server, udp() as s:
        s.connect(("127.0.0.1", server.port))
        for size in (65507 - STAMP + 1, 65507):
            s.send(b"q" * size)
            ask_message(s, b"still here")  # what one source sends is answered in order: the first answer is this one's
        counters = wait_for(lambda: (c := server.counters())["dropped_long"] >= 2 and c, what="dropped_long")
        same(counters["dropped_long"], 2, "dropped_long")


@case
def many_peers_at_once():
    """A hundred peers, ten messages each before the first answer is read: each gets its own, in order."""
    one_processor()
    with Server("udp://127.0.0.1:0") as server:
        peers = [udp() for _ in range(100)]
        for s in peers:
            s.connect(("127.0.0.1", server.port))
        for n, s in enumerate(peers):
            for k in range(10):
                s.send(b"%d/%d" % (n, k))
            for k in range(10):
                same(s.recv(100)[STAMP:], b"%d/%d" % (n, k), "the answer")
        for s in peers:
            s.close()


@case
def two_servers_that_are_joined_stop_at_once():
    """One forged datagram makes each the other's client: after two stamps it is over, whichever format either writes."""
    for other in ("udp://127.0.0.1:0", "udp://127.0.0.1:0?format=rfc3339", "udp://127.0.0.1:0?format=unixns", "echo=udp://127.0.0.1:0"):
        with Server("udp://127.0.0.1:0") as a, Server(other) as b:
            forge(("127.0.0.1", a.port), ("127.0.0.1", b.port), b"loop")
            # The forged one and each answer came somewhere, and what was not answered is what was dropped: then nothing is on its way.
            both = wait_for(lambda: (c := a.counters() + b.counters())["dropped_loop"] and c["messages"] == 1 + c["answers"] and c,
                           what=f"the end of the loop with {other}")
            check(1 <= both["answers"] <= 5, f"{both['answers']} answers were given to one datagram")
            same(both["dropped_loop"], 1, "dropped")


@case
def one_stamp_is_an_ordinary_message():
    """What was answered once may be sent again; what was answered twice is a loop."""
    with Server("udp://127.0.0.1:0") as server, udp() as s:
        s.connect(("127.0.0.1", server.port))
        s.send(b"hello")
        once = s.recv(100)
        s.send(once)
        twice = s.recv(100)
        same(twice[STAMP:], once, "the answer to an answer")
        s.send(twice)
        ask_message(s, b"the first answer that comes now")
        wait_for(lambda: server.counters()["dropped_loop"] == 1, what="dropped_loop")


@case
def servers_ports_and_low_ports_are_not_answered():
    """A forged source that is a port below 1024, one that we serve, or a known replier: silence, counted."""
    with Server("udp://127.0.0.1:0", "udp://127.0.0.1:0", workers=1) as server:
        for port in (1, 7, 19, 53, 1023, server.ports[0], server.ports[1], 1900, 5353, 11211):
            forge(("127.0.0.1", port), ("127.0.0.1", server.ports[0]), b"x")
        wait_for(lambda: server.counters()["dropped_source"] >= 10, what="ten drops")
        same(server.counters()["answers"], 0, "answers")


@case
def a_flood_is_held_while_another_is_served():
    """One source over its rate gets its share and no more; another source is served as if nothing were."""
    rate = 100
    with Server(f"udp://127.0.0.1:0?rate={rate}", workers=1) as server, udp("127.0.0.2") as flood, udp("127.0.0.3") as good:
        flood.connect(("127.0.0.1", server.port))
        good.connect(("127.0.0.1", server.port))
        flood.setblocking(False)
        start, sent, got = time.monotonic(), 0, 0
        for n in range(1, 21):
            for _ in range(200):
                flood.send(b"flood")
                sent += 1
            ask_message(good, b"good")
            counters = wait_for(lambda: (c := server.counters())["answers"] + c["dropped_rate"] == sent + n and c, what="the flood's arrival")
            while got < counters["answers"] - n or select.select([flood], [], [], 0)[0]:
                check(select.select([flood], [], [], LIMIT)[0], "an answer was counted that did not come")
                flood.recv(100)
                got += 1
        took = time.monotonic() - start
        most = 2 * rate + rate * (took + 1)
        check(rate <= got <= most, f"{got} answers to {sent} messages in {took:.2f} s, wanted at most {most:.0f}")
        same((counters["answers"], counters["dropped_rate"]), (got + n, sent - got), "answers and the rest")


@case
def answers_come_from_the_address_that_was_asked():
    """On a wildcard: a connected client sees its answers only if they come from where it sent to."""
    with Server("udp://*:0") as server:
        for host in ("127.0.0.1", "127.0.0.5", "127.1.2.3"):
            with udp() as s:
                s.connect((host, server.port))
                ask_message(s, b"to " + host.encode())
        if os.path.exists("/proc/net/if_inet6"):
            with udp("::1", socket.AF_INET6) as s:
                s.connect(("::1", server.port))
                ask_message(s, b"to ::1")


@case
def an_empty_host_is_loopback_alone():
    """udp://:PORT answers on 127.0.0.1 and ::1, and nowhere else."""
    with Server("udp://:0") as server:
        with udp() as s:
            s.connect(("127.0.0.1", server.port))
            ask_message(s, b"i")
        if os.path.exists("/proc/net/if_inet6"):
            with udp("::1", socket.AF_INET6) as s:
                s.connect(("::1", server.port))
                ask_message(s, b"i")
        with udp() as s:
            s.connect(("127.0.0.5", server.port))
            s.send(b"i")
            try:
                raise Failure(f"127.0.0.5 answered {s.recv(100)!r}")
            except ConnectionRefusedError:
                pass


@case
def draining_answers_the_datagrams_that_had_come():
    """What the socket held when SIGTERM came is answered."""
    import signal
    one_processor()
    with Server("udp://127.0.0.1:0") as server, udp() as s:
        s.connect(("127.0.0.1", server.port))
        ask_message(s, b"i")
        server.signal(signal.SIGSTOP)
        for k in range(50):
            s.send(b"%d" % k)
        all_come()
        server.signal(signal.SIGTERM)
        server.signal(signal.SIGCONT)
        for k in range(50):
            same(s.recv(100)[STAMP:], b"%d" % k, "the answer")
        same(server.wait(), 0, "exit code")


# ---- unix ----

def unix(kind, path):
    s = socket.socket(socket.AF_UNIX, kind)
    s.settimeout(LIMIT)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 400_000)
    if kind == socket.SOCK_DGRAM:
        s.bind("")
    s.connect(path)
    return s


@case
def unix_datagrams():
    """Messages of every size up to what a sender's buffer holds; an empty one; two stamps in front are an ordinary message here."""
    path = os.path.join(folder(), "d")
    with Server(f"unix+dgram:{path}"), unix(socket.SOCK_DGRAM, path) as s:
        for size in (1, 0, 24, 1025, 60_000, 150_000):
            ask_message(s, b"q" * size)
        ask_message(s, b"Tue Sep 13 19:11:20 2016" * 2 + b"x")


@case
def unix_messages_over_the_limit_are_counted():
    """A message of more than 256 KiB is not answered: counted, and the next one is."""
    for scheme, kind in (("unix+dgram", socket.SOCK_DGRAM), ("unix+seqpacket", socket.SOCK_SEQPACKET)):
        path = os.path.join(folder(), scheme)
        with Server(f"{scheme}:{path}") as server, unix(kind, path) as s:
            ask_message(s, b"i")
            s.send(b"q" * 270_000)
            ask_message(s, b"still here")
            same(server.counters()["dropped_long"], 1, f"dropped_long of {scheme}")


@case
def seqpacket_tells_an_empty_message_from_the_end():
    """An empty message is answered by a bare stamp; the end is the end."""
    path = os.path.join(folder(), "q")
    with Server(f"unix+seqpacket:{path}") as server, unix(socket.SOCK_SEQPACKET, path) as s:
        for request in (b"one", b"", b"", b"two" * 1000, b"", b"last"):
            ask_message(s, request)
        s.send(b"and")
        s.send(b"")
        s.shutdown(socket.SHUT_WR)
        same(len(s.recv(100)), STAMP + 3, "the answer before the end")
        same(len(s.recv(100)), STAMP, "the bare stamp before the end")
        same(s.recv(100), b"", "the end")
        same(server.counters()["messages"], 8, "messages")


@case
def seqpacket_in_bulk():
    """Many messages before the first answer is read: each is answered by one of its own, in order."""
    path = os.path.join(folder(), "q")
    rng = random_of("seqpacket")
    with Server(f"unix+seqpacket:{path}"), unix(socket.SOCK_SEQPACKET, path) as s:
        s.setblocking(False)
        messages = [rng.randbytes(rng.choice((0, 1, 100, 3000, 20_000))) for _ in range(500)]
        sent = got = 0
        end = time.monotonic() + 2 * LIMIT
        while got < len(messages):
            check(time.monotonic() < end, f"stuck: {sent} sent, {got} answered")
            can_read, can_write, _ = select.select([s], [s] if sent < len(messages) else [], [], 1)
            if can_write:
                try:
                    s.send(messages[sent])
                    sent += 1
                except BlockingIOError:
                    pass
            elif can_read or sent == len(messages):
                try:
                    answer = s.recv(1 << 17)
                except BlockingIOError:
                    continue
                same(answer[STAMP:], messages[got], f"answer {got}")
                got += 1


@case
def talk_speaks_in_messages():
    """chime talk by udp, unix+dgram and unix+seqpacket: a line, its answer."""
    path = folder()
    with Server("udp://127.0.0.1:0", f"unix+dgram:{path}/d", f"unix+seqpacket:{path}/q") as server:
        for endpoint in (f"udp://127.0.0.1:{server.port}", f"unix+dgram:{path}/d", f"unix+seqpacket:{path}/q"):
            code, out, err = run(PROGRAM, "talk", endpoint, data=b"i\ntwo words\n")
            same(code, 0, f"exit code of {endpoint} ({err!r})")
            same([line[STAMP:] for line in out.splitlines()], [b"i", b"two words"], endpoint)


main()
