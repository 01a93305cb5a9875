"""Diagnostics: what is wrong, where, and how to mend it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One mistake or smell in a file; lines and columns count from 1."""

    code: str
    text: str
    file: str
    line: int
    column: int
    hint: str | None = None
    severity: Literal["error", "warning", "info"] = "error"
    snippet: str = ""

    def __str__(self) -> str:
        mark = "" if self.severity == "error" else f"{self.severity}: "
        lines = [f"{self.file}:{self.line}:{self.column}: {self.code}: {mark}{self.text}"]
        if self.snippet:
            lines.append(f"    {self.snippet}")
            hint = f" did you mean '{self.hint}'?" if self.hint else ""
            lines.append(f"    {' ' * min(self.column - 1, len(self.snippet))}^{hint}")
        elif self.hint:
            lines.append(f"    did you mean '{self.hint}'?")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return the diagnostic for scripts."""
        return {
            "code": self.code, "severity": self.severity, "text": self.text, "file": self.file, "line": self.line,
            "column": self.column, "did_you_mean": self.hint,
        }  # fmt: skip
