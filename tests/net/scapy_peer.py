"""
The other opinion on raw packets: scapy's. `make SEED N` prints N packets that scapy built, `read` takes packets, and both say what
is in them: a line each, "HEX<tab>DESCRIPTION". What is described is what scapy dissects, with all checksums counted anew by it.
"""
import logging
import random
import sys

logging.getLogger("scapy.runtime").setLevel(logging.ERROR)
try:
    from scapy.config import conf
    conf.ipv6_enabled = True
    from scapy.contrib.igmp import IGMP
    from scapy.contrib.igmpv3 import IGMPv3, IGMPv3gr, IGMPv3mq, IGMPv3mr
    from scapy.layers.inet import ICMP, IP, in4_chksum
    from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
    from scapy.packet import Raw
    from scapy.utils import checksum
except ImportError as e:
    print(f"no scapy: {e}")
    sys.exit(77)

CHANGES = range(1, 7)


def address(r):
    return ".".join(str(r.randrange(256)) for _ in range(4))


def group(r):
    return f"{r.randrange(224, 240)}." + ".".join(str(r.randrange(256)) for _ in range(3))


def v6(r):
    return "2001:db8::" + ":".join(f"{r.randrange(1, 65536):x}" for _ in range(2))


def some(r, most):
    return bytes(r.randrange(256) for _ in range(r.randrange(most)))


# ---- describing ----

def right(packet, layer, field="chksum"):
    """Whether scapy, left to count, comes to the same checksum."""
    said = getattr(packet[layer], field)
    again = packet.copy()
    delattr(again[layer], field)
    return getattr(packet.__class__(bytes(again))[layer], field) == said


def describe_ip(p):
    options = bytes(p)[20:p.ihl * 4].hex()
    return (f"ip tos={p.tos} id={p.id} df={int('DF' in p.flags)} mf={int('MF' in p.flags)} frag={p.frag * 8} ttl={p.ttl} "
            f"proto={p.proto} from={p.src} to={p.dst} options={options} payload={bytes(p)[p.ihl * 4:p.len].hex()} "
            f"sum={int(right(p, IP))}")


def describe_icmp(p):
    body = bytes(p)
    return (f"icmp type={p.type} code={p.code} id={int.from_bytes(body[4:6], 'big')} seq={int.from_bytes(body[6:8], 'big')} "
            f"payload={body[8:].hex()} sum={int(checksum(body) == 0)}")


def describe_icmp6(p):
    e = p.payload
    return (f"icmp6 from={p.src} to={p.dst} type={e.type} code={e.code} id={e.id} seq={e.seq} payload={e.data.hex()} "
            f"sum={int(right(p, e.__class__, 'cksum'))}")


def describe_igmp(body):
    kind = body[0]
    ok = int(checksum(body) == 0)
    if kind == 0x22:
        p = IGMPv3(body)
        records = " ".join(f"{g.rtype}/{g.maddr}/{','.join(g.srcaddrs)}" for g in p[IGMPv3mr].records)
        return f"igmp type=34 records={p[IGMPv3mr].numgrp} {records} sum={ok}"
    if kind == 0x11 and len(body) >= 12:
        p = IGMPv3(body)
        q = p[IGMPv3mq]
        return (f"igmp type=17 v3 group={q.gaddr} code={p.mrcode} s={q.s} qrv={q.qrv} qqic={q.qqic} "
                f"sources={','.join(q.srcaddrs)} sum={ok}")
    p = IGMP(body)
    return f"igmp type={p.type} code={p.mrcode} group={p.gaddr} sum={ok}"


def describe(kind, raw):
    if kind == "ip":
        return describe_ip(IP(raw))
    if kind == "icmp":
        return describe_icmp(ICMP(raw))
    if kind == "icmp6":
        return describe_icmp6(IPv6(raw))
    return describe_igmp(raw)


# ---- making ----

def make_ip(r):
    options = [bytes([7, 7, 4, 0, 0, 0, 0, 0]), b"", bytes([148, 4, 0, 0]), bytes([1, 1, 1, 0])][r.randrange(4)]
    p = IP(tos=r.randrange(256), id=r.randrange(65536), flags=r.choice(["", "DF", "MF"]), frag=r.choice([0, 0, 1, 8191]),
           ttl=r.randrange(256), proto=253, src=address(r), dst=address(r))
    raw = bytes(p / Raw(some(r, 200)))
    if options:  # scapy's own way with options, from bytes: dissected and built again
        body = raw[20:]
        header = bytearray(raw[:20]) + options
        header[0] = 0x40 | (len(header) // 4)
        again = IP(bytes(header) + body)
        del again.len, again.chksum
        raw = bytes(again)
    return raw


def make_icmp(r):
    if r.randrange(2):
        return bytes(ICMP(type=r.choice([0, 8]), id=r.randrange(65536), seq=r.randrange(65536)) / Raw(some(r, 300)))
    return bytes(ICMP(type=3, code=4, nexthopmtu=1400) / IP(src=address(r), dst=address(r), proto=253) / Raw(b"12345678"))


def make_icmp6(r):
    kind = r.choice([ICMPv6EchoRequest, ICMPv6EchoReply])
    return bytes(IPv6(src=v6(r), dst=v6(r)) / kind(id=r.randrange(65536), seq=r.randrange(65536), data=some(r, 300)))


def make_igmp(r):
    which = r.randrange(3)
    if which == 0:
        kind = r.choice([0x11, 0x12, 0x16, 0x17])
        return bytes(IGMP(type=kind, mrcode=r.randrange(256) if kind == 0x11 else 0, gaddr=group(r)))
    if which == 1:
        return bytes(IGMPv3(type=0x11, mrcode=r.randrange(256)) /
                     IGMPv3mq(gaddr=group(r), s=r.randrange(2), qrv=r.randrange(8), qqic=r.randrange(256),
                              srcaddrs=[address(r) for _ in range(r.randrange(5))]))
    records = [IGMPv3gr(rtype=r.choice(CHANGES), maddr=group(r), srcaddrs=[address(r) for _ in range(r.randrange(6))])
               for _ in range(r.randrange(1, 8))]
    return bytes(IGMPv3(type=0x22) / IGMPv3mr(records=records))


def main():
    if sys.argv[1] == "make":
        r = random.Random(sys.argv[2])
        makers = {"ip": make_ip, "icmp": make_icmp, "icmp6": make_icmp6, "igmp": make_igmp}
        for n in range(int(sys.argv[3])):
            kind = list(makers)[n % 4]
            raw = makers[kind](r)
            print(f"{kind}\t{raw.hex()}\t{describe(kind, raw)}")
    else:
        for line in sys.stdin:
            kind, text = line.split()
            print(f"{kind}\t{text}\t{describe(kind, bytes.fromhex(text))}")


main()
