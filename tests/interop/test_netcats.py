"""nc, ncat and socat against our server and our client."""
import os
import re
import subprocess
import sys
import threading
import time

from chime_case import *


def text_of(name, size):
    """Small letters in lines: no stamp can be mistaken in it."""
    r = random_of(name)
    return bytes(r.choice(b"abcdefghijklmnopqrstuvwxyz\n") for _ in range(size))


def through(server, *command, size=100_000):
    """A client sends size bytes, half-closes at the end of its input, and shows everything that comes."""
    need(command[0])
    sent = text_of(command[0], size)
    before = time.time()
    code, out, err = run(*command, data=sent)
    same(code, 0, f"exit code ({err!r})")
    check_answer(out, sent, before, time.time())


@case
def nc_over_tcp():
    """nc -N half-closes at the end of its input: every answer comes, then the close."""
    with Server("tcp://127.0.0.1:0") as server:
        through(server, "nc", "-N", "127.0.0.1", str(server.port))


@case
def nc_over_unix():
    path = os.path.join(folder(), "s")
    with Server(f"unix:{path}") as server:
        through(server, "nc", "-N", "-U", path)


@case
def ncat_over_tcp():
    with Server("tcp://127.0.0.1:0") as server:
        through(server, "ncat", "127.0.0.1", str(server.port))


@case
def ncat_over_tcp6():
    if not os.path.exists("/proc/net/if_inet6"):
        raise Skip("no IPv6 here")
    with Server("tcp6://[::1]:0") as server:
        through(server, "ncat", "-6", "::1", str(server.port))


@case
def ncat_over_unix():
    path = os.path.join(folder(), "s")
    with Server(f"unix:{path}") as server:
        through(server, "ncat", "-U", path)


@case
def socat_over_tcp():
    with Server("tcp://127.0.0.1:0") as server:
        through(server, "socat", "-t", "60", "-", f"TCP:127.0.0.1:{server.port}")


@case
def socat_over_unix_and_abstract():
    path = os.path.join(folder(), "s")
    name = f"chime-{os.getpid()}-{SEED}"
    with Server(f"unix:{path}", f"unix:@{name}") as server:
        through(server, "socat", "-t", "60", "-", f"UNIX-CONNECT:{path}")
        through(server, "socat", "-t", "60", "-", f"ABSTRACT-CONNECT:{name}")


@case
def socat_over_seqpacket():
    """Over seqpacket each of socat's blocks is one message: one stamp in front of each."""
    need("socat")
    path = os.path.join(folder(), "s")
    with Server(f"unix+seqpacket:{path}"):
        sent = text_of("seqpacket", 4000)
        code, out, err = run("socat", "-t", "60", "-", f"UNIX-CONNECT:{path},type=5", data=sent)
        same(code, 0, f"exit code ({err!r})")
        check_answer(out, sent, 0, time.time() + 1, chunk=8192)


@case
def nc_and_socat_over_udp():
    """A datagram of nc and of socat is answered."""
    need("nc"), need("socat")
    with Server("udp://127.0.0.1:0") as server:
        code, out, _ = run("nc", "-u", "-W", "1", "-w", "30", "127.0.0.1", str(server.port), data=b"hello")
        same((code, out[STAMP:]), (0, b"hello"), "nc")
        with subprocess.Popen(["socat", "-t", "0", "-", f"UDP:127.0.0.1:{server.port}"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as socat:  # its input ends when the answer is there: by UDP comes no end
            socat.stdin.write(b"hello")
            socat.stdin.flush()
            same(socat.stdout.read(STAMP + 5)[STAMP:], b"hello", "socat")
            socat.stdin.close()
            same(socat.wait(LIMIT), 0, "exit code of socat")


@case
def lines_for_people():
    """frame=line: every line of nc gets a stamp of its own, an unfinished one at the end too."""
    need("nc")
    with Server("tcp://127.0.0.1:0?frame=line") as server:
        code, out, _ = run("nc", "-N", "127.0.0.1", str(server.port), data=b"one\ntwo\n\nthree")
        same(code, 0, "exit code")
        same([chunk for _, chunk in take_apart(out)], [b"one\n", b"two\n", b"\n", b"three"], "the chunks")


# ---- our client against their servers ----

class Peer:
    """A server of somebody else, until the block ends."""

    def __init__(self, *command, ready):
        need(command[0])
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        os.set_blocking(self.process.stderr.fileno(), False)
        self.said = b""
        self.ready = ready

    def _is_ready(self):
        self.said += self.process.stderr.read() or b""
        check(self.process.poll() is None, f"it ended: {self.said!r}")
        return self.ready(self.said)

    def __enter__(self):
        try:
            self.found = wait_for(self._is_ready, what="the peer")
        except Failure:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()


def raw_through(endpoint):
    """talk --raw sends what stdin has, half-closes, and goes on until the server closes: nothing is lost either way."""
    sent = random_of(endpoint.split(":")[0]).randbytes(300_000)
    code, out, err = run(PROGRAM, "talk", "--raw", endpoint, data=sent)
    same(code, 0, f"exit code ({err!r})")
    same(out, sent, "what came back")


def lines_through(endpoint):
    code, out, err = run(PROGRAM, "talk", endpoint, data=b"i\ntwo words\n")
    same((code, out), (0, b"i\ntwo words\n"), f"exit code and answers ({err!r})")


@case
def talk_to_socat():
    """A socat that echoes, by TCP and by unix socket."""
    path = os.path.join(folder(), "s")
    with Peer("socat", "-d", "-d", "TCP-LISTEN:0,bind=127.0.0.1,fork", "EXEC:cat",
              ready=lambda said: re.search(rb"listening on .*:(\d+)", said)) as peer:
        endpoint = f"tcp://127.0.0.1:{int(peer.found.group(1))}"
        raw_through(endpoint)
        lines_through(endpoint)
    with Peer("socat", f"UNIX-LISTEN:{path},fork", "EXEC:cat", ready=lambda said: os.path.exists(path)):
        wait_for(lambda: _connects(socket.AF_UNIX, path), what="socat")
        raw_through(f"unix:{path}")
        lines_through(f"unix:{path}")


def _connects(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as s:
        return s.connect_ex(address) == 0


@case
def talk_to_ncat():
    """An ncat that echoes, in lock-step alone: --exec of ncat 7.93 gives up what is on its way when its peer half-closes."""
    with Peer("ncat", "-l", "-k", "127.0.0.1", "0", "--exec", "/bin/cat", ready=lambda said: True) as peer:
        lines_through(f"tcp://127.0.0.1:{listening_port(peer.process)}")


@case
def talk_to_nc():
    """nc takes one connection: what talk --raw sends is what nc shows, and what nc has is what talk shows."""
    need("nc")
    path = os.path.join(folder(), "s")
    theirs, ours = text_of("nc", 50_000), text_of("us", 70_000)
    peer = subprocess.Popen(["nc", "-l", "-N", "-U", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    shown = bytearray()

    def play():
        peer.stdin.write(theirs)
        peer.stdin.flush()
        while len(shown) < len(ours) and (more := peer.stdout.read1(1 << 16)):
            shown.extend(more)
        peer.stdin.close()  # nc half-closes now, which ends talk
        shown.extend(peer.stdout.read())
    player = threading.Thread(target=play, daemon=True)
    try:
        wait_for(lambda: os.path.exists(path), what="nc")
        player.start()
        code, out, err = run(PROGRAM, "talk", "--raw", f"unix:{path}", data=ours)
        same((code, out), (0, theirs), f"exit code and what talk shows ({err!r})")
        player.join(LIMIT)
        same(bytes(shown), ours, "what nc shows")
    finally:
        peer.kill()
        peer.wait()
        peer.stdout.close()


@case
def talk_to_an_answer_in_pieces():
    """A server that answers byte by byte: talk shows each answer whole, in its own line, never one late."""
    path = os.path.join(folder(), "s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()

        def serve():
            s, _ = listener.accept()
            with s:
                while data := s.recv(1024):
                    for b in time.ctime().encode() + data:
                        s.sendall(bytes([b]))
                        wait_for(lambda: outq(s) == 0, what="the reader")  # of a unix socket: what has not been read
        threading.Thread(target=serve, daemon=True).start()
        lines = [b"one", b"two two", b"x" * 300, b"last"]
        code, out, err = run(PROGRAM, "talk", f"unix:{path}", data=b"\n".join(lines) + b"\n")
        same(code, 0, f"exit code ({err!r})")
        same([line[STAMP:] for line in out.splitlines()], lines, "the answers")


main()
