"""
Measures chime serve against bare programs and other libraries: the rows of docs/performance.md.

In each cell every server gets a short slice of load in turn, in an order that moves on from round to round. Ratios are taken within a
round, to the bare epoll program; the tables have their medians and middle halves. A second copy of the bare epoll program runs along
("twin"): how far it seems to be from the first is what this run cannot tell apart, and what "not behind" allows for.
Servers are on core 0 and the load on core 1, both SCHED_RR where that is allowed.
usage: rows.py (by bench/run, or make bench) [--rows 1,4] [--quick] [--rounds N] [--slice SECONDS] [--docs] [--add] [--from report.json]
"""
import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time

import servers as sv
from report import write_report
from servers import ASIO, ASYNCIO, BARE, BARE_SPIN, BARE_URING, EPOLL, GO, LIBEVENT, LIBUV, TUTORIAL, TWIN, URING

BARES = [BARE, TWIN, BARE_URING]
OURS = [EPOLL, URING]
ALL = BARES + OURS + [LIBUV, LIBEVENT, ASIO, GO]
SPIN = "100us"
IDLE = 10000


class Cell:
    def __init__(self, name, rows, names, run, transport="tcp", flags=()):
        self.name, self.rows, self.names, self.run = name, set(rows), names, run
        self.transport, self.flags = transport, flags

    def start(self, machine, name):
        return sv.Server(machine, name, self.transport, self.flags if name in OURS else ())


def closed(connections, size, depth):
    return lambda machine, server, seconds, facts: sv.load(machine, server, connections, size, depth, seconds)


def sleepless(machine, server, seconds, facts):
    return sv.load(machine, server, 1, 16, 1, seconds, flags=("-s",))


def open_loop(machine, server, seconds, facts):
    """
    When others have one of the two cores for a hundredth of the slice, p99 is their doing (SCHED_RR leaves a twentieth of each second
    to whoever else is there; a host takes what it wants, and tells it in ticks): taken again, up to three times.
    """
    for attempt in range(4):
        stolen = sv.stolen_ticks()
        figures = sv.load(machine, server, 50, 16, 1024, seconds, facts["half_rate"])
        if max(figures["server_waited_ms"], figures["load_waited_ms"]) <= seconds * 10 and sv.stolen_ticks() == stolen:
            break
        facts["waited"] = facts.get("waited", 0) + 1
    else:
        facts["disturbed"] = facts.get("disturbed", 0) + 1
    return figures


def churn(machine, server, seconds, facts):
    return sv.churn(machine, server, 32, 16, seconds)


def beside(kind):
    """The open loop's latency while something else asks much of the server."""
    def run(machine, server, seconds, facts):
        other = sv.trouble(machine, server, kind, str(seconds * 4 + 2))
        try:
            time.sleep(0.1)
            figures = open_loop(machine, server, seconds, facts)
            figures["memory"] = server.memory()
        finally:
            other.terminate()
            other.communicate(timeout=60)
        return figures
    return run


FAIR = [BARE, BARE_URING, EPOLL, URING, LIBUV, LIBEVENT, ASIO]

CELLS = [Cell(f"{c} x {size} B", {1, 2, 8} if (c, size) == (50, 16) else {1, 2},
              ALL + ([TUTORIAL] if c == 1 else []) + ([ASYNCIO] if (c, size) == (50, 16) else []), closed(c, size, 1))
         for c in (1, 50, 1000) for size in (16, 512)]
CELLS += [
    Cell("50 x 16 B, 16 deep", {3}, ALL, closed(50, 16, 16)),
    Cell("20 x 8000 B, 8 deep", {4}, ALL, closed(20, 8000, 8)),
    Cell("1 x 16 B, --spin", {5}, BARES + [BARE_SPIN] + OURS, closed(1, 16, 1), flags=("--spin", SPIN)),
    Cell("1 x 16 B, --spin, load too", {5}, BARES + [BARE_SPIN] + OURS, sleepless, flags=("--spin", SPIN)),
    Cell("open loop, 50 x 16 B", {6}, BARES + OURS + [LIBUV, ASIO], open_loop),
    Cell("opened, asked, closed", {7}, ALL, churn),
    Cell("unix stream, 50 x 16 B", {10}, BARES + OURS, closed(50, 16, 1), "unix"),
    Cell("unix seqpacket, 50 x 16 B", {10}, BARES + OURS, closed(50, 16, 1), "seqpacket"),
    Cell("unix dgram, 50 x 16 B", {10}, [BARE, TWIN] + OURS, closed(50, 16, 1), "dgram"),
    Cell("udp, 50 x 16 B", {11}, [BARE, TWIN] + OURS, closed(50, 16, 1), "udp"),
    Cell("fair: alone", {"fair"}, FAIR, open_loop),
    Cell("fair: beside one in bulk", {"fair"}, FAIR, beside("bulk")),
    Cell("fair: beside 100 that do not read", {"fair"}, FAIR, beside("mute")),
    Cell("fair: beside a flood of new ones", {"fair"}, FAIR, beside("flood")),
]


def again(what, run, notes):
    """A slice that went wrong is taken again, and told; the fourth time in a row it is an error."""
    for attempt in range(4):
        try:
            return run()
        except (RuntimeError, subprocess.TimeoutExpired) as err:
            if attempt == 3:
                raise
            notes.append(f"a slice was taken again: {what}: {' '.join(str(err).split())[:200]}")
            print("again:", err, file=sys.stderr)


def run_cell(machine, cell, rounds, seconds, facts, notes):
    names = [n for n in cell.names if sv.present(n)]
    running, samples, left = {}, {n: [] for n in names}, set()
    try:
        for n in names:
            running[n] = cell.start(machine, n)
        for r in range(rounds):
            for n in names[r % len(names):] + names[:r % len(names)]:
                if n in left:
                    continue
                try:
                    samples[n].append(again(f"{cell.name}, {n}",
                                            lambda n=n: cell.run(machine, running[n], seconds, facts), notes))
                except (RuntimeError, subprocess.TimeoutExpired):
                    if n in (BARE, TWIN, *OURS):
                        raise
                    left.add(n)
                    notes.append(f"left out: {cell.name}, {n}")
    finally:
        for server in running.values():
            server.end()
    return {n: taken for n, taken in samples.items() if n not in left}


def run_pairs(machine, rounds, seconds):
    """Row 12: one pair of worker (--pin) and load on one core; two pairs on two, of chime and of two bare programs."""
    def pair_load(target, pid, core):
        words = machine.on(core) + [sv.program("load"), target, "50", "16", "1", str(seconds), str(pid)]
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def results(loads, one_process):
        figures = []
        for p in loads:
            out, err = p.communicate(timeout=seconds * 4 + 60)
            if p.returncode:
                raise RuntimeError(err + out)
            figures.append(sv.figures_of(out))
        rate = sum(f["rate"] for f in figures)
        if one_process:  # each load saw the CPU time of both workers
            cpu = statistics.mean(f["cpu_ns"] * f["rate"] for f in figures) / rate
        else:
            cpu = sum(f["cpu_ns"] * f["rate"] for f in figures) / rate
        return {"rate": rate, "cpu_ns": cpu}

    samples = {}
    last = os.cpu_count() - 1
    for r in range(rounds):
        for n in [BARE] + OURS:
            for pairs in ((1, 2) if r % 2 else (2, 1)):
                flags = ("--workers", str(pairs), "--pin")
                cores = "0" if pairs == 1 else f"0,{last}"
                if n == BARE:
                    up = [sv.Server(machine, n, cores=str(c)) for c in ((0,) if pairs == 1 else (0, last))]
                else:
                    up = [sv.Server(machine, n, flags=flags, cores=cores)]
                try:
                    loads = [pair_load(up[i % len(up)].target, up[i % len(up)].pid, c)
                             for i, c in enumerate((0,) if pairs == 1 else (0, last))]
                    figures = results(loads, n != BARE)
                finally:
                    for s in up:
                        s.end()
                samples.setdefault(f"{n}, {pairs} pair{'s' if pairs > 1 else ''}", []).append(figures)
    return samples


def default_backend():
    """What --backend auto takes, from the line the server begins with; and why."""
    p = subprocess.Popen([sv.CHIME, "serve", "tcp://127.0.0.1:0"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        for line in p.stderr:
            found = re.search(r"backend (\w+)(?:: ([^\"]*))?", line)
            if found:
                return found.group(1), found.group(2) or ""
    finally:
        p.terminate()
        p.wait()
        p.stderr.close()
    raise RuntimeError("chime serve does not say its backend")


def measure_idle(machine):
    count = min(IDLE, machine.files - 200)
    result = {}
    for n in [BARE, BARE_URING] + OURS + [LIBUV, LIBEVENT, ASIO, GO, ASYNCIO]:
        if sv.present(n):
            server = sv.Server(machine, n)
            try:
                result[n] = sv.idle_memory(machine, server, count)
            finally:
                server.end()
    return {"count": count, "bytes": result}


def measure_calls(machine, seconds):
    result = {}
    for n in [BARE, BARE_URING] + OURS + [LIBUV, LIBEVENT, ASIO, GO]:
        if not sv.present(n):
            continue
        server = sv.Server(machine, n)
        try:
            result[n] = {c: sv.system_calls(machine, server, c, 16, seconds) for c in (1, 50)}
        finally:
            server.end()
    return result


def about(args, machine, start):
    with open("/proc/cpuinfo") as f:
        names = [line.split(":", 1)[1].strip() for line in f if line.startswith("model name")]
    commit = subprocess.run(["git", "-C", sv.HERE, "describe", "--always", "--dirty"], capture_output=True, text=True)
    return {
        "machine": f"{len(names)} x {names[0]}" if names else platform.machine(),
        "kernel": platform.release(),
        "commit": commit.stdout.strip() or "unknown",
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(start)),
        "rounds": args.rounds, "slice": args.slice, "took": time.time() - start,
        "where": f"servers on core 0, load on core {machine.load_core}, {'SCHED_RR' if machine.rr else 'no SCHED_RR'}",
        "missing": [f"{n} ({sv.PACKAGES[n]})" for n in sv.LIBRARIES if not sv.present(n)],
        "spin": SPIN,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=os.environ.get("ROWS", ""), help="only these: numbers and fair (1,4,fair)")
    parser.add_argument("--quick", action="store_true", help="a smoke test: few and short slices, the figures mean little")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--slice", type=float, default=0.5, help="seconds of load in each slice")
    parser.add_argument("--no-rr", action="store_true", help="do not ask for SCHED_RR")
    parser.add_argument("--docs", action="store_true", help="write the tables and the plot into docs/, too")
    parser.add_argument("--add", action="store_true", help="put what is measured into the last report in place of what it has of it")
    parser.add_argument("--from", dest="kept", help="make the report of a former run's report.json, and measure nothing")
    args = parser.parse_args()
    if args.kept:
        with open(args.kept) as f:
            write_report(json.load(f), args.docs)
        return
    if args.quick:
        args.rounds, args.slice = 2, 0.2
    wanted = {int(r) if r.isdigit() else r for r in args.rows.split(",")} if args.rows else None

    def want(rows):
        return wanted is None or bool(wanted & set(rows))

    machine = sv.Machine(not args.no_rr)
    if os.cpu_count() < 2:
        print("one core only: server and load share it, the figures mean little", file=sys.stderr)
    start, notes, facts, data = time.time(), [], {}, {"cells": {}}
    report = os.path.join(sv.PROGRAMS, "report.json")
    if args.add:
        with open(report) as f:
            data = json.load(f)
        notes = data["notes"]
        notes.append(f"measured again, in {args.rounds} rounds of {args.slice} s: rows {args.rows}")
    data["default"], data["why"] = default_backend()

    def tell(what):
        print(f"{time.time() - start:5.0f} s  {what}", file=sys.stderr, flush=True)

    def keep():
        data["notes"] = notes
        if not args.add:
            data["about"] = about(args, machine, start)
        with open(report, "w") as f:
            json.dump(data, f)

    if want({6, "fair"}) and not (args.add and "half_rate" in data):
        name = LIBUV if sv.present(LIBUV) else BARE
        server = sv.Server(machine, name)
        rates = [sv.load(machine, server, 50, 16, 1, args.slice)["rate"] for _ in range(3 if args.quick else 7)]
        server.end()
        facts["half_rate"] = round(statistics.median(rates) / 2)
        data["half_rate"], data["half_of"] = facts["half_rate"], name
    facts["half_rate"] = data.get("half_rate")
    for cell in CELLS:
        if want(cell.rows):
            tell(cell.name)
            data["cells"][cell.name] = run_cell(machine, cell, args.rounds, args.slice, facts, notes)
            keep()
    if want({12}):
        tell("two workers")
        data["pairs"] = run_pairs(machine, args.rounds, args.slice)
    if want({9}):
        tell("idle connections")
        data["idle"] = measure_idle(machine)
    if want({1, 2, "calls"}):
        tell("system calls")
        data["calls"] = measure_calls(machine, 1)
    if facts.get("waited"):
        notes.append(f"open loop: {facts['waited']} slices in which others, or the host, had the server's or the load's core for over 1 % of the time "
                     f"were taken again; {facts.get('disturbed', 0)} were so four times in a row and are in the figures")
    keep()
    write_report(data, args.docs)


if __name__ == "__main__":
    main()
