"""Every page says which scope it needs: whoever is signed in does not see everything."""

from collections.abc import Iterator, Sequence
from typing import Any

from gateway.access.keys import SCOPES
from gateway.console.app import routes
from tests.edge import edge
from tests.http.asking import run

OPEN = {("GET", "/sign-in"), ("POST", "/sign-in"), ("POST", "/sign-out"), ("GET", "/static/{digest}/{name}")}
"""What needs none: the way in and out, and files that hold nothing of anybody."""


def walk(router: Any, above: Sequence[Any] = ()) -> Iterator[tuple[str, str, set[str]]]:
    """Yield every route: method, path, scopes that it declares."""
    for one in router.routes:
        if hasattr(one, "original_router"):
            yield from walk(one.original_router, [*above, *one.include_context.dependencies])
            continue
        asked: set[Any] = {getattr(found.dependency, "scope", None) for found in [*above, *one.dependencies]}
        for method in one.methods:
            yield method, one.path, asked - {None}


def test_every_route_of_the_console_declares_a_scope_but_the_way_in(tmp_path):
    async def body():
        async with edge(tmp_path, started=False) as shop:
            found = {(method, path): scopes for method, path, scopes in walk(routes(shop.site))}
            assert {place for place, scopes in found.items() if not scopes} == OPEN
            assert set().union(*found.values()) <= set(SCOPES)
            assert all("jobs" in scopes for (_, path), scopes in found.items() if path.startswith("/dead-letters"))
            assert "admin" in found["GET", "/audit"]
            assert "customers:reveal" in found["GET", "/messages/{name}/body"]

    run(body())
