"""Services of the compose file, started by hand: the same commands, settings, secrets and checks, other addresses."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.servers import PrivateKafka, PrivatePostgres
from tests.servers.postgres import programs
from tests.servers.process import free_port, wait_until

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
ELSEWHERE = ("listener", "advertised", "controller.", "node.id", "process.roles", "log.dirs", "inter.broker")
"""Of the broker's settings: where it is, which is the private server's own affair."""


@dataclass
class Running:
    """A process of a service."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def said(self) -> str:
        """Its log so far."""
        return self.log.read_text(errors="replace")


@dataclass
class Composed:
    """One compose file; `folder` takes what containers would keep to themselves."""

    folder: Path
    hosts: Mapping[str, str]
    """What stands for an address of the compose network: `kafka:9092` → `127.0.0.1:20123`."""
    secrets: Path
    services: dict[str, dict[str, Any]] = field(default_factory=dict)
    running: list[Running] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._file = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
        self.services = self._file["services"]

    def after(self, name: str) -> list[str]:
        """Return what a service waits for, directly or not, first what comes first."""
        found: list[str] = []
        for before in self.services[name].get("depends_on", {}):
            found += [one for one in (*self.after(before), before) if one not in found]
        return found

    def once(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a service that ends; other words instead of its command, as `docker compose run` takes them."""
        command, environment = self._command(name, words or self.services[name]["command"], free_port())
        return subprocess.run(
            command, env=environment, cwd=self.folder, capture_output=True, text=True, check=False, timeout=180
        )

    def start(self, name: str) -> list[Running]:
        """Start as many processes of a service as the file says."""
        service = self.services[name]
        begun = []
        for number in range(service.get("deploy", {}).get("replicas", 1)):
            port = free_port()
            command, environment = self._command(name, service["command"], port)
            log = self.folder / f"{name}-{number}.log"
            with log.open("wb") as file:
                process = subprocess.Popen(command, env=environment, cwd=self.folder, stdout=file, stderr=file)
            begun.append(Running(name, process, port, log))
        self.running += begun
        return begun

    def until_healthy(self, one: Running, seconds: float) -> None:
        """Ask the service's own health check until it says yes."""
        kind, *words = self.services[one.name]["healthcheck"]["test"]
        assert kind == "CMD"
        command = [word.replace(":8080/", f":{one.port}/") for word in words]

        def healthy() -> bool:
            assert one.process.poll() is None, one.said()
            return subprocess.run(command, env=self._environment({}), capture_output=True, check=False).returncode == 0

        assert wait_until(healthy, seconds), f"{one.name} does not get healthy:\n{one.said()}"

    def stop(self) -> dict[str, list[int | None]]:
        """SIGTERM to everybody; by service, how each ended within what the file gives it. None: it did not."""
        found: dict[str, list[int | None]] = {}
        for one in self.running:
            one.process.terminate()
        began = time.monotonic()
        for one in self.running:
            grace = float(self.services[one.name]["stop_grace_period"].removesuffix("s"))
            try:
                code = one.process.wait(max(0.1, began + grace - time.monotonic()))
            except subprocess.TimeoutExpired:
                code = None
            found.setdefault(one.name, []).append(code)
        self.kill()
        return found

    def kill(self) -> None:
        """End what is left."""
        for one in self.running:
            if one.process.poll() is None:
                one.process.send_signal(signal.SIGKILL)
                one.process.wait()
        self.running.clear()

    def _command(self, name: str, words: Sequence[str], port: int) -> tuple[list[str], dict[str, str]]:
        service = self.services[name]
        places = dict(self._mounts(service, port))
        inside = [sys.executable, "-m", "gateway.cli.main"]  # the image's entrypoint: `tidings`
        for word in words:
            place = next((where for target, where in places.items() if word.startswith(target)), None)
            inside.append(word if place is None else self._within(word, place, places))
        return inside, self._environment(service.get("environment", {}))

    def _mounts(self, service: Mapping[str, Any], port: int) -> Iterator[tuple[str, Path]]:
        for volume in service.get("volumes", ()):
            source, target = re.fullmatch(r"(.+?):(/[^:]+)(?::ro)?", volume).groups()  # type: ignore[union-attr]
            default = re.fullmatch(r"\$\{\w+:-(.*)\}", source)
            yield target, (DEPLOY / (default[1] if default else source)).resolve()
        for one in service.get("configs", ()):
            text = (DEPLOY / self._file["configs"][one["source"]]["file"]).read_text()
            yield (
                one["target"],
                self._told(one["source"], text, port, dict(self._mounts({**service, "configs": ()}, 0))),
            )

    def _told(self, name: str, text: str, port: int, places: Mapping[str, Path]) -> Path:
        """Write a configuration as it stands, but for addresses and paths."""
        for inside, outside in self.hosts.items():
            host, _, number = inside.partition(":")
            new_host, _, new_number = outside.partition(":")
            text = text.replace(f'"{inside}"', f'"{outside}"')
            lines = f'host = "{host}"\nport = {number}\n' if f'host = "{host}"\nport' in text else f'host = "{host}"\n'
            text = text.replace(lines, f'host = "{new_host}"\nport = {new_number}\n')
        text = text.replace('"0.0.0.0"', '"127.0.0.1"').replace("port = 8080", f"port = {port}")
        text = text.replace("file:/run/secrets/", f"file:{self.secrets}/").replace("/tmp/tidings", str(self.folder))
        for target, place in places.items():
            text = text.replace(f'"{target}"', f'"{place}"')
        file = self.folder / f"{name}-{port}.toml"
        file.write_text(text)
        return file

    def _within(self, word: str, place: Path, places: Mapping[str, Path]) -> str:
        target = next(one for one, where in places.items() if where == place)
        return str(place) + word.removeprefix(target)

    def _environment(self, given: Mapping[str, str]) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {"PATH": path, "HOME": str(self.folder), "LANG": "C.UTF-8", **given}


def broker(folder: Path) -> PrivateKafka:
    """Return a broker with the settings of the file."""
    given = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["kafka"]["environment"]
    names = {key.removeprefix("KAFKA_").lower().replace("_", "."): value for key, value in given.items()}
    mine = {key: value for key, value in names.items() if not key.startswith((*ELSEWHERE, "cluster.id", "heap"))}
    return PrivateKafka(folder, mine)


def database(folder: Path, secrets: Path) -> PrivatePostgres:
    """Return a database server, started, with the settings, users and database of the file."""
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["postgres"]
    words = service["command"]
    settings = dict(word.split("=", 1) for flag, word in itertools.pairwise(words) if flag == "-c")
    server = PrivatePostgres(folder, settings, password=(secrets / "postgres_superuser").read_text())
    server.start()
    script = (DEPLOY / "postgres" / "roles.sql").read_text().replace("/run/secrets", str(secrets))
    place = server.place()
    done = subprocess.run(
        [programs() / "psql", "-X", "-q", "-h", place.host, "-p", str(place.port), "-U", place.user, "-f", "-"],
        input=script, env={**os.environ, "PGPASSWORD": place.password or ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return server


def named_in(dashboard: Path, alerts: Path) -> set[str]:
    """Return the metrics that dashboard and alerts ask for."""
    panels = json.loads(dashboard.read_text())["panels"]
    asked = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    asked += [rule["expr"] for group in yaml.safe_load(alerts.read_text())["groups"] for rule in group["rules"]]
    return {name for text in asked for name in re.findall(r"\b(?:tidings_\w+|up)\b", text)}
