"""The examples of raw sockets at work on a link: ICMP echo, the IGMP watcher, headers made by hand."""
import struct

from chime_case import *
from netns import Net

EXAMPLES = os.path.join(BUILD, "examples")


def example(host, name, *arguments):
    return run(*host.prefix, os.path.join(EXAMPLES, name), *arguments)


class Watcher:
    """igmp_watch on eth0 of a host; .lines as they come."""

    def __init__(self, host, *flags):
        self.command = [*host.prefix, os.path.join(EXAMPLES, "igmp_watch"), "eth0", *flags]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        same(self.process.stderr.readline(), "watching eth0\n")
        self.lines = []

        def read():
            for line in self.process.stdout:
                self.lines.append(line.rstrip("\n"))
        self.reader = threading.Thread(target=read, daemon=True)
        self.reader.start()
        return self

    def wait(self, words, source="10.9.0.1"):
        """A line of source that ends with the words; its time is now."""
        line = wait_for(lambda: next((x for x in self.lines if source in x and x.endswith(words)), None), what=f"{words!r}")
        stamp = re.match(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\.\d{6} ", line)
        at = time.mktime(time.strptime(stamp.group(1), "%Y-%m-%d %H:%M:%S"))
        check(time.time() - 60 <= at <= time.time(), line)

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.reader.join(5)
        self.process.stdout.close()
        self.process.stderr.close()


@case
def echoes_with_their_time():
    """icmp_echo gets each answer with the time that it took, over both families, by both kinds of sockets; none is exit 1."""
    with Net() as net:
        for allowed, ttl in (("1 0", True), ("0 2147483647", False)):
            net[0].sysctl("net.ipv4.ping_group_range", allowed)
            for host, shown in (("10.9.0.2", r"10\.9\.0\.2"), ("fd09::2", r"\[fd09::2\]")):
                # a link that has just come up loses packets
                wait_for(lambda: example(net[0], "icmp_echo", host, "1")[0] == 0, what=f"{host} answers")
                code, out, err = example(net[0], "icmp_echo", host, "3", "1ms")
                same((code, err), (0, b""))
                ttl_word = "ttl=64 " if ttl and ":" not in host else ""
                for n, line in enumerate(out.decode().splitlines(), 1):
                    m = re.fullmatch(rf"64 bytes from {shown}: seq={n} {ttl_word}time=(\d+\.\d+) ms", line)
                    check(m and 0 < float(m.group(1)) < 1000 * LIMIT, line)
                same(n, 3, "lines")
        net[1].sysctl("net.ipv4.icmp_echo_ignore_all", 1)
        code, out, _ = example(net[0], "icmp_echo", "10.9.0.2", "1")
        same((code, out), (1, b"seq=1: timed out\n"))


@case
def joins_and_leaves_are_seen():
    """igmp_watch tells joins and leaves of version 3 with their sources, of version 2, and what a query brings up."""
    with Net(3) as net, Watcher(net[1]) as watch, Watcher(net[2]) as third:
        member = socket.inet_aton("10.9.0.1")
        group, specific, source = (socket.inet_aton(a) for a in ("239.5.6.7", "232.5.6.7", "10.9.0.77"))
        with net[0].socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + member)
            watch.wait("v3 report: joins 239.5.6.7")
            s.setsockopt(socket.IPPROTO_IP, 39, specific + member + source)  # IP_ADD_SOURCE_MEMBERSHIP
            watch.wait("v3 report: allow 232.5.6.7 sources 10.9.0.77")
            with Watcher(net[1], "-q") as asked:
                third.wait("query: version 3", source="10.9.0.2")
                wait_for(lambda: any("is in 239.5.6.7" in x and "10.9.0.1 " in x for x in asked.lines), what="what is joined")
                check(any("is include 232.5.6.7 sources 10.9.0.77" in x for x in asked.lines), asked.lines)
            s.setsockopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, group + member)
            watch.wait("v3 report: leaves 239.5.6.7")
        watch.wait("v3 report: block 232.5.6.7 sources 10.9.0.77")
        net[0].sysctl("net.ipv4.conf.eth0.force_igmp_version", 2)
        with net[0].socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + member)
            watch.wait("v2 report: is in 239.5.6.7")
        watch.wait("leave: leaves 239.5.6.7")
        net[0].sysctl("net.ipv4.conf.eth0.force_igmp_version", 1)
        with net[0].socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + member)
            watch.wait("v1 report: is in 239.5.6.7")


@case
def reports_that_are_built_by_hand():
    """A version 3 report of many records, sent by a raw socket, is taken apart as it was put together."""
    with Net() as net, Watcher(net[1]) as watch:
        def record(kind, group, *sources):
            return struct.pack("!BBH", kind, 0, len(sources)) + b"".join(socket.inet_aton(a) for a in (group, *sources))
        body = record(2, "239.1.1.1") + record(1, "232.1.1.1", "10.0.0.1", "10.0.0.2") + record(6, "232.1.1.2", "10.0.0.3")
        message = struct.pack("!BBHHH", 0x22, 0, 0, 0, 3) + body
        total = sum(struct.unpack(f"!{len(message) // 2}H", message))
        total = (total >> 16) + (total & 0xffff)
        message = message[:2] + struct.pack("!H", ~((total >> 16) + total) & 0xffff) + message[4:]
        with net[0].socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP) as s:
            s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.9.0.1"))
            s.sendto(message, ("224.0.0.22", 0))
            watch.wait("v3 report: is in 239.1.1.1, is include 232.1.1.1 sources 10.0.0.1 10.0.0.2, block 232.1.1.2 sources 10.0.0.3")
            s.sendto(message[:-4], ("224.0.0.22", 0))
            watch.wait("the packet is cut short")
            s.sendto(message[:-1] + b"\xff", ("224.0.0.22", 0))
            watch.wait("the packet's checksum is wrong")


@case
def headers_made_by_hand():
    """ip_hdrincl's packets arrive with the fields that were asked for; the kernel fills in source, id, length and checksum."""
    with Net() as net, net[1].socket(socket.AF_INET, socket.SOCK_RAW, 253) as s:
        same(example(net[0], "ip_hdrincl", "-s", "10.9.0.77", "-t", "9", "-T", "184", "-i", "4660", "-d", "10.9.0.2", "hello"),
             (0, b"sent 25 bytes\n", b""))
        packet = s.recv(2000)
        same(struct.unpack("!BBHHHBB", packet[:10]), (0x45, 184, 25, 4660, 0x4000, 9, 253), "the header")
        same((socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20]), packet[20:]), ("10.9.0.77", "10.9.0.2", b"hello"))
        same(example(net[0], "ip_hdrincl", "-r", "10.9.0.2", "route")[0], 0)
        packet = s.recv(2000)
        same((packet[0], packet[8], packet[20:22]), (0x4f, 64, b"\x07\x27"), "header length, TTL and the option")
        same(socket.inet_ntoa(packet[12:16]), "10.9.0.1", "the source that the kernel chose")
        check(packet[4:6] != b"\0\0", "the id that the kernel chose")
        same(packet[60:], b"route")
        same(socket.inet_ntoa(packet[23:27]), "10.9.0.2", "the hop that the receiving kernel put into the route")
        with net[0].socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as replies:
            same(example(net[0], "ip_hdrincl", "-p", "1", "10.9.0.2", "echo!")[0], 0)
            same(replies.recv(2000)[28:], b"echo!", "the reply of the other kernel")
        same(example(net[0], "ip_hdrincl", "10.9.0.2", "x" * 3000)[0], 3, "longer than the MTU: nobody fragments it")
        same(example(net[0], "ip_hdrincl", "-s", "nonsense", "10.9.0.2", "x")[0], 2)


@case
def numbers_are_numbers():
    """A count, a TTL, a protocol that is none is told by the usage line, with 2; nothing is sent."""
    for name, *arguments in (("icmp_echo", "127.0.0.1", "x"), ("icmp_echo", "127.0.0.1", "0"), ("icmp_echo", "127.0.0.1", "1", "soon"),
                             ("igmp_watch", "lo", "abc"), ("igmp_watch", "lo", "-q", "0"), ("igmp_watch", "no-such-if"),
                             ("ip_hdrincl", "-t", "256", "127.0.0.1", "x"), ("ip_hdrincl", "-T", "x", "127.0.0.1", "x"),
                             ("ip_hdrincl", "-i", "65536", "127.0.0.1", "x"), ("ip_hdrincl", "-p", "-1", "127.0.0.1", "x")):
        code, out, err = run(os.path.join(EXAMPLES, name), *arguments)
        same((code, out), (2, b""), f"{name} {' '.join(arguments)}")
        check(b"usage: " + name.encode() in err, err)


main()
