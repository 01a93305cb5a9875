"""Every page and every operation says which scope it needs: whoever comes in does not see everything."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from gateway.access.keys import SCOPES
from gateway.console.app import routes
from tests.edge import edge
from tests.http.asking import run

OPEN = {("GET", "/sign-in"), ("POST", "/sign-in"), ("POST", "/sign-out"), ("GET", "/static/{digest}/{name}")}
"""What needs none: the way in and out, and files that hold nothing of anybody."""

SCOPE = {
    "/v1/events": "events", "/v1/decisions": "decisions", "/v1/explain": "decisions", "/v1/why-not": "decisions",
    "/v1/kills": "kill", "/v1/audit": "admin", "/v1/contracts": None,
}  # fmt: skip
"""Of the operations below a path, as the table of the HTTP edge has it; None: any key does."""


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


def test_every_operation_of_the_document_is_closed_to_a_key_without_its_scope(tmp_path):
    """A new operation is missing in the table above until somebody has said whose it is."""

    async def body():
        async with edge(tmp_path, started=False) as shop:
            document = (await shop.get("/openapi.json")).json
            own = {scope: await shop.key(f"only-{number}", scope) for number, scope in enumerate(SCOPES)}
            for path, operations in document["paths"].items():
                scope = SCOPE["/".join(path.split("/")[:3])]
                others = frozenset(SCOPES) - {scope, "admin"}
                other = await shop.key(f"not-{len(path)}-{sum(map(ord, path))}", *others)
                for method in operations:
                    asked = partial(shop.get, path.replace("{", "").replace("}", ""), method.upper())
                    assert (await asked()).status == 401, "no key"
                    refused = await asked(authorization=f"Bearer {other}")
                    assert (refused.status == 403) is (scope is not None), (method, path)
                    assert scope is None or refused.json["code"] == "scope-missing"
                    for key in (own["admin"], own[scope or "events"]):
                        assert (await asked(authorization=f"Bearer {key}")).status not in (401, 403), (method, path)

    run(body())
