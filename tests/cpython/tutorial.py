"""
The tutorial's server and client, as they are, both on the interpreter that runs this. usage: tutorial.py FOLDER
"""
import re
import socket
import subprocess
import sys
import time

FOLDER = sys.argv[1]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


port = free_port()
server = subprocess.Popen([sys.executable, f"{FOLDER}/tutorial_server.py", str(port)], stdout=subprocess.PIPE, text=True)
try:
    assert server.stdout.readline() == "waiting for connection...\n"
    for _ in range(2):  # one client after the other
        before = int(time.time())
        client = subprocess.run([sys.executable, f"{FOLDER}/tutorial_client.py", str(port)], input="i\nzwei Wörter\n\n", timeout=30,
                                capture_output=True, text=True, encoding="utf-8")
        said = re.fullmatch(r">>:(.{24})i\n>>:(.{24})zwei Wörter\n>>:", client.stdout)
        assert client.returncode == 0 and said, client
        for stamp in said.groups():
            assert before - 1 <= time.mktime(time.strptime(stamp)) <= time.time(), stamp
        assert re.fullmatch(r"\.\.\.connected from: \('127\.0\.0\.1', \d+\)\n", server.stdout.readline())
        assert server.stdout.readline() == "waiting for connection...\n"
finally:
    server.kill()
    server.wait()
    server.stdout.close()
