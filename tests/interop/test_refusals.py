"""What is refused: with which words, at which place, with which exit code, and before what."""
import json
import os
import re
import stat
import subprocess
import time

from chime_case import *

BAD = [
    # the endpoint, and a byte that is marked
    ("tcp://127.0.0.1:99999", "99999"),
    ("tcp://127.0.0.1:", ""),
    ("tcp://127.0.0.1", ""),
    ("tcp://127.0.0.1:9x", "9x"),
    ("tcp://[::1:80", ""),
    ("127.0.0.1:9999", ""),
    ("nosuch://127.0.0.1:1", "nosuch"),
    ("tcp://127.0.0.1:0?chunk=0", "0"),
    ("tcp://127.0.0.1:0?chunk=70000", "70000"),
    ("tcp://127.0.0.1:0?format=fancy", "fancy"),
    ("tcp://127.0.0.1:0?frame=words", "words"),
    ("tcp://127.0.0.1:0?nosuch=1", "nosuch"),
    ("tcp://127.0.0.1:0?chunk=1&chunk=2", "chunk"),
    ("nosuch=tcp://127.0.0.1:0", "nosuch"),
    ("unix:", ""),
    ("unix:/" + "x" * 120, ""),
    ("echo=tcp://127.0.0.1:0?chunk=3", "chunk"),
]

FLAGS = [
    ["--chunk", "0"], ["--chunk", "many"], ["--workers", "0"], ["--workers", "1000"], ["--format", "fancy"],
    ["--nosuch"], ["--grace", "soon"], ["--idle-timeout", "-1"], ["--log-level", "loud"], ["--max-conns", "-3"],
    ["--frame"],
]


def refused(*arguments, code):
    got, out, err = run(PROGRAM, *arguments, env={"RES_OPTIONS": "timeout:1 attempts:1"})
    same(got, code, f"exit code of {' '.join(arguments)} ({out!r} {err!r})")
    check(err.strip(), f"no word about {' '.join(arguments)}")
    same(out, b"", "stdout")
    return err.decode()


@case
def malformed_endpoints_are_usage():
    """Exit 2, the text again, and a caret under the place."""
    for text, _ in BAD:
        for verb in ("serve", "talk"):
            if verb == "talk" and ("?" in text or "=" in text):
                continue
            err = refused(verb, text, code=2)
            check("^" in err and text[:60] in err, f"the place is not marked: {err!r}")


@case
def the_caret_stands_under_the_fault():
    for text, part in BAD:
        if not part:
            continue
        lines = refused("serve", text, code=2).splitlines()
        row = next((i for i, line in enumerate(lines) if line.strip() == "^" or re.fullmatch(r"\s*\^~*", line)), None)
        check(row, f"no line with a caret alone: {lines}")
        shown = lines[row - 1]
        column = lines[row].index("^") - shown.index(text)
        check(text.index(part) <= column <= text.rindex(part) + len(part), f"the caret is at {column} of {text}, not at {part!r}")


@case
def bad_flags_are_usage():
    for flags in FLAGS:
        refused("serve", *flags, "tcp://127.0.0.1:0", code=2)
    refused("nosuch", code=2)
    refused("talk", "tcp://127.0.0.1:1", "tcp://127.0.0.1:2", code=2)


@case
def usage_is_told_before_any_socket():
    """A good endpoint in front of a bad one: no socket was made, seen by strace."""
    need("strace")
    probe = subprocess.run(["strace", "-e", "trace=none", "true"], capture_output=True)
    if probe.returncode:
        raise Skip("strace may not trace here")
    trace = os.path.join(folder(), "trace")
    strace = ["strace", "-f", "-o", trace, "-e", "trace=%network"]
    for text, _ in BAD:
        code, _, err = run(*strace, PROGRAM, "serve", "tcp://127.0.0.1:0", text,
                           env={"ASAN_OPTIONS": "detect_leaks=0"})  # the leak checker cannot work under strace
        same(code, 2, f"exit code of {text} ({err!r})")
        with open(trace) as f:
            check("socket(" not in f.read(), f"a socket was made before {text} was refused")


@case
def a_port_in_use_names_its_holder():
    """Exit 3, EADDRINUSE in words, the holder's pid and name; also by UDP and by the wildcard address."""
    with Server("tcp://127.0.0.1:0", "udp://127.0.0.1:0") as server:
        for endpoint in (f"tcp://127.0.0.1:{server.ports[0]}", f"tcp://*:{server.ports[0]}", f"udp://127.0.0.1:{server.ports[1]}"):
            err = refused("serve", endpoint, code=3)
            check("in use" in err, f"{endpoint}: {err!r}")
            check(str(server.pid) in err and "chime" in err, f"{endpoint}: the holder is not named: {err!r}")
        with server.connect() as s:
            ask(s, b"i")


@case
def all_endpoints_come_up_or_none():
    """One port is taken: the other one is not served, and no socket file is left."""
    path = os.path.join(folder(), "s")
    with Server("tcp://127.0.0.1:0") as server:
        refused("serve", f"unix:{path}", "tcp://127.0.0.1:0", f"tcp://127.0.0.1:{server.port}", code=3)
        check(not os.path.exists(path), "the socket file is still there")


@case
def low_ports_say_which_privilege_lacks():
    need("setpriv")
    start = int(open("/proc/sys/net/ipv4/ip_unprivileged_port_start").read())
    if os.geteuid() or start <= 1:
        raise Skip("only root can give the privilege up, where low ports need it")
    code, _, err = run("setpriv", "--inh-caps=-all", "--bounding-set=-net_bind_service", PROGRAM, "serve", "tcp://127.0.0.1:1")
    if b"setpriv" in err:
        raise Skip(f"setpriv: {err.decode().strip()}")
    same(code, 3, f"exit code ({err!r})")
    check(b"denied" in err.lower() and b"CAP_NET_BIND_SERVICE" in err, f"it said {err!r}")


@case
def nobody_there():
    """Refused, unresolved, no answer in time: exit 1 and the address in the words."""
    with socket.socket() as taken:  # and not listening
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        err = refused("talk", f"tcp://127.0.0.1:{port}", code=1)
    check("refused" in err and str(port) in err, f"it said {err!r}")
    err = refused("talk", f"unix:{folder()}/none", code=1)
    check("none" in err, f"it said {err!r}")
    err = refused("talk", "tcp://no-such-name.invalid:1", code=1)
    check("no-such-name.invalid" in err, f"it said {err!r}")
    err = refused("serve", "tcp://no-such-name.invalid:1", code=1)
    check("no-such-name.invalid" in err, f"it said {err!r}")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        code, _, err = run(PROGRAM, "talk", "--timeout", "300ms", f"tcp://127.0.0.1:{silent.getsockname()[1]}", data=b"i\n")
        same(code, 1, f"exit code without an answer ({err!r})")
        check(0.25 < time.monotonic() - start < LIMIT, "when it gave up")


@case
def a_missing_directory_is_the_systems_no():
    err = refused("serve", f"unix:{folder()}/none/s", code=3)
    check("none" in err, f"it said {err!r}")


@case
def what_the_kernel_lacks_names_the_module():
    """Each kind that this kernel has not: serve and talk end with 3 and one sentence with the module and what brings it."""
    places = {"tipc": "7000:1", "rds": "127.0.0.1:9", "sctp": "127.0.0.1:9", "sctp6": "[::1]:9", "vsock": "1:9"}
    table = json.loads(run(PROGRAM, "sockets", "--json")[1])["kinds"]
    lacking = {k["endpoint"].partition(":")[0]: k["module"] for k in table if k["endpoint"] and k["opened"] and not k["available"] and k["module"]}
    for scheme, module in lacking.items():
        place = places.get(scheme) or places.get(scheme.partition("+")[0])
        # A CID of vsock may lead out of this machine: serving alone stays here. Reliable messages have another carrier, see below.
        for verb in () if not place or scheme.startswith("sctp+") else ("serve",) if "vsock" in scheme else ("serve", "talk"):
            err = refused(verb, f"{scheme}://{place}", code=3)
            check(f"modprobe {module}" in err and len(err.splitlines()) == 1, f"{verb} {scheme}: {err!r}")
    if "sctp" in lacking:
        for scheme in ("rdm", "rdm6", "sctp+seqpacket"):
            for verb in ("serve", "talk"):
                err = refused(verb, f"{scheme}://{'[::1]' if '6' in scheme else '127.0.0.1'}:9?carrier=kernel", code=3)
                check("modprobe sctp" in err and "libusrsctp" in err, f"{verb} {scheme}: {err!r}")
    if not lacking:
        raise Skip("this kernel has every kind")


@case
def what_this_release_lacks_is_said():
    """A scheme of a later release is known to the parser: exit 3, not 2, and the reason."""
    for endpoint in ("tls://127.0.0.1:1", "stamp://127.0.0.1:1", "fd://3"):
        for verb in ("serve", "talk"):
            err = refused(verb, endpoint, code=3)
            check("this release does not open it" in err, f"{verb} {endpoint}: {err!r}")


@case
def sockets_names_the_carrier():
    """What carries reliable messages stands in the table, in its JSON, and beside an endpoint's addresses."""
    found = {}
    for scheme in ("rdm", "sctp+seqpacket"):
        out = run(PROGRAM, "sockets", f"{scheme}://127.0.0.1:9")[1].decode()
        told = run(PROGRAM, "sockets", "--json", f"{scheme}://127.0.0.1:9")[1].decode()
        found[scheme] = next((c for c in ("the kernel's SCTP", "libusrsctp over UDP") if c in out), None)
        check(found[scheme] or "nothing" in out, out)
        check((found[scheme] or "nothing") in told, told)
        json.loads(told)
    table, told = (run(PROGRAM, "sockets", *flag)[1].decode() for flag in ([], ["--json"]))
    for carrier in set(found.values()) - {None}:
        check(carrier.split()[0] in table and carrier.split()[0] in told, f"{carrier} is not in {table}")


# ---- socket files ----

def left_behind(path, kind=socket.SOCK_STREAM):
    s = socket.socket(socket.AF_UNIX, kind)
    s.bind(path)
    s.close()


@case
def a_stale_socket_file_is_replaced():
    """A socket file on which nobody listens is ours to take, for every type; at the end it is gone."""
    for scheme, kind in (("unix", socket.SOCK_STREAM), ("unix+dgram", socket.SOCK_DGRAM), ("unix+seqpacket", socket.SOCK_SEQPACKET)):
        path = os.path.join(folder(), scheme)
        left_behind(path, kind)
        with Server(f"{scheme}:{path}"):
            check(stat.S_ISSOCK(os.stat(path).st_mode), "no socket file")
            with socket.socket(socket.AF_UNIX, kind) as s:
                s.settimeout(LIMIT)
                s.bind("")
                s.connect(path)
                s.send(b"i")
                same(s.recv(100)[STAMP:], b"i", "the answer")
        check(not os.path.exists(path), "the file is still there")


@case
def a_live_socket_file_is_never_taken():
    for scheme in ("unix", "unix+dgram", "unix+seqpacket"):
        path = os.path.join(folder(), scheme)
        with Server(f"{scheme}:{path}") as server:
            err = refused("serve", f"{scheme}:{path}", code=3)
            check("in use" in err, f"it said {err!r}")
            if scheme != "unix+dgram":
                check(str(server.pid) in err, f"the holder is not named: {err!r}")
            check(os.path.exists(path), "the live file is gone")


@case
def another_file_is_never_taken():
    path = os.path.join(folder(), "file")
    with open(path, "w") as f:
        f.write("mine")
    err = refused("serve", f"unix:{path}", code=3)
    check("file" in err, f"it said {err!r}")
    with open(path) as f:
        same(f.read(), "mine", "what is in the file")
    os.mkdir(os.path.join(folder(), "dir"))
    refused("serve", f"unix:{folder()}/dir", code=3)


@case
def what_somebody_put_in_our_place_stays():
    """The file was replaced while we served: at the end it is not ours to remove."""
    path = os.path.join(folder(), "s")
    with Server(f"unix:{path}") as server:
        os.unlink(path)
        left_behind(path)
        same(server.stop(), 0, "exit code")
    check(os.path.exists(path), "it was removed")


@case
def the_mode_of_the_file_is_what_was_asked():
    path = os.path.join(folder(), "s")
    with Server(f"unix:{path}?mode=0600"):
        same(oct(stat.S_IMODE(os.stat(path).st_mode)), oct(0o600), "the mode")


main()
