"""Keeps a residual quantiser's codebooks alive while its encoder learns: fit, follow, renew.

Left to gradients, a small DAC trained on small batches uses a few dozen of 1,024 entries. So the
books are fitted to the encoder's own latents once it has learnt something, follow them as running
means (A. van den Oord et al., "Neural Discrete Representation Learning", 2017, appendix A.1), and
entries that fall out of use are re-seated one by one on recent latents (P. Dhariwal et al.,
"Jukebox", 2020). All of it acts on dac's own modules; the model stays a plain DAC.

Shapes: B batch, K codebook, T frame, S codebook entry, D codebook dimension, M latent vector,
C latent channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

K_MEANS_ROUNDS = 12
RECENT_BATCHES = 16
"""Whose latents are kept, for entries that fall out of use to be seated on."""


def fit_quantizer(quantizer: nn.Module, latents: Tensor, generator: torch.Generator) -> None:
    """Seat projections and books on ``latents`` [M, C], one book after the other on the residual.

    Projections: the residual's principal directions, half whitened, so that the cosine look-up of
    DAC is not ruled by one direction alone. Books: k-means by that same look-up. The unit is one
    for all books (the first has variance 1): were each book scaled to 1, the commitment loss of
    the small residuals would blow up the gradient.
    """
    residual = latents.clone()
    unit = torch.ones((), device=latents.device)
    with torch.no_grad():
        for k, book in enumerate(_books(quantizer)):
            size, dim = book.codebook.weight.shape
            mean = residual.mean(0)
            centred = residual - mean
            values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
            top = values[-dim:]
            spread = top.clamp_min(1e-3 * float(top[-1]) + 1e-12).pow(0.25)  # half whitening
            scale = spread.square().mean().sqrt()
            basis = vectors[:, -dim:]
            into = basis / spread * scale  # [C, D]
            back = basis * spread / scale
            if k == 0:
                unit = (centred @ into).square().mean().sqrt()
            _seat_projection(book.in_proj, (into / unit).T, -(mean @ into) / unit)
            _seat_projection(book.out_proj, back * unit, mean)
            projected = centred @ into / unit
            book.codebook.weight.copy_(_k_means(projected, size, generator))
            chosen = book.codebook.weight[_nearest(projected, book.codebook.weight)]
            residual = residual - (chosen @ (back * unit).T + mean)


def _books(quantizer: nn.Module) -> list[Any]:
    """dac's VectorQuantize modules, which carry no types."""
    return list(quantizer.get_submodule("quantizers").children())


def _seat_projection(conv: Any, weight: Tensor, bias: Tensor) -> None:
    """Into a weight-normed 1x1 convolution: weight [out, in], bias [out]."""
    conv.weight_v.copy_(weight[:, :, None])
    conv.weight_g.copy_(weight.norm(dim=1)[:, None, None])
    conv.bias.copy_(bias)


def _nearest(vectors: Tensor, book: Tensor) -> Tensor:
    """DAC's look-up: entry of largest cosine. vectors [M, D], book [S, D] -> [M]."""
    return (F.normalize(vectors) @ F.normalize(book).T).argmax(1)


def _k_means(vectors: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """``size`` means [S, D] of ``vectors`` [M, D] by cosine; empty ones are drawn again."""
    book = _draw(vectors, size, generator)
    for _ in range(K_MEANS_ROUNDS):
        nearest = _nearest(vectors, book)
        counts = torch.bincount(nearest, minlength=size)
        sums = torch.zeros_like(book).index_add_(0, nearest, vectors)
        book = sums / counts.clamp_min(1)[:, None]
        empty = counts == 0
        book[empty] = _draw(vectors, int(empty.sum()), generator)
    return book


def _draw(vectors: Tensor, n: int, generator: torch.Generator) -> Tensor:
    picked = torch.randint(len(vectors), (n,), generator=generator)  # drawn on the CPU: repeatable
    return vectors[picked.to(vectors.device)]


class CodebookKeeper:
    """Running statistics of every book: how often each entry is chosen, and by what."""

    def __init__(self, quantizer: nn.Module) -> None:
        weights = torch.stack([book.codebook.weight.detach() for book in _books(quantizer)])
        self._quantizer = quantizer
        self._recent: list[Tensor] = []
        self._device = weights.device
        self.usage = torch.ones(weights.shape[:2], device=self._device)  # [K, S], vectors a step
        self.sums = weights.clone()  # [K, S, D]
        for book in _books(quantizer):
            book.codebook.weight.requires_grad_(False)

    def state_dict(self) -> dict[str, Any]:
        return {"usage": self.usage, "sums": self.sums, "recent": self._recent}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.usage = state["usage"].to(self._device, copy=True)
        self.sums = state["sums"].to(self._device, copy=True)
        self._recent = [vectors.to(self._device) for vectors in state["recent"]]

    def restart(self, vectors_per_step: int) -> None:
        """After `fit_quantizer`: take the books as they are, all entries equally used."""
        weights = torch.stack([book.codebook.weight.detach() for book in _books(self._quantizer)])
        even = vectors_per_step / weights.shape[1]
        self.usage = torch.full(weights.shape[:2], even, device=self._device)
        self.sums = weights * self.usage[..., None]
        self._recent.clear()

    @torch.no_grad()
    def follow(self, codes: Tensor, latents: Tensor, decay: float) -> None:
        """Move each entry towards the mean of what chose it. codes [B, K, T], latents [B, KD, T]"""
        n_books, size, dim = self.sums.shape
        vectors = latents.detach().reshape(len(latents), n_books, dim, -1)
        vectors = vectors.permute(1, 0, 3, 2).flatten(1, 2)
        chosen = codes.permute(1, 0, 2).flatten(1)  # [K, M]; vectors [K, M, D]
        for k, book in enumerate(_books(self._quantizer)):
            counts = torch.bincount(chosen[k], minlength=size).float()
            sums = vectors.new_zeros(size, dim).index_add_(0, chosen[k], vectors[k])
            self.usage[k].mul_(decay).add_(counts, alpha=1 - decay)
            self.sums[k].mul_(decay).add_(sums, alpha=1 - decay)
            used = self.usage[k][:, None] > 1e-6  # below, an entry stays where it was last used
            means = self.sums[k] / self.usage[k].clamp_min(1e-6)[:, None]
            book.codebook.weight.copy_(torch.where(used, means, book.codebook.weight))
        self._recent = [*self._recent[-RECENT_BATCHES + 1 :], vectors.clone()]

    @torch.no_grad()
    def renew(
        self, generator: torch.Generator, *, below: float, at_most: int
    ) -> list[tuple[Tensor, Tensor]]:
        """Re-seat the least used entries of each book, at most ``at_most``, on recent latents.

        Only entries used less than ``below`` times the mean. Slowly, because each re-seated entry
        takes vectors from its neighbours. Returns (entries, vectors) for each book.
        """
        recent = torch.cat(self._recent, 1)  # [K, M, D]
        done: list[tuple[Tensor, Tensor]] = []
        for k, book in enumerate(_books(self._quantizer)):
            mean = self.usage[k].mean()
            least = self.usage[k].argsort()[:at_most]
            dead = least[self.usage[k][least] < below * mean]
            vectors = _draw(recent[k], len(dead), generator)
            self.usage[k][dead] = mean / 2
            self.sums[k][dead] = vectors * mean / 2
            book.codebook.weight[dead] = vectors
            done.append((dead, vectors))
        return done
