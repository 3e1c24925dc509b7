"""Embedders: the offline one's properties, a local sentence-transformers folder, clear errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.diversity.embedders import HashingEmbedder, load_embedder
from harness.errors import HarnessError


def test_hashing_rows_are_unit_float32() -> None:
    embed = load_embedder("hashing", dimension=64)
    x = embed(["How many pens ?", "", "12 + 3 = ?", "\ud800", "naïve café"])
    assert x.shape == (5, 64)
    assert x.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, atol=1e-6)
    assert embed([]).shape == (0, 64)


def test_hashing_ignores_numbers_and_case() -> None:
    embed = HashingEmbedder()
    x = embed(["Ann has 3 pens", "ann has 17 pens", "Ann has twelve pens", "Bo sells a book"])
    np.testing.assert_array_equal(x[0], x[1])
    np.testing.assert_array_equal(x[0], x[2])
    assert float(x[0] @ x[3]) < 0.5


def test_hashing_sees_word_order() -> None:
    x = HashingEmbedder()(["dog bites man", "man bites dog"])
    assert 0.3 < float(x[0] @ x[1]) < 0.99


def test_texts_without_words_share_one_direction() -> None:
    x = HashingEmbedder(32)(["1 + 2", "", "what"])
    np.testing.assert_array_equal(x[0], x[1])
    assert float(x[0] @ x[2]) == 0.0


def test_rows_do_not_depend_on_the_other_texts() -> None:
    embed = HashingEmbedder(32)
    texts = ["one thing", "another matter", "find the area"]
    np.testing.assert_array_equal(embed(texts)[1:2], embed(texts[1:2]))


def test_too_small_a_dimension_is_refused() -> None:
    with pytest.raises(HarnessError, match="at least 2"):
        load_embedder("hashing", dimension=1)


def test_missing_model_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="can't be loaded") as caught:
        load_embedder(str(tmp_path / "nothing_here"))
    assert "\n" not in str(caught.value)


def test_sentence_transformers_folder(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "how", "many", "pens", "books"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(vocab=str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    BertModel(config).save_pretrained(tmp_path)
    embed = load_embedder(str(tmp_path))
    x = embed(["how many pens", "how many books", "how many pens"])
    assert x.shape == (3, 16)
    assert x.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(x[0], x[2], atol=1e-6)
    assert embed([]).shape == (0, 16)
