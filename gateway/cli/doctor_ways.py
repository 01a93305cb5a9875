"""The ways out, as `tidings doctor` looks at them: each as far as it goes without sending anything."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiosmtplib

from gateway.cli.found import Found
from gateway.config import Config
from gateway.ways import CAUGHT, provider_of
from handlers.channels import headers, sms, unsubscribe
from handlers.channels.wire import Unfit
from handlers.providers.guard import checked, refused
from handlers.providers.reach import unreached
from handlers.providers.smtp import SmtpProvider
from handlers.providers.twilio import TwilioProvider
from handlers.providers.webhook import MAKES_ONE, key_of
from handlers.rules.directory import TARGETS, TEAMS
from tidings.errors import Misconfigured
from tidings.rule import CHAT, RuleSet

PATIENCE = 10.0
"""Seconds for one server."""


def ways(settings: Config, rules: RuleSet | None) -> list[Found]:
    """Look at every way out. `rules` name teams and targets; None: they do not load."""
    return asyncio.run(_ways(settings, rules))


async def _ways(settings: Config, rules: RuleSet | None) -> list[Found]:
    found = list(_links(settings))
    try:
        out = provider_of(settings)
    except Misconfigured as fault:
        return [*found, Found("mail" if settings.settings.twilio is None else "ways out", "wrong", str(fault),
                              "set it, or name another reference")]  # fmt: skip
    test = settings.settings.test
    if test is not None:
        found.append(Found("test mode", "note", f"everything, over every channel, goes to {test.redirect_to} by mail"))
    caught = settings.data / CAUGHT
    mail = provider_of(_without_test(settings)).of("email")
    if isinstance(mail, SmtpProvider):
        found.append(await _greet(mail))
    else:
        found.append(Found("mail", "note", f"no [smtp]: messages are caught in {caught}, nobody gets them"))
    if test is not None:
        return found
    text = out.of("sms")
    if isinstance(text, TwilioProvider):
        found.append(await _account(text))
    else:
        found.append(Found("sms", "note", f"no [twilio]: text messages are caught in {caught}, nobody gets them"))
    push = settings.settings.push
    if push is None:
        found.append(Found("push", "note", f"no [push]: push messages are caught in {caught}, nobody gets them"))
    else:
        found.append(await _place(settings, "push", push.url, push.secret))
    if settings.settings.allow_loopback_webhooks:
        says = "requests may go to this machine, also without TLS: for trials only"
        found.append(Found("allow_loopback_webhooks", "note", says))
    if settings.settings.catch:
        found.append(Found("catch", "note", f"{', '.join(settings.settings.catch)}: caught in {caught}, as configured"))
    if rules is not None:
        found += [one async for one in _rooms(settings, rules)]
        found += [one async for one in _targets(settings, rules)]
    return found


def _without_test(settings: Config) -> Config:
    return Config(settings.path, settings.settings.model_copy(update={"test": None}))


def _links(settings: Config) -> Iterator[Found]:
    url, key = settings.settings.public_url, settings.settings.secret_key
    if url is None or key is None:
        yield Found("links", "note", "no public_url: mails carry no unsubscribe link")
        return
    try:
        length = len(settings.secret(key).encode())
    except Misconfigured as fault:
        yield Found("links", "wrong", str(fault), "set it: 'openssl rand -hex 32' makes a good one")
        return
    if length < unsubscribe.LEAST_KEY:
        text = f"secret_key has {length} bytes; at least {unsubscribe.LEAST_KEY} are needed"
        yield Found("links", "wrong", text, "'openssl rand -hex 32' makes a good one")
    else:
        yield Found("links", "ok", url)


async def _greet(provider: SmtpProvider) -> Found:
    """Connect, encrypt and log in, as a message would; hand over nothing."""
    place = f"{provider.settings.host}:{provider.settings.port}"
    client = provider.client()
    try:
        async with asyncio.timeout(PATIENCE):
            await client.connect()
    except aiosmtplib.SMTPAuthenticationError as fault:
        return Found("mail", "wrong", f"{place} refuses the credentials ({fault.code})", "check username and password")
    except (aiosmtplib.SMTPException, OSError, TimeoutError) as fault:
        why = unreached(fault) or f"it cannot be reached: {fault or type(fault).__name__}"
        return Found("mail", "wrong", f"{place}: {why}", "check host, port and 'tls' (none, starttls, tls)")
    finally:
        client.close()
    return Found("mail", "ok", f"{place}, tls {provider.settings.tls}")


async def _account(provider: TwilioProvider) -> Found:
    sender = provider.settings.sender
    try:
        status = await provider.account()
    except Misconfigured as fault:
        return Found("sms", "wrong", f"Twilio: {fault}", "check account_sid, auth_token and api_key in [twilio]")
    if status != "active":
        return Found("sms", "wrong", f"Twilio: the account is {status}", "its console says why")
    return Found("sms", "ok", f"Twilio, account {sender.account[:6]}…, from {sender.number}")


async def _rooms(settings: Config, rules: RuleSet) -> AsyncIterator[Found]:
    file = settings.rules / TEAMS
    for team in rules.teams.values():
        for channel, address in team.addresses.items():
            if channel in settings.settings.catch:
                continue
            what = f"team {team.name}, {channel}"
            if channel in CHAT:
                yield await _place(settings, what, address, None, file)
                continue
            try:
                value = settings.resolve(address, file)
                if channel == "email":
                    headers.address(value)
                elif channel == "sms":
                    sms.number(value)
            except (Misconfigured, Unfit) as fault:
                yield Found(what, "wrong", str(fault), "mend it in teams.yaml")
            else:
                yield Found(what, "ok", "an address")


async def _targets(settings: Config, rules: RuleSet) -> AsyncIterator[Found]:
    for target in rules.targets.values():
        if target.channel in settings.settings.catch:
            continue
        what = f"{target.channel} {target.name}"
        found = await _place(settings, what, target.url, target.secret, settings.rules / TARGETS)
        if found.state == "ok" and target.secret is None:
            found = Found(
                what, "note", f"{found.says}; unsigned",
                f"set 'secret', so that the receiver can tell who asks; {MAKES_ONE}",
            )  # fmt: skip
        yield found


async def _place(
    settings: Config, what: str, reference: str, secret: str | None, named_in: Path | None = None
) -> Found:
    """Resolve a URL and its host as a message would; connect to nothing. Only the host is ever shown.

    `named_in` is the file that holds the references, where it is not the configuration.
    """
    loopback = settings.settings.allow_loopback_webhooks
    made = "" if secret is None else f"; {MAKES_ONE}"
    try:
        if secret is not None:
            key_of(settings.secret(secret, named_in))
        url = checked(settings.resolve(reference, named_in), allow_loopback=loopback)
    except Misconfigured as fault:
        return Found(what, "wrong", str(fault), f"set it, or name another reference{made}")
    except OSError as fault:
        return Found(what, "wrong", str(fault), "a public https URL is needed")
    host = str(url.host)
    try:
        async with asyncio.timeout(PATIENCE):
            answers = await asyncio.get_running_loop().getaddrinfo(host, url.port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError):
        return Found(what, "wrong", f"the name {host} cannot be resolved", "check the URL, and this machine's DNS")
    for *_, place in answers:
        why = refused(str(place[0]), allow_loopback=loopback, loopback_only=url.scheme == "http")
        if why is not None:
            return Found(what, "wrong", f"{host}: {why}", "requests go to public addresses only")
    return Found(what, "ok", host)
