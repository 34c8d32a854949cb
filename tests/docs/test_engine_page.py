"""The page on the engine names files that are there."""

from __future__ import annotations

import re

from . import places


def test_every_file_that_the_page_names_is_there() -> None:
    text = (places.DOCS / "how-a-pruned-call-works.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:tokprune|docs)/[\w/.]*)`", text)
    assert len(named) > 10
    missing = [name for name in named if not (places.ROOT / name).exists()]
    assert not missing
