"""A database of this release, for the tests of one file."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from streams.stores.migrate import migrate
from streams.stores.place import Place
from tests.services import database


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with database() as found:
        asyncio.run(migrate(found))
        yield found
