"""
A guest: a kernel booted to run programs and nothing else.

Kernel messages and what the program prints take two ways out: the console goes to a file, the program has a serial line.
On it, lines with a random word mark where the output begins and how the program ended; whatever ends without that
line did not end well.
"""
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile

import kernel as kernels

TIME_OVER, NO_RESULT = 124, 125

# The whole of the host, writable, and nothing of what is written is left.
UML_INIT = """#!{busybox} sh
{busybox} mount -t tmpfs none /mnt && {busybox} mkdir /mnt/new /mnt/work /mnt/root
{insmod}
{busybox} mount -t overlay none -o lowerdir=/,upperdir=/mnt/new,workdir=/mnt/work /mnt/root
for d in proc sys dev run; do
	{busybox} mount -t tmpfs none /mnt/root/$d
done
exec {busybox} chroot /mnt/root {busybox} sh {job}
"""

JOB = """#!{busybox} sh
b={busybox}
$b mount -t proc none /proc
$b mount -t sysfs none /sys
$b mount -t devtmpfs none /dev
$b mkdir -p /dev/pts /dev/shm /run/lock
$b mount -t devpts none /dev/pts
$b mount -t tmpfs none /dev/shm
[ -e /dev/fd ] || $b ln -s /proc/self/fd /dev/fd
$b ip link set lo up
$b hostname guest
$b stty -F {tty} raw -echo
exec >{tty} 2>&1
{insmod}
echo 1 >/proc/sys/kernel/panic_on_oops
cd {cwd}
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 {env}
ulimit -n {files}
echo "{word} begin"
{programs}
echo "{word} end"
exec >/dev/null 2>&1
$b poweroff -f
"""


def _closure(path):
    """A program's shared libraries and its loader, as ldd names them."""
    done = subprocess.run(["ldd", path], capture_output=True, text=True)
    return re.findall(r"(?:=> |^\s*)(/\S+) \(0x", done.stdout, re.M)


class Archive:
    """A newc cpio archive, which is what an initramfs is."""

    def __init__(self, out):
        self.out, self.names, self.inode = out, set(), 0

    def _entry(self, name, mode, data=b""):
        self.inode += 1
        name = name.strip("/").encode() + b"\0"
        fields = [self.inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0]
        head = b"070701" + b"".join(b"%08X" % f for f in fields) + name
        self.out.write(head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4))

    def folder(self, path):
        path = "/" + path.strip("/")
        if path == "/" or path in self.names:
            return
        self.folder(os.path.dirname(path))
        self.names.add(path)
        self._entry(path, 0o041777 if path in ("/tmp", "/var/tmp") else 0o040755)

    def data(self, path, data, mode=0o755):
        if path in self.names:
            return
        self.folder(os.path.dirname(path))
        self.names.add(path)
        self._entry(path, 0o100000 | mode, data)

    def file(self, path, source=None):
        if path not in self.names:
            with open(source or path, "rb") as f:
                self.data(path, f.read(), os.stat(source or path).st_mode & 0o777)

    def program(self, path):
        """A file, with the libraries it needs; a folder with all that is in it."""
        if os.path.isdir(path):
            self.folder(path)
            for name in os.listdir(path):
                self.program(os.path.join(path, name))
            return
        self.file(path)
        with open(path, "rb") as f:
            elf = f.read(4) == b"\x7fELF"
        for library in _closure(path) if elf else []:
            self.file(library)

    def link(self, path, target):
        if path not in self.names:
            self.folder(os.path.dirname(path))
            self.names.add(path)
            self._entry(path, 0o120777, target.encode())

    def end(self):
        self._entry("TRAILER!!!", 0)


class Guest:
    def __init__(self, name, *, modules=(), mem="256M", timeout=120, env=(), carry=(), files=20000, log=None,
                 parameters=(), wire=None):
        self.name, self.mem, self.timeout, self.env, self.carry = name, mem, timeout, list(env), list(carry)
        self.files, self.log, self.parameters = files, log, list(parameters)
        self.kernel = kernels.KERNELS[name]()
        self.uml = name == "uml"
        self.modules = self.kernel.in_order(["ipv6", *modules])
        self.wires = () if wire is None else (wire,)  # a datagram socket's descriptor; in user-mode Linux it is vec0
        self.parameters += [f"vec0:transport=fd,fd={wire},depth=64" for wire in self.wires]

    def run(self, programs, show=lambda line: print(line, flush=True), ran=lambda: None):
        """
        Runs each [program, argument...] in turn, gives show each line of output, and calls ran after each. Returns the exit
        codes; if the guest did not live to the end there may be fewer than programs, the last is TIME_OVER or NO_RESULT, and
        trouble has more on it.
        """
        self.trouble = ""
        self.word = f"#{secrets.token_hex(8)}"
        # /dev and /run are the guest's own
        place = "/tmp" if re.match(r"/(dev|run)/", tempfile.gettempdir()) else None
        with tempfile.TemporaryDirectory(prefix="chime-vm.", dir=place) as self.folder:
            console = self.log or os.path.join(self.folder, "console")
            command, env = (self._uml if self.uml else self._qemu)(programs)
            # timeout(1) ends the guest even if this process is killed
            command = ["timeout", "-k", "5", str(self.timeout), *command]
            with open(console, "ab") as log:
                codes, whole = self._follow(command, env, log, show, ran)
            with open(console, errors="replace") as f:
                said = f.read().splitlines()
        if whole is not True:
            why = f"not done within {self.timeout} s" if whole == TIME_OVER else "it ended without a result"
            self.trouble = "\n    ".join([f"the guest {self.name}: {why}; what its kernel said last:", *said[-25:]])
            codes = codes[:len(programs) - 1] + [whole]
        return codes

    def _follow(self, command, env, log, show, ran):
        """Shows what the programs print. Their codes, and True, or how the guest ended without saying so."""
        out = {"stdout": log, "stderr": subprocess.PIPE} if self.uml else {"stdout": subprocess.PIPE, "stderr": log}
        guest = subprocess.Popen(command, stdin=subprocess.DEVNULL, env={**os.environ, **env}, pass_fds=self.wires, **out)
        begun, whole, codes = False, False, []
        mark = re.compile(rf"(.*){self.word} (ran (\d+)|end)$")

        def ended(number, _frame):
            sys.exit(128 + number)
        before = {n: signal.signal(n, ended) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
        try:
            for raw in guest.stderr if self.uml else guest.stdout:
                line = raw.decode(errors="replace").rstrip("\r\n")
                if not begun:
                    begun = line == f"{self.word} begin"
                elif m := mark.match(line):
                    if m.group(1):
                        show(m.group(1))
                    if m.group(3):
                        codes.append(int(m.group(3)))
                        ran()
                    else:
                        whole = True
                        break
                else:
                    show(line)
            status = guest.wait()
        finally:
            if guest.poll() is None:
                guest.terminate()
                guest.wait()
            for n, handler in before.items():
                signal.signal(n, handler)
        return codes, whole or (TIME_OVER if status in (124, 137) else NO_RESULT)

    def _job(self, programs, busybox, module_paths, tty):
        return JOB.format(
            busybox=busybox, tty=tty, word=self.word, files=self.files, cwd=shlex.quote(os.getcwd()),
            env=" ".join(shlex.quote(e) for e in self.env),
            insmod="\n".join(f"$b insmod {p}" for p in module_paths),
            programs="\n".join(f"{shlex.join(p)} </dev/null\necho \"{self.word} ran $?\"" for p in programs))

    def _write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, 0o755)
        return path

    def _uml(self, programs):
        busybox = kernels.busybox()
        job = self._write("job", self._job(programs, busybox, self.modules, "/dev/ttyS0"))
        overlay = "\n".join(f"{busybox} insmod {p}" for p in self.kernel.in_order(["overlay"]))
        init = self._write("init", UML_INIT.format(busybox=busybox, insmod=overlay, job=job))
        command = [self.kernel.image, f"mem={self.mem}", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro",
                   f"init={init}", f"uml_dir={self.folder}", "con=null", "con0=null,fd:1", "ssl=null", "ssl0=null,fd:2",
                   "quiet", "panic=-1", *self.parameters]
        env = {"LD_PRELOAD": kernels.uml_preload()}
        if os.access("/dev/shm", os.W_OK):
            env["TMPDIR"] = "/dev/shm"  # its memory is a file there
        return command, env

    def _qemu(self, programs):
        qemu = shutil.which("qemu-system-x86_64")
        if not qemu:
            raise kernels.Missing("qemu-system-x86_64 is not installed (scripts/packages vm)")
        busybox = "/bin/busybox"
        image = os.path.join(self.folder, "initramfs")
        names = [f"/modules/{n:02}.ko" for n in range(len(self.modules))]
        with open(image, "wb") as out:
            a = Archive(out)
            for folder in ("/dev", "/proc", "/sys", "/tmp", "/var/tmp", "/run", "/root", os.getcwd()):
                a.folder(folder)
            a.file(busybox, kernels.busybox())
            for name, path in zip(names, self.modules):
                a.data(name, self.kernel.read(path))
            for program in [*(p[0] for p in programs), *self.carry]:
                a.program(program)
            for name in ("hosts", "nsswitch.conf", "passwd", "group", "services", "protocols", "localtime", "host.conf"):
                if os.path.exists(f"/etc/{name}"):
                    a.file(f"/etc/{name}")
            applets = subprocess.run([kernels.busybox(), "--list"], capture_output=True, text=True).stdout.split()
            for applet in applets:
                a.link(f"/bin/{applet}", busybox)
            a.data("/init", self._job(programs, busybox, names, "/dev/ttyS1").encode())
            a.end()
        command = [qemu, "-accel", "tcg", "-M", "pc", "-cpu", "max", "-m", self.mem, "-smp", "1", "-nodefaults",
                   "-no-user-config", "-display", "none", "-no-reboot", "-kernel", self.kernel.image, "-initrd", image,
                   "-append", " ".join(["console=ttyS0", "panic=-1", "quiet", *self.parameters]), "-chardev", "stdio,id=out,signal=off",
                   "-serial", "chardev:console", "-serial", "chardev:out",
                   "-chardev", f"file,id=console,append=on,path={self.log or os.path.join(self.folder, 'console')}"]
        return command, {}
