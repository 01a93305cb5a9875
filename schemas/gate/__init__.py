"""The gate of the contracts: what may not be released, and why.

Order: `lint`, then `frozen` (nobody touched a released version), then `breaking` against every released version (Avro's
own rules, then ours on top), then `unreleased`. Each reads what the ones before it have found in order. The proofs
that need the codec stand in `streams.contract_proofs`, the generated models in `schemas.generate`; the command
`tidings contracts check` runs all of them.
"""

from __future__ import annotations

from schemas.gate.breaking import breaking
from schemas.gate.catalogue import Catalogue, Finding, read
from schemas.gate.lint import lint
from schemas.gate.lock import Due, due, frozen, unreleased

__all__ = ["Catalogue", "Due", "Finding", "breaking", "due", "frozen", "lint", "read", "unreleased"]
