"""The last image of an entity stands in for a `before` that the source did not send."""

from typing import Any

import pytest

from handlers.operators.event import has_changed
from tidings.event import Event
from tidings.images import Image, complete


def change(at: int, before: Any, after: Any, coverage: str = "FULL", sequence: int | None = None, **more: Any) -> Event:
    data = {"before": before, "after": after, "after_coverage": coverage, "before_coverage": "UNKNOWN", **more}
    return Event(
        ref=str(at), tenant="t", source="s", id=str(at), type="x", occurred_at=at, data=data, topic="x", partition=0,
        offset=0, appended_at=at, sequence=sequence,
    )  # fmt: skip


def test_a_before_is_completed_from_the_image():
    _, image = complete(change(1, None, {"n": 5}), None)
    found, image = complete(change(2, None, {"n": 3}), image)
    assert found.data["before"] == {"n": 5}
    assert found.data["before_coverage"] == "FULL"
    assert has_changed(found.data, "n")
    assert image == {"v": 2, "d": {"n": 3}}


def test_without_an_image_nothing_has_certainly_changed():
    found, _ = complete(change(1, None, {"n": 5}), None)
    assert not has_changed(found.data, "n")


def test_a_before_that_the_source_sent_in_full_is_believed():
    found, _ = complete(change(2, {"n": 9}, {"n": 3}, before_coverage="FULL"), {"v": 1, "d": {"n": 3}})
    assert found.data["before"] == {"n": 9}


def test_a_creation_has_no_before():
    found, _ = complete(change(2, None, {"n": 3}, before_coverage="ABSENT"), {"v": 1, "d": {"n": 9}})
    assert found.data["before"] is None
    assert not has_changed(found.data, "n")


def test_changed_fields_only_are_laid_over_the_image():
    found, image = complete(
        change(2, None, {"n": 3}, "CHANGED_FIELDS_ONLY", changed_fields=["n"]), {"v": 1, "d": {"n": 5, "m": 1}}
    )
    assert found.data["after"] == image["d"] == {"n": 3, "m": 1}
    assert has_changed(found.data, "n")
    assert not has_changed(found.data, "m")


def test_changed_fields_without_an_image_make_none():
    found, image = complete(change(2, None, {"n": 3}, "CHANGED_FIELDS_ONLY", changed_fields=["n"]), None)
    assert image["d"] is None
    assert not has_changed(found.data, "n")


@pytest.mark.parametrize("coverage", ["KEY_ONLY", "UNKNOWN", "ABSENT"])
def test_an_after_that_says_nothing_makes_no_image_and_no_change(coverage):
    found, image = complete(change(2, None, {"n": 3}, coverage), {"v": 1, "d": {"n": 5}})
    assert image["d"] is None
    assert not has_changed(found.data, "n")


@pytest.mark.parametrize(("first", "second"), [((5, None), (4, None)), ((1, 7), (9, 6)), ((5, None), (5, None))])
def test_a_stale_event_neither_overwrites_the_image_nor_is_completed_from_it(first, second):
    _, image = complete(change(first[0], None, {"n": 5}, sequence=first[1]), None)
    late = change(second[0], None, {"n": 1}, sequence=second[1])
    found, same = complete(late, image)
    assert found is late
    assert same is image


def test_images_of_deletions_are_empty():
    image: Image = {"v": 1, "d": {"n": 5}}
    found, gone = complete(change(2, None, None, "ABSENT"), image)
    assert found.data["before"] == {"n": 5}
    assert gone["d"] is None
