"""What `--help` says of every verb beside its options: what it is for, and one call to copy."""

from __future__ import annotations

import re
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from textwrap import fill
from typing import Any, NoReturn

SAID: Mapping[str, tuple[str, str]] = {
    "tidings": (
        "Event-driven proactive notifications: events in, rules decide, people hear of it.",
        "tidings demo",
    ),
    "tidings demo": (
        ("Run a small shop on a fast clock and show what its customers hear, and what is kept "
         "from them and why. Nothing leaves this machine."),
        "tidings demo --for 30s",
    ),
    "tidings run": (
        "Run everything in one process: detect, decide, send, serve the pages of [http].",
        "tidings run --config tidings.toml",
    ),
    "tidings doctor": (
        "Say what a configuration lacks or has wrong, and how to mend it, before 'tidings run' does.",
        "tidings doctor --config tidings.toml",
    ),
    "tidings migrate": (
        ("Bring the database of a cluster up to this release, with its roles and partitions; "
         "with --retain, let go of what is old."),
        "tidings migrate --config tidings.toml --plan",
    ),
    "tidings worker": (
        ("Read the topics of a cluster and decide. Any number of workers share the partitions; positions stand in the "
         "database. Ends with 75 where broker or database stay away: start it again then."),
        "tidings worker --config tidings.toml --http-port 8081",
    ),
    "tidings ingest": (
        ("Turn payloads of other systems into events, and show what the rules decide and what "
         "people would read; with --config, hand them to 'tidings run', or to Kafka, instead."),
        "tidings ingest --source stripe payload.json",
    ),
    "tidings deliver": (
        ("On a cluster: decide who hears of what, and hand messages over. Any number of these share "
         "the work of one database."),
        "tidings deliver --config tidings.toml --http-port 8081",
    ),
    "tidings gateway": (
        ("On a cluster: serve intake over HTTP, the console and the links in mails. It keeps no state of its own: any "
         "number of these stand beside each other. Ends with 75 where the database stays away."),
        "tidings gateway --config tidings.toml --http-port 8080",
    ),
    "tidings keys": (
        "Who may come in over HTTP: make keys, list them, end them. On a laptop that has none, everything is open.",
        "tidings keys list --config tidings.toml",
    ),
    "tidings keys create": (
        ("Make a key for a system or a person, and show it this once. Two of a name may be live, so that one can "
         "follow the other."),
        "tidings keys create billing --role publisher --source 'shop/*'",
    ),
    "tidings keys list": (
        "Every key of a tenant: what it may do, as which sources, until when, when it was used.",
        "tidings keys list --json",
    ),
    "tidings keys revoke": (
        "End a key for good; within seconds nobody comes in with it.",
        "tidings keys revoke d0qn73rjv7",
    ),
    "tidings archive": (
        ("On a cluster: copy every record into the database, for explain and verify. One copies, "
         "others stand by."),
        "tidings archive --config tidings.toml",
    ),
    "tidings ground": (
        "What a database that was restored from a dump has to learn before anything is told.",
        "tidings ground rebuild --config tidings.toml",
    ),
    "tidings ground rebuild": (
        ("Read from the outcome topics what the lost database has sent, so that nobody is told twice; say what cannot "
         "be known. With --confirm write it down, and end the hold."),
        "tidings ground rebuild --config tidings.toml",
    ),
    "tidings topics": (
        "The topics of a cluster: what the contracts want, and what is there.",
        "tidings topics plan --config tidings.toml",
    ),
    "tidings topics plan": (
        ("Say how the topics of a cluster differ from what the contracts want. Ends with 0: in nothing; 3: something is "
         "to be done; 1: something nobody can change here."),
        "tidings topics plan --config tidings.toml",
    ),
    "tidings topics apply": (
        ("Make and change the topics of a cluster, with a row for each of their readers before a partition exists. "
         "Safe to repeat."),
        "tidings topics apply --config tidings.toml",
    ),
    "tidings sources": (
        "Where readers stand in their topics, and what is held because its log is not the one they read.",
        "tidings sources list --config tidings.toml",
    ),
    "tidings sources list": (
        "List how much each reader has read and what waits, and every held source with its reason; 1: something is held.",
        "tidings sources list --held",
    ),
    "tidings sources accept": (
        ("Go on with a held source from where a person says: tell what that repeats and loses; with --confirm, do it. "
         "Where nothing is held, nothing moves."),
        "tidings sources accept billing.invoice.paid.v1:3 --from-start",
    ),
    "tidings rules": (
        "Check rules, play their tests, apply them to a cluster, and explain what they made of an event.",
        "tidings rules check",
    ),
    "tidings rules apply": (
        ("Make a folder the rules of a cluster, in one step: say what changes, and refuse what would "
         "change the meaning of what waits."),
        "tidings rules apply myshop --dry-run",
    ),
    "tidings rules check": (
        "Say everything that is wrong with a folder of rules and templates: place, cause, remedy.",
        "tidings rules check myshop",
    ),
    "tidings rules test": (
        "Play the tests that stand beside the rules, on a virtual clock: days pass in no time.",
        "tidings rules test myshop -k overdue",
    ),
    "tidings rules explain": (
        "Say what every rule makes of one event, term by term, and what became of its messages.",
        "tidings rules explain event.json --rule invoice-overdue",
    ),
    "tidings templates": ("Show what templates say.", "tidings templates preview billing/invoice-overdue"),
    "tidings templates preview": (
        "Show the message of a template, with the values that the contracts give as examples.",
        "tidings templates preview billing/invoice-overdue --locale de-DE",
    ),
    "tidings why-not": (
        ("Say why a customer did not hear of something: for each rule that could have spoken, the event that came closest "
         "and the term that failed, what waits and until when, what was suppressed and why."),
        "tidings why-not c-1 --rule order-not-shipped",
    ),
    "tidings kill": (
        ("Stop what leaves: everything, or one tenant, channel or rule. No message of it is begun from then on, in no "
         "process, and a restart changes nothing. What waits is kept, until 'tidings release' or 'tidings drop'."),
        "tidings kill --channel sms --reason 'wrong prices since 14:00'",
    ),
    "tidings release": (
        ("End a kill: what waits goes on, as far as its deadline and the gates allow. Says how much waits; with "
         "--confirm, does it."),
        "tidings release --channel sms --reason 'mended' --confirm",
    ),
    "tidings drop": (
        ("End a kill, and cancel what waits in its scope for good. Says how much that is; with --confirm, does it. What "
         "waits for quiet hours was not stopped by the kill, and stays."),
        "tidings drop --channel sms --reason 'wrong prices' --confirm",
    ),
    "tidings kills": ("List what is stopped: by whom, why, and how much waits.", "tidings kills"),
    "tidings verify": (
        ("Replay the journal on scratch state, and compare every detection record with what is stored, byte for byte. "
         "It writes nothing, and can send nothing. Ends with 0: no difference; 1: there is one; 2: it cannot be told."),
        "tidings verify --config tidings.toml",
    ),
    "tidings repair": (
        ("Take chosen events in once more, as new records: say what they would fire and tell now; with --confirm, do "
         "it. An event keeps its id: what it fired before is not said again. Moving the positions of readers back is "
         "refused: their state has gone on since."),
        "tidings repair --type billing.invoice.paid --from 2012-01-18T12:00:00Z",
    ),
    "tidings dead-letters": ("Look at the records that could not be read, and try them again.", "tidings dead-letters list"),
    "tidings dead-letters list": (
        "List every record that could not be read: its place, its reason, what it was.",
        "tidings dead-letters list --reason bad_value",
    ),
    "tidings dead-letters show": (
        "Show one record that could not be read, with its bytes.",
        "tidings dead-letters show 'billing.invoice.paid.v1[0]@7'",
    ),
    "tidings dead-letters redrive": (
        ("Say what would become of records that could not be read if they came again now; with "
         "--confirm, append them to the log once more."),
        "tidings dead-letters redrive 'billing.invoice.paid.v1[0]@7' --confirm",
    ),
    "tidings dead-letters set-aside": (
        ("Take records that could not be read off the list of what waits: nobody will try them "
         "again. It is written down, with the reason."),
        "tidings dead-letters set-aside 'stock.v1[0]@7' --reason 'a test'",
    ),
    "tidings audit": (
        "Say who did what, newest first: stopped, released, redrove, revealed, applied.",
        "tidings audit --verb 'customers reveal'",
    ),
    "tidings contracts": ("List, show and check the contracts of events.", "tidings contracts list"),
    "tidings contracts list": ("List every event that rules may name, with its owner.", "tidings contracts list --json"),
    "tidings contracts publish": (
        ("Register every released contract with the schema registry of the configuration, and set its compatibility; "
         "what is there already stays."),
        "tidings contracts publish --config tidings.toml",
    ),
    "tidings contracts show": (
        ("Show all fields of an event, with the records and symbols inside it, and one example; "
         "or a type that fields have."),
        "tidings contracts show billing.invoice.issued",
    ),
    "tidings contracts check": (
        ("Check contracts before a release: their shape, what would break readers of released "
         "versions, examples, generated models. 'python -m schemas.release' releases."),
        "tidings contracts check",
    ),
}  # fmt: skip

LIST = "list"
HELP = ("-h", "--help")
ALONE = "Without an action it lists."


class Parser(ArgumentParser):
    """A parser that says what its verb is for, and what was meant by a word that it does not know."""

    def __init__(self, **words: Any) -> None:
        super().__init__(formatter_class=RawDescriptionHelpFormatter, **words)
        self._verbs: Any = None
        about, example = SAID.get(self.prog, (None, None))
        self._about = about or ""
        self.description = about and fill(about, 78)
        self.epilog = example and f"example: {example}"

    def add_subparsers(self, **words: Any) -> Any:
        """Add verbs under a heading that names them so."""
        self._verbs = super().add_subparsers(**{"title": "verbs", **words})
        return self._verbs

    def parse_known_args(  # type: ignore[override]  # argparse has an overload for each way of naming the namespace
        self, args: Sequence[str] | None = None, namespace: Namespace | None = None
    ) -> tuple[Namespace, list[str]]:
        """Parse; a verb that has `list` among its actions lists, where none is named: `tidings keys --json`."""
        given = list(sys.argv[1:] if args is None else args)
        if LIST in self._actions_of() and (not given or (given[0].startswith("-") and given[0] not in HELP)):
            given.insert(0, LIST)
        return super().parse_known_args(given, namespace)

    def _actions_of(self) -> Collection[str]:
        return () if self._verbs is None else self._verbs.choices

    def format_help(self) -> str:
        """Return the help, which says what happens without an action."""
        if LIST in self._actions_of():
            self.description = fill(f"{self._about} {ALONE}", 78)
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        """End with 2; a verb that does not exist is told with the one that was probably meant."""
        match = re.fullmatch(r"argument (?:VERB|ACTION): invalid choice: (.*) \(choose from (.*)\)", message)
        if match is not None:
            message = f"there is no verb {match[1]}; {self._meant(match[1].strip(chr(39)), match[2])}"
        super().error(message)

    def _meant(self, word: str, choices: str) -> str:
        names: Sequence[str] = re.findall(r"'([^']*)'", choices)
        near = [f"{self.prog} {name}" for name in get_close_matches(word, names, 1)]
        if not near:
            # Perhaps it is the second half of a verb: `tidings check`.
            last = {full.rpartition(" ")[2] for full in SAID if full.startswith(f"{self.prog} ")}
            close = get_close_matches(word, sorted(last), 1)
            near = [full for full in SAID if close and full.endswith(f" {close[0]}")]
        if not near:
            return f"there are {', '.join(names)}"
        return f"did you mean {' or '.join(repr(one) for one in near)}?"
