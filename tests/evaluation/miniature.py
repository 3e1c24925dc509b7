"""A ladder in miniature: the real YAMLs and utils over a few items, and an engine of few words."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from harness.engines.base import Rollouts, SamplingParams

LADDER = Path(__file__).resolve().parents[2] / "tasks" / "ladder"
ITEMS = [
    {"id": f"t{i}", "question": f"what is {i} + {i} ?", "answer": str(2 * i)}
    | {"topic": "sum", "tier": 1 + i % 2}
    for i in range(6)
]
SPECIAL = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>"]
TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def write_tasks(folder: Path, items: Sequence[dict[str, Any]], sha256: str | None = None) -> Path:
    """A task folder with the ladder's own YAMLs over the given items."""
    target = folder / "tasks" / "ladder"
    target.mkdir(parents=True)
    for source in [*LADDER.glob("*.yaml"), LADDER / "utils.py"]:
        shutil.copy(source, target)
    data = "".join(json.dumps(item) + "\n" for item in items).encode()
    (target / "test.jsonl").write_bytes(data)
    template = target / "_template.yaml"
    lines = template.read_text().splitlines()
    digest = sha256 or hashlib.sha256(data).hexdigest()
    lines = [f"  sha256: '{digest}'" if "sha256:" in line else line for line in lines]
    template.write_text("\n".join(lines) + "\n")
    return folder / "tasks"


def character_tokenizer() -> PreTrainedTokenizerFast:
    """One token a character."""
    characters = [chr(c) for c in range(32, 127)]
    vocabulary = {t: i for i, t in enumerate([*SPECIAL, "?unk", *characters])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="?unk"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    core.decoder = decoders.Fuse()
    core.add_special_tokens(SPECIAL)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        unk_token="?unk",
        chat_template=TEMPLATE,
        padding_side="left",
        model_max_length=256,
    )


class LookupEngine:
    """Says what it was told to say to each prompt: cycles through the responses by row key.

    ``calls`` keeps the row keys and parameters it was given.
    """

    def __init__(self, responses: dict[str, Sequence[str]]) -> None:
        self.tokenizer: Any = character_tokenizer()
        self.responses = responses
        self.calls: list[tuple[str, int, SamplingParams]] = []

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        params: SamplingParams,
        *,
        row_keys: Sequence[int],
        **_: Any,
    ) -> Rollouts:
        """The looked-up responses, cut at the limit of new tokens."""
        rows = []
        for prompt, key in zip(prompts, row_keys, strict=True):
            text = self.tokenizer.decode(prompt)
            self.calls.append((text, key, params))
            (question,) = [q for q in self.responses if q in text]
            choices = self.responses[question]
            ids = self.tokenizer(choices[key % len(choices)], add_special_tokens=False)["input_ids"]
            rows.append([*ids, self.tokenizer.eos_token_id])
        longest = min(params.max_new_tokens, max(map(len, rows)))
        lengths = torch.tensor([min(len(row), longest) for row in rows])
        padded = [row[:longest] + [0] * (longest - len(row)) for row in rows]
        return Rollouts(
            prompt_ids=[list(p) for p in prompts],
            response_ids=torch.tensor(padded),
            response_mask=torch.arange(longest) < lengths[:, None],
            logprobs=torch.zeros(len(rows), longest),
            truncated=torch.tensor([len(row) > params.max_new_tokens for row in rows]),
        )
