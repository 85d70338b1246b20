"""Reliable messages over IP: served and talked to, told when nobody is there, drained in mid-flight."""
import signal

from chime_case import *

SCHEMES = ("rdm://127.0.0.1:0?udp=0&carrier=user", "rdm://[::1]:0?udp=0&carrier=user",
           "sctp+seqpacket://127.0.0.1:0?udp=0&carrier=user")


def has_user():
    probe = subprocess.run([PROGRAM, "sockets", SCHEMES[0]], capture_output=True, text=True, timeout=LIMIT)
    if "libusrsctp" not in probe.stdout:
        raise Skip("this build has no libusrsctp, or this kernel has SCTP")


def talk(endpoint, lines, *options, timeout=2 * LIMIT):
    return subprocess.run([PROGRAM, "talk", *options, endpoint], input="".join(l + "\n" for l in lines),
                          capture_output=True, text=True, timeout=timeout)


class Reliable:
    """A server of one endpoint, and where it really is."""
    def __init__(self, endpoint, *options):
        arguments = [PROGRAM, "serve", *options]
        if BACKEND:
            arguments += ["--backend", BACKEND]
        self.process = subprocess.Popen([*arguments, endpoint], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.ready = self.process.stderr.readline().split()
        check(self.ready[:1] == ["listening"], self.ready)
        self.endpoint = self.ready[2]
        self.lines = []
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stderr))
        self.reader.start()

    def end(self, sig=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(sig)
        code = self.process.wait(timeout=2 * LIMIT)
        self.reader.join()
        self.process.stderr.close()
        return code

    def __enter__(self):
        return self

    def __exit__(self, *ignored):
        if self.process.poll() is None:
            self.end(signal.SIGKILL)


@case
def talk_gets_stamps_on_each():
    """A line, its stamped answer, the next, on IPv4 and IPv6, unordered and ordered; the ready line says what carries it."""
    has_user()
    for scheme in SCHEMES:
        with Reliable(scheme) as server:
            check("libusrsctp" in " ".join(server.ready), server.ready)
            done = talk(server.endpoint, ["i", "hello", "x" * 200000])
            same(done.returncode, 0, done.stderr)
            answers = done.stdout.splitlines()
            same([a[STAMP:] for a in answers], ["i", "hello", "x" * 200000])
            check(all(CTIME.fullmatch(a[:STAMP].encode()) for a in answers), answers)
            same(server.end(), 0)


@case
def two_endpoints_and_many_clients():
    """Clients at once on two endpoints of one server, each with its own answers."""
    has_user()
    with Reliable(SCHEMES[0]) as server:
        clients = [threading.Thread(target=lambda n=n: results.update(
            {n: talk(server.endpoint, [f"{n}.{k}" for k in range(20)])})) for n in range(5)]
        results = {}
        for c in clients:
            c.start()
        for c in clients:
            c.join()
        for n, done in results.items():
            same(done.returncode, 0, done.stderr)
            same([a[STAMP:] for a in done.stdout.splitlines()], [f"{n}.{k}" for k in range(20)])
        same(len(results), 5)
        same(server.end(), 0)
        check("answers=100" in server.lines[-1], server.lines[-1])


@case
def nobody_there_is_exit_1():
    """Where nobody serves, talking is refused; a carrier that is not there is the local system's no."""
    has_user()
    with Reliable(SCHEMES[0]) as server:
        endpoint = server.endpoint
        same(server.end(), 0)
    done = talk(endpoint, ["i"])
    same(done.returncode, 1, done.stderr)
    check("refused" in done.stderr, done.stderr)


@case
def a_server_killed_is_told():
    """A server that is killed in mid-talk: the line is told to be undelivered or unanswered, exit 1."""
    has_user()
    with Reliable(SCHEMES[0]) as server:
        process = subprocess.Popen([PROGRAM, "talk", "--timeout", f"{LIMIT}s", server.endpoint], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        process.stdin.write("first\n")
        process.stdin.flush()
        check("first" in process.stdout.readline())
        server.end(signal.SIGKILL)
        out, err = process.communicate("second\n", timeout=2 * LIMIT)
        same(process.returncode, 1, err)
        check("second" not in out, out)
        check("refused" in err or "no answer" in err or "undelivered" in err, err)


@case
def a_second_server_is_refused():
    """A UDP port that is taken is said, with a way out, exit 3."""
    has_user()
    with Reliable(SCHEMES[0]) as server:
        done = subprocess.run([PROGRAM, "serve", server.endpoint], capture_output=True, text=True, timeout=LIMIT)
        same(done.returncode, 3, done.stderr)
        check("already in use" in done.stderr and "udp=" in done.stderr, done.stderr)


@case
def draining_answers_what_came():
    """SIGTERM between a client's lines: it ends with 0, and what was asked before is answered."""
    has_user()
    with Reliable(SCHEMES[0]) as server:
        process = subprocess.Popen([PROGRAM, "talk", server.endpoint], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        for n in range(50):
            process.stdin.write(f"{n}\n")
        process.stdin.flush()
        same(process.stdout.readline()[STAMP:], "0\n")
        same(server.end(), 0)
        process.stdin.close()
        answered = process.stdout.read().count("\n") + 1
        process.wait(timeout=2 * LIMIT)
        process.stdout.close()
        process.stderr.close()
        totals = server.lines[-1]
        check(f"answers={answered} " in totals, (answered, totals))


main()
