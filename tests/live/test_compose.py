"""The compose file cannot rot: what it says is started by hand, until a mail arrives."""

import asyncio
import email.policy
import json
import re
import subprocess
import urllib.request
from email import message_from_bytes
from pathlib import Path

import httpx
import pytest

from tests import services
from tests.live.composed import DEPLOY, Composed, broker, database, named_in
from tests.providers.stand_ins import Mailbox, smtp_served
from tests.servers.process import wait_until

pytestmark = pytest.mark.live


def test_the_commands_of_the_compose_file_bring_an_event_to_its_reader_and_end_in_order(tmp_path):
    services.kafka()
    services.postgres_address()
    secrets = tmp_path / "secrets"
    script = tmp_path / "make-secrets"
    script.write_bytes((DEPLOY / "make-secrets").read_bytes())
    for _ in range(2):  # again changes nothing
        subprocess.run(["sh", script], check=True, capture_output=True)
        passwords = {file.name: file.read_text() for file in secrets.iterdir()}
    assert len(set(passwords.values())) == len(passwords) == 8

    async def story() -> None:
        mailbox = Mailbox()
        kafka, postgres = broker(tmp_path / "kafka"), database(tmp_path / "postgres", secrets)
        try:
            await asyncio.to_thread(kafka.start)
            async with smtp_served(mailbox) as port:
                hosts = {
                    "kafka:9092": kafka.bootstrap,
                    "postgres:5432": f"127.0.0.1:{postgres.port}",
                    "mail:1025": f"127.0.0.1:{port}",
                }
                (tmp_path / "work").mkdir()
                composed = Composed(tmp_path / "work", hosts, secrets)
                try:
                    await asyncio.to_thread(begun, composed)
                    await arrived(composed, mailbox)
                    await asyncio.to_thread(published, composed)
                    await asyncio.to_thread(watched, composed)
                    ended = await asyncio.to_thread(composed.stop)
                finally:
                    composed.kill()
            assert ended == {"worker": [0, 0], "archive": [0], "deliver": [0, 0], "gateway": [0]}
        finally:
            kafka.discard()
            postgres.discard()
        said = "".join(file.read_text() for file in (tmp_path / "work").glob("*.log"))
        assert not [name for name, word in passwords.items() if word in said]
        assert "Traceback" not in said

    asyncio.run(story())


def begun(composed: Composed) -> None:
    """Bring it up in the order of the file."""
    order = composed.after("deliver")
    assert [one for one in order if one in ("migrate", "topics", "rules")] == ["migrate", "topics", "rules"]
    for name in order:
        if composed.services[name].get("restart") == "no":
            done = composed.once(name)
            assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
    begun = [one for name in ("worker", "archive", "deliver", "gateway") for one in composed.start(name)]
    for one in begun:
        composed.until_healthy(one, 60)


async def arrived(composed: Composed, mailbox: Mailbox) -> None:
    """Hand events in as docs/deploy.md shows, and wait for the mail."""
    events = [f"/events/{path.name}" for path in sorted((DEPLOY / "events").iterdir())]
    words = ["ingest", "--source", "cloudevents", "--config", "/etc/tidings/operator.toml", *events]
    assert " ".join(words[:-2]) in (DEPLOY.parent / "docs" / "deploy.md").read_text()
    done = await asyncio.to_thread(composed.once, "operator", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    async with asyncio.timeout(60):
        while not mailbox.taken:
            for one in composed.running:
                assert one.process.poll() is None, one.said()
            await asyncio.sleep(0.1)
    (envelope,) = mailbox.taken
    assert isinstance(envelope.content, bytes)
    mail = message_from_bytes(envelope.content, policy=email.policy.default)
    text = mail.get_body(("plain",))
    assert text is not None
    assert envelope.rcpt_tos == ["ada@example.org"]
    assert "900" in text.get_content()
    # Whoever looks sees a cluster in order, but for what a single broker, and trials, cannot be.
    done = await asyncio.to_thread(composed.once, "operator", *composed.services["operator"]["command"], "--json")
    found = {one["what"]: one for one in json.loads(done.stdout)}
    wrong = {what: one["says"] for what, one in found.items() if one["state"] == "wrong"}
    assert not set(wrong) - {"durability"}, wrong


def published(composed: Composed) -> None:
    """Make a key as docs/http.md shows, publish with it, and see that the workers have decided."""
    config = ["--config", "/etc/tidings/operator.toml"]
    done = composed.once("operator", "keys", "create", "billing", "--role", "publisher", "--source", "*", *config)
    assert done.returncode == 0, done.stdout + done.stderr
    (gateway,) = [one for one in composed.running if one.name == "gateway"]
    headers = {"authorization": f"Bearer {done.stdout.strip()}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{gateway.port}", headers=headers) as client:
        assert client.get("/v1/contracts", headers={"authorization": ""}).status_code == 401
        example = client.get("/v1/contracts/billing.invoice.paid").json()["example"]
        dry = client.post("/v1/events?dry_run=true", json=example)
        assert (dry.status_code, dry.json()["accepted"]) == (200, 1)
        answer = client.post("/v1/events", json=example)
        assert answer.status_code == 202, answer.text
        assert client.post("/v1/events", json=example).json()["status"] == "known"

        def decided() -> bool:
            return bool(client.get(f"/v1/events/{answer.json()['event_ref']}").json()["state"] == "decided")

        assert wait_until(decided, 30), gateway.said()
        ready = client.get("/readyz")
        assert ready.status_code == 200, ready.text
    assert done.stdout.strip() not in gateway.said()


def watched(composed: Composed) -> None:
    """Every metric that dashboard and alerts ask for is shown by a process that Prometheus looks at."""
    jobs = {one["job_name"] for one in scraped(DEPLOY / "prometheus" / "prometheus.yml")}
    shown = {"up"}
    for one in composed.running:
        assert one.name in jobs
        with urllib.request.urlopen(f"http://127.0.0.1:{one.port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
            more = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}.get(kind, ("",))
            shown |= {name + ending for ending in more}
    asked = named_in(DEPLOY / "grafana" / "dashboards" / "tidings.json", DEPLOY / "prometheus" / "alerts.yml")
    assert len(asked) > 20
    assert asked <= shown, f"nobody shows {asked - shown}"


def scraped(path: Path) -> list[dict[str, str]]:
    import yaml

    found: list[dict[str, str]] = yaml.safe_load(path.read_text())["scrape_configs"]
    return found


def test_alerts_say_what_they_are_meant_to_and_nothing_else():
    promtool = services.promtool()
    for words in (("check", "config", "prometheus.yml"), ("test", "rules", "alerts.test.yml")):
        done = subprocess.run(
            [promtool, *words], cwd=DEPLOY / "prometheus", capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
