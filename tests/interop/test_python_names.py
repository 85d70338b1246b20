#!/usr/bin/env python3
"""
docs/python-socket.md is whole and true: every name of this Python's socket module has its line, every chime_ name in it is in a public
header, and every test that it names is there.
"""
import glob
import os
import re
import socket
import socketserver
import sys
import types

SOURCE = os.environ.get("CHIME_SOURCE_DIR") or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
passed = failed = 0


def check(name, missing):
    global passed, failed
    if missing:
        failed += 1
        print(f"not ok {passed + failed} {name}: {', '.join(sorted(missing))}")
    else:
        passed += 1
        print(f"ok {passed + failed} {name}")


def read(path):
    with open(os.path.join(SOURCE, path)) as f:
        return f.read()


def module_names():
    for name in dir(socket):
        value = getattr(socket, name)
        constant = isinstance(value, int) and not isinstance(value, bool)
        # What the module itself imported is not its own.
        foreign = isinstance(value, types.ModuleType) or name in ("IntEnum", "IntFlag")
        if not name.startswith("_") and not constant and not foreign:
            yield name


def constants():
    for name in dir(socket):
        if re.fullmatch(r"[A-Z][A-Z0-9_a-z]*", name) and isinstance(getattr(socket, name), int):
            yield name


def server_names():
    for name in socketserver.__all__:
        yield name
        yield from (member for member in vars(getattr(socketserver, name)) if not member.startswith("_"))


def methods():
    for kind in (socket.socket, socket.SocketIO):
        for name in dir(kind):
            if not name.startswith("_") or name in ("__enter__", "__exit__"):
                yield name


# The headers of the socket library; the engine's, a service's and rdm's have words of their own on memory.
HEADERS = "addr base clock connect endpoint errqueue error kind msg multicast names opt option raw sock stamp stream tipc".split()


def nothing_allocates_unseen():
    """Each call is counted in tests/net/alloc*.c, or its header says that it allocates, or it ends what another allocated."""
    counted, silent = set(), set()
    for path in glob.glob(f"{SOURCE}/tests/net/alloc*.c"):
        with open(path) as f:
            text = f.read()
        counted |= set(re.findall(r"\bchime_\w+(?=\()", " ".join(re.findall(r"\bFREE_(?:OF_IT|IN_FAILURE|ANYHOW)\((.*?)\);\n", text, re.S))))
        for armed in re.findall(r"armed = true;\n(.*?)\ttold\(", text, re.S):
            counted |= set(re.findall(r"\bchime_\w+(?=\()", armed))
    for header in HEADERS:
        # A comment, and the declarations below it down to a blank line or the next comment.
        for comment, code in re.findall(r"/\*(.*?)\*/\n((?:(?!/\*|\n\n).)*)", read(f"include/chime/{header}.h"), re.S):
            says = re.search(r"\b[Aa]llocates\b", comment) and "here allocates" not in comment
            for name, arguments in re.findall(r"^CHIME_API[^;(]*?\b(chime_\w+)\(([^;]*)\)", code, re.M):
                # Whoever is given a handle knows that there is one.
                if not says and "chime_sock **out" not in arguments and "chime_sock *out[2]" not in arguments:
                    silent.add(name)
    check("nothing_allocates_that_does_not_say_so", silent - counted)


def main():
    page = read("docs/python-socket.md")
    words = set(re.findall(r"\w+", page))
    check("every_function_and_class_has_its_line", set(module_names()) - words)
    check("every_method_has_its_line", set(methods()) - words)
    prefixes = tuple(re.findall(r"`([A-Z]\w*_)\*`", page))
    check("every_constant_has_its_line", {name for name in constants() if not name.startswith(prefixes) and name not in words})
    check("every_name_of_socketserver_has_its_line", set(server_names()) - words)
    headers = "".join(open(path).read() for path in sorted(glob.glob(f"{SOURCE}/include/chime/*.h")))
    declared = set(re.findall(r"\bchime_\w+|\bCHIME_\w+", headers))
    check("every_chime_name_is_public", set(re.findall(r"\bchime_\w+|\bCHIME_\w+", page)) - declared)

    there = set()
    for path in glob.glob(f"{SOURCE}/tests/net/*.c"):
        with open(path) as f:
            there |= {(os.path.basename(path), test) for test in re.findall(r"^TEST(?:_LIMIT)?\((\w+)", f.read(), re.M)}
    named = set(re.findall(r"`(\w+\.c): (\w+)`", page))
    check("every_test_named_is_there", {f"{file}: {test}" for file, test in named - there})
    rules = {int(n) for n in re.findall(r"^\| (\d+)\. .*\.c: ", page, re.M)}
    check("every_rule_has_a_test", {str(n) for n in set(range(1, 18)) - rules})
    examples = set(re.findall(r"`(examples/[\w/]+\.c)`", page))
    check("every_example_is_there", {e for e in examples if not os.path.exists(os.path.join(SOURCE, e))})
    nothing_allocates_unseen()
    print(f"1..{passed + failed}")
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
