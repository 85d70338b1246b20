"""
Measures chime serve against its yardsticks and prints one table.

In each cell every server gets a short slice of load in turn, in an order that moves on from round to round; a ratio is taken within a
round, to the bare epoll program, and the table has the median of the rounds and their middle half. A second copy of the bare
program runs along: how far it seems to be from the first is what this run cannot tell apart ("noise").
Servers are pinned to core 0 and the load to core 1, both SCHED_RR where that is allowed.
usage: compare.py [--rounds N] [--slice SECONDS] [--cells NAME,...] [--markdown FILE]
"""
import argparse
import os
import platform
import resource
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.join(os.path.dirname(HERE), "build")
IDLE = 10000

# name, connections, bytes, outstanding, and the peers that take part besides bare, bare again and chime
CELLS = [
    ("1 x 16 B", 1, 16, 1, ["tutorial", "asyncio"]),
    ("50 x 16 B", 50, 16, 1, ["asyncio"]),
    ("1000 x 16 B", 1000, 16, 1, ["asyncio"]),
    ("1 x 512 B", 1, 512, 1, ["tutorial", "asyncio"]),
    ("50 x 512 B", 50, 512, 1, ["asyncio"]),
    ("1000 x 512 B", 1000, 512, 1, ["asyncio"]),
    ("50 x 16 B, 16 deep", 50, 16, 16, ["asyncio"]),
    ("bulk 20 x 8000 B, 8 deep", 20, 8000, 8, ["asyncio"]),
]


def allowed(policy):
    """The words in front of a command that give it this policy, if this user may."""
    words = ["chrt", "-r", "1"] if policy else []
    if words and subprocess.run(words + ["true"], stderr=subprocess.DEVNULL).returncode:
        return []
    return words


class Server:
    def __init__(self, name, command, core):
        self.name = name
        self.empty = 0
        self.process = subprocess.Popen(core + command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.pid = self.process.pid  # taskset and chrt become the program: the same process
        source = self.process.stderr if name.startswith("chime") else self.process.stdout
        line = source.readline()
        if "listening" not in line:
            sys.exit(f"{name}: {line}{source.read()}")
        self.port = int(line.split()[-1].rsplit(":", 1)[-1].split("?")[0])
        os.set_blocking(source.fileno(), False)

    def drain(self):
        """What it prints is read away, so that it never waits for us."""
        for pipe in (self.process.stdout, self.process.stderr):
            os.set_blocking(pipe.fileno(), False)
            try:
                while os.read(pipe.fileno(), 1 << 16):
                    pass
            except BlockingIOError:
                pass

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def memory(pid):
    """Bytes of the process's own memory."""
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("RssAnon"))


def idle_memory(server, count):
    """Own memory for each of so many connections that were answered once and are idle."""
    before = memory(server.pid)
    held = []
    try:
        for _ in range(count):
            s = socket.create_connection(("127.0.0.1", server.port))
            held.append(s)
            s.sendall(b"i")
            while len(s.recv(64)) == 0:
                raise RuntimeError("closed")
        return (memory(server.pid) - before) / count
    finally:
        for s in held:
            s.close()


def measure(server, cell, seconds, core):
    _, connections, size, depth, _ = cell
    command = core + [os.path.join(BUILD, "bench", "load"), f"tcp:{server.port}", str(connections), str(size), str(depth),
                      str(seconds), str(server.pid)]
    while True:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds * 4 + 30)
        server.drain()
        if done.returncode:
            raise RuntimeError(f"{server.name}: {done.stderr}{done.stdout}")
        figures = {k: float(v) for k, v in (pair.split("=") for pair in done.stdout.split())}
        if figures["answers"]:
            break
        server.empty += 1  # the machine stood still, or the server: told with the result
        if server.empty > 3:
            raise RuntimeError(f"{server.name}: no answer in whole slices: {done.stdout}")
    if server.name.startswith("chime") and figures["early"]:
        raise RuntimeError(f"{figures['early']:.0f} of {server.name}'s stamps are older than what they stamp")
    return figures


def quarters(values):
    values = sorted(values)
    if len(values) < 4:
        return values[0], values[-1]
    q = statistics.quantiles(values, n=4, method="inclusive")
    return q[0], q[2]


def run_cell(cell, servers, rounds, seconds, core):
    names = ["bare", "bare again", "chime", "chime uring"] + cell[4]
    names = [n for n in names if n in servers]
    figures = {n: [] for n in names}
    for r in range(rounds):
        turn = names[r % len(names):] + names[:r % len(names)]
        for n in turn:
            figures[n].append(measure(servers[n], cell, seconds, core))
    rows = []
    for n in names:
        ratio = [a["rate"] / b["rate"] for a, b in zip(figures[n], figures["bare"])]
        cpu = [a["cpu_ns"] / b["cpu_ns"] for a, b in zip(figures[n], figures["bare"])]
        user = sum(a["user_ticks"] for a in figures[n])
        ticks = user + sum(a["system_ticks"] for a in figures[n])
        rows.append({
            "cell": cell[0], "server": n,
            "rate": statistics.median(a["rate"] for a in figures[n]),
            "ratio": statistics.median(ratio), "spread": quarters(ratio),
            "cpu_ns": statistics.median(a["cpu_ns"] for a in figures[n]),
            "cpu": statistics.median(cpu), "cpu_spread": quarters(cpu),
            "p50": statistics.median(a["p50_us"] for a in figures[n]),
            "p99": statistics.median(a["p99_us"] for a in figures[n]),
            "user": user / ticks if ticks else 0,
        })
    return rows


HEAD = ["cell", "server", "answers/s", "to bare", "middle half", "CPU ns", "to bare", "middle half", "user", "p50 us", "p99 us"]


def cells_of(row):
    return [row["cell"], row["server"], f"{row['rate']:,.0f}", f"{row['ratio']:.2f}",
            "{:.2f}-{:.2f}".format(*row["spread"]), f"{row['cpu_ns']:,.0f}", f"{row['cpu']:.2f}",
            "{:.2f}-{:.2f}".format(*row["cpu_spread"]), f"{row['user']:.0%}", f"{row['p50']:.0f}", f"{row['p99']:.0f}"]


def as_text(lines):
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths)))
                     for line in lines)


def as_markdown(lines):
    body = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([body[0], "|" + "---|" * 2 + "---:|" * (len(lines[0]) - 2)] + body[1:])


def commit():
    done = subprocess.run(["git", "-C", HERE, "describe", "--always", "--dirty"], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def processor():
    with open("/proc/cpuinfo") as f:
        names = [line.split(":", 1)[1].strip() for line in f if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--slice", type=float, default=0.4, help="seconds of load in each slice")
    parser.add_argument("--cells", help="only the cells whose names contain one of these words (a,b)")
    parser.add_argument("--markdown", help="write the table there too")
    parser.add_argument("--no-rr", action="store_true", help="do not ask for SCHED_RR")
    args = parser.parse_args()

    if os.cpu_count() < 2:
        print("one core only: server and load share it, the figures mean little", file=sys.stderr)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    last = str(min(1, os.cpu_count() - 1))
    rr = allowed(not args.no_rr)
    on_server, on_load = rr + ["taskset", "-c", "0"], rr + ["taskset", "-c", last]

    chime = os.path.join(BUILD, "chime")
    bare = [os.path.join(BUILD, "bench", "bare_epoll"), "tcp:0"]
    commands = {
        "bare": bare,
        "bare again": bare,
        "chime": [chime, "serve", "--quiet", "--workers", "1", "--backend", "epoll", "tcp://127.0.0.1:0"],
        "chime uring": [chime, "serve", "--quiet", "--workers", "1", "--backend", "uring", "tcp://127.0.0.1:0"],
        "tutorial": [sys.executable, os.path.join(HERE, "peers", "tutorial.py"), "0"],
        "asyncio": [sys.executable, os.path.join(HERE, "peers", "asyncio_server.py"), "0"],
    }
    wanted = args.cells.split(",") if args.cells else [""]
    cells = [c for c in CELLS if any(w in c[0] for w in wanted)]
    servers, rows = {}, []
    start = time.time()
    try:
        for name, command in commands.items():
            try:
                servers[name] = Server(name, command, on_server)
            except SystemExit as e:
                if name != "chime uring":
                    raise
                print(f"without io_uring: {e}", file=sys.stderr)
        for cell in cells:
            print(f"measuring {cell[0]} ...", file=sys.stderr, flush=True)
            rows += run_cell(cell, servers, args.rounds, args.slice, on_load)
        count = min(IDLE, hard - 200)
        fresh = {n: Server(n, commands[n], on_server) for n in ("bare", "chime", "chime uring", "asyncio") if n in servers}
        try:
            idle = {n: idle_memory(s, count) for n, s in fresh.items()}
        finally:
            for s in fresh.values():
                s.end()
    finally:
        for s in servers.values():
            s.end()

    about = [
        f"{processor()}, Linux {platform.release()}, commit {commit()}",
        f"{args.rounds} rounds of {args.slice} s a slice, servers on core 0, load on core {last}, "
        f"{'SCHED_RR' if rr else 'no SCHED_RR'}; took {time.time() - start:.0f} s",
        "command: " + " ".join(shlex.quote(a) for a in ["bench/run"] + sys.argv[1:]),
        "slices without any answer, taken again: " + (", ".join(f"{n} {s.empty}" for n, s in servers.items() if s.empty) or "none"),
        f"own memory an idle connection, {count} of them: " + ", ".join(f"{n} {b:.0f} B" for n, b in idle.items()),
    ]
    lines = [HEAD] + [cells_of(r) for r in rows]
    print("\n".join([as_text(lines)] + about))
    for cell in cells:
        mine = {r["server"]: r for r in rows if r["cell"] == cell[0]}
        low, high = mine["bare again"]["spread"]
        noise = max(abs(1 - low), abs(1 - high), abs(1 - mine["bare again"]["ratio"]))
        for name in ("chime", "chime uring"):
            if name in mine:
                verdict = "not behind" if mine[name]["ratio"] >= 1 - noise else "behind"
                print(f"{cell[0]}: {name} {mine[name]['ratio']:.3f} of bare, noise {noise:.3f}: {verdict}")
    if args.markdown:
        with open(args.markdown, "w") as f:
            f.write("\n\n".join([as_markdown(lines)] + ["\n".join("- " + a for a in about)]) + "\n")


if __name__ == "__main__":
    main()
