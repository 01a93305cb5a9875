"""Receipts: monotone by rank, whatever their order; and they prove that the provider has the message."""

import asyncio
from dataclasses import replace
from itertools import permutations

import pytest

from streams.processors.receipts import record_receipt
from tests.kernel.test_gates import MESSAGE
from tidings.message import message_row, read_message
from tidings.ports import Put
from tidings.reasons import MessageState
from tidings.receipts import Receipt, refine
from tidings.testing.memory import MemoryStore

ACCEPTED = replace(MESSAGE, state=MessageState.ACCEPTED, attempt=1)


@pytest.mark.parametrize(
    "order", list(permutations([Receipt.SENT, Receipt.DELIVERED, Receipt.CLICKED, Receipt.DELIVERED]))
)
def test_the_order_does_not_matter(order):
    message = ACCEPTED
    for receipt in order:
        message = refine(message, receipt)
    assert message.receipt == "clicked"


@pytest.mark.parametrize("state", MessageState)
def test_a_receipt_settles_what_is_open_and_leaves_what_has_ended(state):
    found = refine(replace(ACCEPTED, state=state), Receipt.DELIVERED)
    if state.is_open or state is MessageState.ACCEPTED:
        assert (found.state, found.receipt, found.owner) == (MessageState.ACCEPTED, "delivered", None)
    else:
        assert (found.state, found.receipt) == (state, None)


def test_a_receipt_for_what_was_never_sent_changes_nothing():
    assert refine(MESSAGE, Receipt.DELIVERED) == MESSAGE


def test_the_same_receipt_twice_is_recorded_once_and_a_stranger_is_nobody():
    async def story():
        store = MemoryStore()

        def there():
            yield Put("messages", [message_row(replace(MESSAGE, state=MessageState.UNKNOWN, attempt=1))])

        await store.run(there)
        for receipt in (Receipt.SENT, Receipt.SENT):
            await store.run(record_receipt("m", "r-1", receipt, 5))
        assert await store.run(record_receipt("nobody", "r-1", Receipt.SENT, 5)) is None
        assert len(store.rows("receipts")) == 1
        (row,) = store.rows("messages")
        assert (read_message(row).state, row["receipt"]) == (MessageState.ACCEPTED, "sent")

    asyncio.run(story())
