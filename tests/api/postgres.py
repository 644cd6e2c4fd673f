"""postgres.py - a real PostgreSQL server for a test: in a folder of its own, on a free port, as a user without rights.
It ends when the process that started it ends, however that ends.

  tests/api/postgres.py COMMAND...    runs it with STEMFORGE_TEST_QUEUE=postgres://..., then ends the server
"""
import ctypes
import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

PR_SET_PDEATHSIG = 1
STOP = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}
USERS = ("postgres", "nobody")  # whoever there is, when we are root: the server refuses to be


def programs():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=lambda p: int(p.split("/")[4]))
    path = found[-1] if found else shutil.which("initdb")
    if not path:
        raise RuntimeError("expected PostgreSQL's initdb, found none: apt-get install postgresql")
    return os.path.dirname(os.path.realpath(path))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def end_with_parent():
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)


class Postgres:
    """ssl: (certificate, key) files. fsync: as in service; tests that only count rows do without. disk: megabytes of a disk
    of its own, in memory, which fill() can fill; the caller must have the right to mount."""

    def __init__(self, fsync=True, ssl=None, settings=(), disk=None):
        self.bin = programs()
        self.user = None
        if os.getuid() == 0:
            self.user = next(u for u in USERS if any(p.pw_name == u for p in pwd.getpwall()))
        self.top = tempfile.mkdtemp(prefix="stemforge-pg-")
        self.disk = os.path.join(self.top, "disk") if disk else None
        if disk:
            os.mkdir(self.disk)
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={disk}m", "none", self.disk], check=True)
        self.data = os.path.join(self.disk or self.top, "data")
        self.port = free_port()
        for folder in filter(None, (self.top, self.disk)):
            if self.user:
                shutil.chown(folder, self.user)
        self.run("initdb", "-D", self.data, "-U", "stemforge", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8",
                 *([] if fsync else ["-N"]))
        lines = ["listen_addresses = '127.0.0.1'", "unix_socket_directories = ''", f"port = {self.port}",
                 "max_connections = 200", "shared_buffers = 128MB", f"fsync = {'on' if fsync else 'off'}",
                 "timezone = 'UTC'", "log_min_messages = warning", *settings]
        if ssl:
            for name, path in zip(("server.crt", "server.key"), ssl):
                to = os.path.join(self.data, name)
                shutil.copy(path, to)
                os.chmod(to, 0o600)
                if self.user:
                    shutil.chown(to, self.user)
            lines.append("ssl = on")
        with open(os.path.join(self.data, "postgresql.conf"), "a", encoding="utf-8") as f:
            f.write("\n".join(lines) + "\n")
        self.start()

    def run(self, program, *args, check=True):
        as_user = ["runuser", "-u", self.user, "--"] if self.user else []
        p = subprocess.run([*as_user, os.path.join(self.bin, program), *args], cwd="/", capture_output=True, text=True)
        if check and p.returncode:
            raise RuntimeError(f"{program}: {p.stdout}{p.stderr}")
        return p

    def start(self):
        # Not by pg_ctl: its server is nobody's child. The user is changed before the child asks for its parent's death.
        as_user = {"user": self.user, "group": pwd.getpwnam(self.user).pw_gid, "extra_groups": []} if self.user else {}
        with open(os.path.join(self.top, "log"), "ab") as log:
            self.process = subprocess.Popen([os.path.join(self.bin, "postgres"), "-D", self.data], cwd="/", stdout=log,
                                            stderr=log, stdin=subprocess.DEVNULL, preexec_fn=end_with_parent, **as_user)
        end = time.monotonic() + 120
        while self.run("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port), check=False).returncode:
            if self.process.poll() is not None or time.monotonic() > end:
                with open(os.path.join(self.top, "log"), encoding="utf-8") as f:
                    raise RuntimeError("PostgreSQL does not start: " + f.read()[-2000:])
            time.sleep(0.05)

    def stop(self, mode="fast"):
        if self.process.poll() is None:
            self.process.send_signal(STOP[mode])
        self.process.wait(60)

    def restart(self, mode="immediate"):
        self.stop(mode)
        self.start()

    def fill(self, seconds):
        """Leaves no byte free on the disk for that long. The server may end of it; then it is started."""
        filler = os.path.join(self.disk, "filler")
        with open(filler, "wb", buffering=0) as f:
            try:
                while True:
                    f.write(bytes(4096))
            except OSError:
                pass  # it is full
        time.sleep(seconds)
        os.unlink(filler)
        if self.process.poll() is not None:
            self.start()

    def url(self, port=None, **options):
        q = "&".join(f"{k}={v}" for k, v in options.items())
        return f"postgres://stemforge@127.0.0.1:{port or self.port}/postgres" + (f"?{q}" if q else "")

    def sql(self, text):
        """Rows of text columns."""
        p = self.run("psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "stemforge", "-d", "postgres", "-AtX",
                     "-F", "\t", "-v", "ON_ERROR_STOP=1", "-c", text)
        return [line.split("\t") for line in p.stdout.splitlines()]

    def close(self):
        self.stop("immediate")
        if self.disk:
            subprocess.run(["umount", self.disk], check=False)
        shutil.rmtree(self.top, ignore_errors=True)


def main():
    server = Postgres(fsync=False)
    try:
        return subprocess.run(sys.argv[1:], env={**os.environ, "STEMFORGE_TEST_QUEUE": server.url()}, check=False).returncode
    finally:
        server.close()


if __name__ == "__main__":
    sys.exit(main())
