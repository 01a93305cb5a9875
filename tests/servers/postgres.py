"""One PostgreSQL server, of whatever version the machine has. It refuses to run as root: then an account without rights does."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from streams.stores.place import Place
from tests.servers.certificates import Certificates
from tests.servers.process import NotInstalled, NotStarted, Server, command_of, free_port, is_free

LEAST = 14
INSTALL = "Debian: apt install postgresql"
ACCOUNTS = ("postgres", "nobody")
SUPERUSER = "postgres"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    # As in production: what was committed survives.
    "fsync": "on",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_min_messages": "warning",
}


def programs() -> Path:
    """Return the folder of `initdb` and `postgres`, the newest there is.

    Raises:
        NotInstalled: there are none, or they are too old.
    """
    on_path = shutil.which("postgres")
    places = [*Path("/usr/lib/postgresql").glob("*/bin"), *([Path(on_path).resolve().parent] if on_path else [])]
    found = {_version(place): place for place in places if (place / "initdb").exists()}
    newest = max(found, default=0)
    if newest < LEAST:
        which = f", {found[newest]} is {newest}" if newest else ""
        raise NotInstalled(f"no PostgreSQL {LEAST} or newer{which} ({INSTALL})")
    return found[newest]


def _version(place: Path) -> int:
    told = subprocess.run([place / "postgres", "--version"], capture_output=True, text=True, check=False).stdout
    number = re.search(r"(\d+)", told)
    return int(number[1]) if number else 0


def account() -> dict[str, Any]:
    """Return the words by which Popen takes another account, where we are root."""
    if os.geteuid() != 0:
        return {}
    for name in ACCOUNTS:
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}
    raise NotInstalled(f"PostgreSQL does not run as root, and there is no account {' or '.join(ACCOUNTS)}")


class PrivatePostgres(Server):
    """A server with data of its own. With `password` nobody comes in without it, with `tls` nobody in the clear."""

    name = "PostgreSQL"
    family = True
    _stopping = signal.SIGINT  # cuts connections; SIGTERM would wait for them

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str] | None = None,
        *,
        port: int | None = None,
        tls: Certificates | None = None,
        password: str | None = None,
    ) -> None:
        """Take `settings` beside ours (see `SETTINGS`); `password` is that of the superuser `postgres`."""
        super().__init__(folder)
        self.settings = dict(settings or {})
        self.tls = tls
        self.password = password
        self._port = port
        self._facts = self.folder / "server.json"

    @property
    def port(self) -> int:
        """Where it listens; known once it was started, and the same from then on."""
        if self._port is None:
            self._port = int(self._fact("port"))
        return self._port

    @property
    def data(self) -> Path:
        """Its data; elsewhere than in `folder` where that is closed to the account by which it runs."""
        return Path(self._fact("data"))

    def place(self, database: str = "postgres", **more: Any) -> Place:
        """Return where a database of it is, as the superuser unless another is named."""
        words: dict[str, Any] = {"user": SUPERUSER, "password": self.password}
        if self.tls is not None:
            words |= {"tls": True, "ca": self.tls.authority}
        return Place(host="127.0.0.1", port=self.port, database=database, **(words | more))

    def discard(self) -> None:
        """Kill it, and remove its files."""
        self.kill()
        if self._facts.exists():
            shutil.rmtree(self.data.parent, ignore_errors=True)
        super().discard()

    # -- what a server says

    @property
    def _known_by(self) -> str:
        return str(self.data) if self._facts.exists() else "\n"

    def _fact(self, name: str) -> Any:
        return json.loads(self._facts.read_text())[name]

    def _prepare(self) -> None:
        self._programs, self._account = programs(), account()
        found = json.loads(self._facts.read_text()) if self._facts.exists() else {}
        asked = self._port or found.get("port")
        if asked and not is_free(asked):
            if self._port is not None:
                raise NotStarted(f"PostgreSQL does not start: another program listens at 127.0.0.1:{asked}")
            asked = None
        data = Path(found.get("data") or self._room() / "data")
        self._facts.write_text(json.dumps({"port": asked or free_port(), "data": str(data)}))
        self._port = int(self._fact("port"))
        if not (data / "PG_VERSION").exists():
            self._make(data)
        self._own_files(data)
        # Left by a crash. Its pid may be another program's by now, and PostgreSQL would not begin.
        left = data / "postmaster.pid"
        if left.exists() and str(data) not in command_of(int(left.read_text().split()[0])):
            left.unlink()

    def _room(self) -> Path:
        """Return a folder where the account can write: ours, unless a folder above it is closed to others."""
        room = self.folder / "server"
        for place in (room, None):
            chosen = place or Path(tempfile.mkdtemp(prefix="tidings-postgres-", dir="/var/tmp"))
            chosen.mkdir(exist_ok=True, mode=0o700)
            if not self._account:
                return chosen
            os.chown(chosen, self._account["user"], self._account["group"])
            reached = subprocess.run(["test", "-w", chosen], check=False, cwd="/", **self._account)
            if reached.returncode == 0:
                return chosen
        raise NotStarted("PostgreSQL has no folder to write to")

    def _make(self, data: Path) -> None:
        shutil.rmtree(data, ignore_errors=True)
        words: list[str | Path] = [
            self._programs / "initdb", "-D", data, "-U", SUPERUSER, "--encoding=UTF8", "--locale=C", "--no-sync",
            f"--auth={'trust' if self.password is None else 'scram-sha-256'}",
        ]  # fmt: skip
        secret = data.parent / "password"
        if self.password is not None:
            self._give(secret, self.password.encode())
            words.append(f"--pwfile={secret}")
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd="/", **self._account)
        secret.unlink(missing_ok=True)
        if done.returncode != 0:
            raise NotStarted(f"PostgreSQL's data could not be laid out:\n{(done.stdout + done.stderr)[-2000:]}")

    def _own_files(self, data: Path) -> None:
        """Write what may differ from start to start: who is let in, and the certificates."""
        how = "trust" if self.password is None else "scram-sha-256"
        kind = "host" if self.tls is None else "hostssl"
        self._give(data / "pg_hba.conf", f"{kind} all all 127.0.0.1/32 {how}\n".encode())
        if self.tls is not None:
            self._give(data / "server.crt", self.tls.certificate.read_bytes())
            self._give(data / "server.key", self.tls.key.read_bytes())

    def _give(self, file: Path, content: bytes) -> None:
        file.touch(mode=0o600)
        file.chmod(0o600)
        file.write_bytes(content)
        if self._account:
            os.chown(file, self._account["user"], self._account["group"])

    def _command(self) -> tuple[Sequence[str | Path], Mapping[str, Any]]:
        everything = {
            **SETTINGS, "port": str(self.port), **({} if self.tls is None else {"ssl": "on"}), **self.settings,
        }  # fmt: skip
        words = [word for key, value in everything.items() for word in ("-c", f"{key}={value}")]
        return [self._programs / "postgres", "-D", self.data, *words], {"cwd": "/", **self._account}

    def _answers(self) -> bool:
        words: list[str | Path] = [
            self._programs / "pg_isready",
            "-q",
            "-h",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-d",
            "postgres",
        ]
        return subprocess.run(words, check=False).returncode == 0
