"""What the HTTP edge stands on: one value, made by whoever composes the process (`run`, `demo`, `gateway`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path

from gateway.access.door import Door, is_loopback
from gateway.config import Config
from gateway.links.brand import Brand
from handlers.channels.content import Contents
from schemas import Contracts
from streams.clock import FastClock
from streams.codec import Codec
from streams.delivering import Way
from streams.embedded_log import Append
from streams.ledger.ledger import Ledger
from streams.ledger.proof import Proof
from streams.processors.deliverer import Render
from tidings.event import Micros
from tidings.ports import Reader, Store
from tidings.rule import RuleSet

Publish = Callable[[Sequence[Append]], Awaitable[Sequence[tuple[str, int, int] | None]]]
"""Append records; returns topic, partition and offset of each once they are durable. None: it is kept, and will be
published once Kafka answers again. Raises `StoreUnavailable` where nobody can keep them."""


@dataclass(frozen=True)
class Paused:
    """Why nothing is taken in now."""

    why: str
    retry_after: int
    """Seconds."""


async def _never() -> Paused | None:
    return None


@dataclass(frozen=True)
class Site:
    """One installation, as its pages and its ways in see it."""

    name: str
    """Of the installation, for people."""
    store: Store
    contracts: Contracts
    codec: Codec
    rules: Callable[[], RuleSet]
    """The rule set in use."""
    now: Callable[[], Micros]
    """The clock of those who work; the demonstration's runs fast."""
    publish: Publish
    ledger: Ledger
    """What pages read."""
    proof: Proof
    """What is counted in the background; whoever composes the process lets it count (`Proof.forever`)."""
    door: Door
    """Who comes in."""
    still: Callable[[], AbstractAsyncContextManager[Reader]]
    """One instant of the store, for a moment."""
    paused: Callable[[], Awaitable[Paused | None]] = _never
    grace: Micros = 0
    render: Render = field(default_factory=Contents)
    """What messages say; its key signs the links in them."""
    settings: Config | None = None
    """None: the demonstration."""
    tenant: str = "default"
    secret: bytes | None = None
    """Signs sessions; None: each process draws its own, and sessions end with it."""
    brand: Brand = field(default_factory=Brand)
    """How the customers' pages look."""
    folder: Path | None = None
    """Where this process has the files of the rules, their tests among them; None: it has the rule set of the store only."""

    ways: Callable[[], Mapping[str, Way]] = dict
    """The ways out of this process, where it delivers itself; whether a provider is away is known where it is asked."""

    refused: Callable[[], Sequence[str]] = tuple
    """Why edited rules are not in use, where this process takes them from a folder."""

    @property
    def speed(self) -> int:
        """How much faster than ours the clock runs of those who work: 1, but in a demonstration."""
        return self.now.speed if isinstance(self.now, FastClock) else 1

    @property
    def is_over_tls(self) -> bool:
        """Whether browsers reach it over TLS only, which a proxy ends: always, but on loopback."""
        url = None if self.settings is None else self.settings.settings.public_url
        return not is_loopback(self.door.host) or (url or "").startswith("https://")

    async def close(self) -> None:
        """Let go of what was opened for it; the store is whoever's who gave it."""
        await self.door.keys.close()
        await self.ledger.close()
