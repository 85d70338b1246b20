"""The stamp's text against the clock and the zone that the server runs with."""
import glob
import os
import re
import time

from chime_case import *


def one_stamp(server):
    with server.connect() as s:
        s.sendall(b"i")
        answer = recv_exactly(s, STAMP + 1)
        same(answer[STAMP:], b"i", "what came back")
        return answer[:STAMP].decode()


def in_zone(zone, seconds):
    """ctime in that zone, by the system's own date."""
    code, out, _ = run("date", "-d", f"@{int(seconds)}", "+%a %b %e %H:%M:%S %Y", env={"TZ": zone, "LC_ALL": "C"})
    same(code, 0, "date")
    return out.decode().strip()


@case
def tz_changes_the_stamp():
    """The stamp is local time as TZ says, in the C locale whatever the environment's."""
    for zone in ("UTC0", "Asia/Shanghai", "America/New_York", "Asia/Kathmandu", "<+1345>-13:45"):
        with Server("tcp://127.0.0.1:0", env={"TZ": zone, "LC_ALL": "zh_CN.UTF-8"}) as server:
            before = time.time()
            stamp = one_stamp(server)
            after = time.time()
            wanted = {in_zone(zone, t) for t in range(int(before), int(after) + 1)}
            check(stamp in wanted, f"{zone}: {stamp!r} is not in {wanted}")


@case
def utc_does_not_mind_tz():
    with Server("tcp://127.0.0.1:0", flags=["--utc"], env={"TZ": "Asia/Shanghai"}) as server:
        before = time.time()
        stamp = one_stamp(server)
        check(stamp in {in_zone("UTC0", t) for t in range(int(before), int(time.time()) + 1)}, f"{stamp!r}")


@case
def formats_say_the_time():
    """rfc3339, rfc3339ns, unix, unixns: as written, and of now."""
    formats = {"rfc3339": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+08:00", "rfc3339ns": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}\+08:00",
               "unix": r"\d{10}", "unixns": r"\d{19}"}
    with Server(*(f"tcp://127.0.0.1:0?format={f}" for f in formats), env={"TZ": "Asia/Shanghai"}) as server:
        for n, (name, shape) in enumerate(formats.items()):
            before = time.time_ns()
            with server.connect(n) as s:
                s.sendall(b"|")
                text = b""
                while not text.endswith(b"|"):
                    text += s.recv(100)
            after = time.time_ns()
            text = text[:-1].decode()
            check(re.fullmatch(shape, text), f"{name}: {text!r}")
            if name == "unix":
                check(before // 10**9 <= int(text) <= after // 10**9, text)
            if name == "unixns":
                check(before <= int(text) <= after, text)


def faked(when):
    """What makes a process believe that it is when."""
    found = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
    if not found:
        raise Skip("libfaketime is not installed")
    with open(PROGRAM, "rb") as f:
        data = f.read()
    if b"__asan_init" in data or b"__tsan_init" in data:
        raise Skip("sanitizers and libfaketime do not go together")
    return {"LD_PRELOAD": found[0], "FAKETIME": when, "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
            "TZ": "UTC0", "FAKETIME_NO_CACHE": "1"}


@case
def one_digit_days_have_a_blank():
    """A clock that stands still: the tutorial's moment, a day of one digit, the last second of a month."""
    for when, wanted in (("2016-09-13 19:11:20", "Tue Sep 13 19:11:20 2016"), ("2016-10-01 00:00:00", "Sat Oct  1 00:00:00 2016"),
                         ("2016-10-09 23:59:59", "Sun Oct  9 23:59:59 2016"), ("2024-02-29 12:00:00", "Thu Feb 29 12:00:00 2024")):
        with Server("tcp://127.0.0.1:0", env=faked(when)) as server:
            for _ in range(3):
                same(one_stamp(server), wanted, "the stamp")


@case
def a_seconds_edge_is_crossed():
    """The clock runs over the year's end: the stamps follow each other, none is kept too long."""
    with Server("tcp://127.0.0.1:0", env=faked("@2016-12-31 23:59:56")) as server:
        seen = []  # the stamp's time, and when it was asked for and had come

        def over():
            asked = time.monotonic()
            stamp = time_of(one_stamp(server).encode())
            seen.append((stamp, asked, time.monotonic()))
            return stamp > new_year
        new_year = time_of(b"Sun Jan  1 00:00:00 2017")
        wait_for(over, what="the new year")
        check(seen[0][0] < new_year, "the first stamp is of the new year")
        # Its clock started at one moment, between the latest and the earliest that some stamp leaves room for.
        started = [(asked - stamp - 1, came - stamp) for stamp, asked, came in seen]
        check(max(low for low, _ in started) <= min(high for _, high in started), f"the stamps were {seen}")


main()
