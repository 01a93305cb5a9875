"""Options of the whole suite, and what some of its tests leave to the collector."""

import faulthandler
import gc
import warnings
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests import side_by_side

settings.register_profile("ours", deadline=None)  # how long an example takes says what else the machine does
settings.load_profile("ours")

CLIENTS = ("tests/kafka/", "tests/ground/", "tests/live/test_security.py", "tests/live/test_cluster_verbs.py")
"""Tests that cut clients of Kafka off, or have them refused."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write", action="store_true", help="proofs: keep the figures in docs/proofs.md")


def pytest_xdist_auto_num_workers() -> int:
    return side_by_side.WORKERS


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):  # whatever is started by hand runs in its own order
        side_by_side.arrange(items)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    # What was imported and collected stays: the collector need not look through all of it again and again.
    gc.collect()
    gc.freeze()


@pytest.fixture
def write(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--write"))


@pytest.fixture(autouse=True)
def _take_your_time(request: pytest.FixtureRequest) -> None:
    """Let proofs last: each has deadlines of its own, and a run that is cut off leaves its servers behind."""
    if request.node.get_closest_marker("proofs") is not None:
        faulthandler.cancel_dump_traceback_later()


@pytest.fixture(autouse=True)
def _let_go(request: pytest.FixtureRequest) -> Iterator[None]:
    """Collect what aiokafka leaves open when its broker goes: found later, it would be another test's failure."""
    yield
    if request.node.nodeid.startswith(CLIENTS):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
