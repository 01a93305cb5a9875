"""What stands beside the rules: `teams.yaml`, `targets.yaml`, `topics.yaml`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import urlsplit

from handlers.rules.keys import MACHINES
from handlers.rules.shape import Shape
from handlers.rules.yaml import Node, Reader
from handlers.rules.zones import zone
from handlers.templates import LANGUAGE, breaks_line, language_of, shorter_of, tags
from tidings.rule import CHAT, Target, Team, Topic

TEAMS, TARGETS, TOPICS = "teams.yaml", "targets.yaml", "topics.yaml"

NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
MAX_NAME = 100
MAX_SENTENCE = 500
REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:/[^\s\x00-\x1f]+")
MAIL = re.compile(r"[^@\s<>(),;:\\\"\[\]]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})+")
PHONE = re.compile(r"\+[1-9][0-9]{6,14}")
LOCALE = re.compile(r"[a-z]{2,3}([-_][A-Za-z0-9]{2,8}){0,3}")
URL = re.compile(r"https?://[!-~]{1,2000}")
SECRET = "a secret stands here by reference only: env:NAME or file:/path"  # noqa: S105 - a sentence


@dataclass
class Directory:
    """Teams, targets and topics by name; what has a mistake is here as well, so that nobody is told of it twice."""

    teams: dict[str, Team] = field(default_factory=dict)
    targets: dict[tuple[str, str], Target] = field(default_factory=dict)
    """By channel and name."""
    topics: dict[str, Topic] = field(default_factory=dict)
    sentences: dict[str, Node] = field(default_factory=dict)
    """Of the topics: where what customers read of each stands."""
    lines: dict[str, int] = field(default_factory=dict)
    """Of the teams."""
    unread: frozenset[str] = frozenset()
    """Files that are there and could not be read: nobody is told that a name of theirs is unknown."""
    absent: set[str] = field(default_factory=set)
    """Files that are not there; the first who looks for a name in one is told so, and takes it out."""

    def lacks(self, file: str) -> bool:
        """Return whether a file is not there; once: it need not be told at every name."""
        if file not in self.absent:
            return False
        self.absent.discard(file)
        self.unread |= {file}
        return True


def directory_of(roots: Mapping[str, tuple[Reader, Node]], unread: frozenset[str] = frozenset()) -> Directory:
    """Return what the files of the directory say; mistakes become diagnostics of their readers."""
    parts: Mapping[str, tuple[Callable[[Shape, Node, Directory], None], Iterable[str]]] = {
        TEAMS: (_teams, ("teams",)), TARGETS: (_targets, MACHINES.values()), TOPICS: (_topics, ("topics",)),
    }  # fmt: skip
    found = Directory(unread=unread, absent=set(parts) - set(roots) - unread)
    for name, (read, keys) in parts.items():
        if name in roots:
            reader, root = roots[name]
            shape = Shape(reader)
            lists = [node for key in keys if root.kind == "map" and (node := root.get(key)) is not None]
            if root.kind != "map" or any(node.kind != "map" for node in lists):
                found.unread |= {name}
            if shape.keys(root, name.removesuffix(".yaml")):
                shape.version(root, needed=False)
                read(shape, root, found)
    return found


def _teams(shape: Shape, root: Node, found: Directory) -> None:
    checks = {"email": (MAIL, "an e-mail address"), "sms": (PHONE, "a number as +4930123456")}
    for key, node in shape.entries(root.get("teams"), "'teams'"):
        addresses = {}
        if _name(shape, key) and shape.keys(node, "team"):
            for channel, (pattern, what) in checks.items():
                if (one := node.get(channel)) is not None:
                    addresses[channel] = one.text
                    if one.kind != "scalar" or pattern.fullmatch(one.text) is None:
                        shape.wrong(one, "R006", f"{what} is needed here")
            for channel in CHAT:
                if (one := node.get(channel)) is not None:
                    addresses[channel] = one.text
                    reference(shape, one)
        locale = node.get("locale")
        if locale is not None and (locale.kind != "scalar" or LOCALE.fullmatch(locale.text) is None):
            shape.wrong(locale, "R006", "a language is needed here, as de or en_GB")
        title = node.get("title")
        found.teams[key.text] = Team(
            name=key.text, title=shape.text(title, "title", node) if title is not None else "", addresses=addresses,
            timezone=zone(shape, node.get("timezone")), locale=locale.text if locale is not None else None,
        )  # fmt: skip
        found.lines[key.text] = key.line


def _targets(shape: Shape, root: Node, found: Directory) -> None:
    for channel, part in MACHINES.items():
        for key, node in shape.entries(root.get(part), f"'{part}'"):
            url = secret = None
            if _name(shape, key) and shape.keys(node, "target"):
                url, secret = node.get("url"), node.get("secret")
                if url is None:
                    shape.wrong(node, "R007", "'url' is missing: https://… or env:NAME")
                else:
                    _address(shape, url)
                if secret is not None:
                    reference(shape, secret)
            found.targets[channel, key.text] = Target(
                name=key.text, channel=channel, url=url.text if url is not None else "",  # type: ignore[arg-type]
                secret=secret.text if secret is not None else None,
            )  # fmt: skip


def _topics(shape: Shape, root: Node, found: Directory) -> None:
    for key, node in shape.entries(root.get("topics"), "'topics'"):
        sentences: dict[str, str] = {}
        if _name(shape, key) and shape.keys(node, "topic"):
            sentences = _sentences(shape, node.get("sentence"), node)
            found.sentences[key.text] = node.get("sentence") or node
        sentence = sentences.pop(LANGUAGE, "")
        found.topics[key.text] = Topic(key.text, sentence, shape.flag(node.get("locked")), sentences)


def _sentences(shape: Shape, node: Node | None, owner: Node) -> dict[str, str]:
    """Return what customers read of a topic, by the tags of the languages: one text is in the language of all."""
    if node is None or node.kind != "map":
        return {LANGUAGE: _sentence(shape, node, "sentence", owner)}
    found: dict[str, str] = {}
    for key, text in node.entries:
        tag = next(tags(key.text), "")
        if not tag or language_of(tag) is None:
            shape.wrong(key, "R006", f"there is no language '{key.text}'; tags are as de or de-AT")
        elif (short := shorter_of(tag)) is not None:
            shape.wrong(key, "R006", f"nobody's locale says '{key.text}'", short)
        elif tag in found:
            shape.wrong(key, "R004", f"'{key.text}' is '{tag}', which stands here already")
        else:
            found[tag] = _sentence(shape, text, key.text, node)
    if LANGUAGE not in found:
        shape.wrong(node, "R007", f"'{LANGUAGE}' is missing: what those read whose language is not here")
    return found


def _sentence(shape: Shape, node: Node | None, what: str, owner: Node) -> str:
    found = shape.text(node, what, owner)
    if len(found) > MAX_SENTENCE:
        shape.wrong(node or owner, "R006", f"a sentence has at most {MAX_SENTENCE} characters")
    elif breaks_line(found.strip()):
        shape.wrong(node or owner, "R006", "a sentence is one line, without control characters")
    return found


def _name(shape: Shape, key: Node) -> bool:
    if NAME.fullmatch(key.text) is None or len(key.text) > MAX_NAME:
        shape.wrong(key, "R006", f"a name is lower-case words joined by '-', at most {MAX_NAME} characters")
        return False
    return True


def reference(shape: Shape, node: Node) -> None:
    """Check that a secret stands here by reference; what it is must never get into a file of rules."""
    if node.kind != "scalar" or REFERENCE.fullmatch(node.text) is None:
        shape.secret(node, SECRET)


def _address(shape: Shape, node: Node) -> None:
    """Check an address of another system: https, or a reference to it; http on this machine only."""
    if node.kind == "scalar" and REFERENCE.fullmatch(node.text) is not None:
        return
    if node.kind != "scalar" or URL.fullmatch(node.text) is None:
        shape.wrong(node, "R006", "an address is needed here: https://… or env:NAME")
        return
    try:
        parts = urlsplit(node.text)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if not host:
        shape.wrong(node, "R006", "this address has no host that could be called")
    elif parts.username is not None or parts.password is not None:
        shape.secret(node, SECRET)
    elif parts.scheme == "http" and not _is_loopback(host):
        shape.wrong(node, "R011", "only https leaves this machine", "https://…")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
