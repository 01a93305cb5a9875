"""What runs Kafka: a Java that is new enough, and the broker's jars, which Maven copies once."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.servers.process import NotInstalled

LEAST = 17
"""Version of Java that brokers need since Kafka 4."""
INSTALL = "Debian: apt install default-jre-headless maven"
HERE = Path(__file__).parent
ROOT = HERE.parents[1]
JARS = ROOT / ".services" / "jars"
DOWNLOAD = 600.0


def java() -> str:
    """Return the program.

    Raises:
        NotInstalled: there is none, or it is too old.
    """
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin{os.pathsep}{os.environ['PATH']}" if home else None)
    if found is None:
        raise NotInstalled(f"Kafka needs Java {LEAST} or newer ({INSTALL})")
    told = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', told)
    if version is None or int(version[1]) < LEAST:
        which = version[1] if version else "one that does not say its version"
        raise NotInstalled(f"Kafka needs Java {LEAST} or newer, {found} is {which} ({INSTALL})")
    return found


def jars() -> Path:
    """Return the folder of the broker's jars; the first call fetches them through Maven (50 MB).

    Raises:
        NotInstalled: there is no Maven, or it could not fetch them.
    """
    pom = HERE / "pom.xml"
    words = ["-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime"]
    return fetched(JARS, hashlib.sha256(pom.read_bytes()).hexdigest(), words, "the broker's jars")


def fetched(folder: Path, wanted: str, words: Sequence[str], what: str) -> Path:
    """Return a folder, into which Maven has put something, unless it is there as `wanted` already.

    Raises:
        NotInstalled: there is no Maven, or it could not fetch it.
    """
    mark = folder / "pom.sha256"
    if mark.is_file() and mark.read_text() == wanted:
        return folder
    maven = shutil.which("mvn")
    if maven is None:
        raise NotInstalled(f"{what} come through Maven ({INSTALL})")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    line = [maven, "--batch-mode", "--quiet", "--strict-checksums", *words, f"-DoutputDirectory={folder}"]
    try:
        done = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False, timeout=DOWNLOAD)
        said, failed = done.stdout + done.stderr, done.returncode != 0
    except subprocess.TimeoutExpired:
        said, failed = f"no answer within {DOWNLOAD:.0f} s", True
    if failed:
        lines = "\n".join(said.strip().splitlines()[-5:])
        raise NotInstalled(f"Maven could not fetch {what}: is its repository reachable?\n{lines}")
    mark.write_text(wanted)
    return folder
