"""The reference of settings in the docs is the table that the code uses."""

from __future__ import annotations

from pathlib import Path

import pytest

from otelml.cli import main
from otelml.cli.settings_docs import create_reference, replace_generated
from otelml.settings import SETTINGS

PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"


def test_the_page_is_up_to_date() -> None:
    """`otelml settings-docs --update docs/configuration.md` would change nothing."""
    text = PAGE.read_text(encoding="utf-8")
    assert replace_generated(text) == text


def test_every_setting_has_a_row() -> None:
    """With its default and what is allowed."""
    reference = create_reference()
    assert [row.env for row in SETTINGS if f"| `{row.env}`<br>`{row.field}` |" not in reference] == []


def test_update_and_print(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only the part between the marks is replaced; a page without marks is refused."""
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- settings: generated -->old<!-- settings: end -->\nafter\n")
    assert main(["settings-docs", "--update", str(page)]) == 0
    assert page.read_text().startswith("before\n<!-- settings: generated -->\n\n### Our own")
    assert page.read_text().endswith("<!-- settings: end -->\nafter\n")
    assert main(["settings-docs"]) == 0
    assert capsys.readouterr().out.strip() == create_reference()
    with pytest.raises(ValueError, match="no part between"):
        replace_generated("nothing")
