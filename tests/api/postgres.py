"""postgres.py - a real PostgreSQL server for a test: in a folder of its own, on a free port, as a user without rights.

  tests/api/postgres.py COMMAND...    runs it with STEMFORGE_TEST_QUEUE=postgres://..., then ends the server
"""
import glob
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time

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


class Postgres:
    """ssl: (certificate, key) files. fsync: as in service; tests that only count rows do without."""

    def __init__(self, fsync=True, ssl=None, settings=()):
        self.bin = programs()
        self.user = None
        if os.getuid() == 0:
            self.user = next(u for u in USERS if any(p.pw_name == u for p in pwd.getpwall()))
        self.top = tempfile.mkdtemp(prefix="stemforge-pg-")
        self.data = os.path.join(self.top, "data")
        self.port = free_port()
        if self.user:
            shutil.chown(self.top, self.user)
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
        # pg_ctl's children keep its output open: it may not be a pipe of ours.
        as_user = ["runuser", "-u", self.user, "--"] if self.user else []
        for _ in range(50):
            p = subprocess.run([*as_user, os.path.join(self.bin, "pg_ctl"), "-D", self.data, "-w", "-t", "60", "-s",
                                "-l", os.path.join(self.top, "log"), "start"], cwd="/", check=False,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if p.returncode == 0:
                return
            time.sleep(0.2)  # the one before may still be going
        with open(os.path.join(self.top, "log"), encoding="utf-8") as f:
            raise RuntimeError("PostgreSQL does not start: " + f.read()[-2000:])

    def stop(self, mode="fast"):
        self.run("pg_ctl", "-D", self.data, "-m", mode, "-w", "-t", "60", "stop", check=False)

    def restart(self, mode="immediate"):
        self.stop(mode)
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
        shutil.rmtree(self.top, ignore_errors=True)


def main():
    server = Postgres(fsync=False)
    try:
        return subprocess.run(sys.argv[1:], env={**os.environ, "STEMFORGE_TEST_QUEUE": server.url()}, check=False).returncode
    finally:
        server.close()


if __name__ == "__main__":
    sys.exit(main())
