"""The switch of rule sets: what it would change, why it may not be, and the one transaction that does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from handlers.rules.load import dump_sources
from handlers.rules.signature import refusals, remembered
from streams.processors import detect
from streams.processors.audit import audit
from streams.processors.dispatch import CONTROLS, active_rules
from streams.rule_book import RuleBook
from tidings.errors import Misconfigured
from tidings.event import Micros
from tidings.ports import Body, Exclude, Find, Scan, Store, Transaction
from tidings.rule import Rule, RuleSet


@dataclass(frozen=True)
class Difference:
    """What a rule set changes of another, by the ids of rules."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    same: int
    """Rules that stay as they are."""
    texts: tuple[str, ...]
    """Templates that say something else, or are new, or gone."""
    beside: tuple[str, ...]
    """Of `teams`, `targets` and `topics`: which differ."""


def difference(old: RuleSet | None, new: RuleSet) -> Difference:
    """Return what `new` changes of `old`."""
    before = {} if old is None else old.by_id
    texts = {} if old is None else old.templates
    both = [name for name in new.by_id if name in before]
    changed = [name for name in both if _differs(before[name], new.by_id[name])]
    named = {name for name in {*texts, *new.templates} if texts.get(name) != new.templates.get(name)}
    beside = {
        "teams": (old.teams if old else {}, new.teams),
        "targets": (old.targets if old else {}, new.targets),
        "topics": (old.notice_topics if old else {}, new.notice_topics),
    }
    return Difference(
        added=tuple(sorted(name for name in new.by_id if name not in before)),
        removed=tuple(sorted(name for name in before if name not in new.by_id)),
        changed=tuple(sorted(changed)),
        same=len(both) - len(changed),
        texts=tuple(sorted(named)),
        beside=tuple(name for name, (one, other) in beside.items() if one != other),
    )


def _differs(one: Rule, other: Rule) -> bool:
    # In which file it stands, and where, decides nothing.
    return replace(one, file="", line=0) != replace(other, file="", line=0)


@dataclass(frozen=True)
class Standing:
    """What the store knows of rules beside the active set."""

    living: Mapping[str, int]
    """Rules that have state, and how many keys of it, counted up to `COUNTED`."""
    away: Mapping[str, bytes]
    """What the state of those means that are in no set any more."""


COUNTED = 1000
"""Keys of a rule that are counted; more are said to be that many or more."""


def standing(old: RuleSet | None, new: RuleSet, *, count: int = COUNTED) -> Body[Standing]:
    """Return the reader's body that asks which rules have state, and what it means of those that are away."""

    def body() -> Transaction[Standing]:
        rows = yield Scan("epochs")
        away = {
            row["name"].removeprefix(detect.MEANT): row["value"].encode()
            for row in rows
            if row["name"].startswith(detect.MEANT)
        }
        living = {}
        for name in {*(old.by_id if old is not None else ()), *new.by_id, *away}:
            # Whatever has state has a timer, or something that waits.
            if found := (yield Find("state", "by_due", (f"rule:{name}",), limit=count)):
                living[name] = len(found)
        return Standing(living, away)

    return body


def why_not(old: RuleSet | None, new: RuleSet, stands: Standing) -> list[str]:
    """Return why the one cannot follow the other: live state would lose its meaning."""
    if old is None:
        return []
    return refusals(old, new, stands.living, stands.away)


def _meant(old: RuleSet | None, new: RuleSet) -> dict[str, bytes]:
    """Return what the state of every rule means that leaves with a switch."""
    if old is None:
        return {}
    return {rule.id: remembered(rule) for rule in old.stateful if rule.id not in new.by_id}


@dataclass(frozen=True)
class Refused:
    """The switch was not made."""

    why: tuple[str, ...]


def switch(
    old: RuleSet | None, new: RuleSet, source: bytes, *, grace: Micros, who: str | None = None
) -> Body[detect.Done | detect.Outdated | Refused]:
    """Return the body that makes `new` the active set, unless live state would lose its meaning.

    Asked behind the locks, so that no key begins to live between the question and the switch. Dispatch and the intent
    are kept out as well: no intent of the old set follows the answer. `who` is written down, where it is a person.
    """

    def body() -> Transaction[detect.Done | detect.Outdated | Refused]:
        yield Exclude(detect.EPOCH)
        yield Exclude(CONTROLS)
        active = yield from active_rules()
        if old is not None and active == old.hash:
            stands = yield from standing(old, new, count=1)()
            if why := why_not(old, new, stands):
                return Refused(tuple(why))
        done = yield from detect.switch(old, new, source, grace=grace, meant=_meant(old, new))()
        if who is not None and isinstance(done, detect.Done):
            yield from audit("rules apply", who, {"old": None if old is None else old.hash, "new": new.hash})
        return done

    return body


@dataclass(frozen=True)
class Applied:
    """What `apply` did, or would do."""

    old: RuleSet | None
    new: RuleSet
    difference: Difference
    stands: Standing
    why: tuple[str, ...] = ()
    """Why it was refused."""
    switched: bool = False

    most: int = COUNTED
    """Keys of a rule that were counted at most."""

    @property
    def changes(self) -> bool:
        """Whether the sets are two: a comment is a change as well, for the set is known by all of its text."""
        return self.old is None or self.old.hash != self.new.hash

    @property
    def waiting(self) -> dict[str, int]:
        """Return the keys that wait for rules which leave: they rest."""
        return {name: self.stands.living[name] for name in self.difference.removed if name in self.stands.living}


RACES = 5
"""Switches of others that one apply may meet."""


async def apply(
    store: Store,
    book: RuleBook,
    new: RuleSet,
    files: Mapping[str, bytes],
    texts: Mapping[str, str],
    *,
    grace: Micros,
    dry_run: bool = False,
    who: str | None = None,
) -> Applied:
    """Make `new` the active set, or say why not. Repeated, it changes nothing. `who` does it, where it is a person.

    Raises:
        Misconfigured: the active set does not load with this version, or others switch all the time.
    """
    source = dump_sources(files, texts)
    book.add(new)
    for _ in range(RACES):
        old = await book.active()
        stands = await store.read(standing(old, new))
        found = Applied(old, new, difference(old, new), stands)
        if old is not None and old.hash == new.hash:
            return found
        if why := why_not(old, new, stands):
            return replace(found, why=tuple(why))
        if dry_run:
            return found
        done = await store.run(switch(old, new, source, grace=grace, who=who))
        if isinstance(done, Refused):
            return replace(found, why=done.why)
        if isinstance(done, detect.Done):
            return replace(found, switched=True)
    raise Misconfigured("somebody else switches rule sets at the same time; agree on who does, and try again")
