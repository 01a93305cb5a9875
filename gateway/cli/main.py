"""The command `tidings`. Imports of everything heavy are inside the verbs, so that `--help` is instant."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from gateway.cli.again import add_again
from gateway.cli.cluster_verbs import add_cluster, add_config, port
from gateway.cli.edge_verbs import add_edge
from gateway.cli.kill_verbs import add_kills
from gateway.cli.place import add_place
from gateway.cli.words import Parser

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """Read a duration such as `20s`, `2m` or `1h`, longer than nothing."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h)", text)
    if match is None or not float(match[1]):
        message = f"{text!r} is no duration above nothing; write 20s, 2m or 1h"
        raise argparse.ArgumentTypeError(message)
    return float(match[1]) * UNITS[match[2]]


def speed(text: str) -> int:
    """Read how much faster a clock runs: at least as fast as ours, and a day in a second at most."""
    if re.fullmatch(r"\d{1,5}", text) is None or not 1 <= int(text) <= 86_400:  # noqa: PLR2004 - seconds of a day
        message = f"{text!r} is no speed; write a number from 1 to 86400"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def parser() -> Parser:
    """Return the parser of the whole command."""
    top = Parser(prog="tidings")
    top.add_argument("--version", action="store_true", help="print the version and end")
    verbs = top.add_subparsers(dest="verb", metavar="VERB")

    demo = verbs.add_parser("demo", help="run a small shop and watch what its customers hear")
    demo.set_defaults(run="gateway.cli.demo:demo")
    demo.add_argument(
        "--for", dest="duration", type=seconds, metavar="TIME", help="end after TIME, as 20s or 2m (default: at Ctrl-C)"
    )
    demo.add_argument(
        "--data", type=Path, metavar="FOLDER", help="where the file is kept (default: demo; on a cluster demo/cluster)"
    )
    demo.add_argument(
        "--port", type=port, metavar="N", help="serve console and intake here (default: 8321, or the next free one)"
    )
    demo.add_argument("--json", action="store_true", help="one JSON object a line, for scripts")
    demo.add_argument("--plain", action="store_true", help="line by line, where a live table would be")
    demo.add_argument(
        "--speed",
        type=speed,
        default=7200,
        metavar="N",
        help="how much faster the shop's clock runs (default: 7200, a day in 12 s)",
    )
    demo.add_argument("--seed", type=int, default=7, metavar="N", help="which shop day is played (default: 7)")
    demo.add_argument(
        "--kafka", metavar="HOST:PORT", help="run it on this broker, with three workers; 'make services' starts one"
    )
    demo.add_argument(
        "--postgres", metavar="HOST:PORT", help="the database server beside --kafka; user postgres, without a password"
    )

    _engines(verbs)
    add_cluster(verbs)
    add_edge(verbs)
    _rules(verbs)

    templates = verbs.add_parser("templates", help="show what templates say").add_subparsers(
        dest="action", metavar="ACTION", required=True
    )
    preview = templates.add_parser("preview", help="show a message with the contracts' example values")
    preview.set_defaults(run="gateway.cli.templates:preview")
    preview.add_argument("template", metavar="NAME", help="as billing/invoice-overdue")
    preview.add_argument("--rules", type=Path, metavar="FOLDER", help="folder of the rules (default: the example)")
    preview.add_argument("--locale", metavar="NAME", help="language and country of the reader, as de-DE")
    preview.add_argument("--zone", metavar="NAME", help="time zone of the reader, as Europe/Berlin")
    preview.add_argument("--html", type=Path, metavar="FILE", help="write the HTML of a mail there")

    _why_not(verbs)
    _dead_letters(verbs)
    add_again(verbs)
    add_kills(verbs)
    _audit(verbs)
    _ground(verbs)

    contracts = verbs.add_parser("contracts", help="list, show and check the contracts of events")
    actions = contracts.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="every event type with its owner and what it says")
    listing.set_defaults(run="gateway.cli.contracts:listing")
    listing.add_argument("--json", action="store_true", help="as JSON")
    show = actions.add_parser("show", help="all fields of an event or of a type, and an example")
    show.set_defaults(run="gateway.cli.contracts:show")
    show.add_argument("type", metavar="NAME", help="an event, as billing.invoice.issued, or a type, as money")
    show.add_argument("--json", action="store_true", help="as JSON")
    gate = actions.add_parser("check", help="the gate: lint, releases, compatibility, examples, generated files")
    gate.set_defaults(run="gateway.cli.contracts:check")
    publish = actions.add_parser("publish", help="register every released contract in the schema registry")
    publish.set_defaults(run="gateway.cli.contracts:publish")
    publish.add_argument("--dry-run", action="store_true", help="only say what is missing there; ends with 1 if any is")
    publish.add_argument(
        "--config",
        type=Path,
        default=Path("tidings.toml"),
        metavar="FILE",
        help="configuration with [registry] (default: tidings.toml)",
    )
    return top


def _engines(verbs: Any) -> None:
    run = verbs.add_parser("run", help="run everything in one process, with real mail")
    run.set_defaults(run="gateway.cli.run:run")
    doctor = verbs.add_parser("doctor", help="say what is missing or wrong, and how to mend it")
    doctor.set_defaults(run="gateway.cli.doctor:doctor")
    doctor.add_argument("--json", action="store_true", help="as JSON")
    places = doctor.add_mutually_exclusive_group()
    places.add_argument(
        "--data", type=Path, metavar="FOLDER", help="only the file in this folder, whatever a configuration says"
    )
    migrate = verbs.add_parser("migrate", help="bring the database of a cluster up to this release")
    migrate.set_defaults(run="gateway.cli.migrate:migrate")
    migrate.add_argument("--plan", action="store_true", help="only say what would be done")
    migrate.add_argument(
        "--retain",
        type=int,
        metavar="DAYS",
        help="then let go of what is over and older than this, once a replay has proved it (default: everything is kept)",
    )
    migrate.add_argument(
        "--anew",
        action="store_true",
        help="with --retain: take what is stored as it stands, although a replay finds differences; verify begins there",
    )
    for verb in (run, places, migrate):
        verb.add_argument(
            "--config",
            type=Path,
            default=Path("tidings.toml"),
            metavar="FILE",
            help="folders, ways to people and ports of this installation (default: tidings.toml)",
        )

    ingest = verbs.add_parser("ingest", help="turn payloads of other systems into events, decisions and messages")
    ingest.set_defaults(run="gateway.cli.ingest:ingest")
    ingest.add_argument("files", nargs="+", type=Path, metavar="FILE", help="payloads, one a file")
    ingest.add_argument("--source", required=True, help="cloudevents, debezium, shopify or stripe")
    ingest.add_argument(
        "--rules", type=Path, metavar="FOLDER", help="folder of the rules and their sources.yaml (default: the example)"
    )
    ingest.add_argument(
        "--mapping",
        type=Path,
        metavar="FILE",
        help="which type becomes which event (default: sources.yaml of the rules)",
    )
    ingest.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="append for the 'tidings run', or the cluster, of this tidings.toml; shows no decision",
    )
    ingest.add_argument(
        "--now",
        metavar="TIME",
        help="time of reference, as 2012-01-18T12:00:00Z; 'event': each event's own (default: the clock)",
    )
    ingest.add_argument("--data", type=Path, metavar="FOLDER", help="keep the file here (default: it is thrown away)")
    ingest.add_argument("--json", action="store_true", help="one JSON object a line")


def _ground(verbs: Any) -> None:
    topics = verbs.add_parser("topics", help="the topics of a cluster: what the contracts want, and what is there")
    actions = topics.add_subparsers(dest="action", metavar="ACTION", required=True)
    plan = actions.add_parser("plan", help="say what differs; ends with 3 where something is to be done")
    plan.set_defaults(run="gateway.cli.topics:plan")
    apply = actions.add_parser("apply", help="make and change topics, the rows of their readers first")
    apply.set_defaults(run="gateway.cli.topics:apply")

    sources = verbs.add_parser("sources", help="where readers stand, and what is held because its log has changed")
    actions = sources.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="positions, lag and holds")
    listing.set_defaults(run="gateway.cli.sources:listing")
    listing.add_argument("--held", action="store_true", help="only what is held")
    accept = actions.add_parser("accept", help="say what going on would repeat or lose; --confirm goes on")
    accept.set_defaults(run="gateway.cli.sources:accept")
    accept.add_argument("place", metavar="TOPIC[:P]", help="a held topic, or one of its partitions")
    where = accept.add_mutually_exclusive_group(required=True)
    where.add_argument("--from-start", dest="where", action="store_const", const="start", help="at its first record")
    where.add_argument("--from-end", dest="where", action="store_const", const="end", help="behind its last record")
    where.add_argument("--from", dest="where", type=int, metavar="OFFSET", help="at this offset of Kafka")
    accept.add_argument("--confirm", action="store_true", help="do it")
    for action in (plan, apply, listing, accept):
        action.add_argument(
            "--config",
            type=Path,
            default=Path("tidings.toml"),
            metavar="FILE",
            help="configuration with [kafka] and [postgres] (default: tidings.toml)",
        )
        action.add_argument("--json", action="store_true", help="as JSON")


def _rules(verbs: Any) -> None:
    rules = verbs.add_parser("rules", help="check, test and explain rules").add_subparsers(
        dest="action", metavar="ACTION", required=True
    )
    check = rules.add_parser("check", help="say everything that is wrong with a folder of rules")
    check.set_defaults(run="gateway.cli.rules:check")
    check.add_argument("folder", nargs="?", type=Path, help="folder with rules/ and templates/ (default: the example)")
    check.add_argument("--json", action="store_true", help="diagnostics as JSON")

    apply = rules.add_parser("apply", help="make a folder the rules of a cluster, in one step; says what changes")
    apply.set_defaults(run="gateway.cli.apply:apply")
    apply.add_argument(
        "folder",
        nargs="?",
        type=Path,
        metavar="FOLDER",
        help="folder with rules/ and templates/ (default: as configured)",
    )
    add_config(apply)
    apply.add_argument("--dry-run", action="store_true", help="only say what would change")
    apply.add_argument("--json", action="store_true", help="as JSON")

    test = rules.add_parser("test", help="play the tests beside the rules, on a virtual clock")
    test.set_defaults(run="gateway.cli.rule_tests:test")
    test.add_argument("folder", nargs="?", type=Path, help="folder with rules/ and tests/ (default: the example)")
    test.add_argument("-k", dest="name", metavar="NAME", help="only tests with NAME in their name, rule or file")
    test.add_argument("--json", action="store_true", help="results as JSON")

    explain = rules.add_parser("explain", help="say what every rule makes of one event, term by term")
    explain.set_defaults(run="gateway.cli.explain:explain")
    explain.add_argument(
        "event",
        metavar="EVENT",
        help="id of an event, a firing or a message, as log and lines show it; a place of the log, as "
        "'billing.invoice.paid.v1[0]@7'; a JSON file with one event; with --source a payload",
    )
    explain.add_argument("--rule", metavar="ID", help="only this rule")
    explain.add_argument("--source", help="EVENT is a payload as 'ingest' takes it, of this system: stripe, shopify …")
    explain.add_argument(
        "--mapping",
        type=Path,
        metavar="FILE",
        help="with --source: which type becomes which event (default: sources.yaml of the rules)",
    )
    explain.add_argument(
        "--rules",
        type=Path,
        metavar="FOLDER",
        help="folder of the rules (default: those active in the file, or the example)",
    )
    add_place(explain)
    explain.add_argument("--json", action="store_true", help="as JSON")


def _why_not(verbs: Any) -> None:
    why_not = verbs.add_parser("why-not", help="say why a customer did not hear of something")
    why_not.set_defaults(run="gateway.cli.why_not:why_not")
    why_not.add_argument("customer", metavar="CUSTOMER", help="id of the customer, as events name it")
    why_not.add_argument("--rule", metavar="NAME", help="only this rule, or the rules of this topic")
    why_not.add_argument("--about", metavar="ID", help="only what concerns this order, invoice … or event")
    why_not.add_argument("--window", default="7d", metavar="TIME", help="how far back to look, as 36h (default: 7d)")
    add_place(why_not)
    why_not.add_argument("--json", action="store_true", help="as JSON")


def _audit(verbs: Any) -> None:
    audit = verbs.add_parser("audit", help="who did what: stopped, released, redrove, revealed, applied; newest first")
    audit.set_defaults(run="gateway.cli.audit:audit")
    audit.add_argument("--who", metavar="NAME", help="only what this key or user did")
    audit.add_argument("--verb", dest="what", metavar="VERB", help="only this, as kill or 'customers reveal'")
    audit.add_argument("--limit", type=int, default=50, metavar="N", help="how many at most, up to 1000 (default: 50)")
    add_place(audit)
    audit.add_argument("--json", action="store_true", help="as JSON, with everything that was written down")


def _dead_letters(verbs: Any) -> None:
    letters = verbs.add_parser("dead-letters", help="look at what could not be read, and try it again")
    actions = letters.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="every record that could not be read, with its reason")
    listing.set_defaults(run="gateway.cli.dead_letters:listing")
    listing.add_argument("--reason", help="only those with this reason")
    show = actions.add_parser("show", help="one of them, with its bytes")
    show.set_defaults(run="gateway.cli.dead_letters:show")
    show.add_argument("place", metavar="PLACE", help="as 'billing.invoice.paid.v1[0]@7'")
    again = actions.add_parser("redrive", help="say what would happen if they came again; --confirm does it")
    again.set_defaults(run="gateway.cli.dead_letters:redrive")
    again.add_argument("places", nargs="*", metavar="PLACE", help="which (else all that were not redriven yet)")
    again.add_argument(
        "--mapping",
        type=Path,
        metavar="FILE",
        help="for payloads of other systems (default: sources.yaml of the configured rules, else of the example)",
    )
    again.add_argument("--confirm", action="store_true", help="append them to the log, or publish them")
    aside = actions.add_parser(
        "set-aside", help="take some off the list of what waits: they are not tried again by themselves"
    )
    aside.set_defaults(run="gateway.cli.dead_letters:aside")
    aside.add_argument("places", nargs="+", metavar="PLACE", help="which, as 'billing.invoice.paid.v1[0]@7'")
    aside.add_argument("--reason", required=True, metavar="TEXT", help="one line, for whoever comes next")
    for action in (listing, show, again, aside):
        add_place(action)
    for action in (listing, show):
        action.add_argument("--json", action="store_true", help="as JSON, with all bytes")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 done, 1 something is wrong with what was given, 2 usage."""
    arguments = parser().parse_args(argv)
    if arguments.version:
        from importlib.metadata import version

        print(f"tidings {version('tidings')}")
        return 0
    if arguments.verb is None:
        parser().print_help()
        return 2
    return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    """Run the verb, whose module is imported only now."""
    from gateway.cli.told import Told
    from tidings.errors import Misconfigured
    from tidings.ports import StoreUnavailable

    module, _, name = arguments.run.partition(":")
    try:
        verb: Callable[[argparse.Namespace], int] = getattr(import_module(module), name)
        return verb(arguments)
    except KeyboardInterrupt:
        # Before the verb listens for it: there is nothing to end yet.
        return 128 + 2
    except (Told, Misconfigured, StoreUnavailable) as told:
        print(f"tidings: {told}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader of our output has gone; nothing is left to say, nor to flush at exit.
        sys.stdout = None
        return 1
    except OSError as fault:
        # A file that was named cannot be read or written. Without a name it is a fault of ours, with its traceback.
        if fault.filename is None:
            raise
        print(f"tidings: {fault.filename}: {fault.strerror}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
