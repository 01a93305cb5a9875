"""Names, layers and the cost of `tidings --help`."""

import importlib.metadata
import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("tidings", "handlers", "streams", "gateway", "schemas")
VENDORS = ("aiokafka", "aiosmtplib", "fastavro", "faust", "pydantic", "twilio", "yaml")
# Everything that the core may not touch; `urllib.request` is banned by ruff, as the contract takes top-level names.
FORBIDDEN = {
    "aiohttp", "aiokafka", "aiosmtplib", "asyncio", "faust", "http", "random", "requests", "secrets", "socket",
    "sqlite3", "ssl", "threading", "time", "twilio",
}  # fmt: skip


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", PACKAGES)
def test_an_import_name_is_ours(name):
    """Another distribution's `streams` or `schemas` would shadow ours silently."""
    spec = importlib.util.find_spec(name)
    assert spec is not None, f"{name} cannot be imported: run `make setup`"
    assert spec.origin is not None, f"{name} has no __init__.py: it is a namespace anybody may join"
    origin = Path(spec.origin).resolve()
    installed = {Path(str(f.locate())).resolve() for f in importlib.metadata.files("tidings") or ()}
    assert origin == ROOT / name / "__init__.py" or origin in installed, f"{name} is somebody else's: {origin}"


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_says_that_it_is_typed(name):
    assert (ROOT / name / "py.typed").is_file()


def test_every_package_is_built_linted_and_typed(settings):
    """A new top-level package is named in four places of pyproject.toml."""
    tool = settings["tool"]
    assert set(tool["hatch"]["build"]["targets"]["wheel"]["packages"]) == set(PACKAGES)
    assert set(tool["importlinter"]["root_packages"]) == set(PACKAGES)
    assert set(tool["mypy"]["files"]) == {*PACKAGES, "tests"}
    assert set(tool["ruff"]["lint"]["isort"]["known-first-party"]) == {*PACKAGES, "tests"}


def test_the_layers_name_every_package(settings):
    contracts = {contract["type"]: contract for contract in settings["tool"]["importlinter"]["contracts"]}
    assert contracts["layers"]["layers"] == ["gateway", "streams", "schemas", "handlers", "tidings"]


def test_the_core_is_kept_from_clocks_sockets_and_chance(settings):
    contracts = {contract["type"]: contract for contract in settings["tool"]["importlinter"]["contracts"]}
    core = contracts["forbidden"]
    assert {"tidings", "handlers.rules", "handlers.operators", "handlers.policies"} <= set(core["source_modules"])
    assert set(core["forbidden_modules"]) >= FORBIDDEN
    allowed = settings["tool"]["ruff"]["lint"]["per-file-ignores"]
    unbanned = {pattern.split("/", maxsplit=1)[0] for pattern, rules in allowed.items() if "TID251" in rules}
    assert unbanned <= {"streams", "gateway", "tests", "benchmarks"}


def test_help_imports_no_vendor():
    """`tidings --help` answers at once, also where a vendor's library is broken."""
    script = (
        "import sys\n"
        "from gateway.cli.main import main\n"
        "try:\n"
        "    code = main(['--help'])\n"
        "except SystemExit as end:\n"
        "    code = end.code\n"
        f"loaded = sorted({set(VENDORS)!r} & {{name.partition('.')[0] for name in sys.modules}})\n"
        "print('vendors:', *loaded)\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].strip() == "vendors:", done.stdout


def test_the_module_can_be_run():
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli.main", "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout


def test_who_sits_at_the_command_line_is_asked_in_one_place_that_knows_users_without_a_name():
    asking = [path for path in (ROOT / "gateway").rglob("*.py") if "getuser" in path.read_text()]
    assert asking == [ROOT / "gateway" / "cli" / "operator.py"]
