"""The only door to `dac`: its encoder and quantiser classes, loaded safely, without a decoder.

Never used: ``DAC.load`` (runs code found in the file), ``compress`` (cuts the clip in windows,
which changes the tokens), ``AudioSignal``. Shapes: B batch, K codebook, T frame, N audio sample.

Method: R. Kumar et al., "High-Fidelity Audio Compression with Improved RVQGAN", NeurIPS 2023.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
import threading
import types
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fxpipe.codec.architecture import (
    Architecture,
    difference,
    first_line,
    misfit,
    read_card,
    unreadable,
)
from fxpipe.errors import CodecError
from fxtrain.contract import MissingExtraError, to_install

_ONE_AT_A_TIME = threading.Lock()
"""While models are built: warnings, dac's and torch's layers are changed for all threads, and a
dask worker has several."""
PARTS = ("encoder", "quantizer", "decoder")
DECODER = "decoder.safetensors"
"""Beside an encoder that `fxpipe codec train --export` wrote."""
_STUBS = ("torchaudio", "torchaudio.functional", "torchaudio.transforms")


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
            with _torchaudio_or_stub(), _no_tensorboard():
                module = importlib.import_module("dac")
        except ImportError as error:
            raise MissingExtraError(
                f"descript-audio-codec cannot be imported ({error}); "
                f"install the pipeline extra: {to_install('pipeline')}"
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


@contextlib.contextmanager
def _no_tensorboard() -> Iterator[None]:
    """audiotools names a class of tensorboard in an annotation; importing it takes as long as torch
    itself, and whatever cloud clients are installed come with it."""
    name = "torch.utils.tensorboard"
    if name in sys.modules:
        yield
        return
    stub = types.ModuleType(name)
    stub.__dict__["SummaryWriter"] = object
    sys.modules[name] = stub
    try:
        yield
    finally:
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


def build(architecture: Architecture, *, decoder: bool = False, normed: bool = True) -> nn.Module:
    """dac's own modules on the current default device, random weights, weight norm in place.

    Holds ``encoder`` and ``quantizer``, and ``decoder`` where asked: the key names of ``dac.DAC``.
    ``normed`` False: as :func:`remove_weight_norm` leaves them, and no random weights. On the meta
    device either takes a second, most of it for torch's compiler to be imported.
    """
    parts: dict[str, nn.Module] = {}
    with _ONE_AT_A_TIME, warnings.catch_warnings(), contextlib.ExitStack() as stack:
        module = import_dac()
        if not normed:
            stack.enter_context(_plain_and_empty(module))
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


@contextlib.contextmanager
def _plain_and_empty(module: types.ModuleType) -> Iterator[None]:
    """While inside, dac's layers are made without weight norm, and no layer draws its weights."""
    layers = module.nn.layers
    drawn: tuple[Any, ...] = (nn.Conv1d, nn.Embedding)
    weight_norm = layers.weight_norm
    resets = [layer.reset_parameters for layer in drawn]
    layers.weight_norm = lambda layer: layer
    for layer in drawn:
        layer.reset_parameters = lambda _: None
    try:
        yield
    finally:
        layers.weight_norm = weight_norm
        for layer, reset in zip(drawn, resets, strict=True):
            layer.reset_parameters = reset


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
    with contextlib.suppress(OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
        if any(member.filename.endswith("/.data/extern_modules") for member in members):
            raise CodecError(
                f"{path}: a torch.package, which runs code from the file when loaded; "
                "save the model with save(path, package=False) and give that file"
            )
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            # torch never compresses; a kilobyte could unfold to all of the memory.
            raise CodecError(
                f"{path}: its members are compressed, which torch.save never does; "
                "give a file written by DAC.save(path, package=False)"
            )
        return _read_pickled(path)
    raise CodecError(
        f"{path}: not a checkpoint that loads without running code from it (no zip archive, as "
        "torch 1.6 and later write); give a file written by DAC.save(path, package=False)"
    )


def _read_pickled(path: Path) -> tuple[Architecture, dict[str, Tensor]]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
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


def _read_safetensors(path: Path) -> tuple[Architecture, dict[str, Tensor]]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    architecture = read_card(path)
    try:
        return architecture, load_file(path)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise CodecError(unreadable(path, error)) from error


def read_whole(encoder_file: Path) -> tuple[Architecture, dict[str, Tensor]]:
    """:func:`read_checkpoint` with the decoder beside it. Raises CodecError where there is none:
    installed packages leave it out."""
    decoder_file = encoder_file.with_name(DECODER)
    if not decoder_file.is_file():
        raise CodecError(
            f"{decoder_file}: no decoder here; it is in the repository, not in the package: give a "
            "folder that 'fxpipe codec train --export' wrote, or work from a clone"
        )
    architecture, state = read_checkpoint(encoder_file)
    return architecture, state | read_checkpoint(decoder_file)[1]


def load_whole(model: nn.Module, state: Mapping[str, Tensor], where: object) -> None:
    """Seat what :func:`read_whole` read, weight norm folded, in encoder, quantiser and decoder of a
    ``model``, which keeps its weight norm where it has one. Raises CodecError."""
    parts = nn.ModuleDict({name: model.get_submodule(name) for name in PARTS})
    normed = [module for module in parts.modules() if hasattr(module, "weight_g")]
    remove_weight_norm(parts)
    try:
        parts.load_state_dict({key: value.float() for key, value in state.items()})
    except RuntimeError as error:
        whole = f"{where} with {DECODER} beside it"
        raise CodecError(misfit(whole, first_line(error))) from None
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*weight_norm.*", category=FutureWarning)
        for module in normed:
            nn.utils.weight_norm(module)


def load_encoder(architecture: Architecture, state: Mapping[str, Tensor], where: str) -> nn.Module:
    """Encoder and quantiser in fp32, weight norm folded, in eval mode. Raises CodecError."""
    normed = any(isinstance(key, str) and key.endswith("weight_g") for key in state)
    with torch.device("meta"):
        model = build(architecture, normed=normed)
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    own = {
        key: value for key, value in state.items()
        if isinstance(key, str) and key.startswith(("encoder.", "quantizer."))
    }  # fmt: skip
    try:
        # Shapes first: a view of one number may call itself a terabyte, and float() would fill it.
        if problem := difference({key: _shape(value) for key, value in own.items()}, shapes):
            raise RuntimeError(problem)
        own = {key: value.float() for key, value in own.items()}
        if not all(bool(value.isfinite().all()) for value in own.values()):
            raise RuntimeError("some are not finite numbers")
        model.load_state_dict(own, strict=True, assign=True)
    except RuntimeError as error:
        raise CodecError(misfit(where, first_line(error))) from error
    remove_weight_norm(model)
    return model.eval().requires_grad_(False)


def _shape(value: object) -> torch.Size | None:
    """Of a plain tensor of real numbers in memory; None for anything else."""
    plain = isinstance(value, Tensor) and value.layout == torch.strided and not value.is_meta
    return value.shape if plain and value.dtype.is_floating_point else None  # type: ignore[attr-defined]
