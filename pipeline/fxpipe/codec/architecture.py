"""What a DAC looks like: its sizes, as a checkpoint records them, the tensors that follow, and what
is said of a file that holds others.

Imports neither torch nor dac.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fxpipe.errors import CodecError
from fxtrain.contract import ContractError, read_json, shorten

LARGEST = {
    "encoder_dim": 4096,
    "encoder_rate": 64,
    "depth": 16,
    "n_codebooks": 256,
    "codebook_size": 65_535,
    "codebook_dim": 4096,
    "sample_rate": 768_000,
}
LARGEST_LATENT = 65_536
"""A checkpoint's own words decide how much is built; the official models lie far below."""

N_UNITS = 3
"""Residual units of a block."""


@dataclass(frozen=True)
class Architecture:
    """Arguments of ``dac.DAC`` as a checkpoint records them; defaults are those of dac 1.0.0."""

    encoder_dim: int = 64
    encoder_rates: tuple[int, ...] = (2, 4, 8, 8)
    latent_dim: int | None = None
    decoder_dim: int = 1536
    decoder_rates: tuple[int, ...] = (8, 8, 4, 2)
    n_codebooks: int = 9
    codebook_size: int = 1024
    codebook_dim: int = 8
    quantizer_dropout: float = 0.0
    sample_rate: int = 44_100

    @property
    def hop_samples(self) -> int:
        return math.prod(self.encoder_rates)

    @property
    def latent_channels(self) -> int:
        return self.latent_dim or self.encoder_dim * 2 ** len(self.encoder_rates)

    @classmethod
    def from_kwargs(cls, kwargs: Mapping[str, Any], where: str) -> Architecture:
        """From a checkpoint's metadata. Raises CodecError on what this build cannot run."""
        known = {f.name for f in dataclasses.fields(cls)}
        try:
            values: dict[str, Any] = {
                key: tuple(int(rate) for rate in value) if key.endswith("_rates") else value
                for key, value in kwargs.items()
                if key in known
            }
            found = cls(**values)
            sizes = {"encoder_rate": found.encoder_rates, "depth": (len(found.encoder_rates),)}
            sizes |= {name: (getattr(found, name),) for name in LARGEST if hasattr(found, name)}
            valid = (
                all(
                    type(size) is int and 0 < size <= LARGEST[name]
                    for name, listed in sizes.items()
                    for size in listed
                )
                and 0 < found.latent_channels <= LARGEST_LATENT
            )
        except (TypeError, ValueError, OverflowError):
            valid = False
        if not valid:
            told = ", ".join(f"{shorten(key)} {shorten(kwargs[key])}" for key in list(kwargs)[:12])
            raise CodecError(f"{where}: its metadata does not describe a DAC model: {told}")
        return found

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Encoder's and quantiser's tensors by dac's own names, weight norm folded."""
        width, latent = self.encoder_dim, self.latent_channels
        found: dict[str, tuple[int, ...]] = {}

        def conv(name: str, n_in: int, n_out: int, n_taps: int) -> None:
            found[f"{name}.weight"] = (n_out, n_in, n_taps)
            found[f"{name}.bias"] = (n_out,)

        def snake(name: str, n: int) -> None:
            found[f"{name}.alpha"] = (1, n, 1)

        conv("encoder.block.0", 1, width, 7)
        for number, rate in enumerate(self.encoder_rates, start=1):
            at = f"encoder.block.{number}.block"
            for unit in range(N_UNITS):
                snake(f"{at}.{unit}.block.0", width)
                conv(f"{at}.{unit}.block.1", width, width, 7)
                snake(f"{at}.{unit}.block.2", width)
                conv(f"{at}.{unit}.block.3", width, width, 1)
            snake(f"{at}.{N_UNITS}", width)
            conv(f"{at}.{N_UNITS + 1}", width, 2 * width, 2 * rate)
            width *= 2
        snake(f"encoder.block.{number + 1}", width)
        conv(f"encoder.block.{number + 2}", width, latent, 3)
        for k in range(self.n_codebooks):
            at = f"quantizer.quantizers.{k}"
            conv(f"{at}.in_proj", latent, self.codebook_dim, 1)
            conv(f"{at}.out_proj", self.codebook_dim, latent, 1)
            found[f"{at}.codebook.weight"] = (self.codebook_size, self.codebook_dim)
        return found


def read_card(path: Path) -> Architecture:
    """``codec.json`` beside a ``.safetensors`` file. Raises CodecError."""
    card = path.with_name("codec.json")
    try:
        kwargs = dict(read_json(card.read_bytes(), card.name)["architecture"])
    except (OSError, ValueError, KeyError, TypeError, ContractError) as error:
        raise CodecError(unreadable(path, error)) from error
    return Architecture.from_kwargs(kwargs, str(card))


def unreadable(path: Path, error: Exception) -> str:
    """Of a ``.safetensors`` file that cannot be used."""
    return (
        f"{path}: cannot be read with codec.json beside it ({first_line(error)}); "
        "expected safetensors and a JSON object with the key architecture"
    )


def first_line(error: Exception) -> str:
    """Another library's error, short enough for one line of ours."""
    return " ".join(str(error).split())[:200] or type(error).__name__


Shape = tuple[int, ...]


def difference(found: Mapping[str, Shape | None], wanted: Mapping[str, Shape]) -> str:
    """The first tensor that is missing, too many or of another shape; empty where none is. None for
    the shape of what is no tensor of floats."""
    for key in sorted({*wanted, *found}):
        have, want = found.get(key), wanted.get(key)
        if have is None or have != want:
            there = "missing, or no floats" if have is None else list(have)
            return f"{shorten(key)} is {there}, expected {'none' if want is None else list(want)}"
    return ""


def misfit(where: object, problem: str) -> str:
    return (
        f"{where}: its tensors do not fit its own metadata ({problem}); "
        "the file is damaged or not a DAC model"
    )
