"""Debian's own kernels, taken from its archive into a cache, without being installed; and their modules."""
import contextlib
import fcntl
import glob
import lzma
import os
import re
import shutil
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
CACHE = os.environ.get("CHIME_VM_CACHE") or os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "chime-vm")

# What modules need and do not say; where the kernel has it built in, so much the better.
BEFORE = {
    "sctp": ["crc32c_generic", "hmac", "sha1_generic", "md5"],
    "tls": ["gcm", "ghash_generic", "ctr", "aes_generic"],
}
AFTER = {"rds": ["rds_tcp"]}


class Missing(Exception):
    """Something that a guest needs cannot be had; the text says what."""


def _run(*arguments, cwd=None):
    """Whether it went well, what it printed, and why it did not."""
    try:
        done = subprocess.run(arguments, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except OSError as e:
        return False, "", str(e)
    return done.returncode == 0, done.stdout, (done.stderr.strip().splitlines() or ["no reason given"])[-1]


def _update():
    _run(*([] if os.getuid() == 0 else ["sudo", "-n"]), "apt-get", "update", "-q")


def _download(package, folder):
    """The package's file. The lists of packages are fetched anew if they are absent or name a file that is gone."""
    command = ["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", package]
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise Missing("the kernels are taken from Debian's archive by apt-get and dpkg-deb, which are not here")
    good, _, why = _run(*command, cwd=folder)
    if not good:
        _update()
        good, _, why = _run(*command, cwd=folder)
    files = glob.glob(os.path.join(folder, "*.deb"))
    if not good or len(files) != 1:
        raise Missing(f"apt-get download {package}: {why}")
    return files[0]


def unpacked(package):
    """The folder where the package's files are, got from the archive if they are not there yet."""
    folder = os.path.join(CACHE, package)
    try:
        os.makedirs(CACHE, exist_ok=True)
        lock = open(os.path.join(CACHE, "lock"), "w")
    except OSError as e:
        raise Missing(f"the cache for kernels, {CACHE} ($CHIME_VM_CACHE): {e.strerror}") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.isdir(folder):
            return folder
        with tempfile.TemporaryDirectory(dir=CACHE) as work:
            deb = _download(package, work)
            subprocess.run(["dpkg-deb", "-x", deb, os.path.join(work, "x")], check=True)
            os.rename(os.path.join(work, "x"), folder)
    return folder


def busybox():
    return os.path.join(unpacked("busybox-static"), "bin", "busybox")


def uml_preload():
    """The library that uml_xstate.c is about, compiled into the cache."""
    source, target = os.path.join(HERE, "uml_xstate.c"), os.path.join(CACHE, "uml_xstate.so")
    if not os.path.exists(target) or os.path.getmtime(target) < os.path.getmtime(source):
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if not compiler:
            raise Missing("no C compiler")
        with tempfile.TemporaryDirectory(dir=CACHE) as work:
            made = os.path.join(work, "made.so")
            subprocess.run([compiler, "-O2", "-D_GNU_SOURCE", "-shared", "-fPIC", "-o", made, source], check=True)
            os.rename(made, target)
    return target


class Kernel:
    def __init__(self, image, modules):
        self.image, self.modules = image, modules
        self.found = {}
        for folder, _, names in os.walk(modules):
            for name in names:
                if m := re.fullmatch(r"(.+)\.ko(\.xz)?", name):
                    self.found[m.group(1).replace("-", "_")] = os.path.join(folder, name)
        self.builtin = set()
        with contextlib.suppress(FileNotFoundError), open(os.path.join(modules, "modules.builtin")) as f:
            self.builtin = {os.path.basename(line.strip())[:-3].replace("-", "_") for line in f}

    def read(self, path):
        with open(path, "rb") as f:
            data = f.read()
        return lzma.decompress(data) if path.endswith(".xz") else data

    def in_order(self, names):
        """The files to load for these modules, what others need first."""
        order, seen = [], set()

        def visit(name, must=True):
            name = name.replace("-", "_")
            if name in seen:
                return
            seen.add(name)
            path = self.found.get(name)
            if not path:
                if must and name not in self.builtin:
                    raise Missing(f"this kernel has no module {name}")
                return
            says = re.search(rb"\0depends=([^\0]*)\0", self.read(path))
            for other in filter(None, says.group(1).decode().split(",") if says else []):
                visit(other)
            for other in BEFORE.get(name, []):
                visit(other, must=False)
            order.append(path)
            for other in AFTER.get(name, []):
                visit(other)

        for name in names:
            visit(name)
        return order


def _uml():
    folder = unpacked("user-mode-linux")
    modules = glob.glob(os.path.join(folder, "usr/lib/uml/modules/*"))
    return Kernel(os.path.join(folder, "usr/bin/linux.uml"), modules[0])


def _newest(version):
    _, out, _ = _run("apt-cache", "search", "--names-only", rf"^linux-image-{re.escape(version)}\..*-cloud-amd64$")
    found = re.findall(r"^(linux-image-\S+)", out, re.M)
    return max(found, key=lambda p: [int(n) for n in re.findall(r"\d+", p)], default=None)


def _cloud(version):
    """The cloud flavour: the newest that the archive has, or had when one was fetched."""
    have = sorted(glob.glob(os.path.join(CACHE, f"linux-image-{version}.*-cloud-amd64")), key=os.path.getmtime)
    package = os.path.basename(have[-1]) if have else _newest(version)
    if not package:
        _update()
        package = _newest(version)
    if not package:
        raise Missing(f"the archive has no linux-image-{version}.*-cloud-amd64")
    folder = unpacked(package)
    return Kernel(glob.glob(os.path.join(folder, "boot/vmlinuz-*"))[0], glob.glob(os.path.join(folder, "lib/modules/*"))[0])


KERNELS = {
    "uml": _uml,
    "qemu-6.1": lambda: _cloud("6.1"),
    "qemu-6.12": lambda: _cloud("6.12"),
}
