"""/healthz and /readyz of a real engine behind a real server: they mean progress, and answer within a second."""

import asyncio
import threading

import pytest

from gateway.http.health import Limits, alive
from gateway.http.look import Asked
from streams import loops
from streams.embedded_log import Append
from streams.processors.kills import kill
from tests.http.asking import get, run, served, until
from tests.live.engines import Shelf, customer, failed, rest, rows
from tidings.event import HOUR
from tidings.ports import Find, Now, Outcome, Outgoing, Put, StoreUnavailable

pytestmark = pytest.mark.live


class Away(Shelf):
    """Is not there."""

    async def send(self, outgoing: Outgoing) -> Outcome:
        return Outcome("not_sent", detail="connect: nobody listens there", retry_after=HOUR)


class Gone(Shelf):
    """Is not there, for nobody."""

    async def send(self, outgoing: Outgoing) -> Outcome:
        return Outcome("not_sent", detail="connect: nobody listens there", away=True)


async def is_status(shop, path, status):
    return (await shop.get(path)).status == status


def test_an_engine_that_works_is_alive_and_ready(tmp_path):
    async def body():
        async with served(tmp_path) as shop:
            await shop.engine.publish("customer.profile.changed", customer("c-1"))
            await shop.engine.publish("billing.payment.failed", failed("p-1"))
            await rest(shop.engine)
            health = await shop.get("/healthz")
            assert (health.status, health.json["alive"]) == (200, True)
            assert [check["name"] for check in health.json["checks"]] == [
                "catalogue",
                "deliver shelf",
                "detect",
                "dispatch",
                "endings",
                "people",
                "reconcile shelf",
            ]
            ready = await shop.get("/readyz")
            assert (ready.status, ready.json["ready"]) == (200, True), ready.body
            assert {check["name"]: check["state"] for check in ready.json["checks"]} == dict.fromkeys(
                ("store", "rules", "detection", "deliveries", "sending"), "ok"
            )
            assert all(set(check) == {"name", "state", "says"} for check in ready.json["checks"])
            assert ready.headers["cache-control"] == "no-store"
            assert (await shop.get("/healthz", method="HEAD")).body == b""

    run(body())


def test_a_loop_that_stands_is_named_with_since_when(tmp_path):
    class Hanging:
        name, lease, can_look_up = "hanging", 30_000_000, False

        def __init__(self):
            self.go = asyncio.Event()

        async def send(self, outgoing):
            await self.go.wait()
            raise AssertionError

    async def body():
        hanging = Hanging()
        limits = Limits(round=1.5, rounds={})
        async with served(tmp_path, provider=hanging, limits=limits) as shop:
            await shop.engine.publish("customer.profile.changed", customer("c-1"))
            await shop.engine.publish("billing.payment.failed", failed("p-1"))
            await until(lambda: is_status(shop, "/healthz", 503))
            health = await shop.get("/healthz")
            assert not health.json["alive"]
            assert health.check("deliver hanging")["state"] == "wrong"
            assert health.check("deliver hanging")["says"].startswith("stands since ")
            assert {health.check(name)["state"] for name in ("detect", "dispatch", "people")} == {"ok"}

    run(body())


def test_a_loop_that_has_ended_is_told_at_once_and_without_its_text(tmp_path):
    async def body():
        async with served(tmp_path) as shop:

            async def broken():
                raise RuntimeError("MARKER ada@example.org")

            shop.engine.worker.tick = broken  # type: ignore[method-assign]
            await until(lambda: is_status(shop, "/healthz", 503))
            health = await shop.get("/healthz")
            shop.engine.loops.tasks = [task for task in shop.engine.loops.tasks if not task.done()]
            assert "one has ended with RuntimeError" in health.check("loops")["says"]
            assert b"MARKER" not in health.body

    run(body())


def test_a_store_that_is_away_for_a_while_ends_no_loop_and_work_goes_on_when_it_is_back(tmp_path, monkeypatch):
    monkeypatch.setattr(loops, "AWAY", 0.02)

    async def body():
        async with served(tmp_path) as shop:
            tried = 0

            async def refuse(*_, **__):
                nonlocal tried
                tried += 1
                raise StoreUnavailable("disk full")

            async def often():
                return tried > 3 * len(shop.engine.loops.tasks)

            await shop.engine.publish("customer.profile.changed", customer("c-1"))
            with monkeypatch.context() as away:
                away.setattr(shop.engine.store, "run", refuse)
                away.setattr(shop.engine.store, "read", refuse)
                await until(often)
                assert (await is_status(shop, "/healthz", 200), await is_status(shop, "/readyz", 503)) == (True, True)
            await shop.engine.publish("billing.payment.failed", failed("p-1"))
            await rest(shop.engine)
            assert [row["state"] for row in await rows(shop.engine, "messages")] == ["accepted"]

    run(body())


def test_an_engine_that_was_not_started_is_not_alive(tmp_path):
    async def body():
        async with served(tmp_path, started=False) as shop:
            health = await shop.get("/healthz")
            assert (health.status, health.check("loops")["says"]) == (503, "none has begun")

    run(body())


def test_a_writer_that_hangs_makes_it_unready_within_a_second_and_ready_again_afterwards(tmp_path):
    async def body():
        async with served(tmp_path) as shop:
            held, release = threading.Event(), threading.Event()

            def hang():
                held.set()
                release.wait(30)
                yield Now()

            stuck = asyncio.create_task(shop.engine.store.run(hang))
            await asyncio.to_thread(held.wait, 10)
            try:
                answers = await asyncio.gather(*(shop.get("/readyz") for _ in range(20)), shop.get("/metrics"))
                assert all(answer.status == 503 for answer in answers[:-1])
                assert "does not commit: no answer within" in answers[0].check("store")["says"]
                # Reading goes on, and so do the metrics.
                assert answers[0].check("detection")["state"] == "ok"
                assert b"tidings_store_readable 1.0" in answers[-1].body
                # However often it is asked: one question waits for the writer, and none of a hundred.
                assert shop.engine.store._jobs.qsize() < 10
            finally:
                release.set()
            await stuck
            await until(lambda: is_status(shop, "/readyz", 200))

    run(body())


def test_a_store_that_refuses_makes_it_unready_and_says_no_more_than_that(tmp_path):
    async def body():
        async with served(tmp_path) as shop:
            await shop.engine.stop()

            async def refuse(*_, **__):
                raise StoreUnavailable("/secret/place: disk full")

            shop.engine.store.run = refuse  # type: ignore[method-assign]
            shop.engine.store.read = refuse  # type: ignore[method-assign]
            ready = await shop.get("/readyz")
            assert (ready.status, ready.check("store")["state"], ready.check("work")["state"]) == (
                503,
                "wrong",
                "wrong",
            )
            assert b"secret" not in ready.body
            scraped = await shop.get("/metrics")
            assert (scraped.status, b"tidings_store_readable 0.0" in scraped.body) == (200, True)
            assert b"tidings_lag_records" not in scraped.body

    run(body())


def test_what_is_not_taken_and_what_is_overdue_make_it_unready_beyond_the_limits(tmp_path):
    async def body():
        async with served(tmp_path, limits=Limits(untaken=5), started=False) as shop:
            await shop.engine.start()
            await shop.engine.stop()
            topic = shop.engine.contracts.by_type["billing.payment.failed"].topic
            await shop.engine.log.append([Append(topic, b"k", b"v")] * 5)
            assert (await shop.get("/readyz")).status == 200
            await shop.engine.log.append([Append(topic, b"k", b"v")])
            await asyncio.sleep(0.6)
            ready = await shop.get("/readyz")
            assert (ready.status, ready.check("detection")["says"]) == (503, "6 records not taken; the limit is 5")

    run(body())


def test_a_message_that_has_been_due_for_too_long_makes_it_unready(tmp_path):
    async def body():
        async with served(tmp_path) as shop:
            await shop.engine.publish("customer.profile.changed", customer("c-1"))
            await shop.engine.store.run(kill("all", "somebody"))
            await shop.engine.publish("billing.payment.failed", failed("p-1"))
            await rest(shop.engine)
            await shop.engine.stop()
            noted = await shop.get("/readyz")
            # A kill is meant: it is noted, and no reason to be taken out of service.
            assert (noted.status, noted.check("sending")["state"]) == (200, "note")
            assert noted.check("sending")["says"] == "stopped by an operator: 1 scopes (all)"

            def overdue():
                (row,) = yield Find("messages", "by_work", ("held",))
                yield Put("messages", [{**row, "state": "pending", "due_at": shop.engine.clock() - HOUR}])

            await shop.engine.store.run(overdue)
            await asyncio.sleep(0.6)
            ready = await shop.get("/readyz")
            assert (ready.status, ready.check("deliveries")["state"]) == (503, "wrong")
            assert "the first message that is due waits since 36" in ready.check("deliveries")["says"]

    run(body())


def test_what_waits_for_another_attempt_is_noted_before_anything_is_late(tmp_path):
    async def body():
        async with served(tmp_path, provider=Away()) as shop:
            await shop.engine.publish("customer.profile.changed", customer("c-1"))
            await shop.engine.publish("billing.payment.failed", failed("p-1"))

            async def waits() -> bool:
                ready = await shop.get("/readyz")
                assert ready.status == 200
                return ready.check("deliveries")["state"] == "note"

            await until(waits)
            ready = await shop.get("/readyz")
            assert "nothing is due; 1 waits for another attempt, the next in " in ready.check("deliveries")["says"]

    run(body())


def test_a_provider_that_is_away_is_told_and_is_no_reason_to_be_taken_out_of_service(tmp_path):
    async def body():
        async with served(tmp_path, provider=Gone(), limits=Limits(waits=0)) as shop:
            assert b'tidings_provider_open{provider="shelf"} 0.0' in (await shop.get("/metrics")).body
            await shop.engine.publish("customer.profile.changed", customer("c-1"))
            for number in range(40):
                await shop.engine.publish("billing.payment.failed", failed(f"p-{number}"))

            async def waits() -> bool:
                ready = await shop.get("/readyz")
                says = ready.check("deliveries")["says"]
                return says.startswith("the first message that is due") and "away" in says

            await until(waits)
            ready = await shop.get("/readyz")
            assert (ready.status, ready.check("deliveries")["state"]) == (200, "note")
            assert "; shelf is away since " in ready.check("deliveries")["says"]
            assert "(connect: nobody listens there), asked again " in ready.check("deliveries")["says"]
            await asyncio.sleep(0.6)
            said = (await shop.get("/metrics")).body
            assert b'tidings_provider_open{provider="shelf"} 1.0' in said
            # What waits for it is due, and no second reason to wake somebody.
            assert b'tidings_oldest_due_seconds{what="could_leave"} 0.0' in said
            assert b'tidings_oldest_due_seconds{what="message"} 0.0' not in said

    run(body())


def test_an_edited_rule_set_that_was_refused_is_noted(tmp_path):
    async def body():
        async with served(tmp_path) as shop:
            shop.metrics.refused = True
            ready = await shop.get("/readyz")
            assert (ready.status, ready.check("rules")["state"]) == (200, "note")

    run(body())


def test_a_round_of_deliveries_may_take_as_long_as_a_lease():
    class Standing:
        progress = {"deliver": 0.0, "detect": 0.0}

        def check(self):
            """Nothing has ended."""

    states = {check.name: check.state for check in alive(Standing(), Limits(), now=100.0)}  # type: ignore[arg-type]
    assert states == {"deliver": "ok", "detect": "wrong"}
    states = {check.name: check.state for check in alive(Standing(), Limits(), now=451.0)}  # type: ignore[arg-type]
    assert states == {"deliver": "wrong", "detect": "wrong"}


def test_a_question_is_asked_once_however_many_wait_for_its_answer():
    async def body():
        asked, answer = 0, asyncio.Event()

        async def ask():
            nonlocal asked
            asked += 1
            await answer.wait()
            return asked

        question = Asked(ask, patience=0.05, keep=60)
        found = await asyncio.gather(*(question() for _ in range(50)), return_exceptions=True)
        assert {type(one) for one in found} == {TimeoutError}
        assert asked == 1
        answer.set()
        assert await question() == 1
        assert await question() == 1
        assert asked == 1

    asyncio.run(body())


def test_two_requests_share_nothing_but_the_application(tmp_path):
    async def body():
        async with served(tmp_path) as shop:
            found = await asyncio.gather(*(get(shop.port, "/healthz") for _ in range(30)))
            assert {one.status for one in found} == {200}
            assert len({one.headers["request-id"] for one in found}) == 30

    run(body())
