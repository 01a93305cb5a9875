"""The reference pages, made from the code: `make reference` writes them, and a test compares them.

Each page has a head in words of ours and a body that is generated; nobody edits the body.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import sys
import types
import typing
from collections.abc import Iterable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from gateway import sections
from gateway.cli.contract_page import LEGEND, event_lines
from gateway.cli.folder import example, loaded
from gateway.cli.main import parser
from gateway.http.look import Look
from gateway.metrics import Metrics, State
from schemas import contracts
from streams.stores.counts import Waiting
from tests.docs.pages import ROOT
from tidings.reasons import ENDED, OPEN, MessageState, Reason

FOLDER = ROOT / "docs" / "reference"
MADE = "<!-- Made by `make reference` from the code; edit the code. -->"


def pages() -> dict[str, str]:
    """Return every page by its name."""
    return {
        "commands.md": _page("Commands", commands()),
        "configuration.md": _page("Configuration", configuration()),
        "contracts.md": _page("Contracts of events", of_contracts()),
        "metrics.md": _page("Metrics", metrics()),
        "reasons.md": _page("States and reasons", reasons()),
    }


def _page(title: str, lines: Iterable[str]) -> str:
    text = "\n".join([f"# {title}", "", MADE, "", *lines])
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


def commands() -> Iterator[str]:
    """Yield every verb with its options, as `--help` has them."""
    yield "What `tidings VERB --help` says, on one page."
    yield from _verbs(parser(), [])


def _verbs(one: argparse.ArgumentParser, path: list[str]) -> Iterator[str]:
    for action in one._actions:  # argparse has no public list of what was added
        if not isinstance(action, argparse._SubParsersAction):
            continue
        said = {choice.dest: choice.help for choice in action._choices_actions}
        for name, inner in action.choices.items():
            words = [*path, name]
            yield from ["", f"{'#' * (len(words) + 1)} tidings {' '.join(words)}", "", _sentence(said.get(name) or "")]
            yield from _options(inner)
            yield from _verbs(inner, words)


def _options(one: argparse.ArgumentParser) -> Iterator[str]:
    rows = [
        action for action in one._actions if not isinstance(action, argparse._HelpAction | argparse._SubParsersAction)
    ]
    if not rows:
        return
    yield from ["", "| | |", "|---|---|"]
    for action in rows:
        value = (
            ""
            if action.nargs == 0
            else str(action.metavar or (action.choices and "|".join(map(str, action.choices))) or action.dest)
        )
        names = ", ".join(action.option_strings)
        shown = f"{names} {value}".strip() if names else value
        yield f"| `{_cell(shown)}` | {_cell((action.help or '') % {'default': action.default, 'prog': 'tidings'})} |"


def configuration() -> Iterator[str]:
    """Yield every key of tidings.toml."""
    yield "Every key of `tidings.toml`. A mistake is told with its line and with what was meant; `tidings doctor` checks the whole."
    yield "Secrets stand in it by reference only: `env:NAME` or `file:/path`."
    yield from _section("at the top", sections.Settings)
    for name, field in sections.Settings.model_fields.items():
        for one in _models(field.annotation):
            yield from _section(f"[{name}]", one)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in typing.get_args(annotation):
        yield from _models(part)


def _section(name: str, model: type[BaseModel]) -> Iterator[str]:
    said = _said(model)
    yield from ["", f"## {name}", ""]
    if model is not sections.Settings:
        yield from [_sentence(inspect.getdoc(model) or ""), ""]
    yield from ["| key | value | without it | |", "|---|---|---|---|"]
    for key, field in model.model_fields.items():
        if next(_models(field.annotation), None) is not None:
            continue
        default = "must be given" if field.default is PydanticUndefined else _value(field.default)
        yield f"| `{key}` | {_cell(_type(field.annotation))} | {_cell(default)} | {_cell(said.get(key, ''))} |"


def _said(model: type[BaseModel]) -> dict[str, str]:
    """Return the sentences that stand below the fields of a class."""
    (body,) = ast.parse(inspect.getsource(model)).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            found[field.target.id] = " ".join(str(ast.literal_eval(text.value)).split())
    return found


def _type(annotation: Any) -> str:
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type(parts[0])
    if origin is typing.Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type(part) for part in parts if part is not type(None))
    if origin is tuple:
        return f"list of {_type(parts[0])}"
    return {str: "text", int: "number", float: "number", bool: "true or false", Path: "path"}.get(
        annotation, getattr(annotation, "__name__", str(annotation))
    )


def _value(value: object) -> str:
    if value is None or value == ():
        return "–"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`"


def of_contracts() -> Iterator[str]:
    """Yield every event with its fields."""
    yield f"The events that core systems publish and that rules name. `tidings contracts show TYPE` has an example of each. {LEGEND}"
    for one in sorted(contracts().by_type.values(), key=lambda contract: contract.type):
        title, place, customer, *fields = event_lines(one)
        yield from ["", f"## {one.type}", "", _sentence(title.removeprefix(one.type).strip()), ""]
        yield f"{_sentence(place.strip())} {_sentence(customer.strip())}"
        kept = list(takewhile(lambda line: line != LEGEND and not line.startswith("One event"), fields))
        yield from [
            "",
            "```text",
            *(line.removeprefix("  ") for line in "\n".join(kept).strip("\n").splitlines()),
            "```",
        ]


def metrics() -> Iterator[str]:
    """Yield every metric."""
    yield "What `/metrics` serves. Labels come from closed lists only: nothing that a customer or a producer chooses becomes one."
    yield from ["", "| metric | kind | labels | |", "|---|---|---|---|"]
    rules = loaded(example())[0].rules
    assert rules is not None
    found = Metrics(lambda: rules, (), lambda: 0)
    look = Look(0, None, {("detect", "topic"): 0}, {rules.stateful[0].id: 0}, {}, ())
    state = State(
        rules,
        {"detect": 0.0},
        look,
        Waiting({}, 0, {}, 0, None, 0, None),
        {"deadlock": 0},
        {"broker": 0},
        {},
        0,
        {"smtp": False},
    )
    text = found.text(state).decode()
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    docs = re.findall(r"^# HELP (\S+) (.+)$", text, re.MULTILINE)
    known: list[Any] = list(found.registry._collector_to_names)
    labels = {one._name: one._labelnames for one in known}
    for name, doc in docs:
        own = labels.get(name.removesuffix("_total"), ()) or sorted(
            set(re.findall(r'(\w+)="', "".join(re.findall(rf"^{name}{{(.*?)}}", text, re.MULTILINE))))
        )
        yield f"| `{name}` | {kinds[name]} | {', '.join(own)} | {_cell(doc)} |"


def reasons() -> Iterator[str]:
    """Yield the closed lists."""
    yield "The word in a record, in a metric's label, in the console and on the command line is the same."
    yield from ["", "## States of a message", "", "| state | |", "|---|---|"]
    yield from (f"| `{state}` | {'may still change' if state in OPEN else 'the end'} |" for state in MessageState)
    yield from [
        "",
        "## Reasons",
        "",
        "| reason | what support may say | once it does not wait any more |",
        "|---|---|---|",
    ]
    yield from (f"| `{reason}` | {_cell(reason.sentence)} | {_cell(ENDED.get(reason, ''))} |" for reason in Reason)


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    end = "" if not text or text[-1] in ".?!" else "."
    return text[:1].upper() + text[1:] + end


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> int:
    """Write the pages."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, "utf-8")
        print(f"docs/reference/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
