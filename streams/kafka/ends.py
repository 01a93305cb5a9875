"""Where partitions end: the question behind idle marks, lag, and whether a broker answers at all.

Asked without isolation: an open transaction ends a read-committed log before its end, and what it holds was appended
already. A partition that does not answer (deleted, no leader) is left out; the others are told nevertheless.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from aiokafka import errors
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.offset import OffsetRequest
from faust.types import TP

from streams.kafka.connection import Connection
from streams.kafka.reach import Away
from streams.kafka.topic_ids import topic_ids

WITHIN = 5.0
"""Seconds for one answer."""
LATEST = -1
READ_UNCOMMITTED = 0
CONSUMER = -1


class Ends:
    """One client for all questions; connects when it is asked first, and again after it was cut off."""

    def __init__(self, connection: Connection, within: float = WITHIN) -> None:
        self.connection = connection
        self.within = within
        self._client: Any = None

    async def ask(self, places: Iterable[TP]) -> dict[TP, int]:
        """Return the offset after the last record of each partition.

        Raises:
            Away: no broker answers.
        """
        try:
            async with asyncio.timeout(self.within):
                return await self._ask(frozenset(places))
        except (errors.KafkaError, OSError, TimeoutError) as fault:
            await self.close()
            text = f"no broker answers: {str(fault) or type(fault).__name__}"
            raise Away(text) from fault

    async def ids(self, topics: Iterable[str]) -> dict[str, str]:
        """Return the ids of topics, named as in Kafka; after `ask`, which connects.

        Raises:
            Away: no broker answers.
        """
        wanted = set(topics)
        if not wanted or self._client is None:
            return {}
        try:
            async with asyncio.timeout(self.within):
                return await topic_ids(self._client, wanted)
        except (errors.KafkaError, OSError, TimeoutError) as fault:
            await self.close()
            text = f"no broker answers: {str(fault) or type(fault).__name__}"
            raise Away(text) from fault

    async def close(self) -> None:
        """Hang up."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(errors.KafkaError, OSError, TimeoutError):
                await asyncio.wait_for(client.close(), self.within)

    async def _ask(self, places: frozenset[TP]) -> dict[TP, int]:
        if self._client is None:
            options = self.connection.options()
            self._client = AIOKafkaClient(
                **options, client_id="tidings-ends", request_timeout_ms=int(self.within * 1000)
            )
            await self._client.bootstrap()
        client = self._client
        topics = {place.topic for place in places}
        if not topics:
            await client.fetch_all_metadata()  # somebody answers
            return {}
        await client.set_topics(topics)
        by_node: dict[int, dict[str, list[tuple[int, int]]]] = defaultdict(lambda: defaultdict(list))
        for place in places:
            node = client.cluster.leader_for_partition(place)
            if node is not None and node >= 0:
                by_node[node][place.topic].append((place.partition, LATEST))
        found: dict[TP, int] = {}
        answers = await asyncio.gather(
            *(
                client.send(node, OffsetRequest(CONSUMER, READ_UNCOMMITTED, list(of.items())))
                for node, of in by_node.items()
            ),
            return_exceptions=True,
        )
        faults = [answer for answer in answers if isinstance(answer, BaseException)]
        if faults and len(faults) == len(answers):
            raise faults[0]
        for answer in answers:
            if not isinstance(answer, BaseException):
                for topic, parts in answer.topics:
                    found |= {TP(topic, number): end for number, code, _, end in parts if code == 0}
        if len(found) < len(places):
            client.force_metadata_update()
        return found
