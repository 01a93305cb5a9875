"""A broker that asks who we are, over TLS: each slip of the configuration is a sentence, with what to set right."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from streams.kafka.cluster import opened
from streams.kafka.connection import Connection
from streams.kafka.reach import Away, probe
from tests import services
from tests.servers import Certificates, PrivateKafka
from tidings.errors import Misconfigured

pytestmark = pytest.mark.live

NOT_OURS = ("it hung up", "may be of another kind")


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    services.kafka()  # where no broker runs, none is started either
    folder = tmp_path_factory.mktemp("secured")
    with PrivateKafka(
        folder / "kafka", tls=Certificates.make(folder / "certificates"), users={"ann": "hiddenword"}
    ) as one:
        yield one.connection(user="ann")


def test_the_right_words_open_it(secured: Connection) -> None:
    async def whole() -> None:
        async with opened(secured) as cluster:
            assert len(await cluster.brokers()) == 1
            assert await cluster.topics() == {}

    asyncio.run(whole())


@pytest.mark.parametrize(
    ("words", "says", "mend", "ours"),
    [
        ({"password": "anotherword"}, "does not take user ann", "username and password", True),
        ({"username": "bob"}, "does not take user bob", "username and password", True),
        ({"mechanism": "PLAIN"}, "does not know the mechanism PLAIN", "mechanism", True),
        ({"ca": None}, "certificate is not trusted", "[kafka] ca", True),
        ({"tls": False, "ca": None}, *NOT_OURS, False),
        ({"mechanism": None, "username": None, "password": None}, *NOT_OURS, False),
        ({"tls": False, "ca": None, "mechanism": None, "username": None}, *NOT_OURS, False),
    ],
    ids=["password", "user", "mechanism", "authority", "no TLS", "no user", "neither"],
)
def test_each_slip_is_told_with_what_to_set_right(
    secured: Connection, words: dict[str, object], says: str, mend: str, ours: bool
) -> None:
    wrong = replace(secured, **words)  # type: ignore[arg-type]
    fault = asyncio.run(probe(wrong, wrong.bootstrap[0]))
    assert fault is not None
    assert says in fault.says
    assert mend in fault.mend
    assert fault.ours == ours

    async def open_it() -> None:
        async with opened(wrong):
            raise AssertionError("it was reached")

    with pytest.raises(Misconfigured if ours else Away) as told:
        asyncio.run(open_it())
    assert "word" not in str(told.value).replace("password", "")
