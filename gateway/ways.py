"""The ways out, as configured: to each channel its provider, and the catcher for every channel without credentials.

Tickets, webhooks, workflows and chat need nothing here: their addresses stand in `targets.yaml` and `teams.yaml`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from gateway.config import Config
from handlers.channels.wire import NOBODY, PushGateway, Senders, SmsSender
from handlers.providers.catcher import FileCatcher
from handlers.providers.redirect import Redirected
from handlers.providers.ways import Ways
from handlers.rules.directory import TARGETS, TEAMS
from streams.embedded import wall_clock
from tidings.errors import Misconfigured
from tidings.event import Micros
from tidings.ports import Provider
from tidings.rule import CHAT, MACHINES, RuleSet

CAUGHT = "caught.jsonl"
KEEP = 2.0
"""Seconds that a connection to the mail server waits for its next message: handshakes cost more than mails."""


def senders_of(settings: Config) -> Senders:
    """Return from whom messages come. Secrets stay references."""
    smtp, twilio, push = settings.settings.smtp, settings.settings.twilio, settings.settings.push
    sms, gateway = SmsSender(), PushGateway()
    if twilio is not None:
        callback = settings.settings.public_url if twilio.status_callback else None
        sms = SmsSender(twilio.sender, twilio.account_sid, twilio.base_url, callback)
    if push is not None:
        gateway = PushGateway(push.url, push.secret)
    return Senders(NOBODY.mail if smtp is None else smtp.sender, sms, gateway)


def provider_of(settings: Config, clock: Callable[[], Micros] = wall_clock) -> Ways:
    """Return the ways out; in test mode all of them lead to one mail address.

    Raises:
        Misconfigured: a secret cannot be read.
    """
    senders = senders_of(settings)
    catcher = FileCatcher(settings.data / CAUGHT, clock, senders)
    mail = catcher if settings.settings.smtp is None else _mail(settings, clock)
    test = settings.settings.test
    if test is not None:
        return Ways(Redirected(mail, test.redirect_to, clock, senders))
    ways: dict[str, Provider] = {}
    if settings.settings.smtp is not None:
        ways["email"] = mail
    if settings.settings.twilio is not None:
        ways["sms"] = _sms(settings, senders, clock)
    ways |= _posts(settings, senders, clock)
    return Ways(catcher, {channel: way for channel, way in ways.items() if channel not in settings.settings.catch})


def unreadable(settings: Config, rules: RuleSet) -> list[str]:
    """Return the references beside the rules (rooms, targets) that cannot be read, each once; their messages wait."""
    found = []
    for reference in dict.fromkeys(_references(settings, rules)):
        try:
            settings.resolve(reference)
        except Misconfigured:
            found.append(reference)
    return found


def _references(settings: Config, rules: RuleSet) -> Iterator[str]:
    """Yield what is asked for when messages leave; what is caught, or redirected in test mode, asks for nothing."""
    if settings.settings.test is not None:
        return
    caught: set[str] = set(settings.settings.catch)
    if settings.settings.smtp is None:
        caught.add("email")
    if settings.settings.twilio is None:
        caught.add("sms")
    for team in rules.teams.values():
        yield from (address for channel, address in team.addresses.items() if channel not in caught)
    for target in rules.targets.values():
        if target.channel not in caught:
            yield from (one for one in (target.url, target.secret) if one is not None)


def _mail(settings: Config, clock: Callable[[], Micros]) -> Provider:
    from handlers.providers.smtp import SmtpProvider, SmtpSettings

    smtp = settings.settings.smtp
    assert smtp is not None
    password = None if smtp.password is None else settings.secret(smtp.password)
    found = SmtpSettings(smtp.host, smtp.sender, smtp.port, smtp.tls, smtp.username, password, keep=KEEP)
    return SmtpProvider(found, clock)


def _sms(settings: Config, senders: Senders, clock: Callable[[], Micros]) -> Provider:
    from handlers.providers.twilio import TwilioProvider, TwilioSettings

    twilio = settings.settings.twilio
    assert twilio is not None
    settings.secret(twilio.auth_token)
    found = TwilioSettings(senders.sms, twilio.auth_token, twilio.api_key, twilio.look_up)
    loopback = settings.settings.allow_loopback_webhooks
    return TwilioProvider(found, settings.resolve, clock, allow_loopback=loopback)


def _posts(settings: Config, senders: Senders, clock: Callable[[], Micros]) -> dict[str, Provider]:
    from handlers.providers.chat import SlackProvider, TeamsProvider
    from handlers.providers.webhook import WebhookProvider

    loopback = settings.settings.allow_loopback_webhooks
    of_targets = partial(settings.resolve, named_in=settings.rules / TARGETS)
    of_teams = partial(settings.resolve, named_in=settings.rules / TEAMS)
    webhook = WebhookProvider(senders, of_targets, clock, allow_loopback=loopback)
    rooms = {"slack": SlackProvider, "teams": TeamsProvider}
    ways: dict[str, Provider] = dict.fromkeys(MACHINES, webhook)
    ways |= {channel: rooms[channel](of_teams, clock, allow_loopback=loopback) for channel in CHAT}
    if settings.settings.push is not None:
        settings.resolve(settings.settings.push.url)
        settings.secret(settings.settings.push.secret)
        ways["push"] = webhook
    return ways
