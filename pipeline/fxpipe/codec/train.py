"""Trains a small DAC on a CPU, in chunks that resume, and exports its encoder and quantiser.

Mel and waveform losses, no adversary: tokens are for reading pedals, not for listening. Knows
nothing of pedals; audio comes in as an iterator (see `fxpipe.codec.crops`).
Shapes: B batch, C channel, K codebook, T frame, N audio sample.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fxpipe.codec import CODECS, dac
from fxpipe.codec.codebooks import CodebookKeeper, fit_quantizer
from fxpipe.errors import CodecError

CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True)
class TrainConfig:
    """The recipe. ``free_steps`` run without a quantiser; then its books are fitted to latents."""

    architecture: Mapping[str, Any] = field(
        default_factory=lambda: dict(CODECS["embedded"].architecture)
    )
    n_steps: int = 4_000
    free_steps: int = 200
    fit_batches: int = 80
    learning_rate: float = 1e-3
    warmup_steps: int = 50
    final_share: float = 0.03
    grad_clip: float = 1.0
    mel_weight: float = 15.0
    l1_weight: float = 2.0
    commitment_weight: float = 0.25
    mel_windows: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048)
    ema_decay: float = 0.999
    book_decay: float = 0.98
    renew_every: int = 20
    renew_below: float = 0.1
    renew_at_most: int = 8
    renew_until: float = 0.8
    seed: int = 0
    compile: bool = False


@dataclass(frozen=True)
class CodecScore:
    """On held-out clips: error of the decoded sound, and how the books are used."""

    mel_error_db: float
    used_entries: tuple[int, ...]
    entropy_bits: tuple[float, ...]


@dataclass(frozen=True)
class TrainReport:
    step: int
    finished: bool
    seconds: float
    score: CodecScore


class MelLoss(nn.Module):
    """Mean |difference| of log10 mel magnitude over several windows, fp32. [B, N] x 2 -> scalar.

    Amplitudes are floored at ``floor`` of full scale: quieter bins carry no label.
    """

    def __init__(
        self, sample_rate_hz: int, windows: tuple[int, ...], floor: float = 2e-5
    ) -> None:
        super().__init__()
        self._windows = windows
        self._floor = floor
        for n in windows:
            self.register_buffer(f"window_{n}", torch.hann_window(n))
            self.register_buffer(
                f"filters_{n}", mel_filters(sample_rate_hz, n, max(5, n // 12))
            )

    def forward(self, decoded: Tensor, target: Tensor) -> Tensor:
        total = decoded.new_zeros(())
        for n in self._windows:
            total = total + F.l1_loss(self._log_mel(decoded, n), self._log_mel(target, n))
        return total / len(self._windows)

    def _log_mel(self, audio: Tensor, n: int) -> Tensor:
        window = self.get_buffer(f"window_{n}")
        power = torch.view_as_real(
            torch.stft(audio, n, n // 4, window=window, return_complex=True)
        ).square().sum(-1)  # fmt: skip
        amplitude = (power + 1e-12).sqrt() * (2 / window.sum())
        return (self.get_buffer(f"filters_{n}") @ amplitude).clamp_min(self._floor).log10()


def mel_filters(sample_rate_hz: int, n_fft: int, n_mels: int) -> Tensor:
    """Triangles [n_mels, n_fft // 2 + 1] whose weights sum to 1, on the HTK mel scale, 20 Hz up."""
    top = sample_rate_hz / 2
    mels = np.linspace(*(2595 * np.log10(1 + np.array([20.0, top]) / 700)), n_mels + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)
    bins = np.linspace(0, top, n_fft // 2 + 1)
    # Low bands are narrower than a bin: widen them to one, or they would be empty.
    half = np.maximum(np.stack([edges[1:-1] - edges[:-2], edges[2:] - edges[1:-1]]), bins[1])
    offset = bins[None] - edges[1:-1, None]
    rise, fall = 1 + offset / half[0][:, None], 1 - offset / half[1][:, None]
    filters = np.clip(np.minimum(rise, fall), 0, None)
    filters /= filters.sum(1, keepdims=True)
    return torch.from_numpy(filters.astype(np.float32))


def mel_error_db(decoded: Tensor, target: Tensor, sample_rate_hz: int) -> float:
    """Mean |dB| between 96-band log-mels of [B, N], equal loudness, floor 65 dB under the peak."""
    window = torch.hann_window(2_048)
    filters = mel_filters(sample_rate_hz, 2_048, 96)

    def log_mel(audio: Tensor) -> Tensor:
        spectrum = torch.stft(audio, 2_048, 512, window=window, return_complex=True).abs()
        return 20 * (filters @ spectrum).clamp_min(1e-9).log10()

    decoded = decoded * (target.square().mean(1) / decoded.square().mean(1).clamp_min(1e-12)).sqrt()[
        :, None
    ]
    wanted = log_mel(target)
    floor = wanted.amax((1, 2), keepdim=True) - 65
    return float((log_mel(decoded).maximum(floor) - wanted.maximum(floor)).abs().mean())


@torch.no_grad()
def score_codec(model: nn.Module, audio: np.ndarray, sample_rate_hz: int) -> CodecScore:
    """Encode, quantise and decode float32 [B, N], one clip at a time; N a multiple of the hop."""
    model.eval()
    parts: list[tuple[Tensor, Tensor]] = []
    for clip in torch.from_numpy(audio):
        quantized, codes = model.get_submodule("quantizer")(
            model.get_submodule("encoder")(clip[None, None])
        )[:2]
        parts.append((model.get_submodule("decoder")(quantized)[:, 0], codes))
    decoded = torch.cat([part[0] for part in parts])
    codes = torch.cat([part[1] for part in parts])  # [B, K, T]
    n_samples = min(decoded.shape[1], audio.shape[1])
    error = mel_error_db(
        decoded[:, :n_samples], torch.from_numpy(audio[:, :n_samples]), sample_rate_hz
    )
    used, entropy = [], []
    for book in codes.unbind(1):
        share = torch.bincount(book.flatten()).double()
        share = share[share > 0] / share.sum()
        used.append(len(share))
        entropy.append(round(float(-(share * share.log2()).sum()), 2))
    return CodecScore(error, tuple(used), tuple(entropy))


class _Run:
    """Everything that a checkpoint holds, and one training step."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.shape = dac.Architecture.from_kwargs(config.architecture, "codec architecture")
        torch.manual_seed(config.seed)
        self.model = dac.build(self.shape, decoder=True)
        for module in self.model.modules():
            if isinstance(module, nn.Conv1d):  # as dac.DAC itself starts
                nn.init.trunc_normal_(module.weight_v, std=0.02)
                module.weight_g.data.copy_(module.weight_v.norm(dim=(1, 2), keepdim=True))
                nn.init.zeros_(module.bias)
        self.keeper = CodebookKeeper(self.model.get_submodule("quantizer"))
        self.ema = [p.detach().clone() for p in self.model.parameters()]
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1.0, betas=(0.8, 0.99), weight_decay=1e-3)
        self.mel_loss = MelLoss(self.shape.sample_rate, config.mel_windows)
        self.draws = torch.Generator().manual_seed(config.seed)
        self.step = 0
        self.encoder: Callable[[Tensor], Tensor] = self.model.get_submodule("encoder")
        self.decoder: Callable[[Tensor], Tensor] = self.model.get_submodule("decoder")
        if config.compile:
            self.encoder = torch.compile(self.encoder, dynamic=False)
            self.decoder = torch.compile(self.decoder, dynamic=False)

    def state_dict(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "config": _plain(self.config),
            "model": self.model.state_dict(),
            "ema": self.ema,
            "keeper": self.keeper.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "draws": self.draws.get_state(),
            "torch": torch.get_rng_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.ema = state["ema"]
        self.keeper.load_state_dict(state["keeper"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.draws.set_state(state["draws"])
        torch.set_rng_state(state["torch"])

    def rate(self) -> float:
        """Learning rate as a share of the largest: linear warm-up, then cosine."""
        c = self.config
        if self.step < c.warmup_steps:
            return (self.step + 1) / c.warmup_steps
        done = min(1.0, (self.step - c.warmup_steps) / max(1, c.n_steps - c.warmup_steps))
        return c.final_share + (1 - c.final_share) * 0.5 * (1 + math.cos(math.pi * done))

    def train_step(self, batch: Tensor) -> dict[str, float]:
        """One step on [B, N]; returns the losses by name."""
        config, quantizer = self.config, self.model.get_submodule("quantizer")
        self.model.train()
        rate = self.rate()
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * rate
        latents = self.encoder(batch[:, None])
        free = self.step < config.free_steps
        commitment = batch.new_zeros(())
        if not free:
            latents, codes, projected, commitment, _ = quantizer(latents)
        decoded = self.decoder(latents)[:, 0]
        mel = self.mel_loss(decoded, batch)
        l1 = F.l1_loss(decoded, batch)
        loss = (
            config.mel_weight * mel
            + config.l1_weight * l1
            + config.commitment_weight * commitment
        )
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), config.grad_clip)
        if not torch.isfinite(norm):
            raise CodecError(f"codec training: the gradient at step {self.step} is not finite; "
                             "lower the learning rate or look for silence or NaN in the audio")  # fmt: skip
        self.optimizer.step()
        if not free:
            self.keeper.follow(codes, projected, 1 - (1 - config.book_decay) * max(rate, 0.1))
        self._average()
        if not free and self.step % config.renew_every == 0 and self._may_renew():
            self._renew()
        self.step += 1
        found = {"loss": loss, "mel": mel, "l1": l1, "commitment": commitment, "gradient": norm}
        return {name: float(value.detach()) for name, value in found.items()}

    def fit_books(self, batches: Iterator[np.ndarray]) -> None:
        """Seat the quantiser on the latents of ``fit_batches`` batches."""
        found = []
        self.model.eval()
        with torch.no_grad():
            for _ in range(self.config.fit_batches):
                latents = self.encoder(torch.from_numpy(next(batches))[:, None])
                found.append(latents.transpose(1, 2).flatten(0, 1))
        quantizer = self.model.get_submodule("quantizer")
        fit_quantizer(quantizer, torch.cat(found), self.draws)
        self.keeper.restart(len(found[0]))
        for mean, now in zip(self.ema, self.model.parameters(), strict=True):
            mean.copy_(now.detach())

    def averaged(self) -> nn.Module:
        """The model with averaged weights: what is scored and exported."""
        model = dac.build(self.shape, decoder=True)
        model.load_state_dict(self.model.state_dict())
        with torch.no_grad():
            for mean, parameter in zip(self.ema, model.parameters(), strict=True):
                parameter.copy_(mean)
        return model.eval()

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.config.ema_decay, (self.step + 1) / (self.step + 10))
        torch._foreach_lerp_(self.ema, [p.detach() for p in self.model.parameters()], 1 - decay)

    def _may_renew(self) -> bool:
        return self.step < self.config.renew_until * self.config.n_steps

    def _renew(self) -> None:
        renewed = self.keeper.renew(
            self.draws, below=self.config.renew_below, at_most=self.config.renew_at_most
        )
        names = [name for name, _ in self.model.named_parameters()]
        for k, (entries, vectors) in enumerate(renewed):
            at = names.index(f"quantizer.quantizers.{k}.codebook.weight")
            self.ema[at][entries] = vectors


def train_codec(
    batches: Callable[[int], Iterator[np.ndarray]],
    run_dir: Path,
    config: TrainConfig,
    *,
    held_out: np.ndarray,
    minutes: float = 9.0,
    n_threads: int | None = None,
    log: Callable[[str], None] = print,
) -> TrainReport:
    """Train, or go on where ``run_dir`` stopped, for at most ``minutes`` or until ``n_steps``.

    ``batches(step)``: an endless iterator of float32 [B, N] crops, N a multiple of the hop, to be
    used from that step on. ``held_out``: float32 [B, N] clips for the score. Writes a checkpoint
    and TensorBoard scalars to ``run_dir``. Raises CodecError.
    """
    from torch.utils.tensorboard import SummaryWriter

    began = time.monotonic()
    run_dir.mkdir(parents=True, exist_ok=True)
    with dac.threads(n_threads):
        run = _resume(run_dir, config)
        source = batches(run.step)
        with SummaryWriter(str(run_dir)) as board:  # type: ignore[no-untyped-call]
            first = run.step
            while run.step < config.n_steps and time.monotonic() - began < 60 * minutes:
                if run.step == config.free_steps:
                    run.fit_books(source)
                losses = run.train_step(torch.from_numpy(next(source)))
                if run.step % 25 == 0:
                    for name, value in losses.items():
                        board.add_scalar(f"train/{name}", value, run.step)  # type: ignore[no-untyped-call]
                    pace = (time.monotonic() - began) / (run.step - first)
                    log(f"step {run.step}/{config.n_steps}  mel {losses['mel']:.3f}  "
                        f"l1 {losses['l1']:.3f}  commitment {losses['commitment']:.3f}  "
                        f"{pace:.2f} s/step")  # fmt: skip
            _save(run.state_dict(), run_dir / CHECKPOINT)
            score = score_codec(run.averaged(), held_out, run.shape.sample_rate)
            board.add_scalar("held_out/mel_error_db", score.mel_error_db, run.step)  # type: ignore[no-untyped-call]
            for k, bits in enumerate(score.entropy_bits):
                board.add_scalar(f"held_out/entropy_bits_{k}", bits, run.step)  # type: ignore[no-untyped-call]
    return TrainReport(run.step, run.step >= config.n_steps, time.monotonic() - began, score)


def export_encoder(run_dir: Path, target_dir: Path, card: Mapping[str, Any]) -> Path:
    """Write the run's averaged encoder and quantiser: ``encoder.safetensors`` + ``codec.json``.

    fp16, weight norm folded, no decoder. ``card``: what to say of it besides the architecture.
    """
    from safetensors.torch import save_file

    state = _read(run_dir / CHECKPOINT)
    run = _Run(_config_of(state))
    run.load_state_dict(state)
    model = dac.remove_weight_norm(run.averaged())
    target_dir.mkdir(parents=True, exist_ok=True)
    path = target_dir / CODECS["embedded"].file_name
    tensors = {
        key: value.half().contiguous() for key, value in model.state_dict().items()
        if not key.startswith("decoder.")
    }  # fmt: skip
    draft = path.with_name(path.name + ".part")
    save_file(tensors, draft)
    os.replace(draft, path)
    document = {"architecture": dict(run.config.architecture), "steps": run.step, **card}
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    path.with_name("codec.json").write_text(text, encoding="utf-8")
    return path


def _resume(run_dir: Path, config: TrainConfig) -> _Run:
    run = _Run(config)
    if (run_dir / CHECKPOINT).is_file():
        state = _read(run_dir / CHECKPOINT)
        was, now = state["config"], _plain(config)
        if {**was, "compile": None} != {**now, "compile": None}:
            keys = [key for key in now if was.get(key) != now[key]]
            raise CodecError(f"{run_dir}: was begun with another {', '.join(keys)}; "
                             "give the same settings or another run directory")  # fmt: skip
        run.load_state_dict(state)
    return run


def _plain(config: TrainConfig) -> dict[str, Any]:
    """As plain lists and numbers, which a checkpoint may hold and JSON compares equal."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def _config_of(state: Mapping[str, Any]) -> TrainConfig:
    values = dict(state["config"])
    return TrainConfig(**{**values, "mel_windows": tuple(values["mel_windows"]), "compile": False})


def _read(path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen types for files that are not its own
        raise CodecError(
            f"{path}: not a checkpoint of a codec run ({str(error).splitlines()[0]}); "
            "delete the run directory and start again"
        ) from error
    return state


def _save(state: Mapping[str, Any], path: Path) -> None:
    draft = path.with_name(path.name + ".part")
    torch.save(copy.copy(dict(state)), draft)
    os.replace(draft, path)
