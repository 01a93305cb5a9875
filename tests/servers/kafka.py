"""One Kafka broker that is its own controller (KRaft)."""

from __future__ import annotations

import base64
import json
import secrets
import socket
import ssl
import struct
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from streams.kafka.connection import Connection
from tests.servers.certificates import Certificates
from tests.servers.java import HERE, jars, java
from tests.servers.process import NotStarted, Server, free_port, is_free

MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-512")
BROKER = "broker"
"""The user by which the broker calls itself, where it has users."""
API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 4711, -1)
"""A request that every client begins with: key 18, version 0, a number to know the answer by, no name."""
QUICK = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""Of the virtual machine: up with half the work. A broker that is measured is started with none of them."""
PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "num.partitions": "1",
    # Topics are made by whoever means them: a name with a slip in it fails.
    "auto.create.topics.enable": "false",
    "log.message.timestamp.type": "LogAppendTime",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "offsets.topic.num.partitions": "4",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # A quarter of the heap otherwise.
    "log.cleaner.dedupe.buffer.size": "16777216",
}


class PrivateKafka(Server):
    """A broker with a log of its own. With `tls` and `users` (name → password) nothing else is let in."""

    name = "Kafka"

    def __init__(
        self,
        folder: Path,
        properties: Mapping[str, str] | None = None,
        *,
        port: int | None = None,
        tls: Certificates | None = None,
        users: Mapping[str, str] | None = None,
        heap: str = "512m",
        options: Sequence[str] = QUICK,
    ) -> None:
        """Take `properties` beside ours (see `PROPERTIES`); names and passwords of users are letters and digits."""
        super().__init__(folder)
        self.properties = dict(properties or {})
        self.tls = tls
        self.users = dict(users or {})
        self.heap = heap
        self.options = tuple(options)
        self._settings = self.folder / "server.properties"
        self._facts = self.folder / "server.json"
        self._port = port

    @property
    def port(self) -> int:
        """Where it listens; known once it was started, and the same from then on."""
        if self._port is None:
            self._port = int(json.loads(self._facts.read_text())["port"])
        return self._port

    @property
    def bootstrap(self) -> str:
        """`host:port`."""
        return f"127.0.0.1:{self.port}"

    def connection(self, prefix: str = "", user: str | None = None, **more: Any) -> Connection:
        """Return how it is reached: as the first of its users, unless another is named."""
        words: dict[str, Any] = {"bootstrap": (self.bootstrap,), "prefix": prefix}
        if self.tls is not None:
            words |= {"tls": True, "ca": self.tls.authority}
        if self.users:
            name = user or next(iter(self.users))
            words |= {"mechanism": "SCRAM-SHA-512", "username": name, "password": self.users[name]}
        return Connection(**(words | more))

    # -- what a server says

    @property
    def _known_by(self) -> str:
        return str(self._settings)

    def _prepare(self) -> None:
        self._java, self._jars = java(), jars()
        port, controller = self._remembered()
        everything = {
            **PROPERTIES,
            "listeners": f"CLIENT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"CLIENT://127.0.0.1:{port}",
            "listener.security.protocol.map": f"CLIENT:{self._protocol},CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "CLIENT",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
            "log.dirs": str(self.folder / "data"),
            **self._security(),
            **self.properties,
        }
        lines = "".join(f"{key}={value}\n" for key, value in everything.items())
        self._settings.touch(mode=0o600)
        self._settings.write_text(lines)
        if not (self.folder / "data" / "meta.properties").exists():
            self._format()

    def _remembered(self) -> tuple[int, int]:
        """Return both ports: those of the last time, unless somebody else has them by now."""
        try:
            found = json.loads(self._facts.read_text())
        except (OSError, ValueError):
            found = {}
        asked = self._port or found.get("port")
        port = asked if asked and is_free(asked) else None
        if port is None and self._port is not None:
            raise NotStarted(f"Kafka does not start: another program listens at 127.0.0.1:{self._port}")
        port = port or free_port()
        controller = found.get("controller")
        if not controller or not is_free(controller):
            controller = free_port()
        self._port = port
        # Users are kept with the log: they are made once, and so is the broker's own password.
        self._own = found.get("own") or secrets.token_hex(16)
        self._facts.touch(mode=0o600)
        self._facts.write_text(json.dumps({"port": port, "controller": controller, "own": self._own}))
        return port, controller

    @property
    def _protocol(self) -> str:
        return f"{'SASL_' if self.users else ''}{'SSL' if self.tls else 'PLAINTEXT'}"

    def _security(self) -> dict[str, str]:
        found: dict[str, str] = {}
        if self.tls is not None:
            both = self.folder / "keystore.pem"
            both.touch(mode=0o600)
            both.write_bytes(self.tls.key.read_bytes() + self.tls.certificate.read_bytes())
            found |= {
                "ssl.keystore.type": "PEM",
                "ssl.keystore.location": str(both),
                "ssl.truststore.type": "PEM",
                "ssl.truststore.location": str(self.tls.authority),
            }
        if self.users:
            module = "org.apache.kafka.common.security.scram.ScramLoginModule"
            found |= {
                "sasl.enabled.mechanisms": ",".join(MECHANISMS),
                "sasl.mechanism.inter.broker.protocol": MECHANISMS[-1],
                **{
                    f"listener.name.client.{one.lower()}.sasl.jaas.config": (
                        f'{module} required username="{BROKER}" password="{self._own}";'
                    )
                    for one in MECHANISMS
                },
            }
        return found

    def _format(self) -> None:
        cluster = base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")
        words: list[str | Path] = [
            *self._virtual_machine("128m", QUICK), "kafka.tools.StorageTool", "format", "--standalone",
            f"--cluster-id={cluster}", "--config", self._settings,  # an id may begin with a dash
        ]  # fmt: skip
        for name, password in ({BROKER: self._own} | self.users if self.users else {}).items():
            for mechanism in MECHANISMS:
                words += ["--add-scram", f"{mechanism}=[name={name},password={password}]"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise NotStarted(f"Kafka's storage could not be laid out:\n{(done.stdout + done.stderr)[-2000:]}")

    def _virtual_machine(self, heap: str, options: Sequence[str]) -> list[str | Path]:
        log = f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'}"
        return [self._java, f"-Xmx{heap}", *options, log, "-cp", f"{self._jars}/*"]

    def _command(self) -> tuple[Sequence[str | Path], Mapping[str, Any]]:
        return [*self._virtual_machine(self.heap, self.options), "kafka.Kafka", self._settings], {"cwd": self.folder}

    def _answers(self) -> bool:
        """Ask which requests it knows: the listener takes none before the broker is ready."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as plain:
                if self.tls is None:
                    return _asked(plain)
                context = ssl.create_default_context(cafile=str(self.tls.authority))
                context.check_hostname = False
                context.load_cert_chain(self.tls.certificate, self.tls.key)
                with context.wrap_socket(plain) as wrapped:
                    return _asked(wrapped)
        except OSError:
            return False


def _asked(connection: socket.socket) -> bool:
    connection.sendall(API_VERSIONS)
    return connection.recv(8)[4:] == struct.pack(">i", 4711)
