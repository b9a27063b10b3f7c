"""One page for the results: self-contained HTML, pictures inside, nothing loaded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from fxtrain.listen.analysis.abx import AbxResult
from fxtrain.listen.analysis.answers import Row
from fxtrain.listen.analysis.plots import abx_plot, ratings_plot, strengths_plot, wins_plot
from fxtrain.listen.analysis.ratings import RatingResult
from fxtrain.listen.analysis.screening import Verdict, rule_of, screening_conditions
from fxtrain.listen.analysis.votes import VoteResult
from fxtrain.listen.analysis.words import Result, p_text
from fxtrain.listen.study import KINDS, MEANING, REFERENCE, Study

STYLE = """
:root { --paper: #fbfaf8; --ink: #1d1b19; --soft: #5d5852; --line: #cbc5bd; --card: #ffffff; }
@media (prefers-color-scheme: dark) { :root { --paper: #171615; --ink: #f0ede8; --soft: #b1aaa1;
  --line: #46413c; --card: #ffffff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; } h2 { font-size: 1.2rem; margin-top: 2rem; }
.soft { color: var(--soft); font-size: .92rem; }
.found { border-left: 4px solid #1f5f8b; padding: .1rem 0 .1rem 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; }
th, td { text-align: left; padding: .3rem .7rem; border-bottom: 1px solid var(--line);
  vertical-align: top; }
td:first-child:not(.n) { min-width: 8rem; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
figure { margin: 1rem 0; background: var(--card); border: 1px solid var(--line);
  border-radius: .5rem; padding: .6rem; overflow-x: auto; }
figure svg { width: 100%; min-width: 28rem; height: auto; max-width: 44rem; display: block;
  margin: 0 auto; }
figcaption { color: #5d5852; font-size: .92rem; }
details { margin: 1rem 0; } summary { cursor: pointer; padding: .4rem 0; }
strong.yes { color: #1c6b3c; }
@media (prefers-color-scheme: dark) { strong.yes { color: #7fcf9c; } }
"""


def report_html(
    study: Study,
    result: Result,
    verdicts: Sequence[Verdict],
    rows: Sequence[Row],
    lines: Sequence[str],
    alpha: float,
) -> str:
    if isinstance(result, AbxResult):
        parts = _abx(result, alpha)
    elif isinstance(result, RatingResult):
        parts = _ratings(result, study, alpha)
    else:
        parts = _votes(result, study, alpha)
    found = "".join(f"<p>{escape(line)}</p>" for line in lines)
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(study.title)}: results</title><style>{STYLE}</style></head><body>",
            f"<h1>{escape(study.title)}</h1>",
            f'<p class="soft">{_kind(study)}: {escape(KINDS[study.kind])}. '
            f"{len(study.asked)} items of {study.duration_s:g} s, {len(rows)} judgements.</p>",
            f'<section class="found" aria-label="What was found">{found}</section>',
            *parts,
            _who(study, verdicts, rows),
            _items(study),
            _method(study, alpha),
            "</body></html>\n",
        ]
    )


def _kind(study: Study) -> str:
    if study.kind == "mushra":
        return "MUSHRA test (ITU-R BS.1534)" if study.standard else "MUSHRA-style test"
    return "ABX test" if study.kind == "abx" else "Test by pairs"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]], numbers: Sequence[int]) -> str:
    """``numbers``: columns set to the right. Cells are escaped unless they are markup."""

    def cell(tag: str, i: int, value: object) -> str:
        kind = ' class="n"' if i in numbers else ""
        text = str(value) if isinstance(value, Markup) else escape(str(value))
        scope = ' scope="col"' if tag == "th" else ""
        return f"<{tag}{scope}{kind}>{text}</{tag}>"

    top = "".join(cell("th", i, name) for i, name in enumerate(head))
    body = "".join(
        f"<tr>{''.join(cell('td', i, value) for i, value in enumerate(row))}</tr>" for row in rows
    )
    return (
        f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
    )


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def _yes(text: str, yes: bool) -> str:
    return Markup(f'<strong class="yes">{escape(text)}</strong>') if yes else text


def _figure(svg: str, text: str) -> str:
    label = escape(text, quote=True)
    caption = f"<figcaption>{escape(text)}</figcaption>"
    return f'<figure role="img" aria-label="{label}">{svg}{caption}</figure>'


def _abx(result: AbxResult, alpha: float) -> list[str]:
    rows = [
        (
            item.item + 1,
            item.name,
            f"{item.distance_db:.2f}",
            f"{item.share.right}/{item.share.n}",
            f"{item.share.value:.0%}",
            _span(item.share.low, item.share.high, ".0%"),
            p_text(item.p_holm),
            _yes("heard", True) if item.heard(alpha) else "not shown",
            _rate(item.findable),
        )
        for item in sorted(result.items, key=lambda item: item.distance_db)
    ]
    people = [
        (
            one.listener + 1,
            f"{one.share.right}/{one.share.n}",
            f"{one.share.value:.0%}",
            p_text(one.p_holm),
        )
        for one in result.listeners
    ]
    needed = [(f"{rate:.0%}", n) for rate, n in result.needed.items()]
    return [
        "<h2>Which orders can be heard</h2>",
        _figure(
            abx_plot(result),
            "Share of right answers against how far the swap moves the sound, by item, with exact "
            "intervals; the line is the fitted psychometric curve.",
        ),
        _table(
            [
                "item",
                "chain, swapped pair",
                "distance dB",
                "right",
                "share",
                "interval",
                "after Holm",
                "verdict",
                "findable",
            ],
            rows,
            (0, 2, 3, 4, 5, 6, 7, 8),
        ),
        '<p class="soft">findable: the smallest hit rate that as many trials would have found in '
        "four studies of five.</p>",
        _details(
            "By listener", _table(["listener", "right", "share", "after Holm"], people, range(4))
        ),
        "<h2>How many trials</h2>",
        _table(["true hit rate", "trials for power 80 %"], needed, (0, 1)),
    ]


def _details(title: str, body: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{body}</details>"


def _rate(value: float) -> str:
    return "none" if math.isnan(value) else f"{value:.0%}"


def _known(value: float, form: str) -> str:
    return "–" if math.isnan(value) else f"{value:{form}}"


def _span(low: float, high: float, form: str) -> str:
    """An interval; a dash where too few listeners are left for one."""
    return "–" if math.isnan(low + high) else f"{low:{form}} to {high:{form}}"


def _ratings(result: RatingResult, study: Study, alpha: float) -> list[str]:
    rows = [
        (
            c.name,
            _known(c.mean, ".1f"),
            _span(c.low, c.high, ".1f"),
            _known(c.median, ".1f"),
            _span(*c.quartiles, ".1f"),
        )
        for c in result.conditions
    ]
    pairs = [
        (
            f"{c.first} − {c.second}",
            _known(c.difference, "+.1f"),
            _span(c.low, c.high, "+.1f"),
            c.n,
            p_text(c.p),
            _yes(p_text(c.p_holm), c.p_holm <= alpha),
        )
        for c in result.comparisons
    ]
    return [
        "<h2>How near each condition is</h2>",
        _figure(
            ratings_plot(result),
            "Every listener's mean (dots), quartiles and range (boxes), the mean with its interval "
            "(diamonds).",
        ),
        _table(["condition", "mean", "interval", "median", "quartiles"], rows, (1, 2, 3, 4)),
        "<h2>Pairs</h2>",
        _table(
            ["difference", "points", "interval", "listeners", "Wilcoxon", "after Holm"],
            pairs,
            (1, 2, 3, 4, 5),
        ),
        _everybody(study),
    ]


def _votes(result: VoteResult, study: Study, alpha: float) -> list[str]:
    rows = [
        (s.name, _known(s.value, "+.2f"), _span(s.low, s.high, "+.2f"))
        for s in sorted(result.strengths, key=lambda s: -s.value)
    ]
    pairs = [
        (
            f"{p.first} over {p.second}",
            f"{p.votes_first}/{p.votes}",
            f"{p.wins} : {p.losses}",
            p_text(p.p),
            _yes(p_text(p.p_holm), p.p_holm <= alpha),
        )
        for p in result.pairs
    ]
    return [
        "<h2>How near each condition is</h2>",
        _figure(strengths_plot(result), "Bradley-Terry strengths with bootstrap intervals."),
        _table(["condition", "log odds", "interval"], rows, (1, 2)),
        "<h2>Who wins over whom</h2>",
        _figure(wins_plot(result), "Votes of the row against the column."),
        _table(["pair", "votes", "listeners", "sign test", "after Holm"], pairs, (1, 2, 3, 4)),
        _everybody(study),
    ]


def _everybody(study: Study) -> str:
    names = " or ".join(sorted(screening_conditions(study)))
    return (
        f'<p class="soft">Pairs with {escape(names)} count every listener: the screening looks at '
        "how these are judged, and would prove itself.</p>"
    )


def _who(study: Study, verdicts: Sequence[Verdict], rows: Sequence[Row]) -> str:
    device = {row.listener: row.device for row in rows}
    minutes: dict[int, float] = {}
    times = {(row.listener, row.trial): row.rt_ms for row in rows}
    for (listener, _), ms in times.items():
        minutes[listener] = minutes.get(listener, 0.0) + ms / 60_000
    body = [
        (v.listener + 1, device[v.listener], f"{minutes[v.listener]:.0f}", v.why or "kept")
        for v in verdicts
    ]
    kept = sum(not verdict.why for verdict in verdicts)
    table = _table(["listener", "over", "minutes", "screening"], body, (0, 2))
    return f"<h2>Who listened</h2><p>Set aside is who: {escape(rule_of(study))}.</p>" + _details(
        f"{kept} of {len(body)} kept", table
    )


def _source(study: Study) -> str:
    """Where the items came from, in a sentence or two."""
    recipe = study.recipe
    said = []
    if "run" in recipe:
        asked = "all of them" if recipe["also_right"] else "clips that it got wrong"
        said.append(
            f"Predictions of run {recipe['run']} on split {recipe['split']}. The model was right, "
            f"up to orders that sound alike, on {recipe['right']} of {recipe['looked_at']} clips "
            f"looked at; the test asks about {asked}."
        )
    elif "band_db" in recipe:
        low, high = recipe["band_db"]
        where = f"chains of {', '.join(recipe['shards'])}" if "shards" in recipe else "drawn chains"
        said.append(f"Swaps of neighbours in {where}, {low:g} to {high:g} dB of log-mel apart.")
    elif "items" in recipe:
        said.append(f"Chains from {recipe['items']}.")
    dry = recipe.get("dry", "")
    said.append(f"Dry guitar: {', '.join(dry) if isinstance(dry, list) else dry}.")
    if recipe.get("shareable") is False:
        said.append("The recordings may not be passed on.")
    return " ".join(said)


def _items(study: Study) -> str:
    body = []
    for i, item in enumerate(study.items):
        for name, sound_id in item.conditions.items():
            sound = study.sounds[sound_id]
            chain = str(sound.chain)
            if sound.lowpass_hz:
                chain += f", low-pass {sound.lowpass_hz:g} Hz"
            far = item.distance_db.get(name)
            body.append(
                (
                    f"{i + 1}{' (catch)' if item.catch else ''}" if name == REFERENCE else "",
                    item.dry if name == REFERENCE else "",
                    name,
                    chain,
                    "" if far is None else f"{far:.2f}",
                    f"{sound.loudness_lufs:.1f}",
                    f"{sound.gain_db:+.1f}",
                )
            )
    head = ["item", "dry", "condition", "chain", "distance dB", "LUFS before", "gain dB"]
    used = {name for item in study.items for name in item.conditions}
    meaning = "".join(
        f"<li><strong>{escape(name)}</strong>: {escape(text)}</li>"
        for name, text in MEANING.items()
        if name in used
    )
    return f"<h2>What was heard</h2><p>{escape(_source(study))}</p><ul>{meaning}</ul>" + _details(
        "Every sound", _table(head, body, (4, 5, 6))
    )


METHODS = {
    "abx": (
        "Each item: exact one-sided binomial test against guessing, adjusted over items by Holm. "
        "Where nobody hears a difference every answer is a fair coin, whoever gave it, so pooling "
        "listeners keeps the error rate. Intervals are exact (Clopper and Pearson). The curve is "
        "fitted by maximum likelihood, its interval drawn over listeners."
    ),
    "mushra": (
        "One mean a listener and condition, over items. Friedman's test over the conditions that "
        "the screening does not look at, then Wilcoxon's signed-rank test for every pair (Pratt's "
        "zeros), adjusted by Holm. Intervals are drawn over listeners."
    ),
    "pairwise": (
        "Each pair: exact sign test over listeners, each by the majority of their votes, adjusted "
        "by Holm. Strengths by Bradley and Terry's model, intervals drawn over listeners."
    ),
}


def _method(study: Study, alpha: float) -> str:
    claim = (
        "The procedure follows ITU-R BS.1534: hidden reference, anchors at 3.5 and 7 kHz, "
        "post-screening. The question asked is similarity, not quality."
        if study.standard
        else "The procedure is MUSHRA-style; conformance with ITU-R BS.1534 is not claimed."
        if study.kind == "mushra"
        else ""
    )
    versions = ", ".join(f"{name} {version}" for name, version in study.versions.items())
    return (
        f"<h2>Method</h2><p>{escape(METHODS[study.kind])} Significance at {alpha:g}. "
        f"{escape(claim)}</p>"
        f'<p class="soft">All sounds at one loudness (ITU-R BS.1770). Orders drawn from seed '
        f"{study.seed}. Study {study.identity[:16]}; {escape(versions)}.</p>"
    )
