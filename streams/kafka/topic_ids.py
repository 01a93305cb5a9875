"""Which log a topic's name means: the id that Kafka gives a topic when it is made, another one when it is made again.

aiokafka asks for metadata in version 5; ids are in it since version 10. Brokers before 2.8 have none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
