"""docs/tutorial.md is run as it stands."""

import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("dkv._native", reason="the native module is not built")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial.md"


def test_tutorial_does_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    """Every block, in order, in one program; line numbers in a traceback are those of the page."""
    text = PAGE.read_text()
    names: dict[str, Any] = {"__name__": "tutorial"}
    blocks = list(re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    for block in blocks:
        lines_before = text.count("\n", 0, block.start(1))
        exec(compile("\n" * lines_before + block[1], str(PAGE), "exec"), names)
    assert len(blocks) > 10
    assert capsys.readouterr().out.splitlines()[0].endswith(" PUT b'news'")
