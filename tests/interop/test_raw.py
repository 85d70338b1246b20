"""Raw sockets: ICMP echoes and messages of a protocol's own, served and asked for, with a link between."""
import struct

from chime_case import *
from netns import Net

ECHO, REPLY = 8, 0


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total >> 16) + (total & 0xffff)
    return ~total & 0xffff


def icmp(kind, ident, seq, payload, broken=False):
    head = struct.pack("!BBHHH", kind, 0, 0, ident, seq)
    return struct.pack("!BBHHH", kind, 0, checksum(head + payload) ^ broken, ident, seq) + payload


def talk(host, endpoint, *lines, flags=()):
    return run(*host.prefix, PROGRAM, "talk", *flags, endpoint, data=b"".join(line + b"\n" for line in lines))


def stamped(out, lines):
    """The answers are the lines, each behind a stamp."""
    got = out.split(b"\n")[:-1]
    same([line[STAMP:] for line in got], list(lines), "what came back")
    for line in got:
        check_time(line[:STAMP], time.time() - 60, time.time())


def gathered(s, last):
    """Packets that come before one that ends in last: a request that was sent behind all others is answered behind them."""
    found = []
    while not (packet := s.recv(70000)).endswith(last):
        found.append(packet)
    return found


def quiet_kernel(host):
    host.sysctl("net.ipv4.icmp_echo_ignore_all", 1)
    host.sysctl("net.ipv6.icmp.echo_ignore_all", 1)


@case
def any_host_answers_an_echo():
    """Every kernel answers talk's echo request with the line itself, over both families, by a raw socket or a datagram one."""
    with Net() as net:
        for allowed in ("1 0", "0 2147483647"):
            net[0].sysctl("net.ipv4.ping_group_range", allowed)
            for endpoint in ("icmp://10.9.0.2", "icmp://[fd09::2]", "icmp6://[fd09::2]", "icmp4://10.9.0.2?if=eth0&ttl=1"):
                same(talk(net[0], endpoint, b"i", b"x" * 3000, b"last"), (0, b"i\n" + b"x" * 3000 + b"\nlast\n", b""), endpoint)
            code, out, err = talk(net[0], "icmp://10.9.0.2", b"i", flags=["--rtt"])
            same((code, out), (0, b"i\n"))
            check(err.startswith(b"rtt ") and b"no stamp" in err, err)


@case
def served_echoes_carry_the_stamp():
    """Where the kernel is silent, the server's echo reply has the stamp and the payload; from the address that was asked."""
    with Net() as net:
        quiet_kernel(net[1])
        subprocess.run([*net[1].prefix, "ip", "addr", "add", "10.9.0.99/24", "dev", "eth0"], check=True)
        with Server("icmp://*", prefix=net[1].prefix, workers=2):
            for endpoint in ("icmp://10.9.0.2", "icmp://10.9.0.99", "icmp://[fd09::2]"):
                lines = [b"i", b"hello", b"odd", b"y" * 5000]
                code, out, err = talk(net[0], endpoint, *lines)
                same((code, err), (0, b""), endpoint)
                stamped(out, lines)


@case
def one_request_one_reply():
    """However many workers there are, a request is answered once; id, sequence and checksum are as they should be."""
    with Net() as net:
        quiet_kernel(net[1])
        with Server("icmp://10.9.0.2?rate=0", prefix=net[1].prefix, workers=3), \
                net[0].socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as s:
            for n in range(50):
                payload = b"p" * n
                s.sendto(icmp(ECHO, 4711, n, payload), ("10.9.0.2", 0))
                reply = s.recv(2000)[20:]
                same(struct.unpack("!BBHHH", reply[:8])[::2] + (reply[6:8],), (REPLY, struct.unpack("!H", reply[2:4])[0], n,
                     struct.pack("!H", n)), "the header")
                same(reply[4:6], struct.pack("!H", 4711), "the id")
                same(checksum(reply), 0, "the sum over all")
                same(reply[8 + STAMP:], payload, "the payload")
            s.sendto(icmp(ECHO, 4711, 50, b"last"), ("10.9.0.2", 0))
            same(gathered(s, b"last"), [], "a second answer")


@case
def echoes_that_are_not_answered():
    """Replies, requests with a wrong checksum, and requests to everybody get no answer; the counters say why."""
    one_processor()
    with Net() as net:
        quiet_kernel(net[1])
        with Server("icmp://*", prefix=net[1].prefix) as server, \
                net[0].socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            s.sendto(icmp(REPLY, 1, 1, b"a reply"), ("10.9.0.2", 0))
            s.sendto(icmp(ECHO, 1, 2, b"broken", broken=True), ("10.9.0.2", 0))
            s.sendto(icmp(ECHO, 1, 3, b"to all"), ("10.9.0.255", 0))
            s.sendto(icmp(ECHO, 1, 4, (time.ctime() * 2).encode() + b"twice stamped"), ("10.9.0.2", 0))
            s.sendto(icmp(ECHO, 1, 5, b"good"), ("10.9.0.2", 0))
            found = [p[20:] for p in gathered(s, b"good")]  # among them what it sent to all, itself one of them
            same([p for p in found if p[0] == REPLY], [], "answers before the good one's")
            why = ("answers", "dropped_broken", "dropped_source", "dropped_loop")
            counters = wait_for(lambda: (c := server.counters()) and all(c[k] for k in why) and c, what="the counters")
            same([counters[k] for k in why], [1, 1, 1, 1], "counters")


@case
def a_flood_of_echoes_is_held():
    """A source gets no more echo replies than the rate allows."""
    with Net() as net:
        quiet_kernel(net[1])
        with Server("icmp://10.9.0.2?rate=5", prefix=net[1].prefix) as server, \
                net[0].socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as s:
            start = time.monotonic()
            for n in range(100):
                s.sendto(icmp(ECHO, 1, n, b"flood"), ("10.9.0.2", 0))
            counters = wait_for(lambda: (c := server.counters())["messages"] == 100 and c, what="the flood")
            most = 10 + 5 * (time.monotonic() - start) + 1
            answers = counters["answers"]
            check(10 <= answers <= most, f"{answers} answers at 5 a second, 10 at once, wanted at most {most:.0f}")
            same(counters["dropped_rate"], 100 - answers, "the rest")
            for _ in range(answers):
                same(s.recv(2000)[28 + STAMP:], b"flood", "the answer")
            s.setblocking(False)
            check(not select.select([s], [], [], 0)[0], "there are more answers than it counted")


@case
def the_kernel_is_told_of():
    """Where the kernel answers too, the log says so and how to stop it; where it is silent, it says nothing."""
    with Net(1) as net:
        with Server("icmp://*", prefix=net[0].prefix) as server:
            wait_for(lambda: "net.ipv4.icmp_echo_ignore_all=1" in server.text(), what="the note")
            check("net.ipv6.icmp.echo_ignore_all=1" in server.text(), server.text())
        quiet_kernel(net[0])
        with Server("icmp://*", prefix=net[0].prefix) as server:
            server.stop()
            check("event=note" not in server.text(), server.text())


@case
def messages_of_a_protocol():
    """ip:// carries messages of any length that fits, whole, over both families."""
    with Net() as net:
        with Server("ip://*/253", "ip6://[fd09::2]/254", prefix=net[1].prefix, workers=2):
            for endpoint in ("ip://10.9.0.2/253", "ip://[fd09::2]/253", "ip://[fd09::2]/254"):
                lines = [b"i", b"z" * 1500, b"w" * 9000]
                code, out, err = talk(net[0], endpoint, *lines)
                same((code, err), (0, b""), endpoint)
                stamped(out, lines)
            with net[0].socket(socket.AF_INET, socket.SOCK_RAW, 253) as s:
                for size in (0, 1, 1024, 65515 - STAMP):
                    s.sendto(b"q" * size, ("10.9.0.2", 0))
                    got = s.recv(70000)[20:]
                    same((len(got), got[STAMP:]), (size + STAMP, b"q" * size), "the answer")
                s.sendto(b"q" * (65515 - STAMP + 1), ("10.9.0.2", 0))
                s.sendto(b"last", ("10.9.0.2", 0))
                same(gathered(s, b"last"), [], "an answer to what leaves no room for one")


@case
def own_answers_are_not_answered():
    """On loopback a raw socket hears itself: still each message is answered once, and talk shows the answer, not its own line."""
    with Net(1) as net:
        with Server("ip:///253", prefix=net[0].prefix, workers=2) as server:
            same(server.ready, ["ip:///253"])
            for endpoint in ("ip://127.0.0.1/253", "ip://[::1]/253"):
                code, out, err = talk(net[0], endpoint, b"i", b"hello", b"hello")
                same((code, err), (0, b""), endpoint)
                stamped(out, [b"i", b"hello", b"hello"])
            counters = wait_for(lambda: (c := server.counters())["messages"] == 12 and c, what="what it heard of itself")
            same((counters["answers"], counters["dropped_loop"]), (6, 6), "answered, and left")
            same(talk(net[0], "ip://10.9.0.1/253", b"i", flags=["--timeout", "300ms"])[0], 1, "loopback alone is served")


@case
def two_servers_of_a_protocol():
    """Two machines that serve one protocol do not answer each other's answers, though each sees them."""
    with Net() as net:
        with Server("ip://*/253", prefix=net[0].prefix) as near, Server("ip://*/253", prefix=net[1].prefix) as far:
            code, out, _ = talk(net[0], "ip://10.9.0.2/253", b"i")
            same(code, 0)
            stamped(out, [b"i"])
            same(wait_for(lambda: near.counters()["messages"], what="the answer passing by"), 1, "what the near one heard")
            same((near.counters()["answers"], near.counters()["dropped_loop"]), (0, 1), "what it did")
            same((far.counters()["answers"], far.counters()["messages"]), (1, 1), "what the far one did")
            with net[0].socket(socket.AF_INET, socket.SOCK_RAW, 253) as s:  # forged to come from the other one
                s.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
                header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 26, 0, 0, 9, 253, 0, socket.inet_aton("10.9.0.1"),
                                     socket.inet_aton("10.9.0.2"))
                s.sendto(header + b"forged", ("10.9.0.2", 0))
                wait_for(lambda: far.counters()["answers"] == 2, what="the answer")
                wait_for(lambda: near.counters()["messages"] == 2, what="its arrival")
                same(s.recv(2000)[20 + STAMP:], b"forged")
                same((near.counters()["answers"], far.counters()["messages"]), (0, 2), "and nothing more")


@case
def what_cannot_be_served():
    """echo on ip://, and protocols that the kernel speaks, are refused before anything is opened; protocols that no socket receives are, when it is opened."""
    code, _, err = run(PROGRAM, "serve", "echo=ip://127.0.0.1/253")
    same(code, 2)
    check(b"echo cannot be served on ip://" in err, err)
    for protocol in (1, 2, 6, 17, 58):
        code, _, err = run(PROGRAM, "serve", f"ip://127.0.0.1/{protocol}")
        same((code, b"the kernel's own" in err), (2, True), f"protocol {protocol}")
    for protocol in (0, 255):
        code, _, err = run(PROGRAM, "serve", f"ip://127.0.0.1/{protocol}")
        same(code, 3, f"protocol {protocol}")


@case
def without_the_privilege():
    """Whoever may not have a raw socket is told which capability lacks, and ends with 3; ICMP may be open to groups."""
    unprivileged = (need("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all")
    env = {"TSAN_OPTIONS": "halt_on_error=1"}  # the list that the tests have for it may not be theirs to read
    with Net() as net:
        for endpoint in ("icmp://127.0.0.1", "ip://127.0.0.1/253"):
            for verb in ("serve", "talk"):
                code, _, err = run(*net[0].prefix, *unprivileged, PROGRAM, verb, endpoint, data=b"i\n", env=env)
                if code == 126 or b"setpriv" in err:
                    raise Skip(f"setpriv: {err.decode()}")
                same(code, 3, f"{verb} {endpoint}")
                check(b"need CAP_NET_RAW or root" in err, err)
                check((b"net.ipv4.ping_group_range" in err) == (verb == "talk" and "icmp" in endpoint), err)
        net[0].sysctl("net.ipv4.ping_group_range", "0 2147483647")
        for endpoint in ("icmp://10.9.0.2", "icmp://[fd09::2]"):
            same(run(*net[0].prefix, *unprivileged, PROGRAM, "talk", endpoint, data=b"i\n", env=env), (0, b"i\n", b""), endpoint)


@case
def nobody_there():
    """No answer is exit 1 after the limit, and so is what the network says of it."""
    with Net() as net:
        quiet_kernel(net[1])
        same(talk(net[0], "icmp://10.9.0.2", b"i", flags=["--timeout", "300ms"])[0], 1)
        same(talk(net[0], "ip://10.9.0.2/253", b"i", flags=["--timeout", "300ms"])[0] in (1, 3), True)


main()
