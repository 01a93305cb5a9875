"""The wheel works by itself: contracts, examples and the command are in it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.live

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    found: Path
    (found,) = folder.glob("*.whl")
    return found


def test_it_holds_what_the_command_needs_and_no_tests(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"tidings", "handlers", "streams", "gateway", "schemas"}
    for needed in (
        "schemas/avro/lock.json", "schemas/avro/tidings/billing/v1/InvoiceIssued.avsc", "gateway/examples/shop/customers.json",
        "gateway/examples/shop/README.md", "gateway/examples/shop/tests/billing.test.yaml", "gateway/examples/shop/teams.yaml",
        "gateway/examples/shop/payloads/stripe.json", "tidings/py.typed", "tidings/testing/memory.py",
    ):  # fmt: skip
        assert needed in names, needed
    assert not [name for name in names if "__pycache__" in name or name.endswith(".db")]


def test_the_command_runs_from_it_anywhere(wheel, tmp_path):
    site = tmp_path / "site"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(site),
        str(wheel),
    ]
    subprocess.run(pip, check=True, capture_output=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def run(*words: str) -> str:
        command = [sys.executable, "-m", "gateway.cli.main", *words]
        done = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = "import gateway, schemas; print(gateway.__file__, schemas.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", where], cwd=empty, env=environment, capture_output=True, text=True, check=True
    )
    assert all(Path(name).is_relative_to(site) for name in found.stdout.split())
    assert "tidings 0." in run("--version")
    assert "billing.invoice.issued" in run("contracts", "list")
    assert "no errors, no warnings" in run("rules", "check")
    assert "all passed" in run("rules", "test")
    shop = run("demo", "--for", "4s")
    assert "The sum holds." in shop
    assert str(site / "gateway" / "examples" / "shop" / "README.md") in shop
    assert (empty / "demo" / "tidings.db").is_file()
