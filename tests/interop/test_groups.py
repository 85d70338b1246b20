"""Groups and broadcast: one asks, all who serve answer, and only where the endpoint says that it is meant so."""
from chime_case import *
from netns import Net, ip

IP_RECVTTL = 12  # in no socket module before 3.14
GROUPS = ("239.1.2.3", "[ff12::7]")


def talk(host, endpoint, *lines, flags=("--timeout", f"{LIMIT}s")):
    return run(*host.prefix, PROGRAM, "talk", *flags, endpoint, data=b"".join(line + b"\n" for line in lines))


def all_of(count, host, endpoint, *lines, flags=()):
    """What talk shows and tells, tried until there are count answers: after one it waits for more no longer than a busy server may need."""
    def tried():
        code, out, err = talk(host, endpoint, *lines, flags=("--timeout", f"{LIMIT}s", *flags))
        return (out, err) if code == 0 and out.count(b"\n") >= count else None
    return wait_for(tried, what=f"{count} answers")


def unanswered(host, endpoint):
    return talk(host, endpoint, b"i", flags=("--timeout", "400ms"))[0] == 1


def who(out, line=b"i"):
    """Who answered, sorted; every answer is the stamp and the line."""
    found = []
    for answer in out.split(b"\n")[:-1]:
        address, _, rest = answer.partition(b" ")
        same(rest[STAMP:], line, "what came back")
        check_time(rest[:STAMP], time.time() - 60, time.time())
        found.append(address.decode().rpartition(":")[0])
    return sorted(found)


def route(host, *names):
    for name in names:
        ip("route", "add", "224.0.0.0/4", "dev", name, host=host)


@case
def everyone_who_serves_the_group_answers():
    """Two servers on two machines, one talk: each line is answered by both, from their own addresses, shown with who it was."""
    with Net(3) as net:
        for host in (net[0], net[1], net[2]):
            route(host, "eth0")
        for group, family in zip(GROUPS, (4, 6)):
            with Server(f"udp://{group}:0?if=eth0", prefix=net[1].prefix, workers=2) as one:
                endpoint = f"udp://{group}:{one.port}?if=eth0"
                with Server(endpoint, prefix=net[2].prefix):
                    out, err = all_of(2, net[0], endpoint, b"i", flags=["--rtt"])
                    same(len(err.splitlines()), 2, err)
                    if family == 4:
                        same(who(out), ["10.9.0.2", "10.9.0.3"])
                        same(who(all_of(2, net[0], f"udp://{group}:{one.port}", b"i")[0]), ["10.9.0.2", "10.9.0.3"], "by the route")
                        same(who(talk(net[0], "udplite" + endpoint[3:], b"i", flags=("--timeout", "300ms"))[1]), [])
                    else:
                        same(len(set(who(out))), 2)
                    same(len(all_of(4, net[0], endpoint, b"one", b"two")[0].splitlines()), 4, "two lines")
                check(unanswered(net[0], f"udp://{group}:{one.port + 1 if one.port < 65535 else 1024}?if=eth0"), "another port")
                same(len(who(talk(net[0], endpoint, b"i")[1])), 1, "when one has gone")


@case
def only_the_group_that_was_asked_for():
    """A server of any address does not answer what comes to a group, nor a server of one group what comes to another."""
    with Net(2) as net:
        route(net[0], "eth0")
        route(net[1], "eth0")
        with Server("udp://*:0", prefix=net[1].prefix) as server:
            check(unanswered(net[0], f"udp://239.1.2.3:{server.port}"), "any address, a group")
            endpoint = f"udp://239.1.2.3:{server.port}?reuseport=yes"
        with Server("udp://239.1.2.3:0", prefix=net[1].prefix) as server:
            check(unanswered(net[0], f"udp://239.1.2.4:{server.port}"), "another group")
            check(unanswered(net[0], f"udp://10.9.0.2:{server.port}"), "its own address")
            same(who(talk(net[0], f"udp://239.1.2.3:{server.port}", b"i")[1]), ["10.9.0.2"])
            same(run(*net[1].prefix, PROGRAM, "serve", f"udp://239.1.2.3:{server.port}")[0], 3, "a second server")
        with Server(endpoint, prefix=net[1].prefix), Server(endpoint, prefix=net[1].prefix):
            same(who(all_of(2, net[0], endpoint.partition("?")[0], b"i")[0]), ["10.9.0.2", "10.9.0.2"], "two that share it on purpose")


@case
def the_interface_decides():
    """Joined on one interface, a group is not served on another; sent by one, it does not go by another."""
    with Net(2) as net:
        ip("link", "add", "br1", "type", "bridge", "mcast_snooping", "0", host=net.hub)
        ip("link", "set", "br1", "up", host=net.hub)
        for n in (0, 1):
            net.attach(net[n], f"10.8.0.{n + 1}", f"fd08::{n + 1}", "br1", "eth1")
        for group in GROUPS:
            with Server(f"udp://{group}:0?if=eth1", prefix=net[1].prefix) as server:
                check(unanswered(net[0], f"udp://{group}:{server.port}?if=eth0"), f"{group} by eth0")
                same(len(who(talk(net[0], f"udp://{group}:{server.port}?if=eth1", b"i")[1])), 1, group)
        with Server("udp://10.9.0.2:0?if=eth0", prefix=net[1].prefix) as server:
            same(talk(net[0], f"udp://10.9.0.2:{server.port}?if=eth0", b"i")[0], 0, "one address by its interface")
            check(unanswered(net[0], f"udp://10.9.0.2:{server.port}?if=eth1"), "and by another")
        code, _, err = run(*net[1].prefix, PROGRAM, "serve", "udp://239.1.2.3:9?if=nosuch")
        same((code, b'no interface "nosuch"' in err), (3, True), err)
        code, _, err = run(*net[1].prefix, PROGRAM, "serve", "udp://239.1.2.3:9998")
        same((code, b"?if=eth0" in err), (3, True), f"without a route: {err}")


@case
def hops_and_loop():
    """ttl= is what arrives, to groups and to one; 1 is a group's default; loop=no keeps it from this machine."""
    with Net(2) as net:
        for host in (net[0], net[1]):
            route(host, "eth0")
        with net[1].socket(socket.AF_INET, socket.SOCK_DGRAM) as s, net[1].socket(socket.AF_INET6, socket.SOCK_DGRAM) as s6:
            s.bind(("", 7000))
            s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton("239.1.2.3") + socket.inet_aton("10.9.0.2"))
            s.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
            s6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            s6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
            s6.bind(("::", 7000))
            for place, default in (("239.1.2.3", 1), ("10.9.0.2", 64), ("[fd09::2]", 64)):
                for query, ttl in (("", default), ("?ttl=4", 4), ("?ttl=255", 255)):
                    talk(net[0], f"udp://{place}:7000{query}", b"i", flags=("--timeout", "1ms"))
                    _, data, _, _ = (s6 if ":" in place else s).recvmsg(100, 100)
                    same(int.from_bytes(data[0][2], sys.byteorder), ttl, f"hops of {place}{query}")
        for group in GROUPS:
            with Server(f"udp://{group}:0?if=eth0", prefix=net[0].prefix) as server:
                same(len(who(talk(net[0], f"udp://{group}:{server.port}?if=eth0", b"i")[1])), 1, "ourselves")
                check(unanswered(net[0], f"udp://{group}:{server.port}?if=eth0&loop=no"), "ourselves, kept from us")
                same(len(who(talk(net[1], f"udp://{group}:{server.port}?if=eth0&loop=no", b"i")[1])), 1, "others")


@case
def one_source_of_a_group():
    """source= lets one sender's requests in."""
    with Net(3) as net:
        for group, source in (("232.1.2.3", "10.9.0.1"), ("[ff32::7]", "fd09::1")):
            with Server(f"udp://{group}:0?source={source}&if=eth0", prefix=net[2].prefix) as server:
                endpoint = f"udp://{group}:{server.port}?if=eth0"
                bind = ["--bind", source if ":" not in source else f"[{source}]:0", "--timeout", f"{LIMIT}s"]
                same(len(who(talk(net[0], endpoint, b"i", flags=bind)[1])), 1, f"from {source}")
                check(unanswered(net[1], endpoint), "from another")


@case
def broadcast_is_asked_for():
    """A broadcast address is sent to, and answered, with broadcast=yes alone."""
    with Net(3) as net:
        with Server("udp://*:0?broadcast=yes", prefix=net[1].prefix, workers=2) as one:
            port = one.port
            with Server(f"udp://10.9.0.255:{port}?broadcast=yes", prefix=net[2].prefix):
                out, err = all_of(2, net[0], f"udp://10.9.0.255:{port}?broadcast=yes", b"i")
                same((who(out), err), (["10.9.0.2", "10.9.0.3"], b""))
                out = talk(net[0], f"udp://255.255.255.255:{port}?broadcast=yes&if=eth0", b"i")[1]
                same(who(out), ["10.9.0.2"], "the limited one reaches whoever serves every address")
                same(talk(net[0], f"udp://10.9.0.2:{port}", b"i")[0], 0, "one address of a server of every one")
            code, _, err = talk(net[0], f"udp://10.9.0.255:{port}", b"i")
            same((code, b"broadcast=yes" in err), (3, True), err)
        with Server(f"udp4://*:{port}", prefix=net[1].prefix) as server:
            check(unanswered(net[0], f"udp://10.9.0.255:{port}?broadcast=yes"), "a server that was not told")
            counters = wait_for(lambda: (c := server.counters())["messages"] and c, what="the request's arrival")
            same(counters["dropped_source"], counters["messages"])


@case
def a_group_is_answered_slowly():
    """Unless rate= says otherwise a source gets 100 answers a second of what it sends to a group, 200 at once."""
    with Net(2) as net:
        route(net[0], "eth0")
        for query, held in (("?if=eth0", True), ("?if=eth0&rate=0", False)):
            with Server(f"udp://239.1.2.3:0{query}", prefix=net[1].prefix) as server, \
                    net[0].socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                start = time.monotonic()
                for n in range(300):
                    s.sendto(b"i", ("239.1.2.3", server.port))
                    if n % 50 == 49:  # no more than its buffer holds
                        wait_for(lambda: server.counters()["messages"] == n + 1, what="the requests")
                answers = server.counters()["answers"]
                took = time.monotonic() - start
                least, most = (200, min(300, 200 + 100 * (took + 0.1))) if held else (300, 300)
                check(least <= answers <= most, f"{answers} answers with {query} in {took:.2f} s, wanted {least} to {most:.0f}")


main()
