"""The page of an evaluation: it needs nothing else, says the right numbers and escapes names."""

from __future__ import annotations

import base64
import dataclasses
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from markupsafe import escape

from fixtures.frontends import ToyFrontend
from fixtures.shards import make_shards
from fxtrain.answers import Answers
from fxtrain.checkpoint import Run, card_of, load_run, new_model, save_model
from fxtrain.config import ModelConfig
from fxtrain.confusions import confusion
from fxtrain.contract import MissingExtraError, OrderClass
from fxtrain.data import Shard, ShardDataset, open_shards
from fxtrain.decode import Candidate
from fxtrain.evaluate import answer, by_ear, provenance
from fxtrain.faint import span
from fxtrain.judging import Evaluation, judge, table
from fxtrain.judging import evaluation_dict as as_dict
from fxtrain.metrics import HEADLINES
from fxtrain.models import resolve_model
from fxtrain.report import page
from fxtrain.report.clips import data_uri, pick
from fxtrain.report.drawing import number
from fxtrain.report.page import DEFINITIONS
from fxtrain.sounds import Sounds

EVIL = "<script>alert('fuzz')</script>"
SECTIONS = (
    *("scores", "length", "played", "pedal", "confusion", "order", "reliability", "rerender"),
    *("clips", "curves", "about"),
)


class Read(HTMLParser):
    """What a browser would read: attributes that load, tables by caption, text, element ids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.text = ""
        self._rows: list[list[str]] = []
        self._caption: str | None = None
        self._in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.loads += [
            value or ""
            for name, value in attrs
            if name in ("src", "href", "srcset", "poster", "action", "data", "xlink:href")
        ]
        assert not any(name.startswith("on") for name in given), f"a handler on <{tag}>"
        if tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th") and self._rows:
            self._rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "caption" and self._caption is not None:
            self.tables[self._caption.strip()] = self._rows
            self._caption = None
        elif tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._caption is not None:
            self._caption += data
        elif self._in_cell:
            self._rows[-1][-1] += data


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> ShardDataset:
    path = tmp_path_factory.mktemp("report") / "shards"
    make_shards(path, n_train=8, n_valid=4, n_test=40, pedals=("drive", EVIL, "delay", "reverb"))
    return open_shards(path)


@pytest.fixture(scope="module")
def run(dataset: ShardDataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("runs") / "a<i>run"
    config = resolve_model(
        ModelConfig(kind="gru", d_model=32, n_heads=2), n_codebooks=4, has_mel=False
    )
    torch.manual_seed(0)
    card = card_of(dataset.index, config, {})
    save_model(path, card, new_model(card, torch.randn(4, 64, 8)))
    return load_run(path)


@pytest.fixture(scope="module")
def answers(run: Run, dataset: ShardDataset) -> Answers:
    return dataclasses.replace(answer(run, dataset), played=["note", EVIL] * 20)


def sounds_of(dataset: ShardDataset, frontend: object = None) -> Sounds:
    sounds = Sounds(dataset, "test")
    sounds.__dict__["frontend"] = frontend or ToyFrontend()
    return sounds


@pytest.fixture(scope="module")
def evaluation(run: Run, dataset: ShardDataset, answers: Answers) -> Evaluation:
    found = judge(run, dataset.index.identity, answers)
    return by_ear(answers, found, sounds_of(dataset), 12, 0, lambda text: None)


@pytest.fixture(scope="module")
def text(run: Run, dataset: ShardDataset, answers: Answers, evaluation: Evaluation) -> str:
    return page(run, dataset.index, answers, evaluation, sounds_of(dataset))


@pytest.fixture(scope="module")
def read(text: str) -> Read:
    return Read(text)


def test_the_page_needs_nothing_else(text: str, read: Read) -> None:
    assert read.loads
    assert all(value.startswith(("#", "data:")) for value in read.loads)
    for word in ("http:", "https:", "@import", "url(", "<iframe", "<object", "<embed", "<base"):
        assert word not in text, word
    assert "default-src 'none'" in text  # and a browser is told to load nothing
    assert {value[1:] for value in read.loads if value.startswith("#")} <= set(read.ids)


def test_every_section_is_there(read: Read) -> None:
    assert [name for name in read.ids if name in SECTIONS] == list(SECTIONS)
    assert len(read.ids) == len(set(read.ids))


def test_scores_stand_beside_interval_null_and_ceiling(read: Read, evaluation: Evaluation) -> None:
    rows = {row[0]: row for row in read.tables["All scores"][1:]}
    assert set(rows) == set(HEADLINES)
    for name in HEADLINES:
        score, row = evaluation.scores[name], rows[name]
        told = f"{number(score.value)} {number(score.low)} to {number(score.high)}"
        assert row[1] == told.replace("– to –", "–")
        ceiling = evaluation.ceiling.get(name, math.nan)
        beside = (evaluation.null[name], ceiling, evaluation.constant[name])
        assert row[3:7] == [*map(number, beside), str(score.n)]


def test_nothing_stands_beside_a_score_that_no_clip_counts_for(
    run: Run, dataset: ShardDataset, answers: Answers
) -> None:
    nothing = [(Candidate((), 1.0, ((),)),)] * len(answers.truth)
    silent = dataclasses.replace(answers, heard=nothing, untuned=nothing)
    found = judge(run, dataset.index.identity, silent)
    rows = {line.split()[0]: line.split()[1:] for line in table(found) if line.strip()}
    shown = Read(page(run, dataset.index, silent, found, sounds_of(dataset))).tables["All scores"]
    for name in ("order_given_set", "order_class_given_set", "pairwise"):
        assert rows[name] == ["-", "-", "0", "-", "-", "-"]
        score = as_dict(found)["scores"][name]
        assert [score[key] for key in ("value", "null", "constant", "ceiling")] == [None] * 4
        assert [row[3:6] for row in shown if row[0] == name] == [[number(math.nan)] * 3]
    assert rows["exact"][-1] == number(found.ceiling["exact"])


def test_intervals_know_which_clips_play_the_same_recordings(
    run: Run, dataset: ShardDataset, answers: Answers
) -> None:
    assert answers.groups is not None
    n, n_groups = len(answers.truth), len(set(answers.groups.tolist()))
    assert n_groups == len({record["group"] for record in dataset.load("test").records}) > 1
    found = judge(
        run, dataset.index.identity, dataclasses.replace(answers, groups=np.arange(n) % 2)
    )
    assert next(table(found)).endswith(f" on {n} samples (2 groups) of split 'test'")
    alone = dataclasses.replace(answers, groups=np.zeros(n, int))
    one = judge(run, dataset.index.identity, alone)
    assert all(math.isnan(score.low + score.high) for score in one.scores.values())
    shown = page(run, dataset.index, alone, one, sounds_of(dataset))
    assert f"{n} clips of 1 group of recordings of split" in shown


def test_a_recording_is_one_group_in_all_data_sets_and_a_performance_in_its_own(
    dataset: ShardDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = {"group": "test-0", "clip": {"performance": {}}}
    records = [{"group": "a"}, {}, {"group": "a"}, {"group": "b"}, played]
    monkeypatch.setattr(Shard, "records", lambda self: iter(records))
    one = dataset.shards[0]
    other = dataclasses.replace(one, index=dataclasses.replace(one.index, identity="other"))
    monkeypatch.setattr(ShardDataset, "shards_of", lambda self, split: (one, other))
    assert provenance(dataset, "test")[0].tolist() == [0, 1, 0, 2, 3, 0, 4, 0, 2, 5]


def test_nothing_stands_beside_an_f1_where_no_pedal_is(
    run: Run, dataset: ShardDataset, answers: Answers
) -> None:
    n, nothing = len(answers.truth), (Candidate((), 1.0, ((),)),)
    dry = Answers("test", [()] * n, [nothing] * n, [nothing] * n, [OrderClass(())] * n)
    found = as_dict(judge(run, dataset.index.identity, dry))["scores"]
    for name in ("f1_micro", "f1_macro", "f1_family"):
        shown = [found[name][key] for key in ("value", "null", "constant", "ceiling")]
        assert shown == [None] * 4


def test_every_score_is_defined(text: str, read: Read) -> None:
    assert list(DEFINITIONS) == sorted(DEFINITIONS, key=HEADLINES.index)
    assert set(DEFINITIONS) == set(HEADLINES)
    for what in DEFINITIONS.values():
        assert what in read.text
        assert f'title="{escape(what)}"' in text


def test_scores_by_length_and_pedal(
    read: Read, evaluation: Evaluation, run: Run, answers: Answers
) -> None:
    lengths = sorted({len(names) for names in answers.truth})
    for title, kind in (
        ("Right up to orders that sound alike", "exact_class"),
        ("Exactly as it was played", "exact"),
    ):
        rows = read.tables[title][1:]
        assert [row[0] for row in rows] == [str(n) for n in lengths]
        for length, row in zip(lengths, rows, strict=True):
            name = f"{kind}@{length}"
            score = evaluation.scores[name]
            assert row[1].startswith(number(score.value))
            assert row[3:] == [
                number(evaluation.null[name]), number(evaluation.ceiling[name]), str(score.n),
            ]  # fmt: skip
    for row, played in zip(read.tables["By what is played"][1:], evaluation.playing, strict=True):
        found = (played.name, number(played.null), str(played.n), str(played.n_groups))
        assert (row[0], row[3], *row[7:]) == found
    header, *rows = read.tables["Detection of each pedal"]
    assert "always named" in header
    assert "null" not in header
    assert [row[0] for row in rows] == list(run.card.vocabulary.names)
    for row in rows:
        found = evaluation.pedals[row[0]]
        assert row[1].startswith(number(found.f1))
        assert row[3] == number(found.f1_always)
        assert row[-1] == str(found.n)


def test_confusion_and_orders_hold_the_right_shares(
    read: Read, run: Run, answers: Answers, dataset: ShardDataset
) -> None:
    names = (*run.card.vocabulary.names, "none")
    said = [
        y if alike.holds(p) else p
        for y, p, alike in zip(answers.truth, answers.predicted, answers.classes, strict=True)
    ]
    counts = confusion(answers.truth, said, run.card.vocabulary.names)
    shown = read.tables["True pedal against the one heard, all positions"]
    assert shown[0][1:] == list(names)
    for row, true, counted in zip(shown[1:], names, counts, strict=True):
        assert row[0] == true
        shares = counted / max(counted.sum(), 1)
        assert row[1:] == [
            str(round(100 * s)) if n else "" for s, n in zip(shares, counted, strict=True)
        ]
    assert "True pedal against the one heard, position 3" in read.tables
    ceiling = read.tables["Ceiling, per cent"]
    delay, reverb, drive = (names.index(name) for name in ("delay", "reverb", "drive"))
    assert ceiling[1 + delay][1 + reverb] == "50"  # they commute: a coin
    assert ceiling[1 + drive][1 + delay] == "100"
    heard = read.tables["Order heard, per cent"]
    both = [
        (y.index("drive") < y.index("delay"), p.index("drive") < p.index("delay"))
        for y, p in zip(answers.truth, answers.predicted, strict=True)
        if {"drive", "delay"} <= set(y) & set(p)
    ]
    right = [said for true, said in both if true]
    expected = str(round(100 * sum(right) / len(right))) if right else ""
    assert heard[1 + drive][1 + delay] == expected


def test_confidence_and_nearness_are_on_it(read: Read, evaluation: Evaluation) -> None:
    for kept in evaluation.reliability.values():
        assert f"ECE {number(kept.ece)}" in read.text
    assert evaluation.rerender is not None
    table = read.tables["On another dry clip (12 clips)"]
    row = next(r for r in evaluation.rerender.rows if (r.dry, r.ordered) == ("other", False))
    score = row.scores["si_sdr_db"]
    assert table[1][1] == f"{number(score.value, 2)}{number(score.low, 2)} to " + number(
        score.high, 2
    )
    steps = read.tables["Pedals by how far the sound moves without them"]
    assert [row[0] for row in steps[1:]] == [span(row) for row in evaluation.rerender.faint]
    rows = as_dict(evaluation)["rerender"]["rows"]
    assert rows[0]["scores"]["si_sdr_db"]["value"] is not None


def test_names_are_escaped(text: str, read: Read) -> None:
    assert read.tags.count("script") == 1  # our own
    assert "<i>run" not in text
    assert "a&lt;i&gt;run" in text
    assert EVIL in read.text
    assert EVIL not in text


def test_clips_can_be_heard(text: str, answers: Answers, dataset: ShardDataset) -> None:
    worst, best = pick(answers, 3)
    uris = re.findall(r'src="(data:audio/flac;base64,[^"]*)"', text)
    assert len(uris) == 3 * len(worst + best)
    sounds = sounds_of(dataset)
    wet = sounds.remake(worst[0]).wet
    assert uris[0] == data_uri(sounds.frontend.flac(wet, 1)[0])
    assert base64.b64decode(uris[0].partition(",")[2])[:4] == b"fLaC"


def test_without_the_pipeline_the_page_says_so(
    run: Run,
    dataset: ShardDataset,
    answers: Answers,
    evaluation: Evaluation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(hearing: object) -> None:
        raise MissingExtraError('not installed: pip install "fxpipe[pipeline]"')

    monkeypatch.setattr("fxtrain.sounds.open_frontend", missing)
    plain = dataclasses.replace(evaluation, rerender=None)
    found = page(run, dataset.index, answers, plain, Sounds(dataset, "test"))
    read = Read(found)
    assert "audio" not in read.tags
    assert 'Not to be heard here: not installed: pip install "fxpipe[pipeline]"' in read.text
    assert "rerender" not in read.ids
    assert "no TensorBoard log" in read.text
    none = page(run, dataset.index, answers, plain, Sounds(dataset, "test"), n_clips=0)
    assert "Not to be heard" not in none


def test_a_source_that_is_gone_is_said(
    run: Run, dataset: ShardDataset, answers: Answers, evaluation: Evaluation
) -> None:
    sounds = Sounds(dataset, "test", "nowhere")
    sounds.__dict__["frontend"] = ToyFrontend()
    found = page(run, dataset.index, answers, evaluation, sounds)
    assert "Not to be heard here: its recordings are &lt;gone&gt;" in found


def test_the_same_evaluation_gives_the_same_page(
    run: Run, dataset: ShardDataset, answers: Answers, evaluation: Evaluation, text: str
) -> None:
    assert page(run, dataset.index, answers, evaluation, sounds_of(dataset)) == text


def test_worst_and_best_are_what_they_are_called() -> None:
    def heard(names: tuple[str, ...], p: float) -> tuple[Candidate, ...]:
        return (Candidate(names, p, (names,)),)

    truth = [("a",), ("a", "b"), ("a", "b"), ("a", "b", "c"), ("a",)]
    said = [("a",), ("b", "a"), ("a", "b"), ("d",), ("b",)]
    sure = [0.9, 0.8, 0.3, 0.2, 0.99]
    found = [heard(*each) for each in zip(said, sure, strict=True)]
    alike = [OrderClass(names) for names in truth]
    alike[1] = OrderClass(truth[1], frozenset({frozenset(("a", "b"))}))
    answers = Answers("test", truth, found, found, alike)
    worst, best = pick(answers, 3)
    assert worst == [3, 4]  # three edits, then one, however sure
    assert best == [1, 2, 0]  # two pedals before one, the surer first; a swap nobody hears is right
    assert pick(answers, 1) == ([3], [1])
