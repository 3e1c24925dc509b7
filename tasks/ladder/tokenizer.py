"""The ladder's tokenizer: a small BPE in which every digit and every character is a token.

Built from the grammar's own text. The saved tokenizer is deterministic; `Segmenter` applies the
same merges with BPE-dropout (arXiv:1910.13267) from a seeded generator, for pre-training only, so
that the base model can spell a word whose token a vocabulary mask removed.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

VOCAB_SIZE: Final = 768
PAD, EOS, UNK = "<|pad|>", "<|end|>", "<|unk|>"
SPECIAL: Final = (PAD, EOS, UNK, "<|system|>", "<|user|>", "<|assistant|>")
FORMAT: Final = ("<question>", "</question>", "\\boxed{", "}")  # survive skip_special_tokens
# A word takes the space after it, or before it too when a number stands there.
SPLIT: Final = r" ?[a-z]+ ?|[0-9]|[^a-z0-9 ]+ ?| +"
CHAT_TEMPLATE: Final = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
PROPOSER_PROMPT: Final = "write a question."
SOLVER_PROMPT: Final = "solve: {question}"


def build(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Train the tokenizer on `texts`; the same texts give the same tokenizer."""
    tokenizer = Tokenizer(models.BPE(unk_token=UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(SPLIT), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    alphabet = [c for c in string.printable[:95] if c != "}"] + ["\n"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE - len(SPECIAL) - len(FORMAT),
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.add_tokens([AddedToken(t, normalized=False, special=False) for t in FORMAT])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNK,
        additional_special_tokens=list(SPECIAL[3:]),
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=256,
        padding_side="left",
    )


def save(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the tokenizer's files, in names that transformers 4 (and so vLLM) reads too."""
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("backend", None)
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    extra = config.pop("extra_special_tokens", None)
    if extra:
        config["additional_special_tokens"] = extra
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def protected_ids(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Token ids never masked: format, specials, digits and every single character, sorted."""
    vocabulary = tokenizer.get_vocab()
    return sorted(i for t, i in vocabulary.items() if len(t) == 1 or t in (*SPECIAL, *FORMAT))


class Segmenter:
    """Splits text into token ids as the tokenizer does, optionally with BPE-dropout.

    Unlike the original, a dropped merge stays dropped for the whole word: words then break up in
    depth, as they must when tokens are really missing. Segmentations are drawn `bank` times per
    word and probability, then picked from, since merging afresh each time is slow.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, rng: np.random.Generator, bank: int = 64
    ) -> None:
        model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
        self._ids: dict[str, int] = tokenizer.get_vocab()
        self._rank = {(a, b): i for i, (a, b) in enumerate(model["merges"])}
        self._rng, self._bank_size = rng, bank
        self._bank: dict[tuple[str, float], list[list[int]]] = {}
        added = "|".join(map(re.escape, (*SPECIAL, *FORMAT)))
        self._added = re.compile(f"({added})")
        self._split = re.compile(SPLIT)

    def _merge(self, word: str, dropout: float) -> list[int]:
        parts = list(word)
        usable: dict[tuple[str, str], bool] = {}
        while True:
            pairs = []
            for i, pair in enumerate(pairwise(parts)):
                if pair not in usable:
                    kept = not dropout or self._rng.random() >= dropout
                    usable[pair] = pair in self._rank and kept
                if usable[pair]:
                    pairs.append((self._rank[pair], i))
            if not pairs:
                return [self._ids.get(part, self._ids[UNK]) for part in parts]
            _, i = min(pairs)
            parts[i : i + 2] = [parts[i] + parts[i + 1]]

    def __call__(self, text: str, dropout: float = 0.0) -> list[int]:
        """Token ids of `text`; each merge is dropped with probability `dropout`."""
        out: list[int] = []
        for piece in self._added.split(text):
            if self._added.fullmatch(piece):
                out.append(self._ids[piece])
                continue
            for word in self._split.findall(piece):
                drawn = self._bank.get((word, dropout))
                if drawn is None:
                    draws = self._bank_size if dropout and len(word) > 1 else 1
                    drawn = [self._merge(word, dropout) for _ in range(draws)]
                    self._bank[word, dropout] = drawn
                out += drawn[int(self._rng.random() * len(drawn))] if len(drawn) > 1 else drawn[0]
        return out
