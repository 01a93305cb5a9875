"""Which log a topic's name means: the id that Kafka gives a topic when it is made, another one when it is made again.

aiokafka asks for metadata in version 5; ids are in it since version 10. Brokers before 2.8 have none.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Array,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

logger = logging.getLogger("tidings.kafka")

KEY, VERSION = 3, 10
TEXT = CompactString("utf-8")
NO_TAGS: Mapping[int, bytes] = {}
_Ints: Array = CompactArray(Int32)


class _Response(Response):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = KEY
    API_VERSION = VERSION
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(("node_id", Int32), ("host", TEXT), ("port", Int32), ("rack", TEXT), ("tags", TaggedFields)),
        ),
        ("cluster_id", TEXT),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", TEXT),
                ("id_high", Int64),
                ("id_low", Int64),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", _Ints),
                        ("isr", _Ints),
                        ("offline_replicas", _Ints),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class _Struct(RequestStruct):  # type: ignore[misc]  # aiokafka has no types
    FLEXIBLE_VERSION = True
    API_KEY = KEY
    API_VERSION = VERSION
    RESPONSE_TYPE = _Response
    SCHEMA = Schema(
        ("topics", CompactArray(("id_high", Int64), ("id_low", Int64), ("name", TEXT), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


_Structs: TypeAlias = _Struct


class TopicIds(Request[_Structs]):  # type: ignore[misc]
    """Asks for the ids of some topics, and makes none of them."""

    API_KEY = KEY

    def __init__(self, names: Iterable[str]) -> None:
        self._topics = [(0, 0, name, NO_TAGS) for name in sorted(names)]

    def build(self, request_struct_class: type[_Structs]) -> _Structs:
        """Return the request."""
        return request_struct_class(self._topics, False, False, False, NO_TAGS)


@dataclass
class Absence:
    """Topics that are read and are not there any more, or are others by now. Each is said once, and when it is back.

    The group lets go of them at once, so they are not missed by what is left; and where brokers make a topic that
    somebody asks for, one that was deleted is back, empty, within a second.
    """

    said: frozenset[str] = frozenset()
    _absent: frozenset[str] = frozenset()
    _named: bool = False
    """Whether the brokers give ids at all."""
    _known: dict[str, str] = field(default_factory=dict)

    def look(self, wanted: Iterable[str], ids: Mapping[str, str]) -> None:
        """Compare with an answer. A topic has to lack twice: a broker that has just started may not know it yet."""
        self._named = self._named or bool(ids)
        absent = frozenset(wanted) - ids.keys() if self._named else frozenset()
        gone = absent & self._absent
        for topic in sorted(gone - self.said):
            logger.error("the topic %s is not there any more; nothing of it is read: tidings topics plan", topic)
        for topic in sorted(self.said - absent):
            logger.warning("the topic %s is there again: tidings sources list", topic)
        for topic, now in ids.items():
            if self._known.setdefault(topic, now) != now:
                logger.error("the topic %s was deleted and made again; tidings sources list says what is held", topic)
                self._known[topic] = now
        self.said, self._absent = gone | (self.said & absent), absent


async def topic_ids(client: Any, names: Iterable[str]) -> dict[str, str]:
    """Return the ids of those topics that exist, by name; nothing where the brokers give none.

    Raises:
        KafkaError: no answer.
    """
    node = client.get_random_node()
    try:
        answer = await client.send(node, TopicIds(names))
    except NotImplementedError:  # aiokafka's word for brokers that are too old
        return {}
    return {
        name: f"{high & (2**64 - 1):016x}{low & (2**64 - 1):016x}"
        for code, name, high, low, *_ in answer.topics
        if code == 0 and (high or low)
    }
