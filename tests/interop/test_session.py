"""What ./run does once everything is built: scripts/session starts a server, opens the client, and leaves nothing behind."""

import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
import unittest

SOURCE = os.environ["CHIME_SOURCE_DIR"]
SESSION = os.path.join(SOURCE, "scripts", "session")
STAMP = rb"[A-Z][a-z]{2} [A-Z][a-z]{2} [ 0-9]\d \d\d:\d\d:\d\d \d{4}"
# The script sends SIGCONT to whom it ends, and that takes away the SIGSTOP by which the leak sanitizer holds a process that is ending:
# both would wait for ever. What leaks is found by the other tests.
os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
LIMIT = 240 if os.environ.get("CHIME_TEST_SLOW") else 60


def of_session(sid):
    """The processes of a session, zombies left out, with what they run."""
    found = {}
    for name in os.listdir("/proc"):
        try:
            with open(f"/proc/{name}/stat", "rb") as f:
                fields = f.read().rpartition(b")")[2].split()
            with open(f"/proc/{name}/cmdline", "rb") as f:
                command = f.read().replace(b"\0", b" ").decode()
        except (OSError, NotADirectoryError):
            continue
        if name.isdigit() and int(fields[3]) == sid and fields[0] not in (b"Z", b"X"):
            found[int(name)] = command
    return found


def wait_gone(test, sid):
    """Waits until the session has no process."""
    deadline = time.monotonic() + LIMIT
    left = of_session(sid)
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        left = of_session(sid)
    test.assertEqual(left, {}, "processes are left behind")


class Terminal:
    """scripts/session on a terminal of its own."""

    def __init__(self):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "dumb"
            os.execv(SESSION, [SESSION])
        self.shown = b""

    def expect(self, pattern):
        """Reads until the pattern is shown; what was shown up to it is taken away."""
        deadline = time.monotonic() + LIMIT
        while True:
            found = re.search(pattern, self.shown)
            if found:
                self.shown = self.shown[found.end():]
                return found
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.fd], [], [], left)[0]:
                raise AssertionError(f"no {pattern!r} in {self.shown!r}")
            try:
                more = os.read(self.fd, 4096)
            except OSError:
                more = b""
            if not more:
                raise AssertionError(f"the end, and no {pattern!r} in {self.shown!r}")
            self.shown += more

    def type(self, keys):
        os.write(self.fd, keys)

    def end(self):
        """Waits for the script's end; its exit status as os.waitstatus_to_exitcode() has it."""
        deadline = time.monotonic() + LIMIT
        while True:
            try:
                if select.select([self.fd], [], [], 0.02)[0]:
                    os.read(self.fd, 4096)
            except OSError:
                pass
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                raise AssertionError("the session does not end")


class Session(unittest.TestCase):
    def test_pipe_prints_the_stamped_line_alone(self):
        before = time.time()
        ran = subprocess.Popen([SESSION], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               start_new_session=True)
        out, err = ran.communicate(b"i\n", timeout=LIMIT)
        self.assertEqual(ran.returncode, 0, err)
        self.assertRegex(out, rb"\A" + STAMP + rb"i\n\Z", err)
        stamp = time.mktime(time.strptime(out[:24].decode(), "%a %b %d %H:%M:%S %Y"))
        self.assertTrue(int(before) <= stamp <= time.time(), (before, out))
        wait_gone(self, ran.pid)

    def test_empty_line_on_a_terminal_ends_it(self):
        t = Terminal()
        t.expect(rb">>:")
        t.type(b"i\r")
        t.expect(STAMP + rb"i\r?\n")
        t.expect(rb">>:")
        t.type(b"\r")
        self.assertEqual(t.end(), 0)
        wait_gone(self, t.pid)

    def test_control_c_leaves_nothing_behind(self):
        t = Terminal()
        t.expect(rb">>:")
        t.type(b"i\r")
        t.expect(STAMP + rb"i")
        t.expect(rb">>:")
        t.type(b"\x03")
        t.end()
        wait_gone(self, t.pid)

    def test_hang_up_leaves_nothing_behind(self):
        t = Terminal()
        t.expect(rb">>:")
        os.close(t.fd)
        os.waitpid(t.pid, 0)
        wait_gone(self, t.pid)

    def test_killed_script_takes_the_server_along(self):
        for sig in signal.SIGTERM, signal.SIGKILL:
            with self.subTest(signal=sig.name):
                t = Terminal()
                t.expect(rb">>:")
                os.kill(t.pid, sig)
                os.waitpid(t.pid, 0)
                os.close(t.fd)  # the client's terminal goes, as it does when a window is closed
                wait_gone(self, t.pid)

    def test_a_taken_port_is_said_and_the_next_is_used(self):
        with socket.socket(socket.AF_INET6) as holder:
            holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                holder.bind(("::", 9999))
                holder.listen()
            except OSError:
                pass  # somebody else has it, which serves as well
            ran = subprocess.run([SESSION], input=b"i\n", capture_output=True, timeout=LIMIT, start_new_session=True)
        self.assertEqual(ran.returncode, 0, ran.stderr)
        self.assertIn(b"Port 9999 is in use", ran.stderr)
        self.assertRegex(ran.stderr, rb"listens on port 10\d\d\d")
        self.assertRegex(ran.stdout, rb"\A" + STAMP + rb"i\n\Z")


if __name__ == "__main__":
    result = unittest.main(exit=False, verbosity=2).result
    bad = len({str(test) for test, _ in result.failures + result.errors})
    skipped = len(result.skipped)
    for test, why in result.skipped:
        print(f"ok 0 {test.id()} # SKIP {why}")
    print(f"{result.testsRun - bad - skipped} passed, {bad} failed, {skipped} skipped")
    sys.exit(bool(bad))
