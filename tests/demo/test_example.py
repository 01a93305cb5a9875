"""The example shop is a tutorial: without a warning, and with a test for every rule."""

from gateway.cli.folder import example, loaded
from gateway.cli.main import main


def test_it_has_neither_errors_nor_warnings(capsys):
    assert main(["rules", "check", str(example())]) == 0
    assert "no errors, no warnings" in capsys.readouterr().out


def test_every_rule_has_a_test_that_passes(capsys):
    assert main(["rules", "test", str(example())]) == 0
    out = capsys.readouterr().out
    found, _, _ = loaded(example())
    assert found.rules is not None
    assert [rule.id for rule in found.rules.rules if f"passed  {rule.id}: " not in out] == []


def test_every_channel_is_used():
    found, _, _ = loaded(example())
    assert found.rules is not None
    channels = {step.channel for rule in found.rules.rules for step in rule.steps}
    assert channels == {"email", "sms", "push", "slack", "teams", "ticket", "webhook", "workflow"}
