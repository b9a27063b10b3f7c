"""What was found, in sentences: the conclusion first, and what a study of this size could find."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from fxtrain.listen.analysis.abx import AbxResult, Threshold
from fxtrain.listen.analysis.ratings import POINTS, RatingResult
from fxtrain.listen.analysis.screening import Verdict
from fxtrain.listen.analysis.stats import Share
from fxtrain.listen.analysis.votes import RATE, VoteResult
from fxtrain.listen.study import PREDICTED, REFERENCE, Study

Result = AbxResult | RatingResult | VoteResult


def sentences(
    study: Study, result: Result, verdicts: Sequence[Verdict], n_open: int, alpha: float
) -> list[str]:
    """Who listened, what was found, how much could have been found."""
    n_out = sum(bool(verdict.why) for verdict in verdicts)
    who = f"{_n(len(verdicts), 'listener')} answered"
    who += f", {n_out} set aside by the screening" if n_out else ", none set aside"
    if n_open:
        who += f"; {_n(n_open, 'session')} unfinished, counted as far as they went"
    lines = [f"{who}."]
    if isinstance(result, AbxResult):
        lines += _abx(result, alpha)
    elif isinstance(result, RatingResult):
        lines += _ratings(result, alpha)
    else:
        lines += _votes(result, alpha)
    return lines


def p_text(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def share_text(found: Share, alpha: float) -> str:
    return (
        f"{found.right} of {found.n} right ({found.value:.0%}, {1 - alpha:.0%} interval "
        f"{found.low:.0%} to {found.high:.0%})"
    )


def _n(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _abx(result: AbxResult, alpha: float) -> Iterator[str]:
    if not result.items:
        yield "No answer that counts is left."
        return
    heard = [item for item in result.items if item.heard(alpha)]
    pooled = result.pooled
    yield f"Over all items {share_text(pooled, alpha)}, {p_text(pooled.p)} against guessing."
    yield (
        f"{len(heard)} of {len(result.items)} orders are heard (exact binomial, Holm over the "
        f"items): {', '.join(str(item.item + 1) for item in heard) or 'none'}."
    )
    if result.threshold is not None and result.pooled.p <= alpha:
        yield _threshold_text(result.threshold, [item.distance_db for item in result.items])
    quiet = [item for item in result.items if not item.heard(alpha)]
    if quiet:
        n = min(item.share.n for item in quiet)
        found = max(item.findable for item in quiet)
        could = (
            f"a hit rate of {found:.0%} or more would have been found in four studies of five"
            if math.isfinite(found)
            else "no hit rate would have been found: ask more people"
        )
        yield (
            "Where no difference was shown, that proves no equality: with "
            f"{_n(n, 'trial')} an item, {could}."
        )


def _threshold_text(t: Threshold, distances: Sequence[float]) -> str:
    """Where three in four answers are right; beyond what was asked nothing is known of it."""
    low, high = min(distances), max(distances)
    if t.at_db < low:
        return (
            "Three in four answers are right at the smallest distance that was asked already, "
            f"{low:.2g} dB of log-mel."
        )
    if t.at_db > high:
        return (
            "Three in four answers are right at none of the distances that were asked, "
            f"{high:.2g} dB of log-mel at most."
        )
    known = math.isfinite(t.low_db) and math.isfinite(t.high_db)
    between = f" (interval {t.low_db:.2g} to {t.high_db:.2g} dB)" if known else ""
    return f"Three in four answers are right from {t.at_db:.2g} dB of log-mel on{between}."


def _ratings(result: RatingResult, alpha: float) -> Iterator[str]:
    if not result.n_kept:
        yield "No listener is left after the screening; nothing can be said."
        return
    f = result.friedman
    verdict = "differ" if f.p <= alpha else "are not shown to differ"
    yield (
        f"The conditions {verdict} (Friedman over {', '.join(result.friedman_over)}: chi2 = "
        f"{f.chi2:.1f}, {p_text(f.p)}; agreement of listeners W = {f.agreement:.2f})."
    )
    main = focus(tuple(c.name for c in result.conditions))
    for found in result.comparisons:
        if main in (found.first, found.second):
            ahead = found.difference if found.first == main else -found.difference
            other = found.second if found.first == main else found.first
            yield _difference(main, other, ahead, found.p_holm, alpha)
    measured = result.by_distance
    if math.isfinite(measured.rank_correlation):
        yield (
            f"Over {measured.n} sounds, ratings and measured log-mel distance have a rank "
            f"correlation of {measured.rank_correlation:.2f} (-1: the measure ranks as ears do)."
        )
    if math.isfinite(result.findable):
        needed = f"{result.needed} listeners" if result.needed else "thousands of listeners"
        yield (
            f"With {_n(result.n_kept, 'listener')} whose differences scatter by "
            f"{result.scatter:.1f} points, {result.findable:.1f} points are found in four studies "
            f"of five; {POINTS:g} points take {needed}."
        )
    else:
        yield (
            f"With {_n(result.n_kept, 'listener')} no difference can be shown after Holm's rule "
            f"over {len(result.comparisons)} pairs, however large: ask more people."
        )


def focus(names: Sequence[str]) -> str:
    """The condition that the sentences are about: the prediction, or the first that was named."""
    others = [name for name in names if name != REFERENCE]
    return PREDICTED if PREDICTED in others else others[0]


def _difference(main: str, other: str, ahead: float, p: float, alpha: float) -> str:
    name = f"the hidden {other}" if other == REFERENCE else f"'{other}'"
    if p > alpha:
        return f"'{main}' and {name}: no difference shown ({ahead:+.1f} points, {p_text(p)})."
    side = "nearer" if ahead > 0 else "further"
    return f"'{main}' is {side} than {name}: {ahead:+.1f} points ({p_text(p)} after Holm)."


def _votes(result: VoteResult, alpha: float) -> Iterator[str]:
    if not result.n_kept:
        yield "No listener is left after the screening; nothing can be said."
        return
    ranked = sorted(result.strengths, key=lambda s: -s.value)
    yield f"From nearest to furthest: {', '.join(s.name for s in ranked)} (Bradley-Terry)."
    main = focus(tuple(s.name for s in result.strengths))
    for pair in result.pairs:
        if main not in (pair.first, pair.second):
            continue
        other = pair.second if pair.first == main else pair.first
        votes = pair.votes_first if pair.first == main else pair.votes - pair.votes_first
        name = f"the hidden {other}" if other == REFERENCE else f"'{other}'"
        shown = "" if pair.p_holm <= alpha else ": no difference shown"
        yield (
            f"'{main}' against {name}: {votes} of {pair.votes} votes, {p_text(pair.p_holm)} after "
            f"Holm{shown}."
        )
    who = (
        f"Of {_n(result.n_kept, 'listener')}, {result.n_deciding} lean to one side in a pair "
        "(median; the others heard it not at all, or were split)"
    )
    if math.isfinite(result.findable):
        could = f"{result.findable:.0%} of them or more on one side would have been found"
        who += f": {could} in four studies of five"
    else:
        who += ", too few to show anything in four studies of five: ask more people"
    more = f"; {RATE:.0%} take about {result.needed} listeners" if result.needed else ""
    yield f"{who}{more}."
