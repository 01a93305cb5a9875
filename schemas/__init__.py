"""Contracts: Avro schemas and what they mean, loaded from the package; no network, no vendor at import."""

from __future__ import annotations

from schemas.loading import Contracts, contracts

__all__ = ["Contracts", "contracts"]
