"""Bodies of transactions, and stores that run them on a database that was emptied."""

import contextlib
from typing import Any

from streams.stores.place import Place
from streams.stores.postgres import PostgresStore
from tests.services import empty
from tidings.ports import (
    Body,
    Delete,
    Lock,
    NextSeq,
    Put,
    Read,
    Row,
    Scan,
    Share,
    Transaction,
)


@contextlib.asynccontextmanager
async def opened(place: Place, **sizes: int) -> Any:
    await empty(place)
    store = await PostgresStore.open(place, lambda: 42, **sizes)
    try:
        yield store
    finally:
        await store.close()


def state(number: int, value: int) -> Row:
    return {
        "k": number.to_bytes(16, "big"),
        "class": "c",
        "tenant": "t",
        "key": "[]",
        "value": b"%d" % value,
        "due": None,
    }


def floor(rule: str, w: int) -> Row:
    return {"rule": rule, "w": w}


def adding(keys: list[int]) -> Body[None]:
    """Add one to each of some counters; a counter that reaches a multiple of seven is deleted, and begins anew."""

    def body() -> Transaction[None]:
        yield Share("epoch")
        held = yield Lock("state", [(key.to_bytes(16, "big"),) for key in keys])
        yield NextSeq("journal")
        puts, sums, gone = [], [], []
        for key, ((k,), row) in zip(keys, held.items(), strict=True):
            value = 1 if row is None else int(row["value"]) + 1
            if value == 7:
                gone.append((k,))
            else:
                puts.append(state(key, value))
            sums.append(f"{key}")
        if gone:
            yield Delete("state", gone)
        if puts:
            yield Put("state", puts)
        floors = yield Read("floors", [(one,) for one in sums])
        yield Put("floors", [floor(one, floors.get((one,), floor(one, 0))["w"] + 1) for one in sums])

    return body


def everything(table: str) -> Body[list[Row]]:
    def body() -> Transaction[list[Row]]:
        return (yield Scan(table))  # type: ignore[no-any-return]

    return body
