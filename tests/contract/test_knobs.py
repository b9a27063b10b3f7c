"""Settings as words: within half a step and back, on any knob; tokens of whole chains."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxpipe.chains.chain import ChainSpec, draw_settings
from fxpipe.pedals import PEDALS, vocabulary_of
from fxtrain.contract import (
    COARSE,
    FINE,
    NO_WORD,
    PAD,
    Chain,
    ContractError,
    Grid,
    KnobVocabulary,
    Param,
    Pedal,
    VocabularyError,
    from_unit,
    from_word,
    n_words,
    settings_to_words,
    spell,
    to_unit,
    to_word,
    words_to_settings,
)
from fxtrain.contract.knobs import is_cyclic

PARAMS = [param for spec in PEDALS.values() for param in spec.params]


def rounding(param: Param) -> float:
    """Values carry seven digits; of the knob's travel that is this much."""
    if param.scale == "log":
        return 1e-6 / math.log(param.high / param.low)
    return 1e-6 * max(abs(param.low), abs(param.high)) / (param.high - param.low)


grids = st.sampled_from([FINE, COARSE, Grid(1), Grid(5), Grid(100)])
knobs = st.builds(
    lambda low, span, log: (
        Param("x_hz", "Hz", low, low * (1 + span), "log", "any")
        if log
        else Param("x_db", "dB", low - 50.0, low - 49.0 + span, "linear", "any")
    ),
    st.floats(0.01, 200.0),
    st.floats(0.1, 1e3),
    st.booleans(),
) | st.sampled_from(PARAMS)


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_a_knob_that_cannot_be_turned_has_one_place(scale: str) -> None:
    still = Param("x_db", "dB", 3.0, 3.0, scale, "any")
    assert to_unit(still, 3.0) == 0.0
    assert from_word(still, to_word(still, 3.0, FINE), FINE) == 3.0
    with pytest.raises(ContractError, match="expected 3 to 3"):
        to_unit(still, 4.0)


def apart(param: Param, one: float, other: float) -> float:
    """Distance on the knob's own scale, around the circle for a phase."""
    distance = abs(to_unit(param, one) - to_unit(param, other))
    return min(distance, 1 - distance) if is_cyclic(param) else distance


@given(knobs, grids, st.floats(0, 1))
def test_a_word_is_never_more_than_half_a_step_away(param, grid, u):
    value = from_unit(param, u)
    back = from_word(param, to_word(param, value, grid), grid)
    assert apart(param, value, back) <= 0.5 / grid.n_steps + rounding(param)


@given(knobs, grids)
def test_every_word_stands_for_itself(param, grid):
    for word in range(n_words(param, grid)):
        assert to_word(param, from_word(param, word, grid), grid) == word


@given(knobs, grids)
def test_ends_are_words(param, grid):
    assert from_word(param, 0, grid) == pytest.approx(param.low, rel=1e-6)
    if not is_cyclic(param):
        top = from_word(param, n_words(param, grid) - 1, grid)
        assert top == pytest.approx(param.high, rel=1e-6)


@given(knobs.filter(lambda p: not is_cyclic(p)), grids, st.floats(0, 1), st.floats(0, 1))
def test_words_rise_with_the_knob(param, grid, u, v):
    low, high = sorted((from_unit(param, u), from_unit(param, v)))
    assert to_word(param, low, grid) <= to_word(param, high, grid)


@given(knobs, st.floats(0, 1))
def test_coarse_words_are_words_of_the_fine_grid(param, u):
    coarse = from_word(param, to_word(param, from_unit(param, u), COARSE), COARSE)
    fine = from_word(param, to_word(param, coarse, FINE), FINE)
    assert fine == pytest.approx(coarse, rel=1e-6, abs=1e-9)


def test_a_phase_wraps():
    phase = Param("phase_cycles", "cycles", 0.0, 1.0, "linear", "where it starts")
    assert n_words(phase, COARSE) == 8
    assert to_word(phase, 0.0, COARSE) == to_word(phase, 1.0, COARSE) == 0
    assert to_word(phase, 0.97, COARSE) == 0
    assert from_word(phase, 7, COARSE) == 0.875


def test_the_middle_of_an_eq_is_flat():
    (bass,) = (param for param in PARAMS if param.name == "bass_db")
    for grid in (FINE, COARSE):
        assert from_word(bass, to_word(bass, 0.0, grid), grid) == 0.0


def test_a_choice_has_a_word_for_each():
    mode = Param("mode", "ratio", 0.0, 3.0, "choice", "which of four")
    for grid in (FINE, COARSE, Grid(1)):
        assert [to_word(mode, value, grid) for value in (0, 1, 2, 3)] == [0, 1, 2, 3]
        assert [from_word(mode, word, grid) for word in range(4)] == [0, 1, 2, 3]
    assert from_unit(mode, 0.4) == 1.0


@pytest.mark.parametrize("value", [-60.1, float("nan"), float("inf"), 1e9])
def test_a_value_off_the_knob_is_refused(value):
    with pytest.raises(ContractError, match=r"gain_db is .* dB, expected -60 to 0"):
        to_word(Param("gain_db", "dB", -60.0, 0.0, "linear", "any"), value, FINE)


def test_a_negative_frequency_is_refused():
    with pytest.raises(ContractError, match="expected 80 to 600"):
        to_word(Param("rate_hz", "Hz", 80.0, 600.0, "log", "any"), -80.0, FINE)


@pytest.mark.parametrize("word", [-1, 9])
def test_a_word_off_the_grid_is_refused(word):
    with pytest.raises(VocabularyError, match=f"gain_db={word} is not a word, expected 0 to 8"):
        from_word(Param("gain_db", "dB", -60.0, 0.0, "linear", "any"), word, COARSE)


def test_settings_to_words_and_back():
    entry = PEDALS["delay"].entry("delay")
    words = settings_to_words(entry, {"delay_ms": 80.0, "mix": 0.5, "feedback": 0.35}, COARSE)
    assert words == {"delay_ms": 0, "feedback": 4, "mix": 8}
    assert words_to_settings(entry, words, COARSE) == {"delay_ms": 80, "feedback": 0.35, "mix": 0.5}
    assert spell(entry, {"delay_ms": 80.0, "mix": 0.5, "feedback": 0.35}, COARSE) == (
        "delay delay_ms=0 feedback=4 mix=8"
    )
    with pytest.raises(ContractError, match="pedal 'delay': parameter 'feedback' is missing"):
        settings_to_words(entry, {"delay_ms": 80.0}, COARSE)


VOCABULARIES = [KnobVocabulary(vocabulary_of(tuple(PEDALS)), grid) for grid in (FINE, COARSE)]


@pytest.fixture(params=VOCABULARIES, ids=["fine", "coarse"])
def knob_words(request) -> KnobVocabulary:
    return request.param


def drawn(n: int, seed: int) -> Chain:
    rng = np.random.default_rng(seed)
    spec = ChainSpec(tuple(PEDALS), lengths={n: 1.0})
    names = [str(name) for name in rng.permutation(list(PEDALS))[:n]]
    return draw_settings(spec, names, rng)


@pytest.mark.parametrize("n", [0, 1, 5, len(PEDALS)])
def test_tokens_of_a_chain_and_back(knob_words, n):
    chain = drawn(n, seed=n)
    tokens = knob_words.encode(chain)
    assert len(tokens) == n + sum(len(p.settings) for p in chain.pedals) + 1
    back = knob_words.decode(tokens)
    assert back.names == chain.names
    for told, true in zip(back.pedals, chain.pedals, strict=True):
        for param in PEDALS[true.name].params:
            step = apart(param, told.settings[param.name], true.settings[param.name])
            assert step <= 0.5 / knob_words.grid.n_steps + rounding(param)
    np.testing.assert_array_equal(knob_words.encode(back), tokens)


def test_every_token_has_its_own_text_and_runs_do_not_overlap(knob_words):
    assert len(set(knob_words.texts)) == len(knob_words)
    assert knob_words.texts[: len(PEDALS)] == tuple(PEDALS)
    assert knob_words.texts[knob_words.end] == "<end>"
    for name, spec in PEDALS.items():
        for param in spec.params:
            at = knob_words.offset(name, param.name)
            assert knob_words.texts[at] == f"{name}.{param.name}=0"


def test_pedals_keep_the_ids_of_order_models(knob_words):
    chain = drawn(5, seed=3)
    tokens = knob_words.encode(chain)
    heard = [t for t in tokens if t < knob_words.end]
    assert heard == list(knob_words.pedals.encode_order(chain.names, 5))


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([], "0 tokens without an end"),
        ([0, 1], "2 tokens without an end"),
        ([99999, 15], "expected a pedal, found token 99999"),
        ([16, 15], "expected a pedal, found compressor.threshold_db=0"),
        ([0, 15], "expected compressor.threshold_db, found <end>"),
        ([2, 16, 15], "expected octaver.mix, found compressor.threshold_db=0"),
    ],
)
def test_what_is_not_a_chain_is_refused(tokens, message):
    with pytest.raises(VocabularyError, match=message):
        VOCABULARIES[0].decode(tokens)


def test_tokens_after_the_end_do_not_count(knob_words):
    assert knob_words.decode([knob_words.end, 0, 0, 99999]) == Chain(())


def test_an_unknown_knob_has_no_offset(knob_words):
    with pytest.raises(VocabularyError, match="'delay' has no parameter 'depth'"):
        knob_words.offset("delay", "depth")


def test_words_of_stored_arrays(knob_words):
    """float32 settings of a shard give the words of the chain itself, ends included."""
    vocabulary = knob_words.pedals
    highest = Pedal("wah", {param.name: param.high for param in PEDALS["wah"].params})
    chains = [drawn(3, seed=1), Chain(()), Chain((highest, *drawn(2, seed=2).pedals))]
    order = np.stack([vocabulary.encode_order(chain.names, 4) for chain in chains])
    params = np.stack([vocabulary.encode_params(chain, 4) for chain in chains])
    words = knob_words.words(order, params)
    assert words.shape == params.shape
    np.testing.assert_array_equal(words == NO_WORD, np.isnan(params))
    for row, chain in zip(words, chains, strict=True):
        for place, pedal in enumerate(chain.pedals):
            entry = PEDALS[pedal.name].entry(pedal.name)
            expected = list(settings_to_words(entry, pedal.settings, knob_words.grid).values())
            assert list(row[place, : len(expected)]) == expected
    assert (words[order == PAD] == NO_WORD).all()


def test_a_grid_needs_a_step():
    with pytest.raises(ContractError, match="0 steps"):
        Grid(0)
