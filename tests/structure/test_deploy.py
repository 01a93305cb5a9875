"""What stands in deploy/: readable by compose, pinned, closed, and speaking of nothing that does not exist."""

import importlib.metadata
import importlib.util
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement

from gateway import config

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name for name, one in SERVICES.items() if one["image"].startswith("tidings:")}
LASTING = {name for name, one in SERVICES.items() if one.get("restart") != "no"}


def test_compose_can_read_it():
    found = importlib.util.find_spec("check_jsonschema")  # its schema, without its command, which wants another click
    assert found is not None
    assert found.submodule_search_locations is not None
    folder = Path(found.submodule_search_locations[0])
    schema = json.loads((folder / "builtin_schemas" / "vendor" / "compose-spec.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(COMPOSE)
    for kind in ("networks", "volumes", "configs", "secrets"):
        for name, one in SERVICES.items():
            for used in one.get(kind, ()):
                source = used["source"] if isinstance(used, dict) else used.partition(":")[0]
                assert source.startswith((".", "$")) or source in COMPOSE[kind], f"{name}: {source}"
        for one in COMPOSE[kind].values():
            assert one is None or "file" not in one or "secrets/" in one["file"] or (DEPLOY / one["file"]).is_file()


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_pinned_closed_and_bounded(name):
    service = SERVICES[name]
    assert re.search(r":v?\d+\.\d+\.\d+(-[a-z]+)?$|:\d+\.\d+-[a-z]+$", service["image"]), "pin a version"
    assert not service["user"].startswith("0")
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert all(service[bound] for bound in ("mem_limit", "cpus", "pids_limit"))
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    if name in LASTING:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"][0] == "CMD"
    words = json.dumps(service.get("environment", {}))
    assert not re.search(r'PASSWORD"|_SECRET"', words), "a secret is a file"


def test_ports_are_published_only_from_a_network_that_has_a_way_out():
    """Compose publishes nothing from internal networks, and says nothing about it."""
    for name, service in SERVICES.items():
        open_ones = [one for one in service.get("networks", ()) if not (COMPOSE["networks"][one] or {}).get("internal")]
        assert bool(open_ones) == ("ports" in service), name


def test_the_broker_is_the_one_that_the_tests_run():
    pom = (ROOT / "tests" / "servers" / "pom.xml").read_text()
    version = re.search(r"kafka_2\.13</artifactId>\s*<version>([^<]+)<", pom)
    assert version is not None
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{version[1]}"


def test_our_image_is_of_this_version_and_python():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {SERVICES[name]["image"] for name in OURS} == {f"tidings:{project['version']}"}
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    bases = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", bases[0])
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", dockerfile, re.MULTILINE)
    assert len(re.findall("pip install.*--require-hashes", dockerfile)) == 2
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert ignored[1] == "*", "nothing goes to the engine but what is named"
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {f"!{name}" for name in (*packages["packages"], *packages["force-include"])} <= set(ignored)


def locked(path: Path) -> dict[str, tuple[str, list[str]]]:
    """Versions and hashes by name; where a package is needed at all (its marker) may differ."""
    blocks = re.split(r"\n(?=\S)", path.read_text().strip())
    found = [re.match(r"([^=]+)==([^ ;]+)", block) for block in blocks]
    return {one[1]: (one[2], re.findall("sha256:.*", block)) for one, block in zip(found, blocks, strict=True) if one}


def test_the_image_has_what_the_tests_have_had_and_nothing_of_the_tools():
    whole, image = locked(ROOT / "requirements.lock"), locked(DEPLOY / "requirements.lock")
    differing = [name for name, block in image.items() if whole.get(name) != block]
    assert not differing, "write both anew: make lock"
    assert not {"pytest", "mypy", "ruff", "uv", "hatchling"} & set(image)
    wanted, waiting = set[str](), ["tidings"]
    while waiting:
        name = waiting.pop()
        for text in importlib.metadata.requires(name) or ():
            one = Requirement(text)
            extras = ("", "lz4", "snappy", "zstd") if one.name == "aiokafka" or name == "aiokafka" else ("",)
            key = re.sub(r"[-_.]+", "-", one.name).lower()
            if key not in wanted and (one.marker is None or any(one.marker.evaluate({"extra": e}) for e in extras)):
                wanted.add(key)
                waiting.append(key)
    assert wanted <= set(image), "a runtime requirement is not in the image: make lock"


@pytest.mark.parametrize("path", sorted((DEPLOY / "config").glob("*.toml")), ids=lambda path: path.stem)
def test_a_configuration_is_read_and_its_secrets_are_given_to_whoever_uses_it(path):
    settings = config.read(path).settings
    assert settings.kafka is not None
    assert settings.postgres is not None
    assert settings.postgres.host in SERVICES
    assert settings.kafka.bootstrap == ("kafka:9092",)
    names = re.findall(r"/run/secrets/(\w+)", path.read_text())
    users = [one for one in SERVICES.values() if any(used["source"] == path.stem for used in one.get("configs", ()))]
    assert users
    assert all(one["secrets"] == names for one in users)
    made = (DEPLOY / "make-secrets").read_text()
    assert all(f" {name}" in made for name in COMPOSE["secrets"])


@pytest.mark.parametrize("path", sorted((DEPLOY / "systemd").iterdir()), ids=lambda path: path.name)
def test_a_unit_gives_as_long_to_stop_as_compose_and_starts_again_after_75(path):
    text = path.read_text()
    command = re.search(
        r"^ExecStart=/opt/tidings/bin/tidings (\w+) --config /etc/tidings/(\w+)\.toml", text, re.MULTILINE
    )
    assert command is not None
    service = SERVICES[command[1]]
    assert service["command"] == [command[1], "--config", f"/etc/tidings/{command[2]}.toml"]
    assert re.search(r"^TimeoutStopSec=(.*)$", text, re.MULTILINE)[1] + "s" == service["stop_grace_period"]  # type: ignore[index]
    assert "Restart=on-failure" in text
