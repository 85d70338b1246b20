"""Where io_uring is forbidden, as in a container, or absent, as in an old kernel: who did not ask for it is served, who did is told."""
import os
import re

from chime_case import *

LAUNCHER = os.path.join(BUILD, "tests", "no_uring")
HOW = [("EPERM", "operation not permitted"), ("ENOSYS", "function not implemented")]


def chosen(server):
    """The backend that it says it took, and why."""
    line = wait_for(lambda: next((e for e in server.err if "event=start" in e), None), what="the start's line")
    m = re.search(r"backend (\w+): ([^\"]+)", line)
    check(m, f"no backend and reason in {line!r}")
    return m.group(1), m.group(2)


@case
def auto_takes_epoll_and_says_why():
    """Without io_uring --backend auto, the default, serves with epoll, and the log has a reason that names io_uring."""
    for error, words in HOW:
        for flags in [], ["--backend", "auto"]:
            with Server("tcp://127.0.0.1:0", "udp://127.0.0.1:0", prefix=[LAUNCHER, error], flags=flags) as server:
                backend, why = chosen(server)
                same(backend, "epoll", f"the backend under {error}")
                check("io_uring" in why and words in why, f"the reason {why!r} does not say why")
                with server.connect() as s:
                    ask(s, b"i")


@case
def epoll_needs_no_uring():
    """--backend epoll is taken as asked for."""
    for error, _ in HOW:
        with Server("tcp://127.0.0.1:0", prefix=[LAUNCHER, error], flags=["--backend", "epoll"]) as server:
            same(chosen(server), ("epoll", "as asked for"), "the backend and why")
            with server.connect() as s:
                ask(s, b"i")


@case
def uring_is_refused_with_the_reason():
    """--backend uring is not served by something else: exit code 3, nothing listens, and the reason is the kernel's."""
    for error, words in HOW:
        code, out, err = run(LAUNCHER, error, PROGRAM, "serve", "--backend", "uring", "tcp://127.0.0.1:0")
        same(code, 3, f"exit code under {error} ({err!r})")
        text = err.decode()
        check("uring" in text and words in text and "seccomp" in text, f"{text!r} does not say why")
        check("listening" not in text and not out, f"it served: {text!r} {out!r}")


main()
