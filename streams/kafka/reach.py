"""Whether a broker can be reached, as whom, and if not, why: one sentence and what to do, never a traceback.

aiokafka's clients say "unable to bootstrap" whatever it was, so each address is tried by itself first.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka import errors
from aiokafka.conn import create_conn
from aiokafka.protocol.metadata import MetadataRequest

from streams.kafka.connection import Connection
from tidings.errors import Misconfigured

PATIENCE = 4.0
"""Seconds that one address has."""


class Away(Exception):
    """The brokers cannot be reached, or do not answer now; the text says why. Try again later."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a broker was not reached."""

    says: str
    mend: str
    ours: bool = False
    """A person has to set our configuration right; waiting does not help."""


def address(text: str) -> tuple[str, int]:
    """Read `host:port`."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


async def probe(connection: Connection, where: str, *, within: float = PATIENCE) -> Fault | None:
    """Connect to one address, say who we are, and hang up."""
    host, port = address(where)
    options = connection.options()
    options.pop("bootstrap_servers")
    try:
        async with asyncio.timeout(within):
            reached = await create_conn(host, port, request_timeout_ms=int(within * 1000), **options)
            try:
                # One that asks who we are lets everybody connect, and hangs up at the first question.
                await reached.send(MetadataRequest([]))
            finally:
                reached.close()
    except Exception as fault:  # noqa: BLE001 - whatever a library raises on the way, the broker was not reached
        return why(fault, connection, where, within)
    return None


async def reachable(connection: Connection, *, within: float = PATIENCE) -> Sequence[str]:
    """Return the addresses of the configuration that answer.

    Raises:
        Misconfigured: none does, and at least one says that it is our fault.
        Away: none does.
    """
    found = await asyncio.gather(*(probe(connection, where, within=within) for where in connection.bootstrap))
    answer = [where for where, fault in zip(connection.bootstrap, found, strict=True) if fault is None]
    if answer:
        return answer
    faults = [fault for fault in found if fault is not None]
    text = "; ".join(dict.fromkeys(fault.says for fault in faults))
    if ours := next((fault for fault in faults if fault.ours), None):
        raise Misconfigured(f"[kafka] {text}: {ours.mend}")
    raise Away(f"no broker answers: {text}; {faults[0].mend}")


def why(fault: BaseException, connection: Connection, where: str, within: float) -> Fault:  # noqa: PLR0911 - a table
    """Say what a failed connection means."""
    match fault:
        case ssl.SSLCertVerificationError():
            text = f"{where}: its certificate is not trusted ({fault.verify_message})"
            return Fault(text, "name who signed it as [kafka] ca, and the broker as its certificate does", ours=True)
        case ssl.SSLError() if "WRONG_VERSION" in (fault.reason or "") or "RECORD_LAYER" in (fault.reason or ""):
            return Fault(f"{where}: no TLS is spoken there", "name its TLS port, or leave out tls", ours=True)
        case ssl.SSLError():
            text = f"{where}: TLS failed ({(fault.reason or 'unknown').replace('_', ' ').lower()})"
            return Fault(text, "see that ca, certificate and key in [kafka] belong together", ours=True)
        case socket.gaierror():
            return Fault(f"{where}: there is no such host", "correct the name, or mend name resolution")
        case ConnectionRefusedError():
            return Fault(f"{where}: nobody listens there", "start the broker, or correct the port")
        case errors.UnsupportedSaslMechanismError():
            text = f"{where}: it does not know the mechanism {connection.mechanism}"
            return Fault(text, "set [kafka] mechanism to one that the broker's listener has", ours=True)
        case errors.IllegalSaslStateError():
            text = f"{where}: it asks nobody who they are there"
            return Fault(text, "leave out mechanism, username and password, or name its SASL port", ours=True)
        case errors.AuthenticationFailedError() | errors.SaslAuthenticationFailed():
            text = f"{where}: it does not take user {connection.username} with this password"
            return Fault(text, "correct username and password in [kafka]", ours=True)
        case TimeoutError():
            return Fault(f"{where}: no answer within {within:g} s", "see whether a firewall lies between")
        case errors.KafkaConnectionError() | ConnectionError():
            return Fault(f"{where}: it hung up", _perhaps(connection))
        case OSError():
            return Fault(f"{where}: {fault.strerror or type(fault).__name__}", "see whether the broker runs")
        case _:
            return Fault(f"{where}: {type(fault).__name__}", _perhaps(connection))


def _perhaps(connection: Connection) -> str:
    """Name what most often makes a broker hang up: a listener of another kind."""
    lacks = " and ".join(
        word for word, there in (("tls", connection.tls), ("mechanism", connection.mechanism)) if not there
    )
    return f"this port may be of another kind than {connection.protocol}; see {lacks or 'tls and mechanism'} in [kafka]"


def refusal(fault: errors.KafkaError, what: str, connection: Connection) -> str:
    """Return the sentence for a request that a broker refused."""
    who = f"user {connection.username}" if connection.username else "whoever is not signed in"
    match fault:
        case errors.TopicAuthorizationFailedError() | errors.ClusterAuthorizationFailedError():
            return f"{what}: {who} has no right to it; grant it on topics {connection.prefix or '*'}… in Kafka's ACLs"
        case errors.GroupAuthorizationFailedError():
            return f"{what}: {who} has no right to the group; grant it on groups {connection.prefix or '*'}…"
        case errors.InvalidReplicationFactorError():
            return f"{what}: more copies than there are brokers; lower [kafka] replicas, or start more brokers"
        case errors.PolicyViolationError():
            return f"{what}: a policy of the cluster forbids it: {_said(fault)}"
        case _:
            return f"{what}: {_said(fault)}"


def _said(fault: errors.KafkaError) -> str:
    text = str(fault.args[0]) if fault.args and fault.args[0] else type(fault).__name__
    return text[:300]
