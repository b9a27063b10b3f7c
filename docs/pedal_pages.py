"""Tables of docs/pedals/: the knobs of each pedal, and the list of pages."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from fxpipe.pedals import FAMILIES, PEDALS, vocabulary_of
from fxtrain.contract import COARSE, FINE, KnobVocabulary
from fxtrain.finding import CARD_NAME, SHIPPED

Rows = Callable[[list[str], list[list[str]]], str]
KINDS = {
    "lti": "linear, standing still (commutes with every pedal of this kind)",
    "ltv": "linear, moving",
    "nonlinear": "not linear",
}


def knobs(name: str, rows: Rows) -> str:
    """Family, kind and every knob: range, what it does, where it first stands."""
    spec = PEDALS[name]
    first = spec.example(name).settings
    cells = [
        [
            f"`{p.name}`",
            f"{p.low:g} to {p.high:g}" + (f" {p.unit}" if p.unit != "ratio" else ""),
            p.scale,
            f"{first[p.name]:.3g}",
            p.meaning,
        ]
        for p in spec.params
    ]
    kind = f"Family: {spec.family}. Kind: {KINDS[spec.linearity]}."
    return f"{kind}\n\n" + rows(["knob", "range", "scale", "first try", "what it does"], cells)


def index(rows: Rows) -> str:
    """Every pedal with its page, in textbook order, and whether the shipped model knows it."""
    card = json.loads((SHIPPED / CARD_NAME).read_text(encoding="utf-8"))
    known = {pedal["name"] for pedal in card["vocabulary"]["pedals"]}
    ordered = sorted(PEDALS, key=lambda name: FAMILIES.index(PEDALS[name].family))
    return rows(
        ["pedal", "family", "kind", "what it does", "known to the model in the package"],
        [
            [
                f"[{n}]({n}.md)",
                *(PEDALS[n].family, PEDALS[n].linearity, PEDALS[n].meaning),
                "yes" if n in known else "no",
            ]
            for n in ordered
        ],
    )


def tokens() -> str:
    """How many tokens all pedals with all their words make."""
    everything = vocabulary_of(tuple(PEDALS))
    fine, coarse = (len(KnobVocabulary(everything, grid)) for grid in (FINE, COARSE))
    return (
        f"All {len(PEDALS)} pedals make {fine:,} tokens on the fine grid and {coarse:,} on the "
        "coarse one."
    )


def missing(docs: Path) -> list[str]:
    """Pedals without a page or a picture, and pages without a pedal."""
    pages = {path.stem for path in (docs / "pedals").glob("*.md")} - {"index"}
    pictures = {path.stem for path in (docs / "img" / "pedals").glob("*.png")}
    return [
        *(f"pedals/{name}.md (missing)" for name in PEDALS if name not in pages),
        *(f"img/pedals/{name}.png (missing)" for name in PEDALS if name not in pictures),
        *(f"pedals/{name}.md (no such pedal)" for name in sorted(pages - set(PEDALS))),
    ]
