"""What each verb of the command does."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable
from difflib import get_close_matches
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from handlers.rules.load import Loaded, load
from schemas import contracts
from tidings.errors import Misconfigured
from tidings.ports import StoreUnavailable

MAX_FILE = 1024 * 1024


class Told(Exception):
    """A sentence for the user, who gave something that cannot be used."""


def run(arguments: Namespace) -> int:
    """Run a verb."""
    try:
        match arguments.verb, getattr(arguments, "action", None):
            case "demo", _:
                from gateway.cli.demo import demo

                return demo(arguments)
            case "ingest", _:
                from gateway.cli.ingest import ingest

                return ingest(arguments)
            case "rules", _:
                return rules_check(arguments)
            case _, "list":
                return contracts_list(as_json=arguments.json)
            case _, "show":
                return contracts_show(arguments.type)
            case _:
                return contracts_check()
    except (Misconfigured, StoreUnavailable) as fault:
        raise Told(str(fault)) from fault


def example() -> Path:
    """Return the folder of the example shop: in a wheel inside `gateway`, in a checkout at its top."""
    for folder in (Path(str(files("gateway"))) / "examples" / "shop", Path(__file__).parents[2] / "examples" / "shop"):
        if folder.is_dir():
            return folder
    raise Told("the example shop is not installed")


def read_rules(folder: Path) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the rule files and templates below a folder."""
    if not (folder / "rules").is_dir():
        raise Told(f"{folder} has no folder 'rules'")
    rules = {}
    for path in sorted((folder / "rules").rglob("*.yaml")):
        if path.stat().st_size > MAX_FILE:
            raise Told(f"{path} is larger than {MAX_FILE} bytes")
        rules[path.relative_to(folder).as_posix()] = path.read_bytes()
    texts = {}
    for path in sorted((folder / "templates").rglob("*.txt")):
        try:
            texts[path.relative_to(folder / "templates").with_suffix("").as_posix()] = path.read_text("utf-8")
        except UnicodeDecodeError as fault:
            raise Told(f"{path}: byte {fault.start} is not UTF-8") from fault
    if not rules:
        raise Told(f"{folder / 'rules'} holds no *.yaml")
    return rules, texts


def loaded(folder: Path) -> tuple[Loaded, dict[str, bytes], dict[str, str]]:
    """Load the rules below a folder."""
    rules, texts = read_rules(folder)
    return load(rules, texts, contracts().by_type), rules, texts


def rules_check(arguments: Namespace) -> int:
    """`tidings rules check`."""
    found, rules, _ = loaded(arguments.folder or example())
    if arguments.json:
        print(json.dumps([one.to_json() for one in found.diagnostics], indent=1))
    else:
        for one in found.diagnostics:
            print(one)
        count = 0 if found.rules is None else len(found.rules.rules)
        wrong = len(found.errors)
        print(f"{len(rules)} files: " + (f"{wrong} errors" if wrong else f"{count} rules, no errors"))
    return 1 if found.errors else 0


def contracts_list(*, as_json: bool) -> int:
    """`tidings contracts list`."""
    known = sorted(contracts().by_type.values(), key=lambda one: one.type)
    if as_json:
        rows = [{"type": c.type, "topic": c.topic, "version": c.version, "owner": c.owner, "doc": c.doc} for c in known]
        print(json.dumps(rows, indent=1))
        return 0
    width = max(len(contract.type) for contract in known)
    for contract in known:
        print(f"{contract.type:{width}}  {contract.owner:16}  {contract.doc}")
    return 0


def contracts_show(name: str) -> int:
    """`tidings contracts show TYPE`."""
    known = contracts().by_type
    contract = known.get(name)
    if contract is None:
        near = get_close_matches(name, list(known), 1)
        raise Told(f"there is no event contract {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    print(f"{contract.type}  {contract.doc}")
    print(
        f"  topic {contract.topic}, key {'.'.join(contract.key)}, owner {contract.owner}, schema id {contract.schema_id}"
    )
    for field in contract.fields.values():
        kind = field.type.kind + ("?" if field.type.nullable else "")
        mark = "" if field.pii == "none" else f" ({field.pii})"
        print(f"  {field.name:18} {kind:11} {field.doc}{mark}")
    return 0


def contracts_check() -> int:
    """`tidings contracts check`."""
    from schemas import gate
    from schemas.generate import stale
    from streams.contract_proofs import prove

    catalogue = gate.read()
    stages: list[tuple[str, str | None, Callable[[], list[gate.Finding]]]] = [
        ("shape", None, lambda: gate.lint(catalogue)),
        ("breaking changes", "avro", lambda: gate.breaking(catalogue)),
        ("lock", None, lambda: gate.lock(catalogue)),
        ("proofs and examples", None, lambda: prove(contracts())),
        ("generated models", "datamodel_code_generator", lambda: stale(catalogue)),
    ]
    count = 0
    for name, package, stage in stages:
        if package is not None and find_spec(package) is None:
            print(f"{name}: NOT CHECKED, the package {package!r} is not installed (it belongs to the group 'dev')")
            continue
        found = stage()
        for finding in found:
            print(finding)
        count += len(found)
        print(f"{name}: " + (f"{len(found)} findings" if found else "in order"))
        if found and name == "shape":
            # What does not read as a contract cannot be compared with anything.
            break
    print(f"{len(catalogue.lock)} contracts: " + (f"{count} findings" if count else "in order"))
    return 1 if count else 0
