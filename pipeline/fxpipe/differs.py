"""What differs between a data set that lies there, finished or not, and the one asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from fxtrain.contract import NOT_RUN, CodecInfo, DatasetIndex, count_all, to_dict

if TYPE_CHECKING:
    from fxpipe.plan import Plan
    from fxpipe.renders import RendersIndex

Facts = dict[str, Any]
"""By a person's words, where there are some (an option, a key of a spec), as they are told."""

SHOWN = 3
SHOWN_CHARACTERS = 40
SAME_SETTINGS = (
    "no setting of it differs, so another version of fxpipe made it, or its recordings are "
    "described otherwise"
)
RECORDINGS, WEIGHTS, COMMUTES = "recordings", "weights of the codec", "pairs that commute"
CLUES = "clues of the wave"
IN_WORDS = {
    RECORDINGS: "other recordings, or another version of the built-in guitar",
    WEIGHTS: "other weights of that codec",
    COMMUTES: "other pairs that commute",
}
"""What has no value that anybody would know again."""


def facts_of_renders(index: RendersIndex) -> Facts:
    """What finished renders are, to be held against what is asked for."""
    return _of_plan(index, count_all(index.counts), index.source, index.source_digest)


def facts_of_plan(plan: Plan) -> Facts:
    """The same of renders that are asked for."""
    scan = plan.scan
    return _of_plan(plan, sum(plan.n_clips.values()), scan.source, scan.digest)


def facts_of_shards(index: DatasetIndex) -> Facts:
    """The same of finished shards."""
    return facts_of_recipe(index.recipe, index.codec, index)


def _of_plan(of: RendersIndex | Plan, n_clips: int, source: str, digest: str) -> Facts:
    facts = _drawn(to_dict(of), n_clips, source, digest)
    return facts | {"kinds": sorted(of.kinds) or "all", COMMUTES: to_dict(of.commutes)}


def facts_of_recipe(
    recipe: Mapping[str, Any], codec: CodecInfo, index: DatasetIndex | RendersIndex
) -> Facts:
    """The same of shards that are asked for: the renders of ``index``, encoded by ``codec``.

    Of finished ones ``index`` is theirs. It comes from elsewhere: its recipe may hold anything, or
    lack anything.
    """
    facts: Facts = {
        "codec": codec.name,
        WEIGHTS: codec.weights_sha256,
        "precision": "none (--mel-only)" if codec.precision == NOT_RUN else codec.precision,
        "--with-mel": recipe.get("with_mel"),
        CLUES: "stored" if recipe.get("clues") else "none",
        "--window-s": recipe.get("window_s") or "none",
        "format": recipe.get("backend"),
        "shard size": recipe.get("shard_size") or "default",
    }
    source = recipe.get("source"), recipe.get("source_digest")
    facts |= _drawn(recipe, count_all(index.counts), *source)
    return facts | {COMMUTES: to_dict(index.commutes)}


def _drawn(of: Mapping[str, Any], n_clips: int, source: Any, digest: Any) -> Facts:
    """What decides the clips, of a plan, an index or a recipe as plain values."""
    spec = _table(of.get("spec"))
    settings = {**_table(spec.get("chain")), **spec}
    settings.pop("chain", None)
    divided = of.get("split_seed")
    return {
        "seed": of.get("seed"),
        "clips": n_clips,
        "source": str(source).partition(":")[0],
        RECORDINGS: digest,
        "split seed": "that seed" if divided in (None, of.get("seed")) else divided,
        "fractions": of.get("fractions"),
        **settings,
    }


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def unlike(there: Mapping[str, Any], asked: Facts) -> str:
    """The first differences, as part of a line; what lies there comes from elsewhere and may be
    anything."""
    found = list(islice(_differences(there, asked), SHOWN + 1))
    if len(found) > SHOWN:
        found[SHOWN:] = ["and more"]
    return "; ".join(found) or SAME_SETTINGS


def _differences(there: Mapping[str, Any], asked: Facts) -> Iterator[str]:
    differing = [key for key in asked if key in there and there[key] != asked[key]]
    because = {
        RECORDINGS: {"source", "kinds"},
        WEIGHTS: {"codec"},
        CLUES: {"--with-mel"},
        COMMUTES: {"pool"},
    }
    for key in differing:
        if not because.get(key, set()).isdisjoint(differing):
            continue  # said by the other one
        if key in IN_WORDS:
            yield f"{IN_WORDS[key]} there"
        elif key == "clips":
            yield f"{there[key]} clips there, {asked[key]} asked"
        elif key == "pool":
            yield _pool(there[key], asked[key])
        else:
            yield _value(key, there[key], asked[key])


def _pool(there: Any, asked: Any) -> str:
    """Which pedals only one of them has: the whole pools may be long, and alike."""
    if not (isinstance(there, list) and isinstance(asked, list)):
        return _value("pool", there, asked)
    only = [
        f"{_text(names)} only {where}"
        for names, where in (
            ([name for name in there if name not in asked], "there"),
            ([name for name in asked if name not in there], "asked"),
        )
        if names
    ]
    return f"pool: {', '.join(only) or 'in another order there'}"


def _value(key: str, there: Any, asked: Any) -> str:
    if key != "lengths" and isinstance(there, Mapping) and isinstance(asked, Mapping):
        for name in dict.fromkeys([*there, *asked]):
            if there.get(name) != asked.get(name):
                return _value(f"{key}.{_text(name)}", there.get(name), asked.get(name))
    texts = _text(there), _text(asked)
    if texts[0] == texts[1]:  # both cut short
        return f"another {key} there"
    return f"{key} {texts[0]} there, {texts[1]} asked"


def _text(value: Any) -> str:
    if value is None or value in ([], {}):
        text = "none"
    elif isinstance(value, bool):
        text = "on" if value else "off"
    elif isinstance(value, float):
        text = f"{value:g}"
    elif isinstance(value, Mapping):
        text = ",".join(f"{_text(key)}:{_text(item)}" for key, item in value.items())
    elif isinstance(value, Sequence) and not isinstance(value, str):
        text = ",".join(map(_text, value))
    else:
        text = repr(value).strip("'")
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…"
