"""Precision of products is the process's: who clips gets full ones, whatever else runs."""

from __future__ import annotations

import threading

import pytest
import torch

from pegai.privacy.precision import LARGE_BATCH, full_precision, rough_products


def now() -> tuple[str, bool]:
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32


def test_settings_come_back_also_after_an_error() -> None:
    before = now()
    with pytest.raises(ValueError, match="stop"), rough_products(LARGE_BATCH):
        assert now()[0] == "medium"
        raise ValueError("stop")
    assert now() == before
    with rough_products(LARGE_BATCH - 1):
        assert now() == before
    with rough_products(LARGE_BATCH), full_precision():
        assert now() == ("highest", False)
    assert now() == before


def test_a_fit_without_privacy_on_another_thread_waits_for_the_clipping() -> None:
    seen: list[str] = []
    begun, clipped = threading.Event(), threading.Event()

    def train() -> None:
        begun.set()
        with rough_products(LARGE_BATCH):
            seen.append("trained after clipping" if clipped.is_set() else "trained meanwhile")

    with full_precision():
        other = threading.Thread(target=train)
        other.start()
        assert begun.wait(10)
        other.join(0.2)
        assert now() == ("highest", False)
        clipped.set()
    other.join(10)
    assert seen == ["trained after clipping"]
