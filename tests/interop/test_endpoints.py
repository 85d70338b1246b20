"""Several endpoints and services in one process, the words it says, and a stranger's server."""
import json
import os
import re
import signal
import subprocess
import time

from chime_case import *


@case
def every_kind_in_one_process():
    """tcp, tcp4, tcp6, udp and the three unix types beside each other: all answer."""
    path = folder()
    six = os.path.exists("/proc/net/if_inet6")
    endpoints = ["tcp://127.0.0.1:0", "tcp4://:0", f"unix:{path}/s", f"unix+seqpacket:{path}/q", f"unix+dgram:{path}/d",
                 "udp://127.0.0.1:0", f"unix:@chime-{os.getpid()}-{SEED}"] + (["tcp6://[::1]:0"] if six else [])
    with Server(*endpoints) as server:
        same(len(server.ready), len(endpoints), "ready lines")
        for n in (0, 1):
            with server.connect(n) as s:
                ask(s, b"i")
        for name, kind in ((f"{path}/s", socket.SOCK_STREAM), (f"{path}/q", socket.SOCK_SEQPACKET), (f"{path}/d", socket.SOCK_DGRAM),
                           (f"\0chime-{os.getpid()}-{SEED}", socket.SOCK_STREAM)):
            with socket.socket(socket.AF_UNIX, kind) as s:
                s.settimeout(LIMIT)
                s.bind("")
                s.connect(name)
                ask(s, b"i") if kind == socket.SOCK_STREAM else s.send(b"i")
                if kind != socket.SOCK_STREAM:
                    same(s.recv(100)[STAMP:], b"i", f"the answer of {kind}")
        if six:
            with server.connect(7, "::1") as s:
                ask(s, b"i")
    same(os.listdir(path), [], "files that are left")


@case
def a_wildcard_serves_both_families():
    """tcp://:PORT: IPv4 and IPv6, one ready line, IPv4 peers named as IPv4."""
    with Server("tcp://:0") as server:
        with server.connect(0, "127.0.0.1") as s:
            ask(s, b"i")
            local = s.getsockname()[1]
        if os.path.exists("/proc/net/if_inet6"):
            with server.connect(0, "::1") as s:
                ask(s, b"i")
        wait_for(lambda: f"...connected from: 127.0.0.1:{local}\n" in server.out, what=f"the line of the IPv4 peer in {server.out}")


@case
def services_beside_each_other():
    """echo gives back what came, discard nothing, the stamp is the default."""
    with Server("echo=tcp://127.0.0.1:0", "discard=tcp://127.0.0.1:0", "stamp=tcp://127.0.0.1:0", "tcp://127.0.0.1:0",
                "echo=udp://127.0.0.1:0", "discard=udp://127.0.0.1:0") as server:
        data = random_of("echo").randbytes(300_000)
        with server.connect(0) as s:
            import threading
            sender = threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR)), daemon=True)
            sender.start()
            same(recv_to_end(s), data, "the echo")
        with server.connect(1) as s:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            same(recv_to_end(s), b"", "what discard says")
        for n in (2, 3):
            with server.connect(n) as s:
                ask(s, b"i")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(LIMIT)
            s.sendto(b"to discard", ("127.0.0.1", server.ports[5]))
            s.sendto(b"to echo", ("127.0.0.1", server.ports[4]))
            same(s.recv(100), b"to echo", "the echo by UDP")


@case
def the_ready_line_is_said_even_when_quiet():
    """--quiet: the ready lines on stderr and nothing else, nothing on stdout."""
    with Server("tcp://127.0.0.1:0", "echo=udp://127.0.0.1:0", flags=["--quiet"]) as server:
        with server.connect() as s:
            ask(s, b"i")
        same(server.stop(), 0, "exit code")
        same(server.out, [], "stdout")
        same(len(server.err), 2, f"lines on stderr ({server.err})")
        check(re.fullmatch(r"listening stamp tcp://127\.0\.0\.1:\d+\n", server.err[0]), server.err[0])
        check(re.fullmatch(r"listening echo udp://127\.0\.0\.1:\d+\n", server.err[1]), server.err[1])


@case
def the_log_can_be_json():
    """--log-format json: every line of the log is an object, the ready line too."""
    with Server("tcp://127.0.0.1:0", flags=["--log-format", "json"]) as server:
        with server.connect() as s:
            ask(s, b"i")
        same(server.stop(), 0, "exit code")
        check(len(server.err) > 1, "no log at all")
        for line in server.err:
            check(isinstance(json.loads(line), dict), f"{line!r} is no object")


@case
def port_zero_is_one_port():
    """Two workers and port 0: all get the same port, connections come to either."""
    with Server("tcp://:0", "udp://:0", workers=2) as server:
        for _ in range(40):
            with server.connect() as s:
                ask(s, b"i")


@case
def two_signals_end_at_once():
    """A second SIGTERM does not wait for the grace."""
    with Server("tcp://127.0.0.1:0", flags=["--grace", "1000s"]) as server, server.connect() as s:
        fill(server, s)
        server.signal(signal.SIGTERM)
        wait_for(lambda: "event=drain" in server.text(), what="the drain")  # two that are pending are one
        wait_for(lambda: not server.alive() or asleep(server.pid), what="sleep")
        check(server.alive(), "it did not wait for the peer")
        server.signal(signal.SIGTERM)
        same(server.wait(), 0, "exit code")


@case
def a_strangers_echo_server():
    """examples/echo_server: a server of 20 lines on the public headers echoes to many at once and ends by SIGTERM."""
    program = os.path.join(BUILD, "examples", "echo_server")
    if not os.path.exists(program):
        raise Skip("the examples are not built here")
    process = subprocess.Popen([program, "tcp://127.0.0.1:0"], stdin=subprocess.DEVNULL)
    try:
        port = listening_port(process)
        clients = [socket.create_connection(("127.0.0.1", port), LIMIT) for _ in range(50)]
        for n, s in enumerate(clients):
            s.sendall(b"hello %d" % n)
        for n, s in enumerate(clients):
            same(recv_exactly(s, len(b"hello %d" % n)), b"hello %d" % n, "the echo")
            s.close()
        process.send_signal(signal.SIGTERM)
        same(process.wait(LIMIT), 0, "exit code")
    finally:
        process.kill()
        process.wait()


main()
