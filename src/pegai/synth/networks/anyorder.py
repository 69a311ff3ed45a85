"""Any-order autoregression: the shares of every column given any set of the others.

Order-agnostic training (Uria et al. 2014, arXiv:1310.1757; Hoogeboom et al. 2022,
arXiv:2110.02037): of each row a random set of columns is shown, of a size drawn evenly, and the
network gives the shares of the rest. Rows are then drawn column by column in any order, and what is
given or known is simply shown first: conditionals and imputation are exact under the model.

The network adds to the log-shares of a naive Bayes mixture over the classes of the target,
p(x_j | shown) = sum_c p(c | shown) p(x_j | c), and starts near zero: what is left to learn is the
dependence inside classes. That mixture needs class-conditional one-way tables only, which are cheap
under privacy.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pegai.errors import ModelError
from pegai.synth.networks.blocks import Blocks
from pegai.synth.networks.nets import linear
from pegai.synth.networks.training import Trainee, average

JUDGED_MASKS = 4


class AnyOrder(nn.Module):
    """Logits of every column given the shown ones.

    Args:
        class_log: Log-shares of the classes, shape (classes,).
        inside_log: Log-shares of every code inside each class, shape (classes, width).
        columns: How many there are.
        hidden: Width of the layers.
        layers: How many hidden ones.
        rng: Initial weights.
    """

    class_log: Tensor
    inside_log: Tensor

    def __init__(
        self,
        class_log: Tensor,
        inside_log: Tensor,
        *,
        columns: int,
        hidden: int,
        layers: int,
        rng: torch.Generator,
    ) -> None:
        super().__init__()
        self.register_buffer("class_log", class_log.clone())
        self.register_buffer("inside_log", inside_log.clone())
        width = inside_log.shape[1]
        steps: list[nn.Module] = [linear(width + columns, hidden, rng), nn.ReLU()]
        for _ in range(layers - 1):
            steps += [linear(hidden, hidden, rng), nn.ReLU()]
        self.net = nn.Sequential(*steps, linear(hidden, width, rng, gain=0.1))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> AnyOrder:
        """The network that a saved state describes.

        Raises:
            ModelError: The arrays are not those of such a network.
        """
        try:
            state = {k: torch.from_numpy(v.copy()) for k, v in arrays.items()}
            hidden, inputs = state["net.0.weight"].shape
            layers = sum(k.endswith(".weight") for k in state) - 1
            columns = inputs - state["inside_log"].shape[1]
            model = cls(
                state["class_log"],
                state["inside_log"],
                columns=columns,
                hidden=hidden,
                layers=layers,
                rng=torch.Generator(),
            )
            model.load_state_dict(state)
        except (KeyError, ValueError, RuntimeError) as error:
            raise ModelError(
                f"the weights are not those of an any-order network ({type(error).__name__})",
                hint="fit the model again",
            ) from None
        return model.eval()

    def base_logits(self, shown: Tensor) -> Tensor:
        """Log-shares of the naive Bayes mixture given shown codes (rows, width); same shape."""
        posterior = (self.class_log + shown @ self.inside_log.T).softmax(1)
        return (posterior @ self.inside_log.exp()).clamp(min=1e-12).log()

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (rows, width) from shown codes and which columns are shown, side by side."""
        return self.net(inputs) + self.base_logits(inputs[:, : self.inside_log.shape[1]])


@dataclass(frozen=True, eq=False)
class Shown:
    """Rows of which some columns are shown.

    Attributes:
        inputs: Shown codes and which columns are shown, shape (rows, width + columns).
        wanted: One-hot codes of the hidden columns, each weighing 1 / hidden columns of its row;
            shape (rows, width).
    """

    inputs: Tensor
    wanted: Tensor

    @classmethod
    def of(cls, blocks: Blocks, rows: Tensor, drawn: Tensor) -> Shown:
        """Show a random set of columns of each row, of a size drawn evenly.

        Args:
            blocks: The layout.
            rows: One-hot, shape (rows, width).
            drawn: Uniform in [0, 1): an order of the columns and a size, (rows, columns + 1).
        """
        columns = len(blocks.sizes)
        size = (drawn[:, columns:] * columns).floor()
        shown = (drawn[:, :columns].argsort(1) < size).float()
        wide = shown[:, blocks.column_of]
        weight = (1 - wide) / (columns - size)
        return cls(torch.cat([rows * wide, shown], dim=1), rows * weight)


def hidden_loss(blocks: Blocks, logits: Tensor, wanted: Tensor) -> Tensor:
    """Mean cross-entropy of the hidden columns of each row, shape (rows,)."""
    return -(wanted * blocks.log_softmax(logits)).sum(1)


class AnyOrderTrainee(Trainee):
    """Learns to complete rows."""

    def __init__(
        self,
        model: AnyOrder,
        blocks: Blocks,
        *,
        learning_rate: float,
        weight_decay: float,
        ema: float,
        draws: torch.Generator,
    ) -> None:
        self.model, self.blocks, self.draws, self.ema = model, blocks, draws, ema
        self.kept = copy.deepcopy(model)
        self.networks = {"model": model, "kept": self.kept}
        chosen = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=weight_decay)
        self.optimizers: dict[str, torch.optim.Optimizer] = {"model": chosen}
        self.counters: dict[str, float] = {}

    def step(self, codes: np.ndarray) -> Mapping[str, Tensor | float]:
        """One step on the cross-entropy of hidden columns."""
        rows = self.blocks.one_hot(codes)
        shown = Shown.of(self.blocks, rows, self._drawn(len(rows), self.draws))
        loss = hidden_loss(self.blocks, self.model(shown.inputs), shown.wanted).mean()
        self.optimizers["model"].zero_grad()
        loss.backward()
        self.optimizers["model"].step()
        average(self.kept, self.model, self.ema)
        return {"cross_entropy": loss.detach()}

    @torch.no_grad()
    def judge(self, codes: np.ndarray) -> float:
        """Minus the mean cross-entropy of hidden columns; always the same are hidden."""
        fixed = torch.Generator(self.blocks.device).manual_seed(0)
        rows, total = self.blocks.one_hot(codes), 0.0
        for _ in range(JUDGED_MASKS):
            shown = Shown.of(self.blocks, rows, self._drawn(len(rows), fixed))
            loss = hidden_loss(self.blocks, self.kept(shown.inputs), shown.wanted)
            total -= float(loss.mean())
        return total / JUDGED_MASKS

    def _drawn(self, rows: int, rng: torch.Generator) -> Tensor:
        columns = len(self.blocks.sizes)
        return torch.rand(rows, columns + 1, generator=rng, device=self.blocks.device)


class Completion:
    """Rows that are completed column by column.

    The first layer and the naive Bayes posterior are sums over shown columns, so that showing one
    more costs a lookup.

    Args:
        model: The network.
        blocks: The layout.
        rows: How many are completed side by side.
    """

    def __init__(self, model: AnyOrder, blocks: Blocks, rows: int) -> None:
        self.model, self.blocks = model, blocks
        steps = list(model.net)
        self.first, self.last = cast(nn.Linear, steps[0]), cast(nn.Linear, steps[-1])
        self.middle = nn.Sequential(*steps[1:-1])
        self.hidden = self.first.bias.expand(rows, -1).clone()
        self.posterior = model.class_log.expand(rows, -1).clone()

    def show(self, column: int, codes: Tensor, rows: Tensor) -> None:
        """Show a column's codes (chosen,) in some rows (chosen,)."""
        places = self.blocks.starts[column] + codes
        weights = self.first.weight.T
        self.hidden[rows] += weights[places] + weights[self.blocks.width + column]
        self.posterior[rows] += self.model.inside_log.T[places]

    def log_shares(self, column: int, rows: Tensor) -> Tensor:
        """Log-shares of a column's codes given what is shown, shape (chosen, size)."""
        span = self.blocks.span(column)
        hidden = self.middle(self.hidden[rows])
        added = F.linear(hidden, self.last.weight[span], self.last.bias[span])
        inside = self.model.inside_log[:, span].exp()
        base = (self.posterior[rows].softmax(1) @ inside).clamp(min=1e-12).log()
        return (added + base).log_softmax(1)


@torch.no_grad()
def complete(
    model: AnyOrder,
    blocks: Blocks,
    codes: np.ndarray,
    known: np.ndarray,
    *,
    rng: torch.Generator,
) -> np.ndarray:
    """Rows whose unknown columns are drawn given the known ones, in a random order of columns.

    Args:
        model: The network.
        blocks: The layout.
        codes: Shape (rows, columns); unknown ones are not looked at.
        known: Which are known, shape (rows, columns).
        rng: Order and draws.

    Returns:
        int64 codes, shape (rows, columns).
    """
    done = torch.from_numpy(codes.astype(np.int64))
    given = torch.from_numpy(known)
    completion = Completion(model, blocks, len(codes))
    for column in range(len(blocks.sizes)):
        rows = given[:, column].nonzero().squeeze(1)
        if len(rows):
            completion.show(column, done[rows, column], rows)
    for column in torch.randperm(len(blocks.sizes), generator=rng).tolist():
        rows = (~given[:, column]).nonzero().squeeze(1)
        if len(rows):
            log_shares = completion.log_shares(column, rows)
            noise = torch.empty_like(log_shares).exponential_(generator=rng)
            drawn = (log_shares - noise.clamp_(min=1e-30).log_()).argmax(1)
            done[rows, column] = drawn
            completion.show(column, drawn, rows)
    return done.numpy()
