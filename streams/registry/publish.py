"""Registers every released contract, so that producers elsewhere find them: `tidings contracts publish`.

A subject is named after topic and record (TopicRecordName), and told to take what every version can read and be read
by (FULL_TRANSITIVE). That is no gate: a registry lets a scale or a unit change; ours is `tidings contracts check`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from schemas import Contracts
from schemas.loading import Released
from streams.registry.client import Refused, Registry
from tidings.contract import Contract
from tidings.errors import Misconfigured

LEVEL: Final = "FULL_TRANSITIVE"


@dataclass(frozen=True, slots=True)
class Published:
    """What became of one version of a contract."""

    subject: str
    version: int
    """Of the contract."""
    number: int | None
    """The registry's id; None where it has none, and only looked."""
    changed: bool
    """Whether the registry had to be told, or would have to be."""


def subject(prefix: str, contract: Contract) -> str:
    """Return the subject of a contract, by its topic in Kafka and its full name."""
    return f"{prefix}{contract.topic}-{contract.full_name}"


async def publish(registry: Registry, known: Contracts, *, write: bool) -> AsyncIterator[Published]:
    """Register what is missing, oldest versions first, or without `write` only say what is; again does no harm.

    Raises:
        Misconfigured: a subject holds what is none of ours, and refuses ours beside it.
        RegistryUnavailable: what came before is done; run it again.
    """
    for full_name, contract in sorted(known.by_full_name.items()):
        name = subject(registry.endpoint.prefix, contract)
        try:
            loose = await registry.compatibility(name) != LEVEL
            if loose and write:
                await registry.set_compatibility(name, LEVEL)
            versions = sorted((one for one in known.released.values() if one.full_name == full_name), key=_version)
            for one in versions:
                number = await registry.look_up(name, one.schema)
                changed = number is None
                if changed and write:
                    number = await registry.register(name, one.schema)
                yield Published(name, one.version, number, changed or loose)
        except Refused as fault:
            text = (
                f"[registry] {name} refuses our contract: {fault}. It holds schemas that are not ours: "
                "move its producers to a topic of their own, or give [kafka] a prefix"
            )
            raise Misconfigured(text) from fault


def _version(released: Released) -> int:
    return released.version
