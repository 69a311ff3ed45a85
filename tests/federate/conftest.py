"""Fixtures of federations."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from .sites import Make, make_federation


@pytest.fixture
def federation(tmp_path: Path) -> Make:
    """Makes a federation in a folder of the test."""
    return partial(make_federation, tmp_path)
