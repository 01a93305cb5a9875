"""A message in its preview: nothing of it leads elsewhere, and nothing of it is lost."""

from __future__ import annotations

import json
import subprocess
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.console import preview
from handlers.channels import footer
from handlers.channels.wire import NOBODY, compose
from handlers.templates.sms import ALPHABET, JOINED, SINGLE, segments, split
from tidings.ports import Outgoing

TEXTS = st.text(st.sampled_from([*sorted(ALPHABET), "😀", "я"]), max_size=700) | st.text(
    st.sampled_from(sorted(ALPHABET)), max_size=700
)


@given(TEXTS)
def test_the_parts_of_a_text_are_those_that_are_counted_and_hold_all_of_it(text):
    parts = split(text)
    found = segments(text)
    assert "".join(parts) == text
    assert len(parts) == found.count
    room = (SINGLE if found.count <= 1 else JOINED)[found.encoding]
    for part in parts:
        # A part alone may be of the narrow alphabet; in its message it travels as the whole does.
        width = sum(1 + (one > "\uffff") for one in part) if found.encoding == "UCS-2" else segments(part).characters
        assert width <= room


@pytest.mark.parametrize(
    "link",
    [
        '<a href="https://elsewhere.example/x">go</a>',
        "<a class=b HREF='https://elsewhere.example/x'>go</a>",
        '<a href=https://elsewhere.example/x target="_self">go</a>',
        '<a href="https://elsewhere.example" href="https://elsewhere.example/2">go</a>',
        '<a\nhref = "https://elsewhere.example/x">go</a>',
        '<meta http-equiv="refresh" content="0;url=https://elsewhere.example">go',
        '<base href="https://elsewhere.example/">go',
        '<form action="https://elsewhere.example/">go</form>',
        '<iframe src="https://elsewhere.example/"></iframe>go',
    ],
)
def test_a_mail_leads_nowhere(link):
    found = preview.document({"subject": "s", "text": "t", "html": f"<p>before</p>{link}<p>after</p>"})
    assert "elsewhere.example" not in found
    assert "before" in found
    assert "go" in found
    assert "after" in found


def test_a_mail_without_html_is_its_text_and_its_signs_stay_signs():
    found = preview.document({"text": "1 < 2 & <script>alert(1)</script>\n  indented"})
    assert "<script>" not in found
    assert "1 &lt; 2 &amp; &lt;script&gt;" in found
    assert "\n  indented" in found


def test_the_frame_of_a_mail_may_do_nothing_and_load_nothing():
    policy = preview.HEADERS["content-security-policy"]
    assert "default-src 'none'" in policy
    assert policy.endswith("sandbox")
    assert "allow-" not in policy
    assert "script-src" not in policy


def wire_of(channel, address, content):
    return compose(Outgoing("m-1", 1, channel, address, content, 9, 9, "team:care", 1_000_000), 2_000_000, NOBODY)


def test_a_request_shows_what_leaves_and_no_secret():
    target = {"name": "crm", "url": "https://crm.example/hooks/T0/SECRET?token=x", "secret": "env:CRM_SECRET"}
    wire = wire_of("webhook", "", {"target": target, "data": {"customer": "c-1"}})
    text = preview.as_text(wire)
    assert "SECRET?" not in text
    assert "token" not in text
    assert text.startswith("POST https://crm.example/…\n")
    assert "webhook-signature: v1,…  (made right before, with env:CRM_SECRET)" in text
    assert '"customer": "c-1"' in text
    room = wire_of("slack", "https://hooks.example/services/T0/B0/verysecret", {"text": "hello"})
    for said in (preview.as_text(room), preview.as_curl(room)):
        assert "verysecret" not in said
    assert "env:ROOM" in preview.as_text(wire_of("slack", "env:ROOM", {"text": "hello"}))
    assert "plain-secret" not in preview.as_text(wire_of("slack", "plain-secret", {"text": "hello"}))


def test_a_shell_takes_it_as_it_is(tmp_path):
    wire = wire_of("slack", "env:ROOM", {"text": 'it\'s $(touch pwned) `touch pwned` \\ "quoted"\nnext'})
    command = preview.as_curl(wire).replace("curl -X POST", "printf '%s\\n'", 1)
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert not (tmp_path / "pwned").exists()
    assert json.loads(done.stdout.splitlines()[-1])["text"].startswith("it's $(touch pwned)")


def test_the_link_below_a_mail_is_seen_and_is_not_the_customers():
    html = "<html><body><div><p>Hi</p></div></body></html>"
    token = "https://shop.example.org/u/abc.def"
    content = {"subject": "s", "text": "Hi", "html": html, "unsubscribe": token, "footer": footer.words("Orders", "de")}
    became = SimpleNamespace(content=content)
    found = preview.shown(SimpleNamespace(channel="email"), became, 0)  # type: ignore[arg-type]
    assert "Nichts mehr davon" in found.content["text"]
    assert found.document is not None
    assert "Nichts mehr davon" in found.document
    assert "/u/abc" not in found.document + found.content["text"]
