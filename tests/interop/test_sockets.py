"""chime sockets, held against what Python's own socket module finds; and its JSON, read by another parser."""
import errno
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile

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


# What is promised: reliable, ordered, messages.
PROMISES = {("AF_INET", "SOCK_STREAM", "TCP"): (1, 1, 0), ("AF_INET", "SOCK_DGRAM", "UDP"): (0, 0, 1), ("AF_INET6", "SOCK_STREAM", "MPTCP"): (1, 1, 0),
            ("AF_INET", "SOCK_RDM", ""): (1, 0, 1), ("AF_INET", "SOCK_SEQPACKET", "SCTP"): (1, 1, 1), ("AF_INET6", "SOCK_RAW", "any"): (0, 0, 1),
            ("AF_UNIX", "SOCK_DGRAM", ""): (1, 1, 1), ("AF_NETLINK", "SOCK_RAW", "ROUTE"): (0, 1, 1), ("AF_TIPC", "SOCK_RDM", ""): (1, 1, 1)}


@case
def the_table_and_its_json_say_the_same():
    """Line by line: the kernel's word, the endpoint, whether it is opened, the promise, and the note with the reason or the remark."""
    text, _ = sockets()
    kinds = json.loads(sockets("--json")[0])["kinds"]
    table, _, below = text.partition("\nkernel: ")
    lines = [line for line in table.splitlines() if line.startswith(" ") and "SOCK_" not in line]
    same(len(lines), len(kinds), "lines")
    notes = dict(re.findall(r"^ ?\((\d+)\) (.*(?:\n     .*)*)", below, re.M))
    for line, kind in zip(lines, kinds):
        what = f"{kind['family']}{line}"
        error = kind["error"]["code"] if kind["error"] else None
        kernel = "yes" if not error else "denied" if error in ("EPERM", "EACCES") else "no"
        words = [word for word in ("reliable", "ordered") if kind[word]] + ["messages" if kind["messages"] else "bytes"]
        opened = "-" if kind["endpoint"] is None else "yes" if kind["opened"] else "no"
        wanted = [kind["type"][5:], kind.get("protocol", "-"), kernel, kind["endpoint"] or "-", opened] + words
        said = line.split()
        same(said[:len(wanted)], wanted, what)
        note = re.sub(r"\s+", " ", notes[said[-1][1:-1]]) if said[-1].startswith("(") else ""
        for part in (error, kind["error"] and kind["error"]["message"], kind["carrier"], kind["note"], kind["remark"] if not error else None):
            check(not part or part in note, f"{what}: {part!r} is not in its note {note!r}")
        check(error not in ("EAFNOSUPPORT", "EPROTONOSUPPORT") or kind["module"] in note, f"{what}: {note}")
        promised = PROMISES.get((kind["family"], kind["type"], kind.get("protocol", "")))
        if promised:
            same((kind["reliable"], kind["ordered"], kind["messages"]), tuple(bool(p) for p in promised), what)
    by_name = {(k["family"], k["type"], k.get("protocol", "")): k for k in kinds}
    check("checksum" in by_name["AF_INET", "SOCK_DGRAM", "UDP-Lite"]["remark"], "UDP-Lite has its remark")
    same(by_name["AF_TIPC", "SOCK_RDM", ""]["module"], "tipc")
    check(by_name["AF_INET", "SOCK_RDM", ""]["carrier"], "rdm has its carrier")


def in_a_world_of_its_own(script):
    """Runs it with sh where /etc is ours to change and no network is there: (exit code, stdout, stderr)."""
    alone = ["unshare", "-n", "-m"]
    if not shutil.which("unshare") or subprocess.run([*alone, "true"], stderr=subprocess.DEVNULL).returncode != 0:
        raise Skip("no network and mounts of one's own here")
    return run(*alone, "sh", "-c", script, PROGRAM)


@case
def families_take_turns():
    """The addresses of a name are shown as they would be tried: the families in turn; serving has them as they came."""
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/hosts", "w") as hosts:
            hosts.write("2001:db8::1 many.test\n2001:db8::2 many.test\n192.0.2.1 many.test\n192.0.2.2 many.test\n")
        with open(f"{folder}/nsswitch", "w") as switch:
            switch.write("hosts: files\n")
        mounts = f"mount --bind {folder}/hosts /etc/hosts && mount --bind {folder}/nsswitch /etc/nsswitch.conf && ip link set lo up && "
        code, out, err = in_a_world_of_its_own(f'{mounts} exec "$0" sockets --json tcp://many.test:9')
        same(code, 0, f"exit code ({err!r})")
        families = [row["family"] for row in json.loads(out)["addresses"]]
        same(len(families), 4)
        check(all(a != b for a, b in zip(families, families[1:])), families)


@case
def a_silent_name_server_is_waited_for_so_long():
    """--timeout: no longer than that, whatever the resolver's own limits are."""
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/resolv", "w") as conf:
            conf.write("nameserver 127.0.0.1\noptions timeout:30 attempts:1\n")
        with open(f"{folder}/nsswitch", "w") as switch:
            switch.write("hosts: dns\n")
        silent = "import socket,sys; s=socket.socket(2,2); s.bind((\"127.0.0.1\",53)); print(1,flush=True); sys.stdin.read()"
        code, out, err = in_a_world_of_its_own(
            f"mount --bind {folder}/resolv /etc/resolv.conf && mount --bind {folder}/nsswitch /etc/nsswitch.conf && ip link set lo up && "
            f"mkfifo {folder}/in {folder}/out && {{ {sys.executable} -c '{silent}' <{folder}/in >{folder}/out & }} && exec 9>{folder}/in && "
            f'read ready <{folder}/out && exec "$0" sockets --timeout 200ms --json tcp://name.test:9')
        same(code, 1, f"exit code ({err!r})")
        same(json.loads(out)["error"]["code"], "CHIME_ETIMEOUT")


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
