"""Targets: trained models and checkpoints, poisoned ones among them."""

from __future__ import annotations

import io
import json
import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

from fuzz.mutate import Case, hostile, json_bytes, mutate_bytes, mutate_json


def model(root: Path) -> Case:
    """A run directory: model.json, config.json and model.safetensors."""
    import safetensors.torch
    import torch

    from fixtures.shards import make_shards
    from fxtrain.checkpoint import CARD_NAME, WEIGHTS_NAME, card_of, load_run, new_model, save_model
    from fxtrain.config import Config, ModelConfig, config_json
    from fxtrain.contract import LocalFolder, to_dict
    from fxtrain.models import resolve_model
    from fxtrain.runs import LAST_NAME, load_run_config

    index = make_shards(root / "shards", n_train=4, n_valid=2, n_test=0)
    config = ModelConfig(kind="gru", d_model=16, n_heads=2, n_layers=1)
    resolved = resolve_model(config, n_codebooks=4, has_mel=False)
    card = card_of(index, resolved, {})
    run, folder = root / "run", LocalFolder(root / "run")
    torch.manual_seed(0)
    card = save_model(run, card, new_model(card, torch.randn(4, 64, 8)))
    weights = folder.read(WEIGHTS_NAME)
    settings = json.loads(config_json(Config(model=resolved)))
    folder.write(LAST_NAME, b"")
    state = safetensors.torch.load(weights)

    def case(rng: random.Random) -> None:
        way, data, document = rng.random(), weights, to_dict(card)
        if way < 0.2:
            folder.write("config.json", json_bytes(rng, settings))
            load_run_config(run)
            return
        if way < 0.6:
            data = mutate_bytes(rng, weights)
            if rng.random() < 0.3:
                spoilt = dict(state)
                name = rng.choice(sorted(spoilt))
                spoilt[name] = torch.zeros(rng.choice([(), (3,), (2, 2, 2), (0,)]))
                data = safetensors.torch.save(spoilt)
            document["weights"] = to_dict(folder.write(WEIGHTS_NAME, data))
            folder.write(CARD_NAME, json.dumps(document).encode())
        else:
            folder.write(WEIGHTS_NAME, data)
            folder.write(CARD_NAME, json_bytes(rng, document))
        load_run(run)

    return case


class Trap:
    """What a poisoned pickle would do: ``open(path, "w")`` when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


def checkpoints(root: Path) -> Case:
    """``.pth`` and ``.safetensors`` codecs and lightning's last.ckpt: pickles, zips, shapes."""
    import torch

    from fixtures.shards import make_shards
    from fxpipe.codec import load_codec
    from fxpipe.codec.dac import Architecture, build
    from fxtrain.checkpoint import card_of
    from fxtrain.config import ModelConfig
    from fxtrain.contract import to_dict
    from fxtrain.data import open_shards
    from fxtrain.models import resolve_model
    from fxtrain.runs import LAST_NAME, check_resume

    small = {
        "encoder_dim": 4,
        "encoder_rates": [2, 4],
        "latent_dim": 8,
        "decoder_dim": 8,
        "decoder_rates": [4, 2],
        "n_codebooks": 2,
        "codebook_size": 16,
        "codebook_dim": 4,
        "sample_rate": 44_100,
    }
    torch.manual_seed(0)
    state = build(Architecture.from_kwargs(small, "small")).state_dict()
    make_shards(root / "shards", n_train=4, n_valid=2, n_test=0)
    dataset = open_shards(root / "shards")
    resolved = resolve_model(ModelConfig(d_model=16), n_codebooks=4, has_mel=False)
    card = to_dict(card_of(dataset.index, resolved, {}))
    outside = root.parent / "ran"
    (root / "run/checkpoints").mkdir(parents=True)

    def saved(content: Any) -> bytes:
        buffer = io.BytesIO()
        torch.save(content, buffer)
        return buffer.getvalue()

    def content(rng: random.Random) -> Any:
        metadata = {"kwargs": mutate_json(rng, small) if rng.random() < 0.5 else small}
        spoilt: dict[Any, Any] = dict(state)
        if rng.random() < 0.5:
            odd = torch.zeros(1)
            spoilt[rng.choice(sorted(state))] = rng.choice(
                [
                    *(odd.expand(10**9), odd.half().expand(10**12), odd.to_sparse()),
                    *(Trap(outside), 5, "x", None, odd.to(torch.complex64), odd / 0, [odd]),
                ]
            )
        return rng.choice(
            [{"state_dict": spoilt, "metadata": metadata}] * 6
            + [{"state_dict": Trap(outside)}, Trap(outside), [Trap(outside)], hostile(rng)]
        )

    def case(rng: random.Random) -> None:
        way = rng.random()
        if way < 0.3:
            held = {"fxtrain": {"card": card if rng.random() < 0.5 else mutate_json(rng, card)}}
            inner = rng.choice([held] * 4 + [{}, [], {"fxtrain": 5}, Trap(outside)])
            data = saved(inner)
            if rng.random() < 0.4:
                data = mutate_bytes(rng, data)
            (root / "run" / LAST_NAME).write_bytes(data)
            check_resume(root / "run", dataset)
            return
        if way < 0.45:
            import safetensors.torch

            data = safetensors.torch.save({k: v.contiguous() for k, v in state.items()})
            (root / "a.safetensors").write_bytes(mutate_bytes(rng, data))
            (root / "codec.json").write_bytes(json_bytes(rng, {"architecture": small}))
            load_codec(str(root / "a.safetensors"))
            return
        path = root / "a.pth"
        data = saved(content(rng))
        if way < 0.55:
            data = pickle.dumps({"state_dict": Trap(outside), "metadata": {"kwargs": small}})
        elif way < 0.75:
            data = mutate_bytes(rng, data)
        elif way < 0.85:
            data = _rezipped(rng, data)
        path.write_bytes(data)
        load_codec(str(path))

    return case


def _rezipped(rng: random.Random, data: bytes) -> bytes:
    """The same archive with members compressed, renamed, swapped or made huge by compression."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as source,
        zipfile.ZipFile(out, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as target,
    ):
        names = source.namelist()
        for name in names:
            body = source.read(name)
            if rng.random() < 0.1:
                body = mutate_bytes(rng, body)
            if rng.random() < 0.05:
                body = bytes(50_000_000)
            renamed = rng.choice(["../../outside", "/tmp/outside", name + "x", names[0]])
            target.writestr(renamed if rng.random() < 0.05 else name, body)
    return out.getvalue()
