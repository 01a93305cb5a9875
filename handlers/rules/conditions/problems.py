"""What is wrong with an expression, and where in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Problem:
    """A mistake or a smell: offsets count characters of the expression's source."""

    code: str
    text: str
    offset: int
    length: int = 1
    hint: str | None = None
    severity: Literal["error", "warning"] = "error"


class Refused(Exception):
    """Raised inside the parser at the first mistake from which it cannot go on."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.text)
        self.problem = problem
