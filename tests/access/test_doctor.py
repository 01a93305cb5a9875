"""What `tidings doctor` says of the secret, and of who comes in over HTTP."""

from pathlib import Path

import pytest

from gateway import config
from gateway.cli import doctor_access

LIVE = {"revoked_at": None, "expires_at": None}
OVER = {"revoked_at": 1, "expires_at": None}
SECRET = 'secret_key = "env:T_KEY"\n'
LOCAL = "[http]\n"


def read(folder: Path, text: str) -> config.Config:
    (folder / "tidings.toml").write_text(text)
    return config.read(folder / "tidings.toml")


@pytest.mark.parametrize(
    ("value", "state", "says"),
    [("x" * 32, "ok", "32 bytes"), ("short", "wrong", "5 bytes; at least 16"), (None, "wrong", "T_KEY is not set")],
)
def test_a_secret_is_there_and_long_enough_or_it_is_said(tmp_path, monkeypatch, value, state, says):
    if value is not None:
        monkeypatch.setenv("T_KEY", value)
    found = doctor_access.secret(read(tmp_path, SECRET))
    assert (found.state, says in found.says) == (state, True), found
    assert value is None or value not in found.says
    assert doctor_access.secret(read(tmp_path, "")).state == "note"


@pytest.mark.parametrize(
    ("text", "rows", "state", "says"),
    [
        (LOCAL, [], "note", "whoever is at this machine may do everything"),
        (SECRET, [], "note", "nobody comes in"),
        (SECRET, [OVER], "note", "1 key, none live"),
        (SECRET, [LIVE, OVER], "ok", "2 keys, 1 live"),
        ("", [LIVE], "wrong", "none of them can be proven"),
    ],
)
def test_it_says_whether_anybody_can_come_in(tmp_path, text, rows, state, says):
    found = doctor_access.keys(read(tmp_path, text), rows, 2)
    assert (found.state, says in found.says) == (state, True), found
