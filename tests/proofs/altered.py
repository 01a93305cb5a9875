"""The command `tidings` with one thing altered: `python -m tests.proofs.altered HOW VERB …`.

impatient   a mail server has six seconds to answer, so that what a dead deliverer has held is free again soon
fragile     the code itself fails on events of the order `bomb`, as with a bug of ours
"""

import sys
from collections.abc import Callable, Mapping
from functools import partial

from gateway.cli.main import main
from handlers.providers import smtp
from streams.processors import detect
from tidings import detection


def impatient() -> None:
    smtp.SmtpSettings = partial(smtp.SmtpSettings, timeout=2.0, final_timeout=6.0)  # type: ignore[misc, assignment]


def fragile() -> None:
    look = detection.look

    def fails(rules, event):
        if event.data.get("order_id") == "bomb":
            raise ZeroDivisionError("a bug of ours")
        return look(rules, event)

    detect.look = fails  # type: ignore[attr-defined]


HOW: Mapping[str, Callable[[], None]] = {"impatient": impatient, "fragile": fragile}

if __name__ == "__main__":
    HOW[sys.argv[1]]()
    sys.exit(main(sys.argv[2:]))
