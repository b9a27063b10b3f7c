"""Trains a small DAC on a CPU or a GPU, in chunks that resume, and exports what was learnt.

Mel and waveform losses, no adversary: tokens are for reading pedals, not for listening. Knows
nothing of pedals; audio comes in as an iterator (see `fxpipe.codec.rendered`).
Shapes: B batch, C channel, K codebook, T frame, N audio sample.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fxpipe.codec import CODECS, dac, engine
from fxpipe.codec.architecture import Architecture, first_line
from fxpipe.codec.codebooks import CodebookKeeper, fit_quantizer
from fxpipe.codec.loss import MelHead, MelLoss, mel_error_db
from fxpipe.errors import CodecError

CHECKPOINT = "checkpoint.pt"
LOG_EVERY = 25
SAVE_EVERY = 250
SHOWN = ("mel", "head", "l1", "commitment")


@dataclass(frozen=True)
class TrainConfig:
    """The recipe. ``free_steps`` run without a quantiser; then its books are fitted to latents.

    ``decoder_of``: a folder that :func:`export_encoder` wrote. Its encoder and books stay as they
    are, and with them every token; its decoder is learnt further.
    """

    architecture: Mapping[str, Any] = field(
        default_factory=lambda: dict(CODECS["embedded"].architecture)
    )
    decoder_of: str | None = None
    n_steps: int = 2_900
    free_steps: int = 350
    fit_batches: int = 160
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    final_share: float = 0.03
    grad_clip: float = 1.0
    mel_weight: float = 15.0
    head_weight: float = 15.0
    l1_weight: float = 2.0
    commitment_weight: float = 0.25
    mel_windows: tuple[int, ...] = (128, 256, 512, 1024, 2048)
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
    """On held-out clips: errors of the decoded sound and of the head, and how books are used."""

    mel_error_db: float
    head_error_db: float
    entropy_bits: tuple[float, ...]


@dataclass(frozen=True)
class TrainReport:
    step: int
    finished: bool
    score: CodecScore


@torch.no_grad()
def score_codec(
    model: nn.Module, audio: np.ndarray, sample_rate_hz: int, device: str = "cpu"
) -> CodecScore:
    """Encode, quantise and decode float32 [B, N], one clip at a time; N a multiple of the hop."""
    model.eval().to(device)
    encoder, quantizer = model.get_submodule("encoder"), model.get_submodule("quantizer")
    decoder, head = model.get_submodule("decoder"), model.get_submodule("head")
    waves, all_codes, head_errors = [], [], []
    for clip in torch.from_numpy(audio).to(device):
        quantized, codes = quantizer(encoder(clip[None, None]))[:2]
        waves.append(decoder(quantized)[:, 0].cpu())
        all_codes.append(codes.cpu())
        head_errors.append(20 * float(head(quantized, clip[None])))
    sound = torch.cat(waves)
    n_samples = min(sound.shape[1], audio.shape[1])
    wanted = torch.from_numpy(audio[:, :n_samples])
    error = round(mel_error_db(sound[:, :n_samples], wanted, sample_rate_hz), 3)
    entropy = []
    for book in torch.cat(all_codes).unbind(1):  # of codes [B, K, T]
        share = torch.bincount(book.flatten()).double()
        share = share[share > 0] / share.sum()
        entropy.append(round(float(-(share * share.log2()).sum()), 2))
    return CodecScore(error, float(np.mean(head_errors)), tuple(entropy))


class _Run:
    """Everything that a checkpoint holds, and one training step."""

    def __init__(self, config: TrainConfig, device: str = "cpu") -> None:
        self.config, self.device = config, torch.device(device)
        self.shape = Architecture.from_kwargs(config.architecture, "codec architecture")
        torch.manual_seed(config.seed)
        self.model = _build(self.shape)
        for module in self.model.modules():
            if isinstance(module, nn.Conv1d) and module.bias is not None:
                nn.init.zeros_(module.bias)  # dac's trunc_normal_ is undone by its weight norm
        if config.decoder_of is not None:
            whole = Path(config.decoder_of) / CODECS["embedded"].file_name
            dac.load_whole(self.model, dac.read_whole(whole)[1], whole)
            for part in ("encoder", "quantizer"):
                self.model.get_submodule(part).requires_grad_(False)
        self.model.to(self.device)
        self.keeper = CodebookKeeper(self.model.get_submodule("quantizer"))
        self.ema = [p.detach().clone() for p in self.model.parameters()]
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1.0, betas=(0.8, 0.99), weight_decay=1e-3)
        self.mel_loss = MelLoss(self.shape.sample_rate, config.mel_windows).to(self.device)
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
        self.ema = [mean.to(self.device) for mean in state["ema"]]
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
        tokens_move = config.decoder_of is None
        free = tokens_move and self.step < config.free_steps
        commitment = batch.new_zeros(())
        with torch.set_grad_enabled(tokens_move):
            latents = self.encoder(batch[:, None])
            if not free:
                latents, codes, projected, commitment, _ = quantizer(latents)
        decoded = self.decoder(latents)[:, 0]
        mel = self.mel_loss(decoded, batch)
        head = self.model.get_submodule("head")(latents, batch)
        l1 = F.l1_loss(decoded, batch)
        loss = config.mel_weight * mel + config.head_weight * head
        loss = loss + config.l1_weight * l1 + config.commitment_weight * commitment
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), config.grad_clip)
        parts = {"mel": mel, "head": head, "l1": l1, "commitment": commitment, "gradient": norm}
        values = torch.stack([loss, *parts.values()]).tolist()  # waits for the device: once a step
        if not math.isfinite(values[-1]):
            raise CodecError(
                f"codec training: the gradient at step {self.step} is not finite; "
                "lower the learning rate, or look for NaN in the audio"
            )
        self.optimizer.step()
        books_move = tokens_move and not free
        if books_move:
            self.keeper.follow(codes, projected, 1 - (1 - config.book_decay) * max(rate, 0.1))
        self._average()
        may_renew = books_move and self.step < config.renew_until * config.n_steps
        if may_renew and self.step % config.renew_every == 0:
            self._renew()
        self.step += 1
        return dict(zip(("loss", *parts), values, strict=True))

    def on_device(self, batch: np.ndarray | Tensor) -> Tensor:
        return torch.as_tensor(batch).to(self.device)

    def fit_books(self, batches: Iterable[np.ndarray | Tensor]) -> None:
        """Seat the quantiser on the latents of ``batches``, and start the average anew."""
        found = []
        self.model.eval()
        with torch.no_grad():
            for batch in batches:
                # not the compiled one: it would be compiled again, for evaluation
                latents = self.model.get_submodule("encoder")(self.on_device(batch)[:, None])
                found.append(latents.transpose(1, 2).flatten(0, 1))
        quantizer = self.model.get_submodule("quantizer")
        fit_quantizer(quantizer, torch.cat(found), self.draws)
        self.keeper.restart(len(found[0]))
        for mean, now in zip(self.ema, self.model.parameters(), strict=True):
            mean.copy_(now.detach())

    def averaged(self) -> nn.Module:
        """The model with averaged weights: what is scored and exported."""
        model = _build(self.shape)
        model.load_state_dict(self.model.state_dict())
        with torch.no_grad():
            for mean, parameter in zip(self.ema, model.parameters(), strict=True):
                parameter.copy_(mean)
        return model.eval()

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.config.ema_decay, (self.step + 1) / (self.step + 10))
        torch._foreach_lerp_(self.ema, [p.detach() for p in self.model.parameters()], 1 - decay)

    def _renew(self) -> None:
        renewed = self.keeper.renew(
            self.draws, below=self.config.renew_below, at_most=self.config.renew_at_most
        )
        names = [name for name, _ in self.model.named_parameters()]
        for k, (entries, vectors) in enumerate(renewed):
            at = names.index(f"quantizer.quantizers.{k}.codebook.weight")
            self.ema[at][entries] = vectors


def _build(shape: Architecture) -> nn.Module:
    """A whole DAC, and the head that is only trained with."""
    model = dac.build(shape, decoder=True)
    head = MelHead(shape.latent_channels, shape.sample_rate, shape.hop_samples)
    model.add_module("head", head)
    return model


Batches = Callable[[int], Iterator[np.ndarray | Tensor]]
"""step -> float32 [B, N] crops to be used from that step on, N a multiple of the hop."""


def train_codec(
    batches: Batches,
    run_dir: Path,
    config: TrainConfig,
    *,
    held_out: np.ndarray,
    minutes: float = 9.0,
    n_threads: int | None = None,
    device: str = "cpu",
    log: Callable[[str], None] = print,
) -> TrainReport:
    """Train, or go on where ``run_dir`` stopped, for at most ``minutes`` or until ``n_steps``.

    Where ``batches`` end, so does this call. ``held_out``: float32 [B, N] clips for the score.
    Writes a checkpoint and TensorBoard scalars to ``run_dir``. Raises CodecError.
    """
    from torch.utils.tensorboard import SummaryWriter

    began = time.monotonic()
    run_dir.mkdir(parents=True, exist_ok=True)
    with engine.threads(n_threads):
        run = _resume(run_dir, config, device)
        source = batches(run.step)
        with SummaryWriter(str(run_dir)) as board:
            first, recent = run.step, []
            while run.step < config.n_steps and time.monotonic() - began < 60 * minutes:
                batch = next(source, None)
                if batch is None:
                    break
                if run.step == config.free_steps and config.decoder_of is None:
                    more = itertools.islice(source, config.fit_batches - 1)
                    run.fit_books(itertools.chain([batch], more))
                recent.append(run.train_step(run.on_device(batch)))
                if run.step % SAVE_EVERY == 0:
                    _save(run.state_dict(), run_dir / CHECKPOINT)
                if run.step % LOG_EVERY == 0:
                    means = {key: float(np.mean([r[key] for r in recent])) for key in recent[0]}
                    recent = []
                    for name, value in means.items():
                        board.add_scalar(f"train/{name}", value, run.step)
                    pace = (time.monotonic() - began) / (run.step - first)
                    shown = "  ".join(f"{key} {means[key]:.3f}" for key in SHOWN)
                    log(f"step {run.step}/{config.n_steps}  {shown}  {pace:.2f} s/step")
            _save(run.state_dict(), run_dir / CHECKPOINT)
            score = score_codec(run.averaged(), held_out, run.shape.sample_rate, device)
            board.add_scalar("held_out/mel_error_db", score.mel_error_db, run.step)
            board.add_scalar("held_out/head_error_db", score.head_error_db, run.step)
            for k, bits in enumerate(score.entropy_bits):
                board.add_scalar(f"held_out/entropy_bits_{k}", bits, run.step)
    return TrainReport(run.step, run.step >= config.n_steps, score)


def export_encoder(run_dir: Path, target_dir: Path, card: Mapping[str, Any]) -> Path:
    """Write the run's averaged encoder and quantiser: ``encoder.safetensors`` + ``codec.json``, and
    ``decoder.safetensors``, which only listening needs.

    fp16, weight norm folded. ``card``: what to say of it besides the architecture.
    """
    from safetensors.torch import save_file

    state = _read(run_dir / CHECKPOINT)
    run = _Run(_config_of(state))
    run.load_state_dict(state)
    model = dac.remove_weight_norm(run.averaged())
    target_dir.mkdir(parents=True, exist_ok=True)
    path = target_dir / CODECS["embedded"].file_name
    tensors = {key: value.half().contiguous() for key, value in model.state_dict().items()}
    for file, parts in (
        (path, ("encoder.", "quantizer.")),
        (path.with_name(dac.DECODER), ("decoder.",)),
    ):
        draft = file.with_name(file.name + ".part")
        save_file({key: value for key, value in tensors.items() if key.startswith(parts)}, draft)
        draft.chmod(0o644)  # safetensors writes for the owner alone
        draft.replace(file)
    document = {"architecture": dict(run.config.architecture), "steps": run.step, **card}
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    path.with_name("codec.json").write_text(text, encoding="utf-8")
    return path


def _resume(run_dir: Path, config: TrainConfig, device: str) -> _Run:
    run = _Run(config, device)
    if (run_dir / CHECKPOINT).is_file():
        state = _read(run_dir / CHECKPOINT)
        was, now = ({**each, "compile": None} for each in (state["config"], _plain(config)))
        # a run of an older version knows fewer settings
        if keys := [key for key in {**now, **was} if was.get(key) != now.get(key)]:
            raise CodecError(f"{run_dir}: was begun with another {', '.join(keys)}; "
                             "give the same settings or another run directory")  # fmt: skip
        run.load_state_dict(state)
    return run


def _plain(config: TrainConfig) -> dict[str, Any]:
    """As plain lists and numbers, which a checkpoint may hold and JSON compares equal."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def _config_of(state: Mapping[str, Any]) -> TrainConfig:
    """The run's own, without settings that have gone since it was begun."""
    known = {field.name for field in dataclasses.fields(TrainConfig)}
    values = {key: value for key, value in state["config"].items() if key in known}
    return TrainConfig(**{**values, "mel_windows": tuple(values["mel_windows"]), "compile": False})


def _read(path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen types for files that are not its own
        raise CodecError(
            f"{path}: not a checkpoint of a codec run ({first_line(error)}); "
            "delete the run directory and start again"
        ) from error
    return state


def _save(state: Mapping[str, Any], path: Path) -> None:
    draft = path.with_name(path.name + ".part")
    torch.save(dict(state), draft)
    draft.replace(path)
