"""chime sockets, held against what Python's own socket module finds; and its JSON, read by another parser."""
import errno
import json
import shutil
import socket
import subprocess

from chime_case import *

# Of the names that the table uses for protocols; what is not here is 0.
PROTOCOLS = {"TCP": 6, "UDP": 17, "MPTCP": 262, "SCTP": 132, "UDP-Lite": 136, "any": 255, "ROUTE": 0, "CAN_RAW": 1, "L2CAP": 0}
MEMBERS = {"family", "type", "endpoint", "opened", "reliable", "ordered", "messages", "remark", "module", "available", "error", "note"}


def sockets(*arguments, code=0):
    got, out, err = run(PROGRAM, "sockets", *arguments, env={"RES_OPTIONS": "timeout:1 attempts:1"})
    same(got, code, f"exit code of sockets {' '.join(arguments)} ({err!r})")
    return out.decode(), err.decode()


def number(kind):
    family, name = kind["family"], kind.get("protocol")
    if name == "ICMP":
        return 58 if family == "AF_INET6" else 1
    return PROTOCOLS.get(name, 0)


@case
def the_table_is_what_python_finds():
    """Where Python gets no socket, chime says the same errno; where chime has one, Python gets one too."""
    table = json.loads(sockets("--json")[0])
    seen = 0
    for kind in table["kinds"]:
        check(MEMBERS <= set(kind), f"{MEMBERS - set(kind)} is missing in {kind}")
        family = getattr(socket, kind["family"], None)
        if family is None:
            continue  # a Python that was built without it
        seen += 1
        try:
            socket.socket(family, getattr(socket, kind["type"]), number(kind)).close()
            refused = None
        except OSError as e:
            refused = errno.errorcode[e.errno]
        what = f"{kind['family']} {kind['type']} {kind.get('protocol', '')}"
        if refused:
            check(not kind["available"], f"{what}: Python got {refused}, and chime says that it is there")
            same(kind["error"]["code"], refused, what)
        elif not kind["available"]:
            check(kind["error"]["message"].startswith("bind: "), f"{what}: Python got one, chime: {kind['error']}")
        check((kind["error"] is None) == kind["available"], what)
    check(seen > 25, f"only {seen} kinds were compared")


@case
def promises_are_as_python_sees_them():
    """A kind that keeps messages does, and one that does not, does not: two sends are one receive on a stream."""
    table = json.loads(sockets("-j")[0])
    for kind in table["kinds"]:
        if kind["family"] != "AF_UNIX" or not kind["available"]:
            continue
        a, b = socket.socketpair(socket.AF_UNIX, getattr(socket, kind["type"]))
        with a, b:
            a.send(b"one")
            a.send(b"two")
            same(b.recv(100), b"one" if kind["messages"] else b"onetwo", kind["type"])


@case
def endpoints_are_what_the_resolver_gives():
    """The addresses of a name are getaddrinfo's, the families in turn from its first on; serving has them too."""
    found = []
    for family, _, _, _, address in socket.getaddrinfo("localhost", 9999, type=socket.SOCK_STREAM):
        text = f"[{address[0]}]:9999" if family == socket.AF_INET6 else f"{address[0]}:9999"
        if text not in found:
            found.append(text)
    talk = json.loads(sockets("--json", "tcp://localhost:9999")[0])
    same(talk["for"], "talk")
    same(talk["error"], None)
    same(talk["attempt_delay_ns"], 250_000_000)
    same(sorted(row["address"] for row in talk["addresses"]), sorted(found))
    same(talk["addresses"][0]["address"], found[0])
    serve = json.loads(sockets("--json", "--serve", "tcp://localhost:9999")[0])
    same(serve["for"], "serve")
    same(sorted(row["address"] for row in serve["addresses"]), sorted(found))


@case
def what_is_not_there_is_json_too():
    """A name without addresses: 1, the sentence on stderr, and JSON that says the same."""
    out, err = sockets("--json", "tcp://no-such-name.invalid:1", code=1)
    told = json.loads(out)
    check(told["error"]["code"].startswith("EAI_"), told)
    same(told["addresses"], [])
    check("no-such-name.invalid" in err, err)


ENDPOINTS = ["tcp://localhost:9", "tcp4://127.0.0.1:9", "tcp6://[::1]:9", "tcp://*:9", "tcp://[fe80::1%lo]:9", "tcp://[2001:db8::1]:9",
             "udp://:9", "udp://224.0.0.1:9?if=lo", "udplite://127.0.0.1:9", "mptcp://127.0.0.1:9", "sctp://127.0.0.1:9",
             "sctp+seqpacket://127.0.0.1:9", "tls://127.0.0.1:9", "unix:/tmp/x", "unix:/tmp/%FF%01 x", "unix:@%00%FE", "unix+dgram:x",
             "unix+seqpacket:@x", "vsock://1:9", "vsock+seqpacket://*:9", "tipc://1000:1", "tipc+rdm://1000:1", "tipc+seqpacket://1000:1",
             "tipc+dgram://1000:1", "rds://127.0.0.1:9", "rdm://127.0.0.1:9", "icmp://127.0.0.1", "icmp6://[::1]", "ip://127.0.0.1/99",
             "stamp://127.0.0.1", "fd://3", "fd://name"]


@case
def every_endpoint_has_its_json():
    """Of every scheme, to talk to and to serve, here and where no interface is up: one object with the same members, and why not."""
    alone = ["unshare", "-n"]
    places = [[]]
    if shutil.which("unshare") and subprocess.run([*alone, "true"], stderr=subprocess.DEVNULL).returncode == 0:
        places.append(alone)
    for place in places:
        for endpoint in ENDPOINTS:
            for flags in ([], ["--serve"]):
                what = " ".join(place + [endpoint] + flags)
                code, out, err = run(*place, PROGRAM, "sockets", "--json", *flags, endpoint,
                                     env={"RES_OPTIONS": "timeout:1 attempts:1"})
                check(code in (0, 1, 3), f"{what}: exit code {code} ({err!r})")
                told = json.loads(out)
                same(told["for"], "serve" if flags else "talk", what)
                check(told["endpoint"].startswith(endpoint.partition(":")[0]), f"{what}: {told['endpoint']}")
                check(told["addresses"] or told["error"]["message"], f"{what}: neither addresses nor an error")
                check(code != 0 or told["addresses"], what)
                for row in told["addresses"]:
                    check(row["address"] and (row["available"] or row["error"]["code"]), f"{what}: {row}")


@case
def a_closed_output_is_told():
    """A full disk is status 3, and not a table cut short with 0."""
    for arguments in ([], ["--json"], ["tcp://127.0.0.1:1"]):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([PROGRAM, "sockets", *arguments], stdout=full, stderr=subprocess.PIPE, timeout=2 * LIMIT)
        same(done.returncode, 3, " ".join(arguments))
        check(done.stderr, "nothing was said")


main()
