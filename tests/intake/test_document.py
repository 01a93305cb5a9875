"""The document of the HTTP interface: valid, released, and true to what is served."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from referencing import Registry, Resource

from schemas import contracts
from schemas.examples import described, examples
from streams.json_events import NotAnEvent, from_json
from tests.http.asking import run
from tests.intake.edge import edge, event

pytestmark = pytest.mark.live

ROOT = Path(__file__).resolve().parents[2]
RELEASED = ROOT / "schemas" / "http" / "v1" / "openapi.json"
URL = "urn:document"


@pytest.fixture(scope="module")
def document(tmp_path_factory) -> dict[str, Any]:
    async def body() -> Any:
        async with edge(tmp_path_factory.mktemp("document")) as shop:
            return (await shop.client.get("/openapi.json")).json()

    found: dict[str, Any] = asyncio.run(body())
    return found


def validator(document: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    registry = Registry().with_resource(URL, Resource.opaque(document))
    whole = json.loads(json.dumps(schema).replace('"#/components', f'"{URL}#/components'))
    return Draft202012Validator(whole, registry=registry)


def test_it_is_an_openapi_document(document):
    validate(document)
    assert document["openapi"] == "3.1.0"


def test_what_is_served_is_what_was_released(document):
    """`python -m tests.intake.release` writes it anew: look at the difference, only additions are allowed."""
    assert document == json.loads(RELEASED.read_text("utf-8"))


def test_every_operation_says_who_may_and_answers_its_mistakes_as_problems(document):
    for path, operations in document["paths"].items():
        for verb, operation in operations.items():
            answers = operation["responses"]
            assert operation["security"], (path, verb)
            assert {"400", "401", "403", "503"} <= set(answers), (path, verb)
            for status, answer in answers.items():
                kinds = set(answer.get("content", {}))
                assert ("application/problem+json" in kinds) == (status >= "400"), (path, verb, status)


def test_every_route_under_v1_is_in_the_document(tmp_path, document):
    from fastapi.routing import APIRoute

    from gateway.http.app import create_app
    from gateway.metrics import Metrics

    async def body():
        async with edge(tmp_path) as shop:
            app = create_app(shop.engine, Metrics(lambda: shop.engine.rules, (), lambda: 0), site=shop.site)
            served = {
                (r.path, m.lower())
                for r in app.routes
                if isinstance(r, APIRoute) and r.path.startswith("/v1/")
                for m in r.methods or ()
            }
            assert served - {("/v1/events", "options")} == {(p, m) for p, one in document["paths"].items() for m in one}

    run(body())


def test_every_example_in_the_document_is_taken(tmp_path, document):
    content = document["paths"]["/v1/events"]["post"]["requestBody"]["content"]

    async def body():
        async with edge(tmp_path) as shop:
            ran = 0
            for kind, one in content.items():
                for example in one.get("examples", {}).values():
                    assert validator(document, one["schema"]).is_valid(example["value"])
                    answer = await shop.post(example["value"], kind=kind)
                    assert answer.status_code == 202, answer.text
                    ran += 1
            assert ran >= 4

    run(body())


def test_the_schema_of_an_event_and_the_contract_agree_about_every_example(document):
    for one in examples():
        contract = contracts().by_full_name[one.full_name]
        name = f"event.{contract.type}"
        if name not in document["components"]["schemas"] or not isinstance(one.event, dict):
            continue
        given = {"type": contract.type, **one.event}
        try:
            from_json(contract, given)
            good = True
        except NotAnEvent:
            good = False
        schema = {"$ref": f"#/components/schemas/{name}"}
        assert validator(document, schema).is_valid(given) == good, one.file
    for contract in contracts().by_type.values():
        name = f"event.{contract.type}"
        if name in document["components"]["schemas"]:
            assert validator(document, {"$ref": f"#/components/schemas/{name}"}).is_valid(described(contract))


def test_what_is_answered_has_the_declared_shape(tmp_path, document):
    async def body():
        async with edge(tmp_path) as shop:
            for answer in (
                await shop.post(event(id="a")),
                await shop.post([event(id="b"), {}]),
                await shop.post(event(id="c"), query="?dry_run=true"),
                await shop.post({}),
            ):
                declared = document["paths"]["/v1/events"]["post"]["responses"][str(answer.status_code)]
                (media,) = declared["content"].values()
                faults = [fault.message for fault in validator(document, media["schema"]).iter_errors(answer.json())]
                assert not faults, (answer.status_code, faults)

    run(body())


REFUSED = """
[[operations]]
include-path = "/v1/events"
[operations.checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "406", "413", "415", "422", "207"]
"""
"""A batch is refused event by event: 207 says so of each."""


@pytest.mark.parametrize(
    "words",
    [
        # Every operation but the one whose body has all contracts in it: that would be 15,000 requests.
        ["--phases", "examples,coverage", "--exclude-path", "/v1/events"],
        ["--phases", "examples,fuzzing", "--max-examples", "40"],
    ],
    ids=["coverage", "fuzzing"],
)
def test_schemathesis_finds_nothing(tmp_path, words):
    """Requests that the document allows, and such as it does not, the same ones each time."""

    async def body():
        async with edge(tmp_path) as shop:
            key = await shop.key("fuzz", "admin", sources=("*",))
            (tmp_path / "schemathesis.toml").write_text(REFUSED)
            process = await asyncio.create_subprocess_exec(
                *[str(Path(sys.executable).with_name("schemathesis")), "run", f"http://127.0.0.1:{shop.port}/openapi.json"],
                *["--header", f"Authorization: Bearer {key}", *words, "--generation-deterministic", "--no-color"],
                *["--suppress-health-check", "all", "--exclude-checks", "positive_data_acceptance"],
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=tmp_path,
            )  # fmt: skip
            said = (await process.communicate())[0].decode()
            assert process.returncode == 0, said[-20_000:]
            assert (await shop.post(event(id="after"), key=key)).status_code == 202

    asyncio.run(body())
