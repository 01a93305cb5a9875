"""What intake answers, and what it has written."""

from typing import Any

from gateway.http.problems import KINDS
from schemas import contracts
from streams.codec import Codec
from streams.embedded_log import read_record
from tests.intake.edge import Edge

CODEC = Codec(contracts())


def cloud(given: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"specversion": "1.0", **given, **more}


def is_problem(answer: Any, code: str) -> dict[str, Any]:
    found: dict[str, Any] = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, found["code"]) == (KINDS[code].status, code), found
    assert found["type"] == f"/problems/{code}"
    assert found["request_id"] == answer.headers["request-id"]
    return found


async def decoded(edge: Edge) -> list[Any]:
    return [CODEC.decode(read_record(row)) for row in await edge.log()]
