"""Topics by nearest labelled problems: votes, 'other', and MATH itself."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.diversity import load_embedder, load_topics
from harness.diversity.embedders import HashingEmbedder
from harness.diversity.topics import OTHER, TopicModel
from harness.errors import HarnessError

EMBED = HashingEmbedder(256)
YARDSTICK = {
    "geometry": ["the area of a triangle", "the angle of a triangle", "the area of a circle"],
    "algebra": ["solve the equation for x", "solve the quadratic equation", "the equation in x"],
}


def model(**changes: float) -> TopicModel:
    texts = [t for texts in YARDSTICK.values() for t in texts]
    labels = [label for label, texts in YARDSTICK.items() for _ in texts]
    return TopicModel(EMBED(texts), labels, neighbours=3, **changes)  # type: ignore[arg-type]


def test_nearest_labels_win() -> None:
    topics = model()
    assert topics.topics == ("algebra", "geometry")
    texts = ["the area of a small triangle", "solve this equation for x", "best pizza in Rome"]
    assert topics(EMBED(texts)) == ["geometry", "algebra", OTHER]
    assert topics(EMBED([])) == []


def test_the_threshold_is_a_quantile_of_the_yardstick() -> None:
    rows = np.random.default_rng(0).normal(size=(300, 8))
    strict = TopicModel(rows, ["a", "b"] * 150, quantile=0.5)
    lax = TopicModel(rows, ["a", "b"] * 150, quantile=0.0)
    assert lax.threshold < strict.threshold
    fresh = np.random.default_rng(1).normal(size=(2000, 8))
    assert strict(fresh).count(OTHER) / 2000 == pytest.approx(0.5, abs=0.1)
    assert lax(fresh).count(OTHER) / 2000 < 0.05


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=600), st.randoms(use_true_random=False))
def test_each_text_by_itself(texts: list[str], random: object) -> None:
    topics = model()
    found = topics(EMBED(texts))
    assert set(found) <= {*topics.topics, OTHER}
    order = list(range(len(texts)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert topics(EMBED([texts[i] for i in order])) == [found[i] for i in order]


def test_too_little_to_learn_from() -> None:
    with pytest.raises(HarnessError, match="at least two"):
        TopicModel(EMBED(["a"]), ["x"])
    with pytest.raises(HarnessError, match="2 embeddings and 1 labels"):
        TopicModel(EMBED(["a", "b"]), ["x"])


def test_no_name_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_topics(None, EMBED) is None
    monkeypatch.setenv("COEVOLUTION_DATA", str(tmp_path))
    with pytest.raises(HarnessError, match="unknown"):
        load_topics("math_trian", EMBED)
    with pytest.raises(HarnessError, match="missing"):
        load_topics("math_train", EMBED)


@pytest.mark.skipif(
    not os.environ.get("COEVOLUTION_DATA"), reason="COEVOLUTION_DATA names no folder with MATH"
)
def test_math_subjects() -> None:
    """The accuracy that the module states for the hashing embedder."""
    from harness.data import load_items

    embed = load_embedder("hashing")
    topics = load_topics("math_train", embed)
    assert topics is not None
    assert len(topics.topics) == 7
    items = load_items("math_test")
    found = topics(embed([i["problem"] for i in items]))
    right = np.mean([f == i["subject"] for f, i in zip(found, items, strict=True)])
    assert 0.60 < right < 0.70
    assert found.count(OTHER) / len(found) < 0.03
    with pytest.raises(HarnessError, match="no subjects"):
        load_topics("gsm8k_test", embed)
