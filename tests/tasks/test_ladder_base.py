"""The shipped base: standard files, a tokenizer with the promised properties, and some skill."""

from __future__ import annotations

import json
import re
import string

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from tasks.ladder import tokenizer as tk
from tasks.ladder.measure import (
    HERE,
    MARKS,
    load,
    load_items,
    proposer_skill,
    respond,
    solver_skill,
    table,
)
from tasks.ladder.pretrain import BASE, SEED, Sampler, backward, build_model, corpus, learning_rate
from tasks.ladder.wordings import SLOTS
from tasks.ladder.world import TOPICS, render, sample_problem, solve

Base = tuple[PreTrainedModel, PreTrainedTokenizerFast]


@pytest.fixture(scope="module")
def base() -> Base:
    torch.set_num_threads(1)
    return load(BASE)


@pytest.fixture(scope="module")
def tokenizer(base: Base) -> PreTrainedTokenizerFast:
    return base[1]


def test_files_are_standard_and_small() -> None:
    files = [path for path in BASE.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 4_000_000
    names = {path.name for path in files}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= names
    assert json.loads((BASE / "config.json").read_text())["architectures"] == ["Qwen3ForCausalLM"]
    weights = load_file(BASE / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}


def test_tokenizer_is_the_one_the_recipe_builds(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tk.build(corpus(SEED)).get_vocab() == tokenizer.get_vocab()


def test_single_characters_and_digits(tokenizer: PreTrainedTokenizerFast) -> None:
    for char in string.printable[:95] + "\n":
        assert len(tokenizer.encode(char)) == 1, char
    numbers = "tom has 1234567890 apples"
    pieces = tokenizer.convert_ids_to_tokens(tokenizer.encode(numbers))
    assert [p for p in pieces if re.search(r"\d", p)] == list("1234567890")
    vocabulary = tokenizer.get_vocab()
    assert not any(len(token) > 1 and re.search(r"\d", token) for token in vocabulary)
    assert 700 <= len(tokenizer) == len(vocabulary) <= 768
    assert sorted(vocabulary.values()) == list(range(len(vocabulary)))


def test_format_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    for token in (*tk.FORMAT, *tk.SPECIAL):
        assert len(tokenizer.encode(token)) == 1, token
    text = "<question>how many are there?</question>\\boxed{14}"
    ids = [*tokenizer.encode(text), tokenizer.eos_token_id]
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert set(tokenizer.all_special_tokens) == set(tk.SPECIAL)
    assert len({tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id}) == 3


def test_chat_template(tokenizer: PreTrainedTokenizerFast) -> None:
    chat = [
        {"role": "system", "content": "x"},
        {"role": "user", "content": tk.PROPOSER_PROMPT},
    ]
    text = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    assert text == "<|system|>x<|user|>write a question.<|assistant|>"
    chat.append({"role": "assistant", "content": "y"})
    assert str(tokenizer.apply_chat_template(chat, tokenize=False)).endswith("y<|end|>")


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(TOPICS))
def test_round_trip_and_the_segmenter(
    tokenizer: PreTrainedTokenizerFast, seed: int, topic: str
) -> None:
    rng = np.random.default_rng(seed)
    problem = sample_problem(rng, topic)
    segment = tk.Segmenter(tokenizer, rng, bank=2)
    for text in (render(rng, problem), solve(problem), f"<question>{render(rng, problem)}"):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert segment(text) == ids
        assert tokenizer.decode(segment(text, 0.2)) == text
    assert len(tokenizer.encode(solve(problem))) <= 40


@given(st.text(alphabet=string.printable[:95] + "\n", max_size=60))
def test_any_ascii_round_trips(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_dropout_leaves_longer_segmentations(tokenizer: PreTrainedTokenizerFast) -> None:
    segment = tk.Segmenter(tokenizer, np.random.default_rng(0))
    text = "mia collects stamps and shells and apples"
    plain = len(segment(text))
    dropped = np.mean([len(segment(text, 0.1)) for _ in range(50)])
    assert plain < dropped < 4 * plain


def test_protected_tokens_spell_every_wording(tokenizer: PreTrainedTokenizerFast) -> None:
    protected = tk.protected_ids(tokenizer)
    kept = set(tokenizer.convert_ids_to_tokens(protected))
    assert {tk.EOS, *tk.FORMAT, *string.digits, *string.ascii_lowercase, *" .,?"} <= kept
    assert {c for words in SLOTS.values() for word in words for c in word} <= kept
    assert len(protected) < len(tokenizer) / 4


def test_shipped_skill_roughly_holds(base: Base) -> None:
    model, tokenizer = base
    items = load_items()[:192]  # the head is balanced over the topics
    skill = solver_skill(model, tokenizer, items, samples=4)
    assert skill["1"]["greedy"]["mean"] > 0.8
    assert skill["all"]["greedy"]["mean"] > skill["all"]["sampled"]["mean"] + 0.05
    assert skill["4"]["greedy"]["mean"] < skill["2"]["greedy"]["mean"]
    free = proposer_skill(model, tokenizer, 1.0, rows=32)
    assert free["valid"] > 0.9
    assert free["well_posed"] > 0.6
    assert free["topic_entropy"] > 0.85 * np.log(len(TOPICS))


def test_responses_are_reproducible_and_leave_the_global_state(base: Base) -> None:
    model, tokenizer = base
    before = torch.get_rng_state()
    texts = [
        respond(
            model,
            tokenizer,
            [tk.PROPOSER_PROMPT] * 4,
            max_new_tokens=24,
            generator=torch.Generator().manual_seed(3),
        )
        for _ in range(2)
    ]
    assert texts[0] == texts[1]
    assert len(set(texts[0])) > 1
    assert torch.equal(before, torch.get_rng_state())


def test_readme_quotes_the_measurement() -> None:
    readme = (HERE / "README.md").read_text(encoding="utf-8")
    result = json.loads((HERE / "measured.json").read_text(encoding="utf-8"))
    quoted = readme.split(MARKS[0])[1].split(MARKS[1])[0]
    assert quoted.strip() == table(result)


def test_recipe_learns(tokenizer: PreTrainedTokenizerFast) -> None:
    torch.set_num_threads(1)
    model = build_model(tokenizer, SEED)
    again = build_model(tokenizer, SEED)
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True)
    )
    rows = Sampler(tokenizer, SEED).batch(16)
    assert rows == Sampler(tokenizer, SEED).batch(16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        losses.append(backward(model, rows, int(tokenizer.pad_token_id), micro=8))
        optimizer.step()
        optimizer.zero_grad()
    assert losses[0] == pytest.approx(np.log(len(tokenizer)), abs=0.5)
    assert losses[-1] < losses[0] - 1.0
    # the gradient doesn't depend on how a batch is cut
    whole = backward(model, rows, int(tokenizer.pad_token_id), micro=16)
    parts = backward(model, rows, int(tokenizer.pad_token_id), micro=4)
    assert whole == pytest.approx(parts, rel=1e-4)
    assert learning_rate(0, 1000) < learning_rate(500, 1000) == 1.0
    assert learning_rate(999, 1000) < 0.01
