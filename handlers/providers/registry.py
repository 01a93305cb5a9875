"""Providers by name. A file adds its own; a name that is used twice fails at import."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules
from typing import TypeVar

C = TypeVar("C", bound=type)
PROVIDERS: dict[str, type] = {}


def provides(name: str) -> Callable[[C], C]:
    """Register a class under the name that its attempts are recorded under."""

    def register(found: C) -> C:
        if name in PROVIDERS:
            text = f"two providers are called {name}: {PROVIDERS[name].__module__} and {found.__module__}"
            raise RuntimeError(text)
        PROVIDERS[name] = found
        return found

    return register


def known() -> dict[str, type]:
    """Return all of them, having imported every file beside this one."""
    from handlers import providers

    for module in iter_modules(providers.__path__):
        import_module(f"{providers.__name__}.{module.name}")
    return PROVIDERS
