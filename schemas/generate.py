"""Generates pydantic models from the contracts, one module for each event: `python -m schemas.generate`."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path

from schemas.gate.catalogue import Catalogue, Finding, read
from schemas.gate.lint import lint
from schemas.loading import Json, event_type_of

FOLDER = Path(__file__).parent / "models"
HEADER = "# Generated from the contracts by `python -m schemas.generate`; edit the contract instead.\n"
MEND = "run: python -m schemas.generate"


def module_of(full_name: str) -> str:
    """Return the module of an event's model: `tidings.billing.v1.InvoiceIssued` → `billing_invoice_issued_v1`."""
    return f"{event_type_of(full_name).replace('.', '_')}_{full_name.split('.')[2]}"


def model(schema: Json) -> str:
    """Return the source of the models of a bundled event."""
    # A tool of developers: an installed wheel reads the models, and never makes them.
    from datamodel_code_generator import InputFileType, PythonVersion, generate
    from datamodel_code_generator.enums import DataModelType

    text = generate(
        json.dumps(schema),
        input_file_type=InputFileType.Avro,
        output_model_type=DataModelType.PydanticV2BaseModel,
        target_python_version=PythonVersion.PY_311,
        custom_file_header=HEADER,
        disable_timestamp=True,
        extra_fields="forbid",
        formatters=[],
        frozen_dataclasses=True,
        set_default_enum_member=True,
        strict_nullable=True,
        use_annotated=True,
        use_double_quotes=True,
        use_field_description=True,
        use_schema_description=True,
        use_standard_collections=True,
        use_union_operator=True,
    )
    assert isinstance(text, str)
    return text.rstrip() + "\n"


def models(catalogue: Catalogue) -> Mapping[str, str]:
    """Return the source of every module below `schemas/models`, by file name."""
    found = {f"{module_of(name)}.py": model(schema) for name, schema in sorted(catalogue.events().items())}
    return {"__init__.py": f'{HEADER}"""One model for each event."""\n', **found}


def stale(catalogue: Catalogue, folder: Path = FOLDER) -> list[Finding]:
    """Return the generated files that are not what the contracts give."""
    wanted = models(catalogue)
    there = {file.name: file.read_text("utf-8") for file in folder.glob("*.py")}
    found = [
        Finding("C401", f"models/{name}", "is out of date" if name in there else "is missing", MEND)
        for name, text in wanted.items()
        if there.get(name) != text
    ]
    return [*found, *(Finding("C401", f"models/{name}", "has no contract", MEND) for name in there.keys() - wanted)]


def main(argv: Sequence[str] | None = None) -> int:
    """Write every module, and remove those without a contract; return 1 where the contracts are no such thing."""
    about = "Write the pydantic models of the contracts under schemas/models, and remove those without a contract."
    ArgumentParser("python -m schemas.generate", description=about).parse_args(argv)
    catalogue = read()
    if found := lint(catalogue):
        print(*found, "nothing is written before the contracts are mended", sep="\n")  # noqa: T201 - a command
        return 1
    FOLDER.mkdir(exist_ok=True)
    wanted = models(catalogue)
    for file in FOLDER.glob("*.py"):
        if file.name not in wanted:
            file.unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text, "utf-8")
    print(f"{len(wanted)} files in {FOLDER.name}")  # noqa: T201 - a command
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
