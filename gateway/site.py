"""What the HTTP edge stands on: one value, made by whoever composes the process (`run`, `demo`, `gateway`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from gateway.access.door import Door
from gateway.config import Config
from schemas import Contracts
from streams.embedded_log import Append
from streams.ledger.ledger import Ledger
from streams.ledger.proof import Proof
from tidings.event import Micros
from tidings.ports import Store
from tidings.rule import RuleSet

Publish = Callable[[Sequence[Append]], Awaitable[list[tuple[str, int, int]]]]
"""Append records; returns topic, partition and offset of each once they are durable."""


@dataclass(frozen=True)
class Site:
    """One installation, as its pages and its ways in see it."""

    name: str
    """Of the installation, for people."""
    store: Store
    contracts: Contracts
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
    settings: Config | None = None
    """None: the demonstration."""
    tenant: str = "default"
    secret: bytes | None = None
    """Signs sessions; None: each process draws its own, and sessions end with it."""
