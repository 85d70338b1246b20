"""What rows.py measured, as text, as markdown and as a plot (SVG)."""
import os
import statistics

import servers as sv
from servers import ASIO, ASYNCIO, BARE, BARE_SPIN, BARE_URING, EPOLL, GO, LIBEVENT, LIBUV, TUTORIAL, TWIN, URING

DOCS = os.path.join(os.path.dirname(sv.HERE), "docs")
BEGIN, END = "<!-- figures: written by make bench DOCS=1 -->", "<!-- end of figures -->"


# ---- figures ----

def quarters(values):
    values = sorted(values)
    if len(values) < 4:
        return values[0], values[-1]
    q = statistics.quantiles(values, n=4, method="inclusive")
    return q[0], q[2]


def ratios(samples, name, to, key):
    """Within each round."""
    return [a[key] / b[key] for a, b in zip(samples[name], samples[to]) if b.get(key)]


def median(samples, name, key):
    return statistics.median(s[key] for s in samples[name])


def noise(samples, key):
    """How far two identical programs seem to be apart: the middle half of their ratio."""
    if TWIN not in samples:
        return 0
    low, high = quarters(ratios(samples, TWIN, BARE, key))
    return max(abs(1 - low), abs(1 - high))


def best(samples, names, key, more=True):
    """Of these servers the one with the best median."""
    names = [n for n in names if n in samples]
    return (max if more else min)(names, key=lambda n: median(samples, n, key))


def user_share(samples, name):
    user = sum(s["user_ticks"] for s in samples[name])
    ticks = user + sum(s["system_ticks"] for s in samples[name])
    return user / ticks if ticks else 0


# ---- verdicts ----

class Verdicts:
    """Lines of: row, cell, what, the default backend's figure, epoll's, what is asked, whether both reach it."""

    def __init__(self, data):
        self.data, self.lines = data, []
        self.default = {"epoll": EPOLL, "uring": URING}[data["default"]]
        self.cells = data["cells"]

    def add(self, row, cell, what, asked, default, epoll, default_ok, epoll_ok):
        self.lines.append([row, cell, what, asked, default, epoll,
                           "reached" if default_ok and epoll_ok else
                           "not reached" + ("" if not default_ok and not epoll_ok else
                                            " (default)" if not default_ok else " (epoll)")])

    def compare(self, row, cell, what, key, default_to, epoll_to, default_limit, epoll_limit, more=True):
        """Ratios to servers; a limit of None: not behind, by the noise of this cell."""
        samples = self.cells[cell]
        slack = noise(samples, key)
        figures, asked = [], []
        for mine, to, limit in ((self.default, default_to, default_limit), (EPOLL, epoll_to, epoll_limit)):
            r = statistics.median(ratios(samples, mine, to, key))
            if limit is None:
                limit = 1 - slack if more else 1 + slack
            figures.append((f"{r:.2f} of {to}", r >= limit if more else r <= limit))
            asked.append(f"{'>=' if more else '<='} {limit:.2f}")
        self.add(row, cell, what, asked[0] if asked[0] == asked[1] else " / ".join(asked),
                 figures[0][0], figures[1][0], figures[0][1], figures[1][1])

    def not_behind(self, row, cell, what, key, more=True, peers=()):
        samples = self.cells[cell]
        bare = best(samples, [BARE, BARE_URING], key, more)
        self.compare(row, cell, what, key, bare, BARE, None, None, more)
        peers = [p for p in peers if p in samples]
        if peers:
            peer = best(samples, peers, key, more)
            self.compare(row, cell, what + ", best peer", key, peer, peer, None, None, more)

    def throughput(self):
        for cell, samples in self.cells.items():
            if " x " not in cell or "deep" in cell or "," in cell:
                continue
            self.not_behind(1, cell, "answers/s", "rate", peers=[LIBUV, LIBEVENT, ASIO, GO])
        for cell, samples in self.cells.items():
            if " x " not in cell or "deep" in cell or "," in cell:
                continue
            bare = best(samples, [BARE, BARE_URING], "cpu_ns", more=False)
            self.compare(2, cell, "CPU ns an answer", "cpu_ns", bare, BARE, 1.05, 1.08, more=False)

    def all(self):
        cells = self.cells
        self.throughput()
        if "50 x 16 B, 16 deep" in cells:
            self.not_behind(3, "50 x 16 B, 16 deep", "answers/s", "rate")
        bulk = "20 x 8000 B, 8 deep"
        if bulk in cells:
            bare = best(cells[bulk], [BARE, BARE_URING], "rate")
            self.compare(4, bulk, "answers/s", "rate", bare, BARE, 0.95, 0.95)
            if self.default != URING:
                r = statistics.median(ratios(cells[bulk], URING, BARE_URING, "rate"))
                self.add(4, f"{bulk}, --backend uring", "answers/s", ">= 0.95", f"{r:.2f} of {BARE_URING}", "-", r >= 0.95, True)
            if LIBEVENT in cells[bulk]:
                self.compare(4, bulk, "answers/s", "rate", LIBEVENT, LIBEVENT, 6, 6)
        for spin in ("1 x 16 B, --spin", "1 x 16 B, --spin, load too"):
            if spin not in cells:
                continue
            bare = best(cells[spin], [BARE, BARE_URING], "rate")
            self.compare(5, spin, "answers/s", "rate", bare, BARE, 1.9, 1.9)
            self.compare(5, spin, "p50", "p50_us", bare, BARE, 0.55, 0.55, more=False)
            if BARE_SPIN in cells[spin]:
                self.compare(5, spin, "answers/s, to one that spins", "rate", BARE_SPIN, BARE_SPIN, None, None)
        if "open loop, 50 x 16 B" in cells:
            for peer in (LIBUV, ASIO):
                if peer in cells["open loop, 50 x 16 B"]:
                    self.compare(6, "open loop, 50 x 16 B", "p99", "p99_us", peer, peer, None, None, more=False)
        if "opened, asked, closed" in cells:
            self.not_behind(7, "opened, asked, closed", "connections/s", "rate", peers=[LIBUV, ASIO])
        if "50 x 16 B" in cells:
            d, e = (user_share(cells["50 x 16 B"], n) for n in (self.default, EPOLL))
            self.add(8, "50 x 16 B", "user share of CPU", "<= 4 % / <= 5 %", f"{d:.1%}", f"{e:.1%}", d <= 0.04, e <= 0.05)
        if "idle" in self.data:
            d, e = (self.data["idle"]["bytes"][n] for n in (self.default, EPOLL))
            self.add(9, f"{self.data['idle']['count']} idle", "own memory each", "<= 128 B", f"{d:.0f} B", f"{e:.0f} B",
                     d <= 128, e <= 128)
        for kind in ("stream", "seqpacket", "dgram"):
            if f"unix {kind}, 50 x 16 B" in cells:
                self.not_behind(10, f"unix {kind}, 50 x 16 B", "answers/s", "rate")
        if "udp, 50 x 16 B" in cells:
            self.not_behind(11, "udp, 50 x 16 B", "answers/s", "rate")
        if "pairs" in self.data:
            self.pairs()
        if "fair: alone" in cells:
            self.fairness()
        return self.lines

    def pairs(self):
        samples = self.data["pairs"]
        for what, key, limit, more in (("CPU ns an answer, two to one", "cpu_ns", 1.1, False),
                                       ("answers/s, two pairs to one", "rate", 1.8, True)):
            r = {n: statistics.median(ratios(samples, f"{n}, 2 pairs", f"{n}, 1 pair", key))
                 for n in (self.default, EPOLL, BARE)}
            ok = [r[n] >= limit if more else r[n] <= limit for n in (self.default, EPOLL)]
            self.add(12, "two workers (--pin), 50 x 16 B each", f"{what} (two bare: {r[BARE]:.2f})",
                     f"{'>=' if more else '<='} {limit}", f"{r[self.default]:.2f}", f"{r[EPOLL]:.2f}", *ok)

    def fairness(self):
        alone = self.cells["fair: alone"]
        for cell, samples in self.cells.items():
            if not cell.startswith("fair: beside"):
                continue
            shown, ok = {}, {}
            for n in (EPOLL, URING):
                p99, base = median(samples, n, "p99_us"), median(alone, n, "p99_us")
                shown[n] = f"{p99 / 1000:.2f} ms, alone {base / 1000:.2f}"
                ok[n] = p99 <= max(2 * base, base + 5000)
            asked = "p99 of the others", "<= max(2 times, +5 ms)"
            self.add("fair", cell[6:], *asked, shown[self.default], shown[EPOLL], ok[self.default], ok[EPOLL])
            if self.default != URING:
                self.add("fair", f"{cell[6:]}, --backend uring", *asked, shown[URING], "-", ok[URING], True)


# ---- tables ----

HEAD = ["cell", "server", "a second", "to bare", "middle half", "CPU ns", "to bare", "user", "p50 us", "p99 us"]


def cell_lines(data):
    lines = []
    for cell, samples in data["cells"].items():
        for n in samples:
            r, low_high = ratios(samples, n, BARE, "rate"), None
            low_high = quarters(r)
            cpu = ratios(samples, n, BARE, "cpu_ns")
            ticks = "user_ticks" in samples[n][0]
            lines.append([cell, n, f"{median(samples, n, 'rate'):,.0f}", f"{statistics.median(r):.2f}",
                          "{:.2f}-{:.2f}".format(*low_high), f"{median(samples, n, 'cpu_ns'):,.0f}",
                          f"{statistics.median(cpu):.2f}" if cpu else "-",
                          f"{user_share(samples, n):.0%}" if ticks else "-",
                          f"{median(samples, n, 'p50_us'):,.0f}", f"{median(samples, n, 'p99_us'):,.0f}"])
    return lines


def other_tables(data):
    """Heads and lines of the smaller tables."""
    tables = []
    if "pairs" in data:
        samples = data["pairs"]
        tables.append((["two workers", "a second", "middle half", "CPU ns"],
                       [[n, f"{median(samples, n, 'rate'):,.0f}", "{:,.0f}-{:,.0f}".format(
                           *quarters([s["rate"] for s in samples[n]])), f"{median(samples, n, 'cpu_ns'):,.0f}"]
                        for n in samples]))
    fair = {c[6:]: s for c, s in data["cells"].items() if c.startswith("fair:")}
    if fair:
        names = list(next(iter(fair.values())))
        tables.append((["p99 of 50 others, ms", *fair, "own memory at most, MiB"],
                       [[n, *(f"{median(s, n, 'p99_us') / 1000:.2f}" for s in fair.values()),
                         f"{max(x.get('memory', 0) for s in fair.values() for x in s[n]) / 2**20:.0f}"] for n in names]))
    if "calls" in data:
        tables.append((["system calls an answer", "1 x 16 B", "50 x 16 B"],
                       [[n, *("-" if f is None else f"{f:.2f}" for f in by.values())] for n, by in data["calls"].items()]))
    if "idle" in data:
        tables.append(([f"{data['idle']['count']} idle connections", "own memory each, B"],
                       [[n, f"{b:,.0f}"] for n, b in data["idle"]["bytes"].items()]))
    return tables


def about_lines(data):
    a = data["about"]
    lines = [f"{a['machine']}, Linux {a['kernel']}, commit {a['commit']}, {a['date']}",
             f"{a['rounds']} rounds of {a['slice']} s a slice, {a['where']}; the whole run took {a['took'] / 60:.0f} minutes",
             f"`--backend auto` takes {data['default']} ({data['why']})"]
    if "half_rate" in data:
        lines.append(f"open loop: {data['half_rate']:,} messages a second, half of {data['half_of']}'s top rate; latency from "
                     "the planned time to send")
    if any(c.startswith("udp") for c in data["cells"]):
        lines.append("UDP is served with `?rate=0`: by default one source gets 10,000 answers a second at most")
    if "1 x 16 B, --spin" in data["cells"]:
        lines.append(f"`--spin {a['spin']}` is chime's; the bare programs block, but for the one that looks 500 times before it sleeps")
    if a["missing"]:
        lines.append("missing, because not installed: " + ", ".join(a["missing"]))
    return lines + data["notes"]


def as_text(head, lines):
    lines = [[str(c) for c in line] for line in [head] + lines]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip() for line in lines)


def as_markdown(head, lines):
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head)] +
                     ["| " + " | ".join(str(c) for c in line) + " |" for line in lines])


# ---- the plot ----

COLORS = {BARE: "#000000", BARE_SPIN: "#8c8c00", BARE_URING: "#7f7f7f", EPOLL: "#d62728", URING: "#ff7f0e", LIBUV: "#1f77b4",
          LIBEVENT: "#2ca02c", ASIO: "#9467bd", GO: "#17becf", ASYNCIO: "#bcbd22", TUTORIAL: "#8c564b"}
LEFT, WIDTH, ROW, TOP = 210, 620, 34, 70
LOW, HIGH = 0.05, 4.0


def plot(data):
    """Each cell a line, each server a dot: answers a second to the bare epoll program's, on a logarithmic scale."""
    import math

    def x_of(ratio):
        ratio = min(max(ratio, LOW), HIGH)
        return LEFT + WIDTH * math.log(ratio / LOW) / math.log(HIGH / LOW)

    cells = {c: s for c, s in data["cells"].items() if not c.startswith(("fair", "open loop")) and BARE in s}
    height = TOP + ROW * len(cells) + 40
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 30} {height}" font-family="sans-serif" '
           'font-size="12">', '<rect width="100%" height="100%" fill="#ffffff"/>',
           '<text x="10" y="20" font-size="15">Answers a second, ratio to the bare epoll program (medians; bars: middle half)'
           '</text>']
    shown = [n for n in COLORS if any(n in s for s in cells.values()) and n != BARE]
    x = 10
    for n in shown:
        out.append(f'<circle cx="{x + 5}" cy="40" r="5" fill="{COLORS[n]}"/><text x="{x + 14}" y="44">{n}</text>')
        x += 28 + 7 * len(n)
    for tick in (0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4):
        color = "#000000" if tick == 1 else "#dddddd"
        out.append(f'<line x1="{x_of(tick):.1f}" x2="{x_of(tick):.1f}" y1="{TOP - 10}" y2="{height - 30}" stroke="{color}"/>'
                   f'<text x="{x_of(tick):.1f}" y="{height - 14}" text-anchor="middle">{tick:g}</text>')
    for i, (cell, samples) in enumerate(cells.items()):
        y = TOP + ROW * i + ROW / 2
        out.append(f'<text x="10" y="{y + 4}">{cell}</text>')
        names = [n for n in shown if n in samples]
        for k, n in enumerate(names):
            r = ratios(samples, n, BARE, "rate")
            low, high = quarters(r)
            at = y - ROW * 0.38 + ROW * 0.76 * (k + 0.5) / len(names)
            out.append(f'<line x1="{x_of(low):.1f}" x2="{x_of(high):.1f}" y1="{at:.1f}" y2="{at:.1f}" '
                       f'stroke="{COLORS[n]}" stroke-width="2" opacity="0.6"/>'
                       f'<circle cx="{x_of(statistics.median(r)):.1f}" cy="{at:.1f}" r="3.5" fill="{COLORS[n]}">'
                       f'<title>{n}: {statistics.median(r):.2f}</title></circle>')
    return "\n".join(out + ["</svg>"]) + "\n"


# ---- all of it ----

VERDICT_HEAD = ["row", "cell", "figure", "asked", "default backend", "epoll", ""]


def write_report(data, docs):
    verdicts = Verdicts(data).all()
    tables = [(VERDICT_HEAD, verdicts), (HEAD, cell_lines(data))] + other_tables(data)
    print("\n\n".join([as_text(*t) for t in tables if t[1]] + ["\n".join(about_lines(data))]))
    parts = ["\n".join("- " + line for line in about_lines(data))] + [as_markdown(*t) for t in tables if t[1]]
    svg = plot(data)
    with open(os.path.join(sv.PROGRAMS, "report.md"), "w") as f:
        f.write("\n\n".join(parts) + "\n")
    with open(os.path.join(sv.PROGRAMS, "report.svg"), "w") as f:
        f.write(svg)
    if not docs:
        return
    with open(os.path.join(DOCS, "performance.svg"), "w") as f:
        f.write(svg)
    page = os.path.join(DOCS, "performance.md")
    with open(page) as f:
        text = f.read()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    with open(page, "w") as f:
        f.write(before + BEGIN + "\n\n" + "\n\n".join(parts) + "\n\n" + END + after)
