"""Every captured payload that lies beside the project, and what becomes of it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.main import main
from streams.json_events import parse_json, rfc3339
from streams.sources.intake import READERS
from tidings.errors import BadContract
from tidings.event import SECOND

pytestmark = pytest.mark.live

FOLDER = Path(os.environ.get("TIDINGS_SAMPLES", Path(__file__).resolve().parents[3] / "shared" / "samples"))
LATE = 1_700_000_000 * SECOND
CUSTOMER = ("crm.customer.changed", "customer.profile.changed")
CHANGED = ("crm.customer.changed",)

Outcome = tuple[tuple[str, ...], tuple[str, ...]] | str
"""Events and what the rules made of them (`rule`, or `rule: reason of the silence`), or the reason of the dead letter."""

TABLE: dict[str, Outcome] = {
    # No total, no id of the payment, no customer: the contract says what is missing.
    "cloudevents/correlation_00": "bad_value",
    "cloudevents/correlation_04": "bad_value",
    **{f"cloudevents/correlation_0{number}": "unmapped" for number in (1, 2, 3, 5, 6, 7)},
    "cloudevents/verifiability_00": "unmapped",
    "cloudevents/verifiability_03": "unmapped",
    "debezium/cloudevents_00_x": "unmapped",  # a table that nobody has mapped
    "debezium/cloudevents_01_x": "bad_value",  # Avro, whose schema lies in a registry of somebody else
    "debezium/mongodb_01_c": "unmapped",  # the source names no collection
    "debezium/mongodb_06_c": (CUSTOMER, ("welcome",)),  # nanoseconds in ts_ms
    "debezium/mongodb_07_u": (CUSTOMER, ()),
    "debezium/mongodb_08_d": (CHANGED, ("account-closed: unknown_customer",)),
    "debezium/oracle_05_c": "unmapped",
    "debezium/oracle_08_c": (CUSTOMER, ("welcome",)),  # the table stands in the schema's name only
    "debezium/oracle_09_u": "unmapped",
    "debezium/oracle_10_d": "unmapped",
    "debezium/oracle_11_t": "unmapped",
    "debezium/postgresql_01_c": "unmapped",
    "debezium/postgresql_04_c": (CUSTOMER, ()),  # read by a snapshot: greets nobody
    "debezium/postgresql_05_u": (CUSTOMER, ()),  # `before` is the key only: nothing has certainly changed
    "debezium/postgresql_06_d": (CHANGED, ("account-closed: unknown_customer",)),
    "debezium/postgresql_07_t": "unmapped",
    "debezium/postgresql_08_m": "unmapped",
    "debezium/serde-unknown-property": (CUSTOMER, ()),
    "debezium/serde-unwrapped": "bad_value",
    "debezium/serde-update": (CUSTOMER, ()),
    "debezium/serde-with-schema": (CUSTOMER, ("welcome",)),
    "debezium/serde-without-schema": (CUSTOMER, ("welcome",)),
    "debezium/sqlserver_05_c": (CUSTOMER, ("welcome",)),
    "debezium/sqlserver_06_u": (CUSTOMER, ("email-changed",)),
    "debezium/sqlserver_09_c": "unmapped",
    "shopify/events": "unmapped",
    "shopify/order": (("sales.order.placed",), ("order-confirmed",)),
    "stripe/account_updated_without_previous_attributes": "unmapped",
    "stripe/customer_subscription_updated": (("billing.subscription.changed",), ("trial-started",)),
    "stripe/customer_updated__delinquency": (CHANGED, ("account-settled",)),
    # Half past two at night in London.
    "stripe/invoice_payment_failed": (("billing.payment.failed",), ("payment-failed: quiet_hours",)),
}


@pytest.fixture(autouse=True)
def beside():
    if not FOLDER.is_dir():
        pytest.skip("the captured payloads are not beside this checkout; TIDINGS_SAMPLES names their folder")


def test_the_table_names_every_payload():
    assert {f"{file.parent.name}/{file.stem}" for file in FOLDER.glob("*/*.json")} == set(TABLE)


def soon(source: str, raw: bytes) -> int:
    """Ten seconds after it happened, so that it is news."""
    try:
        return READERS[source](parse_json(raw), LATE)[0].time + 10 * SECOND
    except BadContract:
        return LATE


@pytest.mark.parametrize("name", TABLE)
def test_a_payload_ends_as_the_table_says(name, capsys):
    source = name.split("/")[0]
    file = FOLDER / f"{name}.json"
    now = rfc3339(soon(source, file.read_bytes()))
    code = main(["ingest", "--source", source, str(file), "--now", now, "--json"])
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = TABLE[name]
    assert told[-1]["holds"]
    assert outcome(told) == expected
    assert code == isinstance(expected, str)


def outcome(told: list[dict[str, Any]]) -> Outcome:
    refused = [one["reason"] for one in told if one["what"] == "refused"]
    if refused:
        return str(refused[0])
    (events,) = (tuple(one["types"]) for one in told if one["what"] == "taken")
    said = [one for one in told if one["what"] in ("told", "held", "not told")]
    return events, tuple(one["rule"] + (f": {one['reason']}" if one.get("reason") else "") for one in said)
