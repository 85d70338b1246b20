"""The servers that are measured, what starts and ends them, and what drives them. Used by rows.py."""
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.join(os.path.dirname(HERE), "build")
PROGRAMS = os.path.join(BUILD, "bench")
CHIME = os.path.join(BUILD, "chime")

BARE, TWIN, BARE_URING = "bare epoll", "bare epoll, twin", "bare uring"
BARE_SPIN = "bare epoll, spinning"
EPOLL, URING = "chime epoll", "chime uring"
LIBUV, LIBEVENT, ASIO, GO = "libuv", "libevent", "asio", "Go"
ASYNCIO, TUTORIAL = "asyncio", "tutorial"
LIBRARIES = [LIBUV, LIBEVENT, ASIO, GO]

# What the peers of other libraries need, for the report where one is missing.
PACKAGES = {LIBUV: "libuv1-dev", LIBEVENT: "libevent-dev", ASIO: "libasio-dev", GO: "golang-go"}


def program(name):
    return os.path.join(PROGRAMS, name)


def chime(backend, transport, place, *flags):
    schemes = {"tcp": "tcp://127.0.0.1:0", "udp": "udp://127.0.0.1:0?rate=0", "unix": f"unix:{place}",
               "seqpacket": f"unix+seqpacket:{place}", "dgram": f"unix+dgram:{place}"}
    workers = [] if "--workers" in flags else ["--workers", "1"]
    return [CHIME, "serve", "--quiet", "--backend", backend, *workers, *flags, schemes[transport]]


def command(name, transport, place, flags=()):
    """The command of a server for tcp, udp, unix, seqpacket or dgram; place: the path of those that have one."""
    at = f"{transport}:{place or 0}"
    if name in (BARE, TWIN):
        return [program("bare_epoll"), at]
    if name == BARE_SPIN:
        return [program("bare_epoll"), "-s", at]
    if name == BARE_URING:
        return [program("bare_uring"), at]
    if name in (EPOLL, URING):
        return chime(name.split()[1], transport, place, *flags)
    if name in (ASYNCIO, TUTORIAL):
        script = "asyncio_server.py" if name == ASYNCIO else "tutorial.py"
        return [sys.executable, os.path.join(HERE, "peers", script), "0"]
    return [program({LIBUV: "uv", LIBEVENT: "event", ASIO: "asio", GO: "go"}[name] + "_server"), "0"]


def present(name):
    """Whether a server was built: a library's peer is where its library is."""
    return name not in LIBRARIES or os.path.exists(command(name, "tcp", "")[0])


def real_time():
    """The words that put a command under SCHED_RR, if this user may."""
    words = ["chrt", "-r", "1"]
    done = subprocess.run(words + ["true"], stderr=subprocess.DEVNULL) if shutil.which("chrt") else None
    return words if done and done.returncode == 0 else []


class Machine:
    """Where the parts run: servers on core 0, load on core 1 (or the same, if there is one only)."""

    def __init__(self, rr=True):
        self.rr = real_time() if rr else []
        self.load_core = min(1, os.cpu_count() - 1)
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.files = hard

    def on(self, cores, rr=True):
        return (self.rr if rr else []) + ["taskset", "-c", str(cores)]

    def on_load(self, rr=True):
        return self.on(self.load_core, rr)


class Server:
    def __init__(self, machine, name, transport="tcp", flags=(), cores="0"):
        self.name = name
        self.folder = tempfile.mkdtemp(prefix="chime-bench-") if transport in ("unix", "seqpacket", "dgram") else None
        place = os.path.join(self.folder, "socket") if self.folder else ""
        words = machine.on(cores) + command(name, transport, place, flags)
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.pid = self.process.pid  # taskset and chrt become the program: the same process
        source = self.process.stderr if name in (EPOLL, URING) else self.process.stdout
        line = source.readline()
        if "listening" not in line:
            raise RuntimeError(f"{name}: {line}{source.read()}")
        port = re.search(r"(\d+)(\?.*)?$", line.strip())
        self.target = f"{transport}:{place or port.group(1)}"
        self.port = 0 if place else int(port.group(1))

    def drain(self):
        """What it prints is read away, so that it never waits for us."""
        for pipe in (self.process.stdout, self.process.stderr):
            os.set_blocking(pipe.fileno(), False)
            try:
                while os.read(pipe.fileno(), 1 << 16):
                    pass
            except BlockingIOError:
                pass

    def memory(self):
        """Bytes of the process's own memory."""
        with open(f"/proc/{self.pid}/status") as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith("RssAnon"))

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)


def figures_of(text):
    return {k: float(v) for k, v in (pair.split("=") for pair in text.split())}


def drive(machine, server, words, seconds):
    """Runs one load against a server: its figures. Wrong answers are an error, not a sample."""
    done = subprocess.run(machine.on_load() + words, capture_output=True, text=True, timeout=seconds * 4 + 60)
    server.drain()
    if done.returncode:
        raise RuntimeError(f"{server.name}: {' '.join(words)}: {done.stderr}{done.stdout}")
    figures = figures_of(done.stdout)
    if not figures["answers"]:
        raise RuntimeError(f"{server.name}: not one answer in a slice")
    if server.name in (EPOLL, URING) and figures.get("early"):
        raise RuntimeError(f"{figures['early']:.0f} of chime's stamps are older than what they stamp")
    return figures


def load(machine, server, connections, size, depth, seconds, rate=0, flags=()):
    words = [program("load"), *flags, server.target, connections, size, depth, seconds, server.pid] + ([rate] if rate else [])
    return drive(machine, server, [str(w) for w in words], seconds)


def churn(machine, server, under_way, size, seconds):
    words = [program("churn"), server.target, under_way, size, seconds, server.pid]
    return drive(machine, server, [str(w) for w in words], seconds)


def stolen_ticks():
    """What the host has taken from the two cores that are used, in clock ticks (proc(5), "steal"); 0 where there is no host."""
    with open("/proc/stat") as f:
        return sum(int(line.split()[8]) for line in f if line.startswith(("cpu0 ", "cpu1 ")))


def trouble(machine, server, kind, seconds):
    """What others suffer from: one in bulk, a hundred that do not read, a flood of new ones. Below the load's priority."""
    words = {"bulk": [program("load"), server.target, "1", "8000", "16", seconds],
             "mute": [program("mute"), server.target, "100", seconds],
             "flood": [program("churn"), server.target, "64", "16", seconds]}[kind]
    return subprocess.Popen(machine.on_load(rr=False) + [str(w) for w in words], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def idle_memory(machine, server, count):
    """Own memory for each of so many connections that were answered once and are idle."""
    load(machine, server, 50, 16, 1, 0.1)  # what the server takes once for all connections it has taken then
    before = server.memory()
    held = []
    try:
        for _ in range(count):
            s = socket.create_connection(("127.0.0.1", server.port))
            held.append(s)
            s.sendall(b"i")
            if not s.recv(64):
                raise RuntimeError("closed")
        return (server.memory() - before) / count
    finally:
        for s in held:
            s.close()


def system_calls(machine, server, connections, size, seconds):
    """System calls an answer: counted by perf where it can, else by strace, while a load runs."""
    words = machine.on_load() + [program("load"), server.target, str(connections), str(size), "1", str(seconds)]
    run = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(seconds * 0.35)
    window = seconds * 0.6
    counted = None
    if shutil.which("perf"):
        above = ["chrt", "-r", "2"] if machine.rr else []  # or it waits for the load that it counts beside
        done = subprocess.run(above + ["perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter", "-p",
                                                   str(server.pid), "--", "sleep", str(window)],
                              capture_output=True, text=True)
        first = done.stderr.split(",")[0].strip()
        counted = int(first) / window if first.isdigit() else None
    if counted is None and shutil.which("strace"):
        done = subprocess.run(["timeout", "-s", "INT", str(window), "strace", "-c", "-f", "-p", str(server.pid)],
                              capture_output=True, text=True)
        total = re.search(r"(\d+)\s+(?:\d+\s+)?total", done.stderr)
        counted = int(total.group(1)) / window if total else None
    out, err = run.communicate(timeout=seconds * 4 + 30)
    server.drain()
    if run.returncode:
        raise RuntimeError(f"{server.name}: {err}{out}")
    return counted / figures_of(out)["rate"] if counted is not None else None
