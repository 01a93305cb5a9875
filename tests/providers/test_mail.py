"""Mail by hand: what arrives is what was meant, and no text becomes a header."""

import asyncio
import email
import email.policy
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.channels import footer, headers, unsubscribe
from handlers.channels.mail import compose
from handlers.channels.wire import Senders, Unfit
from handlers.channels.wire import compose as composed
from handlers.providers.smtp import SmtpProvider, SmtpSettings, quoted
from streams.embedded import wall_clock
from tests.providers.stand_ins import ID, Mailbox, outgoing, smtp_served
from tidings.event import DAY, SECOND

SENDERS = Senders("Small shop <hello@example.org>")
NOW = 1_772_704_800 * SECOND
LINK = unsubscribe.link("https://news.example.org", b"k" * 32, "default", "c-1", "orders", NOW + 365 * DAY)
WRITTEN = ["From", "MIME-Version", "Auto-Submitted", "To", "Subject", "Date", "Message-ID"]
PART = ["Content-Type", "Content-Transfer-Encoding"]


def raw(
    subject: str = "Hello", text: str = "Hello.\n", to: str = "ada@example.org", sender: str = SENDERS.mail, **more: Any
) -> bytes:
    message = outgoing("email", to, {"subject": subject, "text": text, **more}, message_id=ID)
    return composed(message, NOW, Senders(sender)).body


def parsed(body: bytes) -> EmailMessage:
    found = email.message_from_bytes(body, policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    return found


def lines(body: bytes) -> list[bytes]:
    assert b"\n" not in body.replace(b"\r\n", b"")
    assert b"\r" not in body.replace(b"\r\n", b"")
    return body.split(b"\r\n")


def test_the_bytes_of_a_small_mail():
    assert raw() == (
        b"From: Small shop <hello@example.org>\r\n"
        b"MIME-Version: 1.0\r\n"
        b"Auto-Submitted: auto-generated\r\n"
        b"To: ada@example.org\r\n"
        b"Subject: Hello\r\n"
        b"Date: Thu, 05 Mar 2026 10:00:00 +0000\r\n"
        b"Message-ID: <0b5e3c9a-1111-5222-8333-444455556666@example.org>\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: 7bit\r\n"
        b"\r\n"
        b"Hello.\r\n"
    )


def test_text_and_html_are_alternatives_and_the_text_comes_first():
    message = parsed(raw("Grüße", "Grüße\n.\n", html="<p>Grüße <b>und</b> mehr</p>", unsubscribe=LINK))
    assert message.get_content_type() == "multipart/alternative"
    plain, html = message.iter_parts()
    assert (plain.get_content_type(), html.get_content_type()) == ("text/plain", "text/html")
    assert plain.get_content() == "Grüße\n.\n"
    assert html.get_content().replace("\r\n", "\n") == "<p>Grüße <b>und</b> mehr</p>\n"
    assert message.defects == plain.defects == html.defects == []
    assert message["List-Unsubscribe"] == f"<{LINK}>"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert message["Subject"] == "Grüße"


def test_the_link_stands_below_the_text_too_for_mailboxes_without_a_button():
    page = "<html><body>\n<div>\n<p>Hi</p></div>\n</body>\n</html>\n"
    words = footer.words("<Orders> & more", "de-AT")
    plain, html = parsed(raw(html=page, unsubscribe=LINK, footer=words)).iter_parts()
    assert plain.get_content().splitlines()[-3:] == ["--", words["why"], f"{words['link']}: {LINK}"]
    text = html.get_content()
    assert 0 < text.index(f'href="{LINK}"') < text.index("</body>")
    assert "&lt;Orders&gt; &amp; more" in text
    assert text.rstrip().endswith("</html>")
    # A mail that goes to a tester has no link, and so no words that promise one.
    assert words["why"] not in parsed(raw(footer=words)).get_content()


@pytest.mark.parametrize("content", [{}, {"text": None}, {"text": 7}, {"html": "<p>Hi</p>"}], ids=str)
def test_a_mail_without_a_text_is_refused_with_a_footer_as_without(content):
    whole = {"subject": "Hello", "footer": footer.words("Orders", "en"), "unsubscribe": LINK, **content}
    with pytest.raises(Unfit):
        composed(outgoing("email", "ada@example.org", whole, message_id=ID), NOW, SENDERS)


def test_without_a_link_no_unsubscribe_header_is_written():
    assert [name for name, _ in parsed(raw()).items()] == [*WRITTEN, *PART]


@pytest.mark.parametrize("link", ["http://example.org/u/x", "https://e.org/> <https://evil.org", "https://e.org/\r\nBcc: x@y.org", "x", "https://e.org/" + "x" * 990])  # fmt: skip
def test_a_link_that_could_be_more_than_a_link_is_refused(link):
    with pytest.raises(Unfit):
        raw(unsubscribe=link)


INJECTIONS = [
    "x\r\nBcc: eve@example.org", "x\nBcc: eve@example.org", "x\rBcc: eve@example.org", "x\x00y", "x\x0bBcc: e", "x\x85Bcc: e",
    "x\u2028Bcc: e", "x\u2029Bcc: e", "x\x7f", "=?utf-8?q?x=0D=0ABcc:_eve@example.org?=", "=?utf-8?b?eA0KQmNjOiBldmVAZXhhbXBsZS5vcmc=?=",
    "=?UTF-8?Q?x=0aBcc:e?=", "=?iso-8859-1?q?x=0D?=", "a =?utf-8?q?b=00?= c", "=?utf-7?q?+AA0ACg-Bcc:?= =?utf-8?q?=0A?=",
    "=?utf-8?b?PT91dGYtOD9xP3g9MEQ9MEFCY2M6P2U/PQ==?= =?utf-8?q?=0D?=", "x" * 999,
]  # fmt: skip


@pytest.mark.parametrize("subject", INJECTIONS)
def test_a_subject_that_could_become_a_header_is_permanent_and_never_reaches_the_server(subject):
    async def story():
        mailbox = Mailbox()
        async with smtp_served(mailbox) as port:
            out = SmtpProvider(SmtpSettings("127.0.0.1", SENDERS.mail, port=port, tls="none"), wall_clock)
            return await out.send(outgoing("email", "ada@example.org", {"subject": subject, "text": "t"})), mailbox

    outcome, mailbox = asyncio.run(story())
    assert (outcome.stage, outcome.first_byte_at, mailbox.taken) == ("permanent", None, [])


ADDRESSES = [
    "", "ada", "ada@", "@example.org", "a b@example.org", "<a@b.c>", "Ada <ada@example.org>", "ada@example.org, eve@example.org",
    "ada@example.org\r\nRCPT TO:<eve@example.org>", "ada@example.org\n", "(eve)ada@example.org", "ada@example.org(eve)", '"a b"@example.org',
    '"@eve.org"@example.org', "ada@[127.0.0.1]", "a@b@example.org", ".ada@example.org", "ada.@example.org", "a..b@example.org",
    "ada@-example.org", "ada@example..org", "ada@example.org.", "ü@example.org", "ada@exämple.org", "=?utf-8?q?a=0D=0A?=@example.org",
    "a" * 65 + "@example.org", "a@" + "b" * 64 + ".org", "ada;@example.org", "ada@example.org\x00", "ada%eve.org@",
]  # fmt: skip


@pytest.mark.parametrize("to", ADDRESSES)
def test_an_address_that_readers_could_understand_differently_is_refused(to):
    with pytest.raises(Unfit):
        raw(to=to)


@pytest.mark.parametrize(
    "to", ["ada@example.org", "a.b+c_d-e@mail.example.co.uk", "o'neill@example.org", "x@localhost", "1@2.org"]
)
def test_usual_addresses_are_taken(to):
    assert parsed(raw(to=to))["To"] == to


SENDERS_SHOWN = {
    "Small shop <hello@example.org>": "Small shop <hello@example.org>",
    "hello@example.org": "hello@example.org",
    "<hello@example.org>": "hello@example.org",
    'Shop, Ltd. "x" <hello@example.org>': '"Shop, Ltd. \\"x" <hello@example.org>',
    "Käseladen <hello@example.org>": "Käseladen <hello@example.org>",
}


@pytest.mark.parametrize("sender", SENDERS_SHOWN)
def test_the_sender_is_shown_as_configured(sender):
    found = parsed(raw(sender=sender))["From"]
    assert found.addresses[0].addr_spec == "hello@example.org"
    assert str(found).replace('""', '"') == SENDERS_SHOWN[sender] or found.addresses[0].display_name in sender


@settings(deadline=None)
@given(
    st.text(max_size=300),
    st.text(max_size=300),
    st.one_of(st.none(), st.text(max_size=300)),
    st.one_of(st.just("ada@example.org"), st.text(max_size=60), st.emails()),
)
def test_whatever_the_texts_no_exception_but_unfit_and_no_header_more(subject, text, html, to):
    """The law behind the guard: every mail that is composed has exactly the headers that are meant, once each."""
    content = {"subject": subject, "text": text} | ({} if html is None else {"html": html})
    try:
        wire = composed(outgoing("email", to, content), NOW, SENDERS)
    except Unfit:
        return
    message = parsed(wire.body)
    names = [name for name, _ in message.items()]
    assert names == [*WRITTEN, *(PART[:1] if message.is_multipart() else PART)]
    assert (message["To"], wire.to) == (to, to)
    assert message.get_all("Subject") == [message["Subject"]]
    assert max(map(len, lines(wire.body))) <= headers.LONGEST
    # Strict readers agree with lenient ones.
    assert email.message_from_bytes(wire.body, policy=email.policy.compat32).keys() == names


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=200))
def test_every_subject_without_control_characters_comes_back(subject):
    try:
        body = raw(subject=subject)
    except Unfit:
        assert "=?" in subject
        return
    found = str(parsed(body)["Subject"])
    # The parser of the standard library folds white space at the edges.
    assert found.strip() == subject.strip() or "=?" in subject


@settings(deadline=None)
@given(st.text(max_size=2000), st.sampled_from(["text", "html"]))
def test_every_body_comes_back(text, where):
    more = {where: text} if where == "html" else {}
    try:
        body = raw(text=text if where == "text" else "t", **more)
    except Unfit:
        assert any("\ud800" <= character <= "\udfff" for character in text)
        return
    message = parsed(body)
    part = message if not message.is_multipart() else list(message.iter_parts())[1 if where == "html" else 0]
    found = part.get_payload(decode=True)
    assert isinstance(found, bytes)
    wanted = (text if where == "text" or text else "t").replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")
    assert found.replace(b"\r\n", b"\n").decode() == wanted + "\n"
    assert max(map(len, lines(body))) <= 78
    # What the composer writes is what goes through the conversation: nothing is changed but dots.
    assert quoted(body).replace(b"\r\n..", b"\r\n.") == body


def test_the_message_id_is_the_same_on_every_attempt_and_the_date_is_the_clocks():
    first = compose(outgoing("email", "a@b.org", {"subject": "s", "text": "t"}), NOW, SENDERS).body
    later = compose(
        outgoing("email", "a@b.org", {"subject": "s", "text": "t"}, attempt=2), NOW + 90 * SECOND, SENDERS
    ).body
    assert parsed(first)["Message-ID"] == parsed(later)["Message-ID"] == f"<{ID}@example.org>"
    assert str(parsed(later)["Date"]) == "Thu, 05 Mar 2026 10:01:30 +0000"


@pytest.mark.parametrize("content", [{}, {"subject": "s"}, {"subject": 7, "text": "t"}, {"subject": "s", "text": None}])
def test_content_that_is_not_complete_is_refused(content):
    with pytest.raises(Unfit):
        composed(outgoing("email", "a@b.org", content), NOW, SENDERS)


def test_only_names_on_the_list_are_headers():
    with pytest.raises(Unfit):
        headers.line("Bcc", "eve@example.org")
