"""How precisely torch multiplies matrices: a setting of the process, so only one holder at a time.

Rough products are three times as fast on processors and cards that have them. A norm of rough sums
bounds nothing, so whoever clips needs full ones, whatever else runs in the process: a fit without
privacy on another thread waits for the clipping, and the clipping for it.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Literal

import torch

LARGE_BATCH = 128
"""Rows from which on rough products are faster."""

_LOCK = threading.RLock()


@contextmanager
def full_precision() -> Generator[None, None, None]:
    """Matrix products and convolutions in float32, whatever the caller has torch set to.

    TensorFloat-32 and bfloat16 keep 11 and 8 bits.
    """
    with _set("highest", convolutions=False):
        yield


@contextmanager
def rough_products(batch: int) -> Generator[None, None, None]:
    """Matrix products in bfloat16, with sums in float32, where torch can and the batch is large.

    Steps take a third of the time on processors with AMX, and as much as before on others. For
    training without privacy only.

    Args:
        batch: Rows a step.
    """
    if batch < LARGE_BATCH:
        yield
        return
    with _set("medium", convolutions=torch.backends.cudnn.allow_tf32):
        yield


@contextmanager
def _set(
    products: Literal["highest", "medium"], *, convolutions: bool
) -> Generator[None, None, None]:
    with _LOCK:
        before, rough = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)
            torch.backends.cudnn.allow_tf32 = rough
