"""Every rule that a page shows is one that loads, or stands so in the example."""

import shutil
import textwrap

import pytest

from gateway.cli.folder import loaded
from tests.docs.pages import ROOT, blocks

PAGES = ("README.md", "docs/tutorial.md", "examples/shop/README.md")
EXAMPLE = ROOT / "examples" / "shop"


def squeezed(text: str) -> str:
    """Return a text without its comments, indents and empty lines, for looking whether it stands somewhere."""
    lines = (line.split(" #")[0].strip() for line in textwrap.dedent(text).splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("#"))


@pytest.mark.parametrize("page", PAGES)
def test_the_rules_of_a_page_load_or_stand_in_the_example(page, tmp_path):
    inside = [squeezed(path.read_text("utf-8")) for path in sorted(EXAMPLE.rglob("*.yaml"))]
    shown = blocks(page, "yaml")
    for number, block in enumerate(shown):
        if not block.text.startswith("version:"):
            for part in block.text.split("…"):  # what a page leaves out
                assert any(squeezed(part) in text for text in inside), f"{block.place}: not in the example"
            continue
        folder = tmp_path / str(number)
        shutil.copytree(EXAMPLE, folder)
        for path in (folder / "rules").glob("[!_]*.yaml"):
            path.unlink()
        (folder / "rules" / "shown.yaml").write_text(block.text, "utf-8")
        found, _, _ = loaded(folder)
        assert found.rules is not None, f"{block.place}\n" + "\n".join(str(one) for one in found.errors)
    assert shown or page != "README.md"
