"""
Runs CPython's regression tests and writes each test's outcome down as it comes, so that a run that hangs or dies tells how far it
came: a line "outcome TAB test TAB reason". Run by the interpreter under test, with -c, so that no folder of ours is on its path:

    python3 -c "$(cat record.py)" FILE REGRTEST-ARGUMENT...
"""
import os
import sys

SWAP = os.environ.pop("CHIME_SWAP", "")
if SWAP:  # a program to be run first: swap.py
    with open(SWAP) as source:
        exec(compile(source.read(), SWAP, "exec"), {"__name__": "swap"})

from test.libregrtest.main import main  # noqa: E402
try:
    from test.libregrtest.testresult import RegressionTestResult as Result
except ImportError:  # before 3.12
    from test.support.testresult import RegressionTestResult as Result

out = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
owner = os.getpid()


def write(outcome, test, reason=""):
    if os.getpid() != owner:
        return
    name = test.id() if hasattr(test, "id") else str(test)
    line = "\t".join(" ".join(str(word).split()) for word in (outcome, name, reason))
    os.write(out, line.encode("utf-8", "backslashreplace") + b"\n")


def note(method, outcome):
    original = getattr(Result, method)

    def noted(self, test, *rest):
        write(outcome, test, rest[0] if method == "addSkip" else "")
        return original(self, test, *rest)
    setattr(Result, method, noted)


for method, outcome in (("addSuccess", "passed"), ("addSkip", "skipped"), ("addFailure", "failed"), ("addError", "error"),
                        ("addExpectedFailure", "failed as expected"), ("addUnexpectedSuccess", "passed unexpectedly")):
    note(method, outcome)
add_subtest = Result.addSubTest


def noted_subtest(self, test, subtest, err):
    if err is not None:
        write("error" if not issubclass(err[0], test.failureException) else "failed", subtest)
    return add_subtest(self, test, subtest, err)


Result.addSubTest = noted_subtest
sys.argv = ["regrtest"] + sys.argv[2:]
main()
