"""One schema registry (Apicurio), which keeps everything in memory."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.servers.java import ROOT, fetched, java
from tests.servers.process import Server, free_port

VERSION = "2.6.13.Final"
"""Version 3 needs Java 21, but for some early releases whose POMs are not complete."""
UNPACK = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:unpack"
PROGRAM = ROOT / ".services" / "registry"


class PrivateRegistry(Server):
    """A registry of its own; it forgets everything when it ends."""

    name = "the schema registry"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.port = 0

    @property
    def url(self) -> str:
        """What stands before /schemas and /subjects."""
        return f"http://127.0.0.1:{self.port}/apis/ccompat/v7"

    @property
    def _known_by(self) -> str:
        return f"-Dtidings.folder={self.folder}"

    def _prepare(self) -> None:
        """Fetch it through Maven at the first time (140 MB)."""
        artifact = f"io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all"
        self._java, self._program = java(), fetched(PROGRAM, artifact, [UNPACK, f"-Dartifact={artifact}"], self.name)
        self.port = free_port()

    def _command(self) -> tuple[Sequence[str | Path], Mapping[str, Any]]:
        jar = next(self._program.glob("*-runner.jar"))
        return [
            self._java, "-Xmx384m", self._known_by, "-Dquarkus.http.host=127.0.0.1", f"-Dquarkus.http.port={self.port}",
            "-jar", jar,
        ], {"cwd": self.folder}  # fmt: skip

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/subjects", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False
