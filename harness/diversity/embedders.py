"""Text embedders: one that works offline, and any sentence-transformers model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import HashingVectorizer

from harness.errors import HarnessError

HASHING = "hashing"
_UNITS = "one two three four five six seven eight nine ten eleven twelve"
_TEENS = "thirteen fourteen fifteen sixteen seventeen eighteen nineteen zero"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety hundred thousand"
NUMBER_WORDS = tuple(f"{_UNITS} {_TEENS} {_TENS}".split())
"""Spelled numbers, dropped by the hashing embedder as digits are."""


class Embedder(Protocol):
    """Maps texts to embeddings."""

    @property
    def name(self) -> str: ...
    def __call__(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """Rows of length 1, float32 [n, d]; row i depends on text i only (up to rounding)."""
        ...


class HashingEmbedder:
    """Hashed 1- and 2-grams of words without numbers: offline, deterministic, no training.

    Numbers, in digits or in English words, are dropped, so that two questions that differ in
    their numbers only are the same. Shuffling a text's words makes new pairs, so that word salad
    looks diverse to it: on real text, use a sentence transformer. A text without any word gets a
    direction of its own, the last, rather than a zero row.

    Args:
        dimension: d of the embeddings, at least 2.
    """

    name = HASHING

    def __init__(self, dimension: int = 512) -> None:
        if dimension < 2:
            raise HarnessError(f"embedding dimension must be at least 2, got {dimension}")
        self.dimension = dimension
        self._vectorizer = HashingVectorizer(
            n_features=dimension - 1,
            ngram_range=(1, 2),
            norm="l2",
            token_pattern=r"(?u)\b[^\W\d_]+\b",
            stop_words=list(NUMBER_WORDS),
            dtype=np.float64,
        )

    def __call__(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """L2-normalised rows, float32 [n, dimension]."""
        rows = np.zeros((len(texts), self.dimension), dtype=np.float32)
        if len(texts):
            # A lone surrogate, which a tokenizer may emit, can't be hashed as UTF-8.
            clean = [t.encode("utf-8", "backslashreplace").decode() for t in texts]
            rows[:, :-1] = self._vectorizer.transform(clean).toarray()
        rows[~rows.any(axis=1), -1] = 1.0
        return rows


class SentenceTransformerEmbedder:
    """A sentence-transformers model: a hub id or a local folder.

    Weights are read from safetensors only, and code from a repository is never run.

    Raises:
        HarnessError: the model can't be loaded.
    """

    def __init__(self, name: str, *, device: str = "cpu", batch_size: int = 64) -> None:
        self.name = name
        self._batch_size = batch_size
        try:
            from sentence_transformers import SentenceTransformer

            self._model: Any = SentenceTransformer(
                name,
                device=device,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
            )
        except Exception as error:  # its loaders raise many kinds, none of their own
            reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
            raise HarnessError(
                f"embedder {name!r} can't be loaded ({reason[:160] or type(error).__name__}); give "
                f"'{HASHING}', a sentence-transformers id, or a folder with safetensors weights"
            ) from error

    def __call__(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """L2-normalised rows, float32 [n, d]."""
        if not texts:
            width = self._model.get_embedding_dimension() or 1
            return np.zeros((0, width), dtype=np.float32)
        rows = self._model.encode(
            list(texts),
            batch_size=self._batch_size,
            convert_to_numpy=True,
            normalize_embeddings=True,
            show_progress_bar=False,
        )
        return np.asarray(rows, dtype=np.float32)


def load_embedder(name: str, *, dimension: int = 512, device: str = "cpu") -> Embedder:
    """The embedder called `name`: 'hashing', else a sentence-transformers id or folder.

    Args:
        name: what a profile's ``diversity.embedder`` says.
        dimension: d of the hashing embedder; other models have their own.
        device: torch device of a sentence-transformers model.

    Raises:
        HarnessError: the model can't be loaded.
    """
    if name == HASHING:
        return HashingEmbedder(dimension)
    return SentenceTransformerEmbedder(name, device=device)
