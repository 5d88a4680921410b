"""Programs that try to get out of a sandbox. Each calls ``got()`` when it got what it wanted.

They know ``W`` (port, unix, abstract, secret_file, victim, folder, home), ``SECRET`` and the prelude.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PRELUDE = """\
import ctypes, glob, os, platform, resource, signal, socket, subprocess, tempfile, threading, time
libc = ctypes.CDLL(None, use_errno=True)
X86 = platform.machine() == "x86_64"
def got(): print("ESCAPED", flush=True)
def tried(call, *arguments):
    try: call(*arguments)
    except (OSError, ValueError): return False
    return True
def anywhere(pattern, wanted):
    for path in glob.glob(pattern):
        try:
            with open(path, "rb") as file: text = file.read()
        except OSError: continue
        if wanted in text: return True
    return False
"""


@dataclass(frozen=True)
class Attempt:
    """`outside`: on the bare machine it works, and does no harm."""

    code: str
    outside: bool = field(default=False, kw_only=True)


NETWORK = {
    "tcp to loopback": Attempt(
        'print(socket.create_connection(("127.0.0.1", W["port"]), 3).recv(9).decode())', outside=True
    ),
    "a socket in the file system": Attempt(
        's = socket.socket(socket.AF_UNIX)\ns.connect(W["unix"])\nprint(s.recv(9).decode())', outside=True
    ),
    "a socket without a file": Attempt(
        's = socket.socket(socket.AF_UNIX)\ns.connect("\\0" + W["abstract"])\nprint(s.recv(9).decode())',
        outside=True,
    ),
    "an interface that leads out": Attempt(
        'lines = open("/proc/net/dev").read().splitlines()[2:]\n'
        'if any(line.split(":")[0].strip() != "lo" for line in lines): got()'
    ),
    "a raw socket": Attempt("socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\ngot()"),
}

SECRETS = {
    "the key in the environment": Attempt('if os.environ.get("OPENAI_API_KEY"): got()', outside=True),
    "the environment of any process": Attempt(
        'if anywhere("/proc/[0-9]*/environ", SECRET.encode()): got()', outside=True
    ),
    "the command line of any process": Attempt(
        'if anywhere("/proc/[0-9]*/cmdline", b"sleep\\x001000"): got()', outside=True
    ),
    "a file outside": Attempt('if open(W["secret_file"]).read() == SECRET: got()', outside=True),
    "the home folder": Attempt(
        'home = W["home"]\nnames = set(os.listdir(home)) if os.path.isdir(home) else set()\n'
        'if names - {".pyenv", ".local", ".venv"}: got()'
    ),
    "accounts": Attempt('if "root" in open("/etc/passwd").read(): got()', outside=True),
    "descriptors left open": Attempt(
        "for fd in range(3, 256):\n"
        '    try: target = os.readlink(f"/proc/self/fd/{fd}")\n'
        "    except OSError: continue\n"
        '    if not target.startswith(("/proc", "anon_inode")): got()'
    ),
    "a symlink out of the folder": Attempt(
        'place = os.path.join(tempfile.mkdtemp(), "link")\nos.symlink(W["secret_file"], place)\n'
        "if open(place).read() == SECRET: got()",
        outside=True,
    ),
    "through another process's root": Attempt(
        'if anywhere("/proc/[0-9]*/root" + W["secret_file"], SECRET.encode()): got()', outside=True
    ),
}

SYSTEM = {
    "writing to the system": Attempt(
        'for place in ("/usr/x", "/x", "/etc/x", "/proc/sys/kernel/hostname", "/dev/x"):\n'
        '    if tried(open, place, "w"): got()'
    ),
    "writing to Python's libraries": Attempt(
        'open(os.path.join(os.path.dirname(os.__file__), "x.py"), "w")\ngot()'
    ),
    "writing outside": Attempt('open(W["folder"] + "/written", "w").write("x")\ngot()', outside=True),
    "mounting": Attempt('if libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0: got()'),
    "remounting to write": Attempt('if libc.mount(None, b"/usr", None, 32 | 4096, None) == 0: got()'),
    "new namespaces": Attempt(
        "if any(libc.unshare(flag) == 0 for flag in (0x10000000, 0x20000, 0x40000000)): got()"
    ),
    "a namespace of a process outside": Attempt(
        'fd = os.open("/proc/1/ns/net", os.O_RDONLY)\nif libc.setns(fd, 0) == 0: got()'
    ),
    "chroot": Attempt('os.chroot("/tmp")\ngot()'),
    "setuid back to root": Attempt(
        "if any(tried(call, 0) for call in (os.setuid, os.seteuid, os.setgid)): got()"
    ),
    "a setuid program": Attempt(
        'for name in glob.glob("/usr/bin/*"):\n'
        "    if os.stat(name).st_mode & 0o4000:\n"
        '        argv, none = [name, "-c", "id -u"], subprocess.DEVNULL\n'
        "        said = subprocess.run(argv, capture_output=True, stdin=none)\n"
        '        if said.stdout.strip() == b"0": got()'
    ),
    "kernel messages": Attempt("if libc.klogctl(3, ctypes.create_string_buffer(4096), 4096) > 0: got()"),
    "the disk itself": Attempt(
        'os.mknod("/tmp/disk", 0o60600, os.makedev(8, 0))\nopen("/tmp/disk", "rb")\ngot()'
    ),
    "system requests": Attempt('open("/proc/sysrq-trigger", "w")\ngot()'),
    "the kernel's key ring": Attempt(
        'if libc.syscall(248 if X86 else 217, b"user", b"x", b"y", 1, -3) > 0: got()'
    ),
    "io_uring": Attempt("if libc.syscall(425, 4, ctypes.create_string_buffer(120)) >= 0: got()"),
    "bpf": Attempt(
        "if libc.syscall(321 if X86 else 280, 0, ctypes.create_string_buffer(128), 128) >= 0: got()"
    ),
}

PROCESSES = {
    "ptrace of a process outside": Attempt(
        'if libc.ptrace(16, W["victim"], 0, 0) == 0: got(); libc.ptrace(17, W["victim"], 0, 0)'
    ),
    "ptrace at all": Attempt(
        "child = os.fork()\nif not child: time.sleep(3); os._exit(0)\n"
        "if libc.ptrace(16, child, 0, 0) == 0: got()\nos.kill(child, 9)"
    ),
    "reading another process's memory": Attempt('open(f"/proc/{W[\'victim\']}/mem", "rb")\ngot()'),
    "a signal to a process outside": Attempt('os.kill(W["victim"], 0)\ngot()', outside=True),
    "killing a process outside": Attempt('os.kill(W["victim"], 9)\ngot()'),
    "keystrokes into the terminal": Attempt(
        'import fcntl, termios\nfcntl.ioctl(0, termios.TIOCSTI, b"x")\ngot()'
    ),
}

RESOURCES = {
    "raising its own limits": Attempt(
        "for kind in (resource.RLIMIT_NPROC, resource.RLIMIT_AS, resource.RLIMIT_FSIZE):\n"
        "    if tried(resource.setrlimit, kind, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)): got()"
    ),
    "a fork bomb": Attempt(
        "count = 0\n"
        "try:\n"
        "    while count < 200:\n"
        "        if not os.fork(): time.sleep(5); os._exit(0)\n"
        "        count += 1\n"
        "except OSError: pass\n"
        "if count >= 100: got()"
    ),
    "a bomb of threads": Attempt(
        "count = 0\n"
        "try:\n"
        "    while count < 200:\n"
        "        threading.Thread(target=time.sleep, args=(5,), daemon=True).start()\n"
        "        count += 1\n"
        "except RuntimeError: pass\n"
        "if count >= 100: got()"
    ),
    "filling the memory": Attempt(
        'x = bytearray(512 << 20)\nx[::4096] = b"x" * len(x[::4096])\ngot()', outside=True
    ),
    "filling the memory in pieces": Attempt(
        "for _ in range(8):\n"
        "    if not os.fork():\n"
        "        x = bytearray(100 << 20)\n"
        '        x[::4096] = b"x" * len(x[::4096])\n'
        "        time.sleep(3)\n"
        "        got()\n"
        "        os._exit(0)\n"
        "time.sleep(4)"
    ),
    "filling the disk": Attempt(
        'for place in (os.getcwd(), tempfile.gettempdir(), "/dev/shm"):\n'
        "    try:\n"
        "        for number in range(12):\n"
        '            with open(f"{place}/fill{number}", "wb") as file: file.write(b"x" * (1 << 20))\n'
        "        got()\n"
        "    except OSError: pass"
    ),
    "one huge file": Attempt(
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        'with open("huge", "wb") as file: file.write(b"x" * (6 << 20))\n'
        "got()"
    ),
    "computing forever": Attempt("while time.process_time() < 4: pass\ngot()"),
    "sleeping forever": Attempt("time.sleep(30)\ngot()"),
    "output without end": Attempt('while True: print("x" * 10_000)'),
    "living on in the background": Attempt(
        "if os.fork(): os._exit(0)\n"
        "os.setsid()\n"
        "for fd in (0, 1, 2): os.close(fd)\n"
        "while True: libc.getpid(); time.sleep(0.01)"
    ),
}

ATTEMPTS = NETWORK | SECRETS | SYSTEM | PROCESSES | RESOURCES
