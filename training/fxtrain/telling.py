"""A prediction for people and for spreadsheets. Must not import torch.

``prediction_dict`` in ``predict.py`` is the same for programs.
"""

from __future__ import annotations

import csv
import io
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fxtrain.contract import arrow
from fxtrain.export.words import label, reading

if TYPE_CHECKING:
    from fxtrain.contract import Param
    from fxtrain.knobs import Knob
    from fxtrain.predict import Kin, PairOrder, Prediction

NO_GUITAR = "this does not sound like a guitar through known pedals"
ASSUMPTIONS = (
    "a guitar recorded directly (DI)",
    "no amplifier or cabinet after the pedals",
    "a guitar and pedals like those it was taught",
)
FAMILY_WORDS = {"time": "time-based"}
"""What guitarists call a family, where the data has a shorter word."""
LABEL_WIDTH = 12
LEAST_WIDTH = 2 * (LABEL_WIDTH + 2)
"""A terminal narrower than this is left to break lines itself."""
POSSIBLE = 0.15
"""A pedal less probable than this is not worth naming beside the answer."""
HONEST_FROM_HZ = 4000
"""Of a file that holds all below this, the model in the package is not too sure: of 300 at a sample
rate of 8 kHz it says 0.43 are right on average, and 0.46 are (docs/results.md)."""
LESS_OFTEN = "right less often than with all of the sound"
SHORT_OF_A_WINDOW = 0.9
"""A clip shorter than this share of what the model hears at once lacks echoes and rooms."""
WORTH_NAMING = 0.01
"""A chain less probable than this is no alternative to anybody."""

CSV_COLUMNS = (
    "file",
    "guitar",
    "chain",
    "sure",
    "pedals",
    "knobs",
    "second",
    "second_sure",
    "third",
    "third_sure",
    "order_sure",
    "order_unsure",
    "order_not_heard",
    "textbook",
    "length_s",
    "windows",
    "missing_above_hz",
    "error",
)


def prediction_lines(
    prediction: Prediction, file: str, n_best: int, *, anyway: bool = False
) -> list[str]:
    """What a guitarist reads. ``anyway``: the guess too, where it does not sound like a guitar."""
    if prediction.guitar is False:
        lines = [f"{file}: {NO_GUITAR}"]
        if not anyway:
            return [
                *lines,
                *_row("heard", f"{_windows(prediction)}; --anyway guesses all the same"),
                *_missing(prediction),
            ]
        lines.append(f"  a guess: {arrow(prediction.names)}")
    else:
        best = prediction.candidates[0]
        lines = [f"{file}: {arrow(best.names)}  ({percent(best.probability)} sure)"]
    if prediction.names:
        pedals = (f"{name} {percent(p)}" for name, p in prediction.presence.items())
        lines += _row("each pedal", ", ".join(pedals))
    if others := perhaps(prediction):
        lines += _row("perhaps", others)
    for number, text in enumerate(map(some_pedal, prediction.kin)):
        lines += _row("" if number else "one of", text)
    for number, text in enumerate(_knobs(prediction)):
        lines += _row("" if number else "knobs", text)
    chains = [c for c in prediction.candidates[1:n_best] if c.probability >= WORTH_NAMING]
    for number, other in enumerate(chains):
        lines += _row(
            "" if number else "or else",
            f"{percent(other.probability):>4}  {arrow(other.names)}",
        )
    lines += _order(prediction.pairs)
    if len(prediction.names) > 1:
        lines += _row("textbook", _textbook(prediction))
    lines += _row("heard", _windows(prediction))
    return [*lines, *_missing(prediction), *_row("assumes", ", ".join(ASSUMPTIONS))]


def for_terminal(lines: Sequence[str]) -> str:
    """One text; on a terminal lines are broken at spaces, under the column in which they began."""
    width = shutil.get_terminal_size().columns
    if not sys.stdout.isatty() or width < LEAST_WIDTH:
        return "\n".join(lines)
    return "\n".join(part for line in lines for part in _folded(line, width))


def _folded(line: str, width: int) -> list[str]:
    indent = " " * (LABEL_WIDTH + 2 if line.startswith("  ") else 2)
    return textwrap.wrap(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def board_line(folder: Path) -> list[str]:
    return _row("board", f"{folder}: what each file is for stands in its README.txt")


def some_pedal(kin: Kin) -> str:
    """What is known of a family, where it is not known which of its pedals."""
    which = ", ".join(f"{name} {percent(p)}" for name, p in kin.pedals.items())
    family = FAMILY_WORDS.get(kin.family, kin.family)
    return f"some {family} pedal {percent(kin.probability)} ({which})"


def perhaps(prediction: Prediction) -> str:
    """Pedals that may be there beside the answer, and stand in no family that is told."""
    told = {*prediction.names, *(name for kin in prediction.kin for name in kin.pedals)}
    found = {n: p for n, p in prediction.heard.items() if n not in told and p >= POSSIBLE}
    return ", ".join(f"{n} {percent(found[n])}" for n in sorted(found, key=lambda n: -found[n]))


def what_is_missing(prediction: Prediction) -> str:
    """Of a file of few samples a second, or a short one; nothing where it holds enough."""
    hz, window_s, length_s = prediction.missing_above_hz, prediction.window_s, prediction.length_s
    short = 0 < length_s < SHORT_OF_A_WINDOW * window_s  # 0: not known
    missing = []
    if hz is not None:
        missing.append(f"all above {hz / 1000:g} kHz, for its sample rate is {hz / 500:g} kHz")
    if short:
        missing.append(f"{window_s - length_s:.1f} s of the {window_s:g} s that are heard at once")
    if missing and prediction.guitar is not False:
        unsure = short or (hz is not None and hz < HONEST_FROM_HZ)
        missing.append(f"the answer is {'less sure than it looks' if unsure else LESS_OFTEN}")
    return "; ".join(missing)


def percent(probability: float) -> str:
    """Never 100 %: nothing is certain, and the calibration cannot tell beyond that."""
    return "<1%" if probability < 0.005 else f"{min(probability, 0.99):.0%}"


def _row(label: str, text: str) -> list[str]:
    return [f"  {label:<{LABEL_WIDTH}}{text}"]


def _knobs(prediction: Prediction) -> Iterator[str]:
    """Those that were heard, a line a pedal; phases and what may stand anywhere are left out."""
    for pedal in dict.fromkeys(prediction.names):
        every = prediction.knobs.get(pedal, {}).values()
        heard = [knob for knob in every if not knob.is_rough]
        if heard:
            among = [knob.param for knob in every]
            yield f"{pedal}: {', '.join(_knob(knob, among) for knob in heard)}"


def _knob(knob: Knob, among: Sequence[Param]) -> str:
    low, high = reading(knob.param, knob.low), reading(knob.param, knob.high)
    return f"{label(knob.param, among)} {reading(knob.param, knob.value)} ({low} to {high})"


def _order(pairs: Sequence[PairOrder]) -> Iterator[str]:
    """What is known of who comes before whom."""
    told = {
        verdict: [pair for pair in pairs if pair.verdict == verdict]
        for verdict in ("sure", "unsure", "open", "inaudible")
    }
    label = "order"
    ahead = [f"{p.first} before {p.second} {percent(p.probability)}" for p in told["sure"]]
    guess = [f"{p.first} before {p.second} {percent(p.probability)}" for p in told["unsure"]]
    for text in (
        ", ".join(ahead),
        f"not sure: {', '.join(guess)}" if guess else "",
        f"this clip does not tell: {_either(told['open'])}" if told["open"] else "",
        f"nobody could hear it: {_either(told['inaudible'])}" if told["inaudible"] else "",
    ):
        if text:
            yield from _row(label, text)
            label = ""


def _either(pairs: Sequence[PairOrder]) -> str:
    return ", ".join(f"{p.first} and {p.second} either way round" for p in pairs)


def _textbook(prediction: Prediction) -> str:
    if prediction.textbook == prediction.names:
        return "the same"
    turned = ", ".join(f"{later} before {first}" for first, later in prediction.turned)
    return f"{arrow(prediction.textbook)}; {turned or 'it sounds the same'}"


def _windows(prediction: Prediction) -> str:
    """How much of the recording was listened to."""
    n = len(prediction.starts_s)
    text = f"{prediction.length_s:.1f} s, in {n} window{'s' if n != 1 else ''}"
    if prediction.window_s:
        text += f" of {prediction.window_s:g} s"
    left_out = (
        (prediction.n_silent, "silent"),
        (prediction.n_strange, "no guitar"),
        (prediction.n_passed_over, "more of the same"),
    )
    extra = [f"{count} {why}" for count, why in left_out if count]
    if extra:
        text += f"; left out: {', '.join(extra)}"
    if prediction.guitar is None:
        text += "; whether it is a guitar was not checked"
    return text


def _missing(prediction: Prediction) -> list[str]:
    text = what_is_missing(prediction)
    return _row("missing", text) if text else []


def csv_header() -> str:
    return _csv(CSV_COLUMNS)


def csv_row(prediction: Prediction, file: str) -> str:
    """One line of a spreadsheet; the chain is empty where it does not sound like a guitar."""
    strange = prediction.guitar is False
    found = () if strange else prediction.candidates
    best = [(_plain(c.names), f"{c.probability:.3f}") for c in found[:3]]
    best += [("", "")] * (3 - len(best))
    orders: dict[str, list[str]] = {"sure": [], "unsure": [], "open": [], "inaudible": []}
    for pair in () if strange else prediction.pairs:
        between = " > " if pair.verdict in ("sure", "unsure") else " / "
        orders[pair.verdict].append(f"{pair.first}{between}{pair.second}")
    guitar = {True: "yes", False: "no", None: ""}[prediction.guitar]
    presence = {} if strange else prediction.presence
    return _csv(
        [
            *(file, guitar, *best[0]),
            "; ".join(f"{name} {p:.2f}" for name, p in presence.items()),
            "" if strange else "; ".join(_knobs(prediction)),
            *(*best[1], *best[2]),
            "; ".join(orders["sure"]),
            "; ".join(orders["unsure"]),
            "; ".join(orders["open"] + orders["inaudible"]),
            "" if strange else _plain(prediction.textbook),
            f"{prediction.length_s:.3f}",
            str(len(prediction.starts_s)),
            "" if prediction.missing_above_hz is None else f"{prediction.missing_above_hz:.10g}",
            "",
        ]
    )


def csv_refusal(file: str, error: str) -> str:
    """The line of a file that cannot be heard: its name, and why."""
    return _csv([file, *[""] * (len(CSV_COLUMNS) - 2), error])


def _plain(names: Sequence[str]) -> str:
    return " > ".join(names) or "(no pedals)"


def _csv(cells: Sequence[str]) -> str:
    file = io.StringIO()
    csv.writer(file).writerow(cells)  # what holds a part of the line's end, \r\n, is quoted
    return file.getvalue().removesuffix("\r\n")
