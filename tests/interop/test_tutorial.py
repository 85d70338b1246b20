"""The tutorial's Python programs with ours, both ways, byte for byte."""
import os
import re
import subprocess
import sys
import time

from chime_case import *

HERE = os.path.dirname(os.path.abspath(__file__))


class PythonServer:
    """The tutorial's server on a port of its own."""

    def __enter__(self):
        self.process = subprocess.Popen([sys.executable, os.path.join(HERE, "tutorial_server.py"), "0"],
                                        stdout=subprocess.PIPE, text=True)
        same(self.process.stdout.readline(), "waiting for connection...\n", "its first line")
        self.port = listening_port(self.process)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def session(port, pieces):
    """What a server answers to these pieces, each sent when the answer before is there; stamps as they came."""
    answers = []
    with socket.create_connection(("127.0.0.1", port), LIMIT) as s:
        for piece in pieces:
            s.sendall(piece)
            answers.append(recv_exactly(s, STAMP + len(piece)))
        s.shutdown(socket.SHUT_WR)
        same(s.recv(1), b"", "what comes after the end")
    return answers


@case
def both_servers_answer_alike():
    """The same pieces get the same bytes from the tutorial's server and from ours, but for the time in them."""
    pieces = [b"i", b"hello", "grüße, 世界".encode(), b"\0\1\2\xff", b"x" * 1024, b" ", b"\n", b"Tue Sep 13 19:11:20 2016"]
    with PythonServer() as theirs, Server("tcp://127.0.0.1:0") as ours:
        before = time.time()
        a, b = session(theirs.port, pieces), session(ours.port, pieces)
        after = time.time()
    for piece, one, two in zip(pieces, a, b):
        same(one[STAMP:], piece, "the tutorial's answer")
        same(two[STAMP:], piece, "our answer")
        check_time(one[:STAMP], before - 0.02, after)  # Python's ctime() reads a clock that only ticks move
        check_time(two[:STAMP], before, after)


@case
def the_tutorials_client_talks_to_our_server():
    """The tutorial's client shows what the tutorial shows: prompt, stamp and text."""
    with Server("tcp://127.0.0.1:0") as server:
        before = time.time()
        code, out, err = run(sys.executable, os.path.join(HERE, "tutorial_client.py"), str(server.port),
                             data="i\ntwo words\nžluť\n\n".encode())
        after = time.time()
        same((code, err), (0, b""), "exit code and stderr")
        m = re.fullmatch(rb">>:(.{24})i\n>>:(.{24})two words\n>>:(.{24})\xc5\xbelu\xc5\xa5\n>>:", out)
        check(m, f"it printed {out!r}")
        for stamp in m.groups():
            check_time(stamp, before, after)
        wait_for(lambda: len(server.out) >= 2, what="the lines of the server")
        same(server.out[0], "waiting for connection...\n", "the server's first line")
        check(re.fullmatch(r"\.\.\.connected from: 127\.0\.0\.1:\d+\n", server.out[1]), f"it said {server.out[1]!r}")


@case
def our_client_talks_to_the_tutorials_server():
    """In a pipe: a line, its answer, the next; the answers alone on stdout; an empty line ends."""
    with PythonServer() as server:
        before = time.time()
        code, out, err = run(PROGRAM, "talk", f"tcp://127.0.0.1:{server.port}", data="i\ntwo words\nžluť\n\nno more\n".encode())
        after = time.time()
        same(code, 0, f"exit code ({err!r})")
        m = re.fullmatch(rb"(.{24})i\n(.{24})two words\n(.{24})\xc5\xbelu\xc5\xa5\n", out)
        check(m, f"it printed {out!r}, {err!r}")
        for stamp in m.groups():
            check_time(stamp, before - 0.02, after)
        same(server.process.stdout.readline()[:19], "...connected from: ", "the server's word")
        same(server.process.stdout.readline(), "waiting for connection...\n", "the server's next word")


@case
def our_client_talks_to_our_server():
    """The tutorial's session with both programs ours."""
    with Server("tcp://127.0.0.1:0") as server:
        code, out, err = run(PROGRAM, "talk", f"tcp://127.0.0.1:{server.port}", data=b"i\nhello\n")
        same(code, 0, f"exit code ({err!r})")
        check(re.fullmatch(rb".{24}i\n.{24}hello\n", out), f"it printed {out!r}")


@case
def a_client_of_the_python_kind_gets_a_line_longer_than_its_buffer():
    """The tutorial's client reads 1024 bytes of a longer answer: ours sends stamp and chunk without a break."""
    with Server("tcp://127.0.0.1:0") as server:
        line = b"q" * 1000
        code, out, _ = run(sys.executable, os.path.join(HERE, "tutorial_client.py"), str(server.port), data=line + b"\n\n")
        same(code, 0, "exit code")
        same(out[3 + STAMP:], line + b"\n>>:", "what it printed")


main()
