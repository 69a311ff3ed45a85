"""The networks of the conditional tabular GAN."""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from pegai.errors import ModelError


class ConditionalGenerator(nn.Module):
    """Logits of every column, given a class and a latent vector.

    Starts as the class-conditional independent model: `base` holds the logarithm of each column's
    shares in each class, and the network that adds to it starts near zero. Training then has only
    the dependence between columns left to learn, which is what makes 200 rows enough.

    Args:
        base: Log-shares, shape (classes, width).
        latent: Length of the latent vector.
        hidden: Width of the two hidden layers.
        rng: Draws the initial weights.
    """

    def __init__(self, base: Tensor, *, latent: int, hidden: int, rng: torch.Generator) -> None:
        super().__init__()
        classes, width = base.shape
        self.latent = latent
        self.net = nn.Sequential(
            linear(latent + classes, hidden, rng),
            nn.LeakyReLU(0.2),
            linear(hidden, hidden, rng),
            nn.LeakyReLU(0.2),
            linear(hidden, width, rng, gain=0.1),
        )
        self.base = nn.Parameter(base.clone())

    @classmethod
    def from_arrays(
        cls, arrays: dict[str, np.ndarray], *, latent_scale: float = 1.0
    ) -> ConditionalGenerator:
        """The network that a saved state describes.

        Args:
            arrays: Its parameters.
            latent_scale: What it multiplies latents by, in its first layer.

        Raises:
            ModelError: The arrays are not those of a generator.
        """
        try:
            base = torch.from_numpy(arrays["base"].copy())
            hidden, inputs = arrays["net.0.weight"].shape
            model = cls(base, latent=inputs - len(base), hidden=hidden, rng=torch.Generator())
            model.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in arrays.items()})
            with torch.no_grad():
                cast(nn.Linear, model.net[0]).weight[:, : model.latent] *= latent_scale
        except (KeyError, ValueError, RuntimeError) as error:
            raise ModelError(
                f"the weights are not those of a generator ({type(error).__name__})",
                hint="fit the model again",
            ) from None
        return model.eval()

    def forward(self, latent: Tensor, classes: Tensor) -> Tensor:
        """Logits (rows, width) from latents (rows, latent) and one-hot classes (rows, classes)."""
        return self.net(torch.cat([latent, classes], dim=1)) + classes @ self.base


def critic(width: int, hidden: int, rng: torch.Generator) -> nn.Sequential:
    """A critic of single rows: no batch normalisation and no packing, so one patient is one row.

    Input (rows, width), output (rows, 1).
    """
    return nn.Sequential(
        linear(width, hidden, rng),
        nn.LeakyReLU(0.2),
        linear(hidden, hidden, rng),
        nn.LeakyReLU(0.2),
        linear(hidden, 1, rng),
    )


def linear(fan_in: int, fan_out: int, rng: torch.Generator, gain: float = 1.0) -> nn.Linear:
    """A linear layer with torch's default bounds, drawn from `rng`; the bias starts at zero."""
    layer = nn.Linear(fan_in, fan_out)
    bound = gain / math.sqrt(fan_in)
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=rng)
        layer.bias.zero_()
    return layer
