"""What streams/kafka uses of Faust, mode and aiokafka that is no public interface of theirs, and what breaks without it.

An upgrade that renames or changes one of these fails here, by its name, before it fails a worker. The list is complete:
what the sources use is found in them.
"""

import ast
import importlib
import inspect
import pkgutil
import textwrap
from collections.abc import Iterator
from functools import cache
from typing import Any

import aiokafka
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.producer.transaction_manager import TransactionManager
from aiokafka.protocol.api import Request, RequestStruct
from aiokafka.protocol.offset import OffsetRequest
from faust.app.base import App, BootStrategy
from faust.serializers.schemas import Schema
from faust.transport.consumer import Consumer, ThreadDelegateConsumer
from faust.transport.drivers import aiokafka as driver
from faust.types.settings import Settings
from faust.types.tuples import ConsumerMessage

import streams.kafka

THEIRS = ("faust", "mode", "aiokafka")

OVERRIDDEN: dict[str, tuple[Any, str, str]] = {
    # ours: (theirs, its parameters, what breaks)
    "Consumer._new_consumer_thread": (driver.Consumer, "self", "batches come from the stock thread, record by record"),
    "Consumer.perform_seek": (Consumer, "self", "after a rebalance reading goes on at what Kafka has committed"),
    "Consumer.ack": (Consumer, "self, message", "nothing is ever committed, and streams wait for ever at the end"),
    "Consumer.force_commit": (Consumer, "self, topics, start_new_transaction", "commits what was not applied"),
    "Consumer.verify_all_partitions_active": (Consumer, "self", "Faust warns of partitions that stand on purpose"),
    "Consumer.wait_empty": (Consumer, "self", "a rebalance waits, in rounds of a second, for batches in nobody's hands"),
    "Consumer._drain_messages": (Consumer, "self, fetcher", "the fetcher takes records past our room and order"),
    "ConsumerThread._create_worker_consumer": (driver.AIOKafkaConsumerThread, "self, transport", "stock settings: commits"),
    "ConsumerThread._commit": (driver.AIOKafkaConsumerThread, "self, offsets", "a commit that fails ends the thread"),
    "ConsumerThread.verify_event_path": (driver.AIOKafkaConsumerThread, "self, now, tp", "Faust looks at books not kept"),
    "ConsumerThread.on_crash": (driver.AIOKafkaConsumerThread, "self, msg, fmt, kwargs", "a fault is printed, not told"),
    "Producer.on_start": (driver.Producer, "self", "a producer connects that nobody needs"),
    "Producer.flush": (driver.Producer, "self", "the end waits for a producer that never started"),
    "Transport.Consumer": (driver.Transport, "", "the stock consumer is used"),
    "Transport.Producer": (driver.Transport, "", "the stock producer is used"),
    "Whole.compile": (Schema, "self, app, on_key_decode_error, on_value_decode_error, default_propagate", "batches are decoded"),
    "App.BootStrategy": (App, "", "Faust starts its web server, sensors and producer"),
    "App._new_transport": (App, "self", "the stock transport is used"),
    "App._new_producer_transport": (App, "self", "the stock transport is used"),
    "App.on_init_dependencies": (App, "self", "a monitor runs"),
    "App.on_rebalance_start": (App, "self", "rebalances are not counted, and it fails for want of a sensor"),
    "App._create_directories": (App, "self", "folders are made where the process stands"),
    "_Boot.enable_web": (BootStrategy, "", "Faust opens a port"),
    "_Boot.enable_sensors": (BootStrategy, "", "Faust keeps times of every message"),
    "_Boot.enable_kafka_producer": (BootStrategy, "", "a producer connects that nobody needs"),
    "TopicIds.build": (Request, "self, request_struct_class", "ids of topics cannot be asked for: one made again is not seen"),
    "_Response.API_KEY": (RequestStruct, "", "as TopicIds.build"),
    "_Response.API_VERSION": (RequestStruct, "", "as TopicIds.build"),
    "_Response.SCHEMA": (RequestStruct, "", "as TopicIds.build"),
    "_Struct.FLEXIBLE_VERSION": (RequestStruct, "", "as TopicIds.build"),
    "_Struct.SCHEMA": (RequestStruct, "", "as TopicIds.build"),
}  # fmt: skip

USED: dict[str, tuple[Any, str]] = {
    # a name that is written with an underscore, or kept in an object of theirs: (whose, what breaks)
    "_unacked_messages": (Consumer, "at a rebalance Faust waits for batches that were let go"),
    "_waiting_for_ack": (Consumer, "at a rebalance Faust is not woken by an acknowledgement, and waits a second more"),
    "_thread": (ThreadDelegateConsumer, "positions cannot be sought, nothing is read"),
    "_ensure_consumer": (driver.AIOKafkaConsumerThread, "nothing can be asked of aiokafka"),
    "_rebalancing_sensor_state": (App, "every rebalance fails for want of a sensor"),
    "can_resume_flow": (Consumer, "a fetcher that was stopped for a rebalance never goes on"),
    "flow_active": (Consumer, "records flow while partitions change hands"),
    "consumer_stopped_errors": (Consumer, "an end in order is taken for a crash"),
    "callback": (Consumer, "batches reach no stream"),
    "_client": (AIOKafkaAdminClient, "ids of topics, and metadata for many at once, cannot be asked for"),
    "_txn_manager": (aiokafka.AIOKafkaProducer, "a relay that lost its broker leaves a future nobody hears: a warning"),
    "_transaction_waiter": (TransactionManager, "as _txn_manager"),
}  # fmt: skip


def _modules() -> Iterator[Any]:
    for found in pkgutil.iter_modules(streams.kafka.__path__):
        yield importlib.import_module(f"streams.kafka.{found.name}")


def _ours() -> Iterator[type]:
    for module in _modules():
        for one in vars(module).values():
            if inspect.isclass(one) and one.__module__ == module.__name__ and _theirs(one):
                yield one


def _theirs(one: type) -> list[type]:
    return [base for base in one.__mro__[1:] if base.__module__.partition(".")[0] in THEIRS]


def _held(whose: type) -> set[str]:
    """Names of a class and its bases: what stands in them, is declared, or is set by their methods."""
    return set[str]().union(*map(_stated, whose.__mro__))


@cache
def _stated(one: type) -> set[str]:
    names = set(vars(one)) | set(getattr(one, "__annotations__", {}))
    if one.__module__.partition(".")[0] in THEIRS:
        tree = ast.parse(textwrap.dedent(inspect.getsource(one)))
        names |= {
            node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        }
    return names


IGNORED = {"logger", "__init__", "__post_init__", "API_KEY", "API_VERSION"}
"""Python's, or constants of a protocol that a request has to give."""


def test_everything_of_theirs_that_is_overridden_is_listed():
    found = {
        f"{one.__name__}.{name}"
        for one in _ours()
        for name in vars(one)
        if name not in IGNORED and not (name.startswith("__") or name == "_abc_impl")
        if any(name in vars(base) for base in _theirs(one))
    }
    listed = {name for name in OVERRIDDEN if name.rpartition(".")[2] not in IGNORED}
    assert found == listed, "list it, with what breaks without it"


def test_everything_of_theirs_that_is_written_with_an_underscore_is_listed():
    found = set()
    for module in _modules():
        tree = ast.parse(inspect.getsource(module))
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
                is_own = isinstance(node.value, ast.Name) and node.value.id == "self"
                if not is_own:
                    found.add(node.attr)
        for one in (one for one in _ours() if one.__module__ == module.__name__):
            own = ast.parse(textwrap.dedent(inspect.getsource(one)))
            named = {
                node.attr for node in ast.walk(own) if isinstance(node, ast.Attribute) and node.attr.startswith("_")
            }
            found |= {name for name in named if any(name in _held(base) for base in _theirs(one))} - set(vars(one))
    private = {name for name in USED if name.startswith("_")}
    assert found - private <= {name.rpartition(".")[2] for name in OVERRIDDEN}, "list it, with what breaks without it"
    assert private <= found, "it is used no more: take it out"


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_what_is_overridden_is_there_and_takes_what_it_took(name):
    theirs, wanted, breaks = OVERRIDDEN[name]
    own = name.rpartition(".")[2]
    assert own in _held(theirs), f"{theirs.__name__}.{own} has gone: {breaks}"
    if wanted:
        assert ", ".join(inspect.signature(inspect.getattr_static(theirs, own)).parameters) == wanted, (
            f"it takes something else: {breaks}"
        )


@pytest.mark.parametrize("name", USED)
def test_what_is_used_is_there(name):
    whose, breaks = USED[name]
    assert name in _held(whose), f"{whose.__name__}.{name} has gone: {breaks}"


CALLED: dict[str, tuple[Any, str, str]] = {
    "set_topics": (AIOKafkaClient.set_topics, "self, topics", "metadata of topics comes one by one"),
    "send": (AIOKafkaClient.send, "self, node_id, request, group", "ends and ids cannot be asked for"),
    "get_random_node": (AIOKafkaClient.get_random_node, "self", "ids of topics cannot be asked for"),
    "fetch_all_metadata": (AIOKafkaClient.fetch_all_metadata, "self", "whether a broker answers is not known"),
    "force_metadata_update": (
        AIOKafkaClient.force_metadata_update,
        "self",
        "a leader that moved is found a minute later",
    ),
    "bootstrap": (AIOKafkaClient.bootstrap, "self", "no connection of our own"),
    "OffsetRequest": (OffsetRequest.__init__, "self, replica_id, isolation_level, topics", "ends cannot be asked for"),
}


@pytest.mark.parametrize("name", CALLED)
def test_what_aiokafka_does_not_document_takes_what_it_took(name):
    called, wanted, breaks = CALLED[name]
    parameters = [one for one in inspect.signature(called).parameters if one not in ("args", "kwargs")]
    assert ", ".join(parameters) == wanted, f"it takes something else: {breaks}"


def test_a_message_of_faust_is_made_of_what_it_was_made_of():
    """`_hand_out` gives eleven of these in their order: moved, a batch is another message's key."""
    assert list(inspect.signature(ConsumerMessage.__init__).parameters)[1:12] == [
        "topic", "partition", "offset", "timestamp", "timestamp_type", "headers", "key", "value", "checksum",
        "serialized_key_size", "serialized_value_size",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "autodiscover", "broker_client_id", "broker_commit_interval", "broker_request_timeout", "broker_session_timeout",
        "broker_rebalance_timeout", "stream_buffer_maxsize", "stream_wait_empty", "topic_allow_declare",
        "topic_disable_leader", "web_enabled",
    ],
)  # fmt: skip
def test_a_setting_that_is_given_to_faust_is_one_of_its_settings(name):
    """Faust takes unknown names in silence where an extension might mean them: `stream_wait_empty` gone loses the drain."""
    assert name in Settings.SETTINGS
