"""
The small runner of the tests in this folder, and what they share: a server as a process, answers taken apart, limits on waiting.

    @case
    def answers_as_the_tutorial():
        '''What holds, in a sentence.'''
        with Server("tcp://127.0.0.1:0") as server: ...

    main()

A file run alone runs its cases, those named as arguments, or lists them (--list). The last line is "N passed, N failed, N skipped".
"""
import collections
import faulthandler
import fcntl
import glob
import json
import os
import random
import re
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import traceback

BUILD = os.environ.get("CHIME_BINARY_DIR", os.path.join(os.path.dirname(__file__), "..", "..", "build"))
PROGRAM = os.path.abspath(os.environ.get("CHIME_PROGRAM", os.path.join(BUILD, "chime")))
SEED = int(os.environ.get("CHIME_TEST_SEED") or str(random.SystemRandom().getrandbits(48)), 0)
BACKEND = os.environ.get("CHIME_TEST_BACKEND")  # None: the one that chime takes by itself
# What is waited for comes at once, or never: only a failure takes that long, and no busy machine looks like one.
SLOW = 4 if os.environ.get("CHIME_TEST_SLOW") else 1
LIMIT = 20 * SLOW
STAMP = 24
CHUNK = 1024
CTIME = re.compile(rb"(?:Sun|Mon|Tue|Wed|Thu|Fri|Sat) (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) "
                   rb"[ 123][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9] [0-9]{4}")
cases = []


class Skip(Exception):
    pass


class Failure(AssertionError):
    pass


def case(function=None, *, limit=120):
    """Marks a test; limit: seconds it may take, on a slow machine four times that."""
    def mark(f):
        cases.append((f.__name__, f, limit * SLOW))
        return f
    return mark(function) if function else mark


def check(condition, message="does not hold"):
    if not condition:
        raise Failure(message)


def same(got, wanted, what="value"):
    if got != wanted:
        raise Failure(f"{what}: got {shorten(got)}, wanted {shorten(wanted)}")


def shorten(value):
    text = repr(value)
    return text if len(text) < 400 else f"{text[:200]} ... {text[-100:]} ({len(value)} long)"


def wait_for(condition, seconds=LIMIT, what="the condition"):
    """Looks again until it holds; what it gave."""
    end, pause = time.monotonic() + seconds, 0.0001
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure(f"{what} did not come within {seconds} s")
        time.sleep(pause)
        pause = min(2 * pause, 0.01)


def need(program):
    """The path of a program, or the case is skipped."""
    path = shutil.which(program)
    if not path:
        raise Skip(f"{program} is not installed")
    return path


def random_of(name):
    """A generator of the case's own, from the seed."""
    return random.Random(f"{SEED}/{name}")


def listening_port(process):
    """The TCP port that a process listens on, once it does: for those that do not say which they got for port 0."""
    def port():
        check(process.poll() is None, f"it ended with {process.poll()}")
        sockets = set()
        for fd in os.listdir(f"/proc/{process.pid}/fd"):
            try:
                sockets.add(os.readlink(f"/proc/{process.pid}/fd/{fd}"))
            except FileNotFoundError:
                pass
        for table in glob.glob(f"/proc/{process.pid}/net/tcp*"):
            with open(table) as f:
                for line in list(f)[1:]:
                    fields = line.split()
                    if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:  # LISTEN
                        return int(fields[1].rpartition(":")[2], 16)
        return None
    return wait_for(port, what="a listening socket")


# ---- processes ----

class Server:
    """chime serve with these endpoints, up when the block begins and ended with it."""

    def __init__(self, *endpoints, flags=(), env=None, prefix=(), code=0, workers=None):
        self.endpoints_wanted, self.code = len(endpoints) or 1, code
        flags = list(flags)
        if workers:
            flags += ["--workers", str(workers)]
        if BACKEND:
            flags += ["--backend", BACKEND]
        self.command = [*prefix, PROGRAM, "serve", *flags, *endpoints]
        self.env = {**os.environ, **(env or {})}
        self.err, self.out, self.ready = [], [], []

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, env=self.env, text=True, errors="replace")
        self.pid = self.process.pid
        self.readers = [threading.Thread(target=self._read, args=a, daemon=True)
                        for a in ((self.process.stderr, self.err), (self.process.stdout, self.out))]
        for r in self.readers:
            r.start()
        try:
            wait_for(lambda: len(self.ready) == self.endpoints_wanted or self.process.poll() is not None, what="being ready")
            check(len(self.ready) == self.endpoints_wanted, "the server did not come up")
        except BaseException as e:
            self.process.kill()
            self.process.wait()
            if BACKEND and "backend" in self.text():
                raise Skip(self.text().strip()) from None
            if isinstance(e, Failure):
                raise Failure(f"{e}\n{' '.join(self.command)}\n{self.text()}") from None
            raise
        return self

    def _read(self, pipe, lines):
        for line in pipe:
            if line.startswith("listening "):
                self.ready.append(line.split(None, 2)[2].strip())
            elif line.startswith("{") and (event := json.loads(line)).get("event") == "listening":
                self.ready.append(event["endpoint"])
            lines.append(line)
        pipe.close()

    def text(self):
        return "".join(self.err)[-4000:]

    @property
    def ports(self):
        found = []
        for endpoint in self.ready:
            m = re.match(r"[a-z0-9+]+://.*:(\d+)(\?|$)", endpoint)
            found.append(int(m.group(1)) if m else None)
        return found

    @property
    def port(self):
        return self.ports[0]

    def connect(self, n=0, host="127.0.0.1", timeout=LIMIT):
        s = socket.create_connection((host, self.ports[n]), timeout)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, seconds=LIMIT):
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failure(f"the server did not end within {seconds} s\n{self.text()}") from None
        for r in self.readers:
            r.join(5)
        return code

    def stop(self, seconds=LIMIT):
        """SIGTERM, and its exit code."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def alive(self):
        return self.process.poll() is None

    def counters(self):
        """What it says of itself on SIGUSR1, as a dictionary; what is 0 is left out there and 0 here."""
        before = len(self.err)
        self.signal(signal.SIGUSR1)
        line = wait_for(lambda: next((e for e in self.err[before:] if "event=totals" in e), None), what="the counters")
        return collections.Counter({k: int(v) for k, v in re.findall(r"([a-z_]+)=(\d+)(?=\s)", line)})

    def __exit__(self, kind, value, trace):
        died = self.process.poll()
        try:
            code = self.stop() if kind is None else None
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
        if kind is not None:
            print(f"# the server said ({'exit ' + str(died) if died is not None else 'alive'}):\n{self.text()}")
        elif code != self.code:
            raise Failure(f"the server ended with {code}, wanted {self.code}\n{self.text()}")


def run(*command, data=b"", timeout=2 * LIMIT, env=None):
    """Runs a command to its end: (exit code, stdout, stderr), both bytes."""
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=timeout, env={**os.environ, **(env or {})})
    except subprocess.TimeoutExpired as e:
        raise Failure(f"{' '.join(command)} did not end within {timeout} s; it said {shorten(e.stdout)} {shorten(e.stderr)}") \
            from None
    return done.returncode, done.stdout, done.stderr


def rss(pid):
    """Bytes of memory that the process has for itself."""
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("RssAnon"))


def ticks(pid, task):
    """Whether it is the thread sanitizer's own thread, which wakes ten times a second."""
    with open(f"/proc/{pid}/task/{task}/wchan") as wchan, open(f"/proc/{pid}/maps") as maps:
        return "nanosleep" in wchan.read() and "libtsan" in maps.read()


def asleep(pid):
    """While all its threads sleep: how often they have gone to sleep so far. Else None: one runs, or would if it were let."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/status") as f:
                said = dict(line.split(":", 1) for line in f)
            if ticks(pid, task):
                continue
        except (FileNotFoundError, ProcessLookupError):
            return None
        if said["State"].split()[0] != "S":
            return None
        total += int(said["voluntary_ctxt_switches"])
    return total


def check_rests(pid, seconds=1):
    """
    It sleeps, and while nothing comes nothing wakes it. What is counted is how often it went to sleep: CPU time also has in it what the
    machine's host took away.
    """
    before = wait_for(lambda: asleep(pid), what="sleep")
    time.sleep(seconds)  # what is measured: nothing is to happen in it, and where the machine is busy even less does
    woken = wait_for(lambda: asleep(pid), what="sleep again") - before
    check(woken <= 4, f"it woke {woken} times in {seconds} idle s")


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


# ---- the kernel's view of a connection ----

End = collections.namedtuple("End", "unread accepted")


def far_end(s):
    """The other end of a TCP connection within 127.0.0.0/8: the bytes there that nobody has read, and whether it was accepted. None: no such."""
    there, here = (f"{struct.unpack('=I', socket.inet_aton(a))[0]:08X}:{port:04X}" for a, port in (s.getpeername(), s.getsockname()))
    with open("/proc/net/tcp") as f:
        for line in f:
            fields = line.split()
            if fields[1:3] == [there, here]:
                return End(int(fields[4].partition(":")[2], 16), fields[9] != "0")
    return None


def outq(s):
    """The bytes that the other end's kernel has not acknowledged."""
    return struct.unpack("i", fcntl.ioctl(s, termios.TIOCOUTQ, b"\0" * 4))[0]


def arrived(*sockets):
    """All that was sent by these TCP sockets is in the other end's kernel, and so are their connections: what send(2) took may be on its way."""
    return all(outq(s) == 0 for s in sockets)


def taken(s):
    """The other end has read all that was sent, or is gone."""
    return (end := far_end(s)) is None or (arrived(s) and end.unread == 0)


def one_processor():
    """
    Stays on one processor, with all that is started from now on: what is sent over the loopback then comes in the order it was sent. The
    kernel has a queue for each processor, and where it is busy one may come long after another.
    """
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def all_come():
    """Waits until all that was sent from this processor has come: what is sent last comes last."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
        last.bind(("127.0.0.1", 0))
        last.settimeout(LIMIT)
        last.sendto(b"", last.getsockname())
        last.recv(1)


def fill(server, s, data=b"x" * 65536, most=1 << 40):
    """
    Sends data over and over, reading nothing, until the server takes no more: it sleeps, though there is something unread at its end and no
    room at ours. How many bytes went.
    """
    s.setblocking(False)
    sent, end = 0, time.monotonic() + 3 * LIMIT

    def stuck():
        before = asleep(server.pid)
        return before and far_end(s).unread and not select.select([], [s], [], 0)[1] and asleep(server.pid) == before
    while sent < most:
        at = sent % len(data)
        try:
            sent += s.send(data[at:at + min(65536, most - sent)])
        except BlockingIOError:
            if stuck():
                break
            check(time.monotonic() < end, f"the server neither reads nor sleeps after {sent} bytes")
            select.select([], [s], [], 0.01)
    return sent


# ---- answers ----

def recv_exactly(s, n):
    got = bytearray()
    while len(got) < n:
        more = s.recv(n - len(got))
        if not more:
            raise Failure(f"the end after {len(got)} of {n} bytes: {shorten(bytes(got))}")
        got += more
    return bytes(got)


def recv_to_end(s):
    got = bytearray()
    while more := s.recv(1 << 16):
        got += more
    return bytes(got)


def ask(s, request):
    """Sends a short request on a stream and takes its one answer: the stamp, checked for its time."""
    before = int(time.time())
    s.sendall(request)
    answer = recv_exactly(s, STAMP + len(request))
    same(answer[STAMP:], request, "what came back")
    check_time(answer[:STAMP], before, time.time())
    return answer[:STAMP]


def time_of(stamp):
    return time.mktime(time.strptime(stamp.decode(), "%a %b %d %H:%M:%S %Y"))


def check_time(stamp, before, after):
    same(bool(CTIME.fullmatch(stamp)), True, f"{stamp!r} is a stamp")
    check(int(before) <= time_of(stamp) <= after, f"{stamp!r} is not between {time.ctime(before)} and {time.ctime(after)}")


def take_apart(answer):
    """A stream's answer to bytes that look like no stamp: [(stamp, chunk)]."""
    found = list(CTIME.finditer(answer))
    check(bool(found) and found[0].start() == 0 or not answer, f"no stamp at the beginning of {shorten(answer)}")
    ends = [m.start() for m in found[1:]] + [len(answer)]
    return [(m.group(), answer[m.end():end]) for m, end in zip(found, ends)]


def check_answer(answer, sent, before, after, chunk=CHUNK):
    """The answer is sent, in chunks behind true stamps."""
    parts = take_apart(answer)
    got = b"".join(c for _, c in parts)
    if got != sent:
        at = next((i for i, (a, b) in enumerate(zip(got, sent)) if a != b), min(len(got), len(sent)))
        raise Failure(f"{len(got)} bytes came back of {len(sent)}, the first difference is at {at}: "
                      f"{got[at:at + 40]!r} instead of {sent[at:at + 40]!r}")
    for size in {len(part) for _, part in parts}:
        check(1 <= size <= chunk, f"a chunk of {size} bytes")
    for stamp in {stamp for stamp, _ in parts}:
        check_time(stamp, before, after)
    return parts


# ---- running ----

def _run_one(name, function, limit):
    def late(_number, _frame):
        raise Failure(f"not done within {limit} s")
    signal.signal(signal.SIGALRM, late)
    signal.alarm(limit)
    start = time.monotonic()
    try:
        function()
        result, why = "passed", f"({time.monotonic() - start:.2f} s)"
    except Skip as e:
        result, why = "skipped", str(e)
    except Failure as e:
        trace = traceback.extract_tb(e.__traceback__)
        lines = [f"#   {f.filename}:{f.lineno} in {f.name}" for f in trace if f.name != "_run_one"]
        result, why = "failed", "\n".join([f"# {line}" for line in str(e).splitlines()] + lines)
    except Exception:
        result, why = "failed", "\n".join(f"# {line}" for line in traceback.format_exc().splitlines())
    finally:
        signal.alarm(0)
    return result, why


def main():
    faulthandler.enable()
    sys.stdout.reconfigure(line_buffering=True)
    if "--list" in sys.argv[1:]:
        print("\n".join(name for name, _, _ in cases))
        return
    if not os.access(PROGRAM, os.X_OK):
        sys.exit(f"{PROGRAM} is not there: build it, or name it in CHIME_PROGRAM")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    chosen = [c for c in cases if not sys.argv[1:] or c[0] in sys.argv[1:]]
    home, processors = os.getcwd(), os.sched_getaffinity(0)
    for n, (name, function, limit) in enumerate(chosen, 1):
        with tempfile.TemporaryDirectory(prefix="chime-interop.") as folder:
            os.environ["CHIME_CASE_DIR"] = folder
            result, why = _run_one(name, function, limit)
            os.chdir(home)
            os.sched_setaffinity(0, processors)
        counts[result] += 1
        if result == "failed":
            print(f"not ok {n} {name}\n# seed: CHIME_TEST_SEED={SEED}\n{why}")
        else:
            print(f"ok {n} {name} {'# SKIP ' if result == 'skipped' else ''}{why}")
    print(f"1..{len(chosen)}\n" + ", ".join(f"{counts[k]} {k}" for k in ("passed", "failed", "skipped")))
    if not chosen:
        sys.exit("no case of that name")
    sys.exit(1 if counts["failed"] else 77 if not counts["passed"] else 0)


def folder():
    """An empty folder of the case's own."""
    return os.environ["CHIME_CASE_DIR"]
