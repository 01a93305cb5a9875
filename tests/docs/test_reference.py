"""The reference pages are what the code says today."""

import pytest

from tests.docs.reference import FOLDER, pages


@pytest.mark.parametrize(("name", "text"), pages().items(), ids=list(pages()))
def test_a_page_of_the_reference_is_what_the_code_says(name, text):
    assert (FOLDER / name).read_text("utf-8") == text, "run: make reference"


def test_there_is_no_page_that_nothing_makes():
    assert {path.name for path in FOLDER.iterdir()} - {"README.md"} == set(pages())
