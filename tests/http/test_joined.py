"""A head that leaves together with what follows it."""

import asyncio
from typing import Any

import pytest

from gateway.http.joined import LONG, SHORT, Joined


class Wire(asyncio.Transport):
    """A connection that writes down what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[Any] = []

    def write(self, data: Any) -> None:
        self.sent.append(bytes(data))

    def close(self) -> None:
        self.sent.append("closed")

    def abort(self) -> None:
        self.sent.append("cut off")


def sent(*pieces: Any) -> list[Any]:
    """Return what leaves; a None among the pieces lets the loop come round."""

    async def body() -> list[Any]:
        wire = Wire()
        joined = Joined(wire, asyncio.get_running_loop())
        for piece in pieces:
            if piece is None:
                await asyncio.sleep(0)
            elif isinstance(piece, str):
                getattr(joined, piece)()
            else:
                joined.write(piece)
        await asyncio.sleep(0)
        return wire.sent

    return asyncio.run(body())


@pytest.mark.parametrize(
    ("pieces", "leaves"),
    [
        ((b"head", b"body", b""), [b"headbody"]),
        ((b"head", None, b"first", None, b"second"), [b"head", b"first", b"second"]),
        ((b"head", b"body", b"head", b"body"), [b"headbody", b"headbody"]),
        ((b"head", b"x" * (LONG + 1)), [b"head", b"x" * (LONG + 1)]),
        ((b"x" * (SHORT + 1), b"y"), [b"x" * (SHORT + 1), b"y"]),
        ((b"head", "close"), [b"head", "closed"]),
        ((b"head", "abort"), ["cut off"]),
    ],
)
def test_short_pieces_leave_together_in_order_and_nothing_waits_for_more_than_a_turn(pieces, leaves):
    assert sent(*pieces) == leaves
