"""Who did what can be read by whoever may do everything, and by nobody else: on a page, over HTTP, at the command line."""

from __future__ import annotations

import json

from gateway.cli.main import main
from streams.processors import kills
from streams.processors.audit import audit
from tests.edge import edge
from tests.http.asking import run


def test_who_did_what_is_read_by_an_administrator_only_part_by_part(tmp_path, capsys):
    async def body():
        async with edge(tmp_path, started=False) as shop:
            for number in range(5):
                await shop.engine.store.run(kills.kill(f"rule:r-{number}", "ann", f"<wrong> {number}"))
            page = (await shop.get("/audit?who=ann")).body.decode()
            assert "&lt;wrong&gt; 4" in page
            assert "scope rule:r-4" in page
            assert "scope rule:" not in (await shop.get("/audit?who=ben")).body.decode()
        async with edge(tmp_path, started=False) as shop:
            operator = f"Bearer {await shop.key('on-call', 'decisions', 'kill', 'jobs', 'customers:reveal')}"
            admin = f"Bearer {await shop.key('head', 'admin')}"
            assert (await shop.get("/v1/audit")).status == 401
            assert (await shop.get("/v1/audit", authorization=operator)).status == 403
            found, path = [], "/v1/audit?verb=kill&limit=2"
            while path:
                part = (await shop.get(path, authorization=admin)).json
                found += [one["body"]["reason"] for one in part["items"]]
                path = part["next"] and f"/v1/audit?verb=kill&limit=2&cursor={part['next']}"
            assert found == [f"<wrong> {number}" for number in (4, 3, 2, 1, 0)]
            other = (await shop.get("/v1/audit?limit=2", authorization=admin)).json["next"]
            moved = await shop.get(f"/v1/audit?verb=kill&limit=2&cursor={other}", authorization=admin)
            assert moved.json["code"] == "invalid"

    run(body())
    assert main(["audit", "--data", str(tmp_path), "--who", "ann", "--limit", "1", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["verb"], row["body"]) == ("kill", {"scope": "rule:r-4", "reason": "<wrong> 4"})
    assert main(["audit", "--data", str(tmp_path), "--verb", "release"]) == 1
    assert "nothing is written down of this" in capsys.readouterr().out


def test_what_was_only_opened_is_on_the_page_for_whoever_asks_for_it(tmp_path):
    def opening():
        yield from audit("messages open", "ann", {"message": "m-1"})

    async def body():
        async with edge(tmp_path, started=False) as shop:
            await shop.engine.store.run(kills.kill("all", "ann", "wrong prices"))
            await shop.engine.store.run(opening)
            page = (await shop.get("/audit")).body.decode()
            assert ("wrong prices" in page, "message m-1" in page, "are not listed" in page) == (True, False, True)
            for asked in ("openings=1", "verb=messages+open"):
                assert "message m-1" in (await shop.get(f"/audit?{asked}")).body.decode()

    run(body())
