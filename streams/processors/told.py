"""What the topics know of a database that is gone: read by dispatch (D), the intent (T3) and reconciliation (T5).

Rows of `told` are written by `tidings ground rebuild`, under the id of the message: its end, or *unknown*; a firing of
which the topics know more than this database stands there as *unknown* as well, for messages that are made anew.
"""

from __future__ import annotations

from collections.abc import Sequence

from tidings import outcomes
from tidings.message import Message
from tidings.outcomes import SUSPECT
from tidings.ports import Read, Row, Transaction

TOLD = "told"
"""Epoch row: there is something in the table `told`. Without it nobody asks."""


def of(messages: Sequence[Message]) -> Transaction[dict[str, Row]]:
    """Read what is known of messages, by their ids."""
    names = {one.message_id for one in messages} | {one.firing_id for one in messages}
    found = yield Read("told", sorted((name,) for name in names))
    known = {one.message_id: found.get((one.message_id,)) or found.get((one.firing_id,)) for one in messages}
    return {name: row for name, row in known.items() if row is not None}


def corrected(messages: Sequence[Message]) -> Transaction[dict[str, Message]]:
    """Return those messages that ended otherwise than they stand here, as they ended."""
    found = yield Read("told", sorted((one.message_id,) for one in messages))
    ends = {name: row for (name,), row in found.items() if row["state"] != SUSPECT}
    after = {
        one.message_id: outcomes.corrected(one, ends[one.message_id]) for one in messages if one.message_id in ends
    }
    return {one.message_id: end for one in messages if (end := after.get(one.message_id)) not in (None, one)}
