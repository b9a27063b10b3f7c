"""The only door to `dac`: its encoder and quantiser classes, loaded safely, without a decoder.

Never used: ``DAC.load`` (runs code found in the file), ``compress`` (cuts the clip in windows,
which changes the tokens), ``AudioSignal``. Shapes: B batch, K codebook, T frame, N audio sample.

Method: R. Kumar et al., "High-Fidelity Audio Compression with Improved RVQGAN", NeurIPS 2023.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import json
import sys
import types
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fxpipe.errors import CodecError
from fxtrain.contract import MissingExtraError

_STUBS = ("torchaudio", "torchaudio.functional", "torchaudio.transforms")


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
        return int(np.prod(self.encoder_rates))

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
            sizes = [found.encoder_dim, found.latent_channels, found.n_codebooks,
                     found.codebook_size, found.codebook_dim, found.sample_rate]  # fmt: skip
            valid = all(type(size) is int and size > 0 for size in sizes)
        except (TypeError, ValueError):
            valid = False
        if not valid or found.codebook_size > 65_535 or not all(found.encoder_rates):
            raise CodecError(f"{where}: its metadata does not describe a DAC model: {dict(kwargs)}")
        return found


@functools.cache
def import_dac() -> types.ModuleType:
    """Import ``dac`` although its dependency torchaudio may be missing or have no loadable library.

    audiotools imports torchaudio at the top, and encoding calls nothing of it. Where it cannot be
    imported (PyPI's wheel beside a CPU build of torch fails with an OSError), empty modules stand
    in for it while ``dac`` is imported and are taken away again. Raises MissingExtraError.
    """
    with warnings.catch_warnings():
        # torch.jit.script of dac.nn.layers.snake, and whatever audiotools' dependencies deprecate.
        warnings.simplefilter("ignore")
        try:
            with _torchaudio_or_stub():
                module = importlib.import_module("dac")
        except ImportError as error:
            raise MissingExtraError(
                f"descript-audio-codec cannot be imported ({error}); "
                'install the pipeline extra: pip install "fxpipe[pipeline]"'
            ) from error
        # Scripted on import; the eager form is faster and takes other dtypes without recompiling.
        module.nn.layers.snake = snake
    return module


@contextlib.contextmanager
def _torchaudio_or_stub() -> Iterator[None]:
    try:
        importlib.import_module("torchaudio")
    except (ImportError, OSError, RuntimeError):
        pass
    else:
        yield
        return
    seated = {name: types.ModuleType(name) for name in _STUBS}
    for name, stub in seated.items():
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(seated[parent], child, stub)
    sys.modules.update(seated)
    try:
        yield
    finally:
        for name in seated:
            sys.modules.pop(name, None)


def snake(x: Tensor, alpha: Tensor) -> Tensor:
    """x + sin²(αx)/α, α per channel: x [B, C, T], alpha [1, C, 1] (Liu et al., NeurIPS 2020)."""
    inverse = (alpha.float() + 1e-9).reciprocal()
    if x.dtype == torch.float16:
        inverse = inverse.clamp(-6e4, 6e4).half()
    inverse = inverse.to(x.dtype)
    if torch.is_grad_enabled():
        return x + inverse * torch.sin(alpha * x).square()
    return torch.sin(alpha * x).square_().mul_(inverse).add_(x)


def build(architecture: Architecture, *, decoder: bool = False) -> nn.Module:
    """dac's own modules on the current default device, random weights, weight norm in place.

    Holds ``encoder`` and ``quantizer``, and ``decoder`` where asked: the key names of ``dac.DAC``.
    """
    module = import_dac()
    parts: dict[str, nn.Module] = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*weight_norm.*", category=FutureWarning)
        parts["encoder"] = module.model.dac.Encoder(
            architecture.encoder_dim, list(architecture.encoder_rates), architecture.latent_channels
        )
        parts["quantizer"] = module.nn.quantize.ResidualVectorQuantize(
            input_dim=architecture.latent_channels,
            n_codebooks=architecture.n_codebooks,
            codebook_size=architecture.codebook_size,
            codebook_dim=architecture.codebook_dim,
            quantizer_dropout=architecture.quantizer_dropout,
        )
        if decoder:
            parts["decoder"] = module.model.dac.Decoder(
                architecture.latent_channels,
                architecture.decoder_dim,
                list(architecture.decoder_rates),
            )
    return nn.ModuleDict(parts)


def remove_weight_norm(model: nn.Module) -> nn.Module:
    """Fold weight norm into plain weights, in place; outputs stay bit-identical."""
    for module in model.modules():
        if hasattr(module, "weight_g"):
            nn.utils.remove_weight_norm(module)
    return model


def read_checkpoint(path: Path) -> tuple[Architecture, dict[str, Tensor]]:
    """Architecture and tensors of a DAC checkpoint, without running anything found in it.

    ``.safetensors`` reads its architecture from ``codec.json`` beside it. Raises CodecError.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    with contextlib.suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        if any(name.endswith("/.data/extern_modules") for name in archive.namelist()):
            raise CodecError(
                f"{path}: a torch.package, which runs code from the file when loaded; "
                "save the model with save(path, package=False) and give that file"
            )
    return _read_pickled(path)


def _read_pickled(path: Path) -> tuple[Architecture, dict[str, Tensor]]:
    try:
        content = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except Exception as error:  # torch raises half a dozen types for files that are not its own
        raise CodecError(
            f"{path}: not a checkpoint that loads without running code from it "
            f"({first_line(error)}); give a file written by DAC.save(path, package=False)"
        ) from error
    state = content.get("state_dict") if isinstance(content, dict) else None
    metadata = content.get("metadata") if isinstance(content, dict) else None
    kwargs = metadata.get("kwargs") if isinstance(metadata, dict) else None
    if not isinstance(state, dict) or not isinstance(kwargs, dict):
        raise CodecError(
            f"{path}: not a DAC checkpoint; expected the keys state_dict and metadata.kwargs, "
            "as DAC.save(path, package=False) writes them"
        )
    return Architecture.from_kwargs(kwargs, str(path)), state


def first_line(error: Exception) -> str:
    """Another library's error, short enough for one line of ours."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _read_safetensors(path: Path) -> tuple[Architecture, dict[str, Tensor]]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    card = path.with_name("codec.json")
    try:
        kwargs = json.loads(card.read_text(encoding="utf-8"))["architecture"]
        state = load_file(path)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CodecError(
            f"{path}: cannot be read with {card.name} beside it ({first_line(error)}); "
            "expected safetensors and a JSON object with the key architecture"
        ) from error
    return Architecture.from_kwargs(kwargs, str(card)), state


def load_encoder(architecture: Architecture, state: Mapping[str, Tensor], where: str) -> nn.Module:
    """Encoder and quantiser in fp32, weight norm folded, in eval mode. Raises CodecError."""
    with torch.device("meta"):
        model = build(architecture)
    normed = any(key.endswith("weight_g") for key in state)
    if not normed:
        remove_weight_norm(model)
    own = {
        key: value.float() for key, value in state.items()
        if key.startswith(("encoder.", "quantizer."))
    }  # fmt: skip
    try:
        model.load_state_dict(own, strict=True, assign=True)
    except RuntimeError as error:
        raise CodecError(
            f"{where}: its tensors do not fit its own metadata "
            f"({first_line(error)}); the file is damaged or not a DAC model"
        ) from error
    remove_weight_norm(model)
    return model.eval().requires_grad_(False)
