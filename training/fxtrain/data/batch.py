"""Owns a batch of samples as the model takes it, made from rows as they are stored.

Shapes: B batch, K codebook, T frame, M mel band, C clue, L pedal position, P parameter.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fxtrain.contract import PAD

Rows = dict[str, np.ndarray]
"""Samples as they are stored, field by field, and their ``position``."""


@dataclass(frozen=True, eq=False)
class Batch:
    """``codes`` int64 [B, K, T], ``mel`` float32 [B, M, T] in 0..1 (stored value / 255) or None,
    ``clues`` float32 [B, C] likewise, ``order`` int64 [B, L] pedal ids then 255, ``params`` float32
    [B, L, P] with NaN where none, or None where they were not asked for, ``lengths`` int64 [B]
    pedals in the chain, ``position`` int64 [B] place in the split.

    A sample is ``n_windows`` windows: in ``codes`` and ``mel`` their frames lie side by side, in
    ``clues`` their clues. A rank that has run out of samples before the others gets batches of
    none.
    """

    codes: Tensor
    mel: Tensor | None
    order: Tensor
    params: Tensor | None
    lengths: Tensor
    position: Tensor
    clues: Tensor | None = None
    n_windows: int = 1

    def __len__(self) -> int:
        return len(self.position)

    def to(self, device: torch.device | str) -> Batch:
        return Batch(
            codes=self.codes.to(device),
            mel=None if self.mel is None else self.mel.to(device),
            order=self.order.to(device),
            params=None if self.params is None else self.params.to(device),
            lengths=self.lengths.to(device),
            position=self.position.to(device),
            clues=None if self.clues is None else self.clues.to(device),
            n_windows=self.n_windows,
        )

    def with_windows(self, chosen: Tensor) -> Batch:
        """The same samples, of which only the windows ``chosen`` int64 [W] are heard."""

        def of(stored: Tensor) -> Tensor:
            windows = stored.view(*stored.shape[:-1], self.n_windows, -1)
            return windows.index_select(-2, chosen.to(stored.device)).flatten(-2)

        mel, clues = (None if t is None else of(t) for t in (self.mel, self.clues))
        some = {"codes": of(self.codes), "mel": mel, "clues": clues, "n_windows": len(chosen)}
        return dataclasses.replace(self, **some)  # type: ignore[arg-type]

    def windows(self) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Codes [B W, K, T], mel [B W, M, T] and clues [B W, C] of every window by itself."""
        return (
            _apart(self.codes, self.n_windows),
            None if self.mel is None else _apart(self.mel, self.n_windows),
            None if self.clues is None else _apart(self.clues, self.n_windows),
        )


def _apart(samples: Tensor, n_windows: int) -> Tensor:
    """[B, …, W T] -> [B W, …, T]"""
    if n_windows == 1:
        return samples
    return samples.view(*samples.shape[:-1], n_windows, -1).movedim(-2, 1).flatten(0, 1)


def heard_fields(
    use_mel: bool | None, use_clues: bool | None, hear_knobs: bool = False
) -> tuple[str, ...]:
    """What a model reads of a sample: mel, clues, and settings of pedals, only where it hears
    them."""
    wanted = {"mel": use_mel, "clues": use_clues, "params": hear_knobs}
    return ("codes", "order", *(name for name, is_heard in wanted.items() if is_heard))


def as_tensors(arrays: Rows) -> dict[str, Tensor]:
    """Stored arrays as tensors over the same memory; torch indexes int16 everywhere, uint16 not."""
    views = {k: v.view(np.int16) if v.dtype == np.uint16 else v for k, v in arrays.items()}
    return {name: torch.from_numpy(view) for name, view in views.items()}


def widen(stored: dict[str, Tensor], position: Tensor, n_windows: int = 1) -> Batch:
    """A batch from rows as they are stored: ``codes`` int16 with the bits of uint16."""
    codes = stored["codes"]
    mel, clues = (stored.get(name) for name in ("mel", "clues"))
    if codes.device.type == "cpu":
        wide = codes.view(torch.uint16).to(torch.int64)  # one pass over memory instead of two
    else:
        wide = codes.to(torch.int64).bitwise_and_(0xFFFF)
    order = stored["order"].to(torch.int64)
    return Batch(
        codes=wide,
        mel=None if mel is None else mel.to(torch.float32).div_(255.0),
        order=order,
        params=stored.get("params"),
        lengths=(order != PAD).sum(dim=1),
        position=position,
        clues=None if clues is None else clues.to(torch.float32).div_(255.0),
        n_windows=n_windows,
    )
