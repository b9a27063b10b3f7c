"""A study as a webMUSHRA experiment, for labs that have their own rig: YAML and WAV files.

MUSHRA becomes ``mushra`` pages (webMUSHRA hides the reference among the conditions by itself), ABX
``paired_comparison`` pages (the reference, and two of which one is it). A choice of two against a
reference has no page there. webMUSHRA plays a sound of one channel on the left alone (its issues
#53 and #124), so every sound is written with two.
"""

from __future__ import annotations

import hashlib
import html
import io
import json
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fxtrain.contract import LocalFolder, UsageError
from fxtrain.listen.study import QUESTION, REFERENCE, Item, Study, read_study

RESOURCES = "configs/resources/audio"
WORDS = {
    "abx": (
        "Which of the two is the reference?",
        "One of the two is the reference itself; the other one may have its pedals otherwise.",
    ),
    "mushra": (
        QUESTION["mushra"],
        "One of the sounds is the reference itself. Rate how near each one is to it, from Bad (far "
        "off) to Excellent (the same), and not how good it sounds.",
    ),
}
"""(heading, explanation) of a page: webMUSHRA has no X, and words for quality beside its scale."""


def export(path: Path, output: Path) -> list[str]:
    """Write ``configs/NAME.yaml`` and the sounds below ``output``; returns what to do with them."""
    study = read_study(path)
    if study.kind == "pairwise":
        raise UsageError(
            "webMUSHRA has no page for a choice of two against a reference; make the study with "
            "--kind mushra, or serve it with 'fxtrain listen serve'"
        )
    if output.exists() and any(output.iterdir()):
        raise UsageError(f"{output}: not empty; give a new directory")
    name = f"fxtrain-{study.identity[:8]}"
    folder = LocalFolder(output)
    for sound in study.sounds.values():
        data = (path / sound.file.path).read_bytes()
        folder.write(f"{RESOURCES}/{name}/{Path(sound.file.path).name}", on_both_sides(data))
    folder.write(f"configs/{name}.yaml", "\n".join(_yaml(_config(study, name))).encode() + b"\n")
    folder.write("conditions.json", json.dumps(_key(study), indent=1).encode() + b"\n")
    return [
        f"copy {output}/configs into webMUSHRA, then open it with ?config={name}.yaml",
        "give every listener a number, asked for at the end; answers come in webMUSHRA's CSV files",
        "conditions.json says which condition is which; keep it from the listeners",
    ]


def on_both_sides(wav: bytes) -> bytes:
    """The same WAV file with its one channel twice."""
    out = io.BytesIO()
    with wave.open(io.BytesIO(wav)) as mono, wave.open(out, "wb") as both:
        width, frames = mono.getsampwidth(), mono.readframes(mono.getnframes())
        both.setparams(mono.getparams()._replace(nchannels=2))
        both.writeframes(b"".join(2 * frames[i : i + width] for i in range(0, len(frames), width)))
    return out.getvalue()


def _config(study: Study, name: str) -> dict[str, Any]:
    where = f"{RESOURCES}/{name}"
    first = (study.training or study.items)[0]
    return {
        "testname": study.title,
        "testId": name,
        "bufferSize": 2048,
        "stopOnErrors": True,
        "showButtonPreviousPage": False,
        "remoteService": "service/write.php",
        "pages": [
            {"type": "generic", "id": "welcome", "name": html.escape(study.title),
             "content": f"You will hear electric guitar. {' '.join(WORDS[study.kind])}"},
            {"type": "volume", "id": "volume", "name": "Volume", "defaultVolume": 0.5,
             "content": "Set a comfortable level, then leave it.",
             "stimulus": f"{where}/{first.conditions[REFERENCE]}.wav"},
            *(_page(study, item, f"training{i + 1}", where)
              for i, item in enumerate(study.training)),
            ["random", *(_page(study, item, f"item{i + 1}", where)
                         for i, item in enumerate(study.items))],
            {"type": "finish", "name": "Thank you", "content": "Thank you for listening.",
             "showResults": False, "showErrors": True, "questionnaire": [
                 {"type": "text", "label": "Your number", "name": "listener"}]},
        ],
    }  # fmt: skip


def _page(study: Study, item: Item, page_id: str, where: str) -> dict[str, Any]:
    stimuli = {
        _code(study, page_id, name): f"{where}/{sound}.wav"
        for name, sound in item.conditions.items()
        if name != REFERENCE
    }
    shared = {
        "id": page_id,
        "name": WORDS[study.kind][0],
        "content": WORDS[study.kind][1],
        "showWaveform": False,
        "enableLooping": True,
        "reference": f"{where}/{item.conditions[REFERENCE]}.wav",
        "stimuli": dict(sorted(stimuli.items())),
    }
    if study.kind == "abx":
        return {"type": "paired_comparison", **shared}
    return {
        "type": "mushra", **shared,
        "createAnchor35": False, "createAnchor70": False, "randomize": True,
        "showConditionNames": False, "strict": bool(study.standard),
    }  # fmt: skip


def _code(study: Study, page_id: str, condition: str) -> str:
    """A name of a condition that the page may show: results carry it back."""
    return "C" + hashlib.sha256(f"{study.seed}/{page_id}/{condition}".encode()).hexdigest()[:6]


def _key(study: Study) -> dict[str, dict[str, str]]:
    """What each page (``trial_id`` in webMUSHRA's results) asks, and which condition a code is."""
    pages = {f"item{i + 1}": item for i, item in enumerate(study.items)}
    pages |= {f"training{i + 1}": item for i, item in enumerate(study.training)}
    return {
        page: {
            "item": item.name,
            "part": "training" if item in study.training else "catch" if item.catch else "test",
            **{_code(study, page, name): name for name in item.conditions if name != REFERENCE},
        }
        for page, item in pages.items()
    }


def _yaml(value: Any, indent: int = 0) -> Iterator[str]:
    """Block YAML of objects, lists and scalars; scalars are written as JSON, which YAML reads.

    A list in a list begins on a line of its own: webMUSHRA's parser (yaml.js) reads no "- -".
    """
    pad = " " * indent
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, (dict, list)) and item:
                yield f"{pad}{key}:"
                yield from _yaml(item, indent + 2)
            else:
                yield f"{pad}{key}: {json.dumps(item)}"
        return
    for item in value:
        if isinstance(item, list):
            yield f"{pad}-"
            yield from _yaml(item, indent + 2)
        elif isinstance(item, dict):
            first, *rest = _yaml(item, indent + 2)
            yield f"{pad}- {first.lstrip()}"
            yield from rest
        else:
            yield f"{pad}- {json.dumps(item)}"
