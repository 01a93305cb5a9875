"""The schemas of a registry behind the codec: asked for once, a batch at a time, before anything is decoded.

What a registry has under an id never changes, so it is kept, as many as `MOST`, the longest unused going first. That it
has *none* is believed for `FORGET` seconds only, and not at the first word: a producer registers a schema and writes
with it in the same second, and another copy of the registry may hear of it later.

An id that the registry does not have, and that is one of the shipped ones, is the shipped one: records that were
written before there was a registry stay readable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from typing import Any
from uuid import UUID

from schemas import Contracts
from streams.registry.client import Registry, RegistryUnavailable, TooLarge
from streams.registry.endpoint import Endpoint
from streams.registry.fitting import fitted
from streams.registry.publish import subject
from streams.wire import MAX_BYTES, SchemaName, Shipped, Wire
from tidings.contract import Contract
from tidings.errors import BadContract, Misconfigured, Refusal

MOST = 4096
FORGET = 30.0
SETTLE = 0.5
"""Seconds between the two questions before a schema is said to be unknown."""


class RegistrySchemas:
    """What the codec asks; see `streams.wire.Schemas`. The client is made at the first question."""

    def __init__(
        self, endpoint: Endpoint, known: Contracts, *, clock: Callable[[], float], settle: float = SETTLE
    ) -> None:
        self.endpoint = endpoint
        self.known = known
        self.clock = clock
        self.settle = settle
        self._shipped = Shipped(known).wires
        self._wires: dict[SchemaName, Wire] = {}
        self._unfit: dict[SchemaName, BadContract] = {}
        self._unknown: dict[SchemaName, float] = {}
        """Until when it is believed that there is none."""
        self._numbers: dict[str, int] = {}
        """Under which ids we write, by full name."""
        self._registry: Registry | None = None
        self._asking = asyncio.Lock()

    @property
    def wires(self) -> Mapping[SchemaName, Wire]:
        """What was asked for and can be read."""
        return self._wires

    def absent(self, name: SchemaName) -> Exception:
        """Return why a schema cannot be used: for ever, for now, or because nobody asked."""
        number = None if isinstance(name, UUID) else name
        if (unfit := self._unfit.get(name)) is not None:
            return BadContract(unfit.reason, unfit.detail, number)
        if name in self._unknown:
            return BadContract(Refusal.UNKNOWN_SCHEMA, f"the schema registry has no schema {name}", number)
        return RegistryUnavailable(f"schema {name} was not asked for before it was needed")

    def written(self, contract: Contract) -> int:
        """Return the registry's id of a contract's current version.

        Raises:
            Misconfigured: it is not registered, or `enlist` was not called.
        """
        number = self._numbers.get(contract.full_name)
        if number is None:
            name = subject(self.endpoint.prefix, contract)
            text = f"[registry] has no {name} as it is now: run 'tidings contracts publish', then start again"
            raise Misconfigured(text)
        return number

    async def ready(self, names: Collection[SchemaName]) -> None:
        """Ask for what is not known yet.

        Raises:
            RegistryUnavailable: one of them could not be asked for.
        """
        if not self._touch(names):
            return
        async with self._asking:
            # Whoever waited for the lock may find everything answered.
            missing = await self._ask(self._touch(names))
            if missing:
                await asyncio.sleep(self.settle)
                until = self.clock() + FORGET
                self._unknown.update(dict.fromkeys(await self._ask(missing), until))
            for kept in (self._wires, self._unfit, self._unknown):
                while len(kept) > MOST:
                    del kept[next(iter(kept))]

    async def enlist(self) -> None:
        """Look up under which ids the contracts are registered.

        Raises:
            RegistryUnavailable: ask again later.
        """
        registry = self._client()

        async def look_up(contract: Contract) -> None:
            schema = self.known.schema(contract.full_name)
            number = await registry.look_up(subject(self.endpoint.prefix, contract), schema)
            if number is not None:
                self._numbers[contract.full_name] = number

        await _all([look_up(contract) for contract in self.known.by_full_name.values()])

    async def close(self) -> None:
        """Hang up."""
        if self._registry is not None:
            await self._registry.close()
            self._registry = None

    def _client(self) -> Registry:
        if self._registry is None:
            self._registry = Registry(self.endpoint)
        return self._registry

    def _touch(self, names: Collection[SchemaName]) -> list[SchemaName]:
        """Return what is not known, and make what is known the last to be forgotten."""
        now = self.clock()
        left = []
        for name in names:
            if (wire := self._wires.pop(name, None)) is not None:
                self._wires[name] = wire
            elif (unfit := self._unfit.pop(name, None)) is not None:
                self._unfit[name] = unfit
            elif self._unknown.get(name, now) <= now:
                left.append(name)
        return left

    async def _ask(self, names: Collection[SchemaName]) -> list[SchemaName]:
        """Ask for schemas, and return those that there are not."""
        registry = self._client()
        missing = []

        async def ask(name: SchemaName) -> None:
            number = None if isinstance(name, UUID) else name
            try:
                found = await registry.schema(name)
                if found is not None:
                    self._wires[name] = fitted(name, found, self.known)
                    self._unknown.pop(name, None)
                elif name in self._shipped:
                    self._wires[name] = self._shipped[name]
                else:
                    missing.append(name)
            except TooLarge:
                text = f"schema {name} of the registry has more than {MAX_BYTES} bytes"
                self._unfit[name] = BadContract(Refusal.WRONG_SCHEMA, text, number)
            except BadContract as fault:
                self._unfit[name] = fault

        await _all([ask(name) for name in names])
        return missing


async def _all(questions: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Ask everything; the first that fails is raised once all have ended."""
    for told in await asyncio.gather(*questions, return_exceptions=True):
        if isinstance(told, BaseException):
            raise told
