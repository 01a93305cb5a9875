"""T6: receipts of providers, recorded once each, under the recipient's lock. In: callbacks. Out: refined messages."""

from __future__ import annotations

from streams.processors.deliver import lock_people, wake
from tidings.correction import NOT_REACHED
from tidings.event import Micros
from tidings.message import Message, message_row, read_message
from tidings.ports import Body, Insert, Lock, Now, Put, Read, Transaction
from tidings.receipts import Receipt, refine


def record_receipt(
    message_id: str, provider_id: str, receipt: Receipt, at: Micros, detail: str = ""
) -> Body[Message | None]:
    """Return the body that records a receipt; its result: the message after it, or None where nobody knows it.

    `provider_id` is the provider's own id of the receipt: the same one twice is one.
    """

    def body() -> Transaction[Message | None]:
        row = (yield Read("messages", [(message_id,)])).get((message_id,))
        if row is None:
            return None
        held = yield from lock_people([(row["tenant"], row["recipient"])])
        message = read_message((yield Lock("messages", [(message_id,)]))[message_id,])
        now = yield Now()
        entry = {
            "message_id": message_id, "provider_id": provider_id, "receipt": str(receipt), "at": at, "received_at": now,
            "detail": detail[:500],
        }  # fmt: skip
        if not (yield Insert("receipts", [entry]))[0]:
            return message
        changed = refine(message, receipt)
        if changed != message:
            yield Put("messages", [message_row(changed)])
        if changed.state != message.state or changed.receipt in NOT_REACHED:
            # An all-clear may be waiting to learn whether there is anything to take back.
            yield from wake([changed], held)
        return changed

    return body
