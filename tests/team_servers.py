"""PostgreSQL and S3 on the loopback, and a way to a server that can be closed: for the tests of a team's set-up."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from servers import free_port

PLACES = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "opt/homebrew/opt/postgresql*/bin", "usr/local/opt/*/bin")
PROGRAMS = ("initdb", "pg_ctl", "createuser", "createdb", "pg_dump", "pg_restore")


def postgresql_programs() -> Path:
    """Return the folder of PostgreSQL's programs; skip where it is not installed."""
    found = [Path(name).resolve().parent for name in [shutil.which("initdb")] if name]
    found += [folder for place in PLACES for folder in sorted(Path("/").glob(place), reverse=True)]
    for folder in found:
        if all((folder / name).exists() for name in PROGRAMS):
            return folder
    pytest.skip("no PostgreSQL is installed (Debian: apt-get install postgresql)")


class Database:
    """A PostgreSQL server with files of its own, run by another account where this one is root, as it demands."""

    def __init__(self, programs: Path):
        self.programs = programs
        # not below pytest's folders, which other accounts cannot enter
        self.folder = Path(tempfile.mkdtemp(prefix="postgresql"))
        self.port = free_port()
        self.account = {}
        if os.getuid() == 0:
            names = {entry.pw_name for entry in pwd.getpwall()}
            account = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
            self.account = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        # who comes by the socket in that folder is believed; by the network a password is asked for
        options = ("--username", "postgres", "--auth-local", "trust", "--auth-host", "scram-sha-256")
        self.run("initdb", "--pgdata", str(self.folder / "data"), *options)
        self.start()

    def run(self, name: str, *arguments: str, given: str = "") -> None:
        """Run one of PostgreSQL's programs as its administrator, in its folder; `given`: what it reads."""
        place = {"PGHOST": str(self.folder), "PGPORT": str(self.port), "PGUSER": "postgres"}
        log = self.folder / "log"
        with log.open("a") as written:
            done = subprocess.run(
                [str(self.programs / name), *arguments],
                cwd=self.folder,
                env={**os.environ, **place},
                input=given.encode(),
                stdout=written,
                stderr=written,
                check=False,
                timeout=120,
                start_new_session=True,  # without a terminal a password is read from what is given
                **self.account,
            )
        assert done.returncode == 0, log.read_text()

    def start(self) -> None:
        """Start it, again after a stop, and wait until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
        server = ("--log", str(self.folder / "server.log"), "--options", options)
        self.run("pg_ctl", "start", "--wait", "--pgdata", str(self.folder / "data"), *server)

    def stop(self) -> None:
        """Stop it as a crash does: at once, in the middle of what it does."""
        self.run("pg_ctl", "stop", "--mode", "immediate", "--pgdata", str(self.folder / "data"))


@contextmanager
def database() -> Iterator[Database]:
    """Run a PostgreSQL server; skip where there is none."""
    server = Database(postgresql_programs())
    try:
        yield server
    finally:
        with contextlib.suppress(AssertionError):  # it may be stopped
            server.stop()
        shutil.rmtree(server.folder)


@contextmanager
def object_store(folder: Path) -> Iterator[int]:
    """Run an S3 server that keeps its objects in memory; yield its port; skip where moto is not installed."""
    pytest.importorskip("moto", reason="no moto, the S3 server of the tests (pip install 'moto[s3]')")
    port = free_port()
    with (folder / "s3.log").open("w") as log:
        command = [str(Path(sys.executable).parent / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for _ in range(240):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None, (folder / "s3.log").read_text()
            time.sleep(0.25)
        yield port
    finally:
        process.terminate()
        process.wait(30)


class Way:
    """A port of the loopback that leads to a server while it is open; closed, it is as if the server were away."""

    def __init__(self, target: int):
        self.target = target
        self.port = free_port()
        self.passed = 0  # bytes to the server
        self.least = None
        self.lock = threading.Lock()
        self.open()

    def open(self, least: int | None = None) -> None:
        """Open it; `least`: it closes by itself, in the middle, once so many more bytes went to the server."""
        self.passed, self.least, self.both = 0, least, set()
        self.listening = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self.listening,), daemon=True).start()

    def close(self) -> None:
        """Refuse what comes, and break what is under way."""
        with self.lock:
            for end in (self.listening, *self.both):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
            self.both = set()

    @property
    def closed(self) -> bool:
        """Whether it refuses."""
        return self.listening.fileno() < 0

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                client, _ = listening.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            with self.lock:
                self.both |= {client, server}
            for ends in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._hand_on, args=ends, daemon=True).start()

    def _hand_on(self, one: socket.socket, other: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                if counted:
                    self.passed += len(data)
                    if self.least is not None and self.passed > self.least:
                        self.close()
                        return
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
