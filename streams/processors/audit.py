"""What people did, written down for good."""

from __future__ import annotations

from collections.abc import Mapping

from tidings import canonical
from tidings.event import Micros
from tidings.ports import Insert, NextSeq, Now, Transaction


def audit(verb: str, who: str, body: Mapping[str, object]) -> Transaction[None]:
    """Write down what a person did, when, and upon which facts."""
    seq = yield NextSeq("audit")
    now: Micros = yield Now()
    yield Insert("audit", [{"seq": seq, "at": now, "who": who, "verb": verb, "body": canonical.dumps(dict(body))}])
