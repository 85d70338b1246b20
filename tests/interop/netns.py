"""Networks for tests: hosts (network namespaces) on a link (veth pairs into a bridge), gone when the block ends."""
import ctypes
import os
import subprocess
import threading

from chime_case import LIMIT, Skip, wait_for

CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def ip(*words, host=None):
    subprocess.run([*(host.prefix if host else ()), "ip", *words], check=True, capture_output=True)


class Host:
    """A network namespace, kept by a process in it that reads from us: it ends when we do."""

    def __init__(self):
        self.keeper = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE)
        self.pid = self.keeper.pid
        self.prefix = ("nsenter", f"--net=/proc/{self.pid}/ns/net", "--")
        own = os.readlink("/proc/self/ns/net")
        try:
            wait_for(lambda: os.readlink(f"/proc/{self.pid}/ns/net") != own or self.keeper.poll() is not None, what="a namespace")
            if self.keeper.poll() is not None:
                raise Skip("no network namespace can be made here (root is needed)")
            self.sysctl("net.ipv6.conf.default.accept_dad", 0)  # addresses are good at once
            ip("link", "set", "lo", "up", host=self)
        except BaseException:
            self.end()
            raise

    def end(self):
        self.keeper.kill()
        self.keeper.wait()
        self.keeper.stdin.close()

    def sysctl(self, name, value):
        path = "/proc/sys/" + name.replace(".", "/")
        subprocess.run([*self.prefix, "sh", "-c", f"echo '{value}' >{path}"], check=True, capture_output=True)

    def socket(self, *arguments):
        """A socket that lives in this namespace."""
        import socket
        made = []

        def make():
            with open(f"/proc/{self.pid}/ns/net") as there:  # a thread's own: the others stay where they are
                if libc.setns(there.fileno(), CLONE_NEWNET) == 0:
                    made.append(socket.socket(*arguments))
        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        if not made:
            raise Skip("no way into a network namespace")
        made[0].settimeout(LIMIT)
        return made[0]


class Net:
    """count hosts on one link: host n has 10.9.0.n+1/24 and fd09::n+1/64 on eth0."""

    def __init__(self, count=2):
        self.count, self.hosts, self.ports = count, [], 0

    def __enter__(self):
        if os.geteuid() != 0:
            raise Skip("network namespaces need root")
        try:
            self.hub = Host()
            self.hosts.append(self.hub)
            ip("link", "add", "br0", "type", "bridge", "mcast_snooping", "0", "forward_delay", "0", host=self.hub)
            ip("link", "set", "br0", "up", host=self.hub)
            for n in range(self.count):
                self.attach(Host(), f"10.9.0.{n + 1}", f"fd09::{n + 1}", "br0", "eth0")
        except subprocess.CalledProcessError as e:
            self.__exit__()
            raise Skip(f"{' '.join(e.cmd)}: {e.stderr.decode().strip()}") from None
        except BaseException:
            self.__exit__()
            raise
        return self

    def attach(self, host, four, six, bridge, name):
        if host not in self.hosts:
            self.hosts.append(host)
        self.ports += 1
        port = f"port{self.ports}"
        ip("link", "add", port, "type", "veth", "peer", "name", name, "netns", str(host.pid), host=self.hub)
        ip("link", "set", port, "master", bridge, "up", host=self.hub)
        ip("link", "set", name, "up", host=host)
        ip("addr", "add", f"{four}/24", "brd", "+", "dev", name, host=host)
        ip("addr", "add", f"{six}/64", "dev", name, "nodad", host=host)
        wait_for(lambda: b"tentative" not in subprocess.run([*host.prefix, "ip", "-6", "addr"], capture_output=True).stdout,
                 what="IPv6 addresses")

    def __getitem__(self, n):
        return self.hosts[n + 1]

    def __exit__(self, *_):
        for host in self.hosts:
            host.end()
