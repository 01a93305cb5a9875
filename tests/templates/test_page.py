"""The page for those who write templates says what is so."""

import re
from pathlib import Path

import pytest

from handlers.templates import FILTERS, parse

PAGE = (Path(__file__).parents[2] / "docs" / "templates.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```template\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", EXAMPLES)
def test_the_examples_are_templates(text: str) -> None:
    template = parse(text)
    for form in ("text", "html", "slack", "teams"):
        assert template.form(form)


def test_every_filter_is_on_the_page_and_every_filter_on_the_page_is_there() -> None:
    rows = re.findall(
        r"^\| ((?:`[a-z]+`(?:, )?)+) \| (?:times|amounts|numbers|durations|texts|all of these|lists) \|",
        PAGE,
        re.MULTILINE,
    )
    assert {name for row in rows for name in re.findall("[a-z]+", row)} == set(FILTERS)
    for usage in re.findall(r"^\| `[a-z`, ]+` \|[^|]*\| (.*?) \| ", PAGE.replace("\\|", "¦"), re.MULTILINE):
        for example in re.findall("`([^`]+)`", usage):
            assert parse(f"{{{{ {example.replace('¦', '|')} }}}}").placeholders
