"""A model with Qwen3's structure and its real vocabulary, small enough for a CPU, that plays both
roles after a short fit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from harness.config import RolesConfig
from harness.data import sources
from harness.policy import Policy
from harness.roles import proposer_messages, solver_messages
from harness.warmstart import Settings, fit, make_examples, proposal_text, solution_text
from harness.warmstart.examples import Example

HEAD = 151_936
"""Rows of Qwen3's embedding and head."""
TOKENS = 151_669
"""Tokens of its tokenizer, special ones included; the head is padded beyond."""
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SETS = (
    "math_test",
    "math500",
    "gsm8k_test",
    "amc23",
    "minerva_math",
    "olympiadbench",
    "aime24",
    "aime25",
)
PROBLEMS = ("Add 2 and 3.", "Multiply 4 by 6.", "Double 17.")


def items() -> list[dict[str, str]]:
    """Each problem with two answers, so that a solver that learned both splits its votes."""
    return [
        {
            "id": f"{problem}{answer}",
            "problem": problem,
            "answer": str(answer),
            "solution": f"It is \\boxed{{{answer}}}.",
        }
        for problem in PROBLEMS
        for answer in (5, 24)
    ]


def tokenizer(roles: RolesConfig, tokens: int | None = TOKENS) -> PreTrainedTokenizerFast:
    """Byte-level pieces of the texts that are needed, with fillers up to the number of tokens.

    Special tokens come last, as in Qwen3; None: no fillers.
    """
    texts = [m["content"] for m in proposer_messages(roles)]
    for item in items():
        texts += [proposal_text(item, roles), str(solution_text(item))]
        texts += [m["content"] for m in solver_messages(roles, item["problem"])]
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    learned = json.loads(core.to_str())["model"]
    vocabulary = dict(learned["vocab"])
    for i in range(len(vocabulary), (tokens or 0) - len(SPECIAL)):
        vocabulary[f"filler{i}"] = i
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[tuple(m) for m in learned["merges"]]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(SPECIAL)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        chat_template=TEMPLATE,
        padding_side="left",
        model_max_length=2048,
    )


def make_model(tied: bool, words: Any, rows: int = HEAD) -> Qwen3ForCausalLM:
    """Qwen3-8B divided by 64 in width, with two of its 36 layers: 4 query heads to a key head."""
    config = Qwen3Config(
        vocab_size=rows,
        hidden_size=64,
        intermediate_size=192,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=2048,
        tie_word_embeddings=tied,
        pad_token_id=words.pad_token_id,
        eos_token_id=words.eos_token_id,
        bos_token_id=None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Qwen3ForCausalLM(config).eval()


def save_players(folder: Path, roles: RolesConfig, steps: int = 90) -> dict[bool, Path]:
    """Write bfloat16 checkpoints that propose the problems and answer them in two ways, by `tied`.

    They are fitted with the few tokens that the texts have, which takes seconds; then their tables
    get all rows, and those of tokens that were never seen are given a low logit.
    """
    few = tokenizer(roles, None)
    small = Policy(make_model(True, few, len(few)), few)
    made = make_examples(items(), few, roles, 1024)
    examples = [example for pair in made.values() for example in pair]
    fit(small, examples, Settings(steps=steps, lr=5e-3, batch_tokens=1500, micro_tokens=2048))
    words = tokenizer(roles)
    learned, plain = small.model.state_dict(), len(few) - len(SPECIAL)
    away = _away(small, examples)
    saved = {}
    for tied in (False, True):
        player = Policy(make_model(tied, words), words)
        for name, value in player.model.state_dict().items():
            if value.shape == learned[name].shape:
                value.copy_(learned[name])
                continue
            value.copy_(away)
            value[:plain] = learned[name][:plain]
            value[TOKENS - len(SPECIAL) : TOKENS] = learned[name][plain:]
        player.model.to(torch.bfloat16)
        saved[tied] = folder / ("tied" if tied else "untied")
        player.save(saved[tied])
    return saved


@torch.no_grad()
def _away(policy: Policy, examples: Sequence[Example]) -> torch.Tensor:
    """A row [d] of the head that gives a logit of about -20 wherever a response is written."""
    hidden = []
    for e in examples:
        ids = torch.tensor([e.prompt_ids + e.response_ids])
        hidden.append(policy.model.model(ids).last_hidden_state[0, len(e.prompt_ids) - 1 :])
    states = torch.cat(hidden).double()
    wanted = torch.full((len(states), 1), -20.0, dtype=torch.float64)
    ridge = 1e-2 * torch.eye(states.shape[1], dtype=torch.float64)
    solved = torch.linalg.solve(states.T @ states + ridge, states.T @ wanted)
    return solved[:, 0].float()


def write_sets(folder: Path, n: int = 2) -> None:
    """Every evaluation set of the profiles with a few sums of our own, not the real items."""
    folder.mkdir()
    for name in SETS:
        rows = [
            {"id": f"{name}{i}", "problem": f"What is {i} + {i}?", "answer": str(2 * i)}
            for i in range(n)
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / sources()[name].file).write_text(text, encoding="utf-8")
