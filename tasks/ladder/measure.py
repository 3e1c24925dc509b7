"""Measure the base model: ``python -m tasks.ladder.measure``.

Writes ``measured.json`` and the table between the markers of ``README.md``. Sampling is plain
ancestral sampling at temperature 1 (no top-k, no top-p) unless it says greedy.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from tasks.ladder import tokenizer as tk
from tasks.ladder.heldout import TEST
from tasks.ladder.world import OTHER, TIERS, TOPICS, parse

HERE: Final = Path(__file__).parent
MARKS: Final = ("<!-- measured -->", "<!-- /measured -->")
SEED: Final = 7
SAMPLES: Final = 10  # votes of a majority
MASKS: Final = 8  # random masks per alpha
_QUESTION: Final = re.compile(r"\s*<question>(.*?)</question>", re.DOTALL)
_BOXED: Final = re.compile(r"\\boxed\{([^{}]*)\}")


class GumbelSampling(LogitsProcessor):  # type: ignore[misc, unused-ignore]
    """Turns greedy decoding into sampling at T=1 from an own generator (the Gumbel-max trick)."""

    def __init__(self, generator: torch.Generator, keep: torch.Tensor | None = None) -> None:
        self.generator, self.keep = generator, keep

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.Tensor:
        """Scores [rows, V] with Gumbel noise added, masked tokens at -inf."""
        uniform = torch.rand(scores.shape, generator=self.generator).clamp_min(1e-20)
        noisy = scores.float() - torch.log(-torch.log(uniform))
        return noisy if self.keep is None else noisy.masked_fill(~self.keep, -math.inf)


def load(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The model in float32 and its tokenizer, on the CPU."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(folder)


@torch.inference_mode()
def respond(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    generator: torch.Generator | None = None,
    keep: torch.Tensor | None = None,
    batch: int = 256,
) -> list[str]:
    """One response per user message; sampled when `generator` is given, else greedy."""
    out: list[str] = []
    for start in range(0, len(prompts), batch):
        chats = [[{"role": "user", "content": p}] for p in prompts[start : start + batch]]
        inputs = tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )
        processors = LogitsProcessorList()
        if generator is not None:
            processors.append(GumbelSampling(generator, keep))
        ids = model.generate(
            **inputs,
            do_sample=False,
            max_new_tokens=max_new_tokens,
            logits_processor=processors,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        fresh = ids[:, inputs["input_ids"].shape[1] :]
        out += tokenizer.batch_decode(fresh, skip_special_tokens=True)
    return out


def proposer_skill(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, alpha: float, rows: int = 256
) -> dict[str, float]:
    """What the proposer writes under `MASKS` random masks that keep a share `alpha`."""
    generator = torch.Generator().manual_seed(SEED)
    rng = np.random.default_rng([SEED, round(1000 * alpha)])
    protected = tk.protected_ids(tokenizer)
    valid, posed, topics, tokens, texts = 0, [], Counter[str](), 0, []
    for _ in range(MASKS):
        keep = rng.random(len(tokenizer)) < alpha
        keep[protected] = True
        prompts = [tk.PROPOSER_PROMPT] * rows
        responses = respond(
            model,
            tokenizer,
            prompts,
            max_new_tokens=128,
            generator=generator,
            keep=torch.from_numpy(keep),
        )
        found = [m[1] for r in responses if (m := _QUESTION.fullmatch(r))]
        parsed = [parse(question) for question in found]
        valid += len(found)
        posed.append(sum(p.well_posed for p in parsed) / rows)
        topics.update(p.topic for p in parsed)
        texts += found
        tokens += sum(len(ids) for ids in tokenizer(found)["input_ids"])
    shares = np.array([topics[t] for t in TOPICS], dtype=float)
    shares = shares[shares > 0] / shares.sum()
    return {
        "alpha": alpha,
        "n": MASKS * rows,
        "valid": valid / (MASKS * rows),
        "well_posed": float(np.mean(posed)),
        "well_posed_se_over_masks": float(np.std(posed, ddof=1) / math.sqrt(MASKS)),
        "other": topics[OTHER] / max(1, len(texts)),
        "topic_entropy": float(-(shares * np.log(shares)).sum()),
        "topics_seen": float(len(shares)),
        "distinct_questions": len(set(texts)) / max(1, len(texts)),
        "tokens_a_question": tokens / max(1, len(texts)),
    }


def _answer(response: str) -> str | None:
    found = _BOXED.findall(response)
    return found[-1] if found else None


def _mean_se(values: Sequence[float]) -> dict[str, float]:
    array = np.asarray(values, dtype=float)
    se = float(array.std(ddof=1) / math.sqrt(len(array))) if len(array) > 1 else 0.0
    return {"mean": float(array.mean()), "se": se, "n": len(array)}


def solver_skill(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    items: Sequence[dict[str, Any]],
    samples: int = SAMPLES,
) -> dict[str, dict[str, dict[str, float]]]:
    """Accuracy by tier ('1'..'4', 'all'): greedy, sampled (mean of `samples`), majority."""
    prompts = [tk.SOLVER_PROMPT.format(question=item["question"]) for item in items]
    truth = [str(item["answer"]) for item in items]
    generator = torch.Generator().manual_seed(SEED)
    greedy = [_answer(r) for r in respond(model, tokenizer, prompts, max_new_tokens=64)]
    votes = [
        [
            _answer(r)
            for r in respond(model, tokenizer, prompts, max_new_tokens=64, generator=generator)
        ]
        for _ in range(samples)
    ]
    scores: dict[str, list[float]] = {
        "greedy": [float(a == t) for a, t in zip(greedy, truth, strict=True)],
        "sampled": [],
        "majority": [],
    }
    for i, true in enumerate(truth):
        answers = [vote[i] for vote in votes]
        scores["sampled"].append(sum(a == true for a in answers) / max(1, samples))
        counted = Counter(a for a in answers if a is not None).most_common(1)
        scores["majority"].append(float(bool(counted) and counted[0][0] == true))
    groups = {"all": list(range(len(items)))}
    for tier in TIERS:
        groups[str(tier)] = [i for i, item in enumerate(items) if item["tier"] == tier]
    return {
        name: {mode: _mean_se([values[i] for i in chosen]) for mode, values in scores.items()}
        for name, chosen in groups.items()
        if chosen
    }


def load_items() -> list[dict[str, Any]]:
    """The held-out items."""
    return [json.loads(line) for line in TEST.read_text(encoding="utf-8").splitlines()]


def table(result: dict[str, Any]) -> str:
    """The README's tables, as Markdown."""
    lines = [
        "| solver, held-out | n | greedy | one sample (T=1) | majority of 10 |",
        "|---|---|---|---|---|",
    ]
    for name in (*map(str, TIERS), "all"):
        row = result["solver"][name]
        cells = [f"{row[m]['mean']:.3f} ± {row[m]['se']:.3f}" for m in row]
        label = "all" if name == "all" else f"tier {name}"
        lines.append(f"| {label} | {row['greedy']['n']} | {' | '.join(cells)} |")
    lines += [
        "",
        "| proposer, T=1 | valid | well-posed | of unmasked | 'other' | topic entropy "
        "(at most 3.18) | distinct | tokens |",
        "|---|---|---|---|---|---|---|---|",
    ]
    whole = result["proposer"][0]["well_posed"]
    for row in result["proposer"]:
        label = "no mask" if row["alpha"] == 1 else f"random mask, alpha {row['alpha']:g}"
        lines.append(
            f"| {label} | {row['valid']:.3f} | {row['well_posed']:.3f} ± "
            f"{row['well_posed_se_over_masks']:.3f} | {row['well_posed'] / whole:.2f} | "
            f"{row['other']:.3f} | {row['topic_entropy']:.2f} | "
            f"{row['distinct_questions']:.3f} | {row['tokens_a_question']:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", type=Path, default=HERE / "base")
    parser.add_argument("--quick", action="store_true", help="a tenth of it; writes no file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, tokenizer = load(args.base)
    items = load_items()[: 120 if args.quick else None]  # the head is balanced
    rows = 64 if args.quick else 256
    result = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "vocabulary": len(tokenizer),
        "protected": len(tk.protected_ids(tokenizer)),
        "solver": solver_skill(model, tokenizer, items),
        "proposer": [
            proposer_skill(model, tokenizer, alpha, rows) for alpha in (1.0, 0.85, 0.75, 0.5)
        ],
    }
    print(table(result))
    if args.quick:
        return
    (HERE / "measured.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    readme = HERE / "README.md"
    if readme.exists():
        head, _, rest = readme.read_text(encoding="utf-8").partition(MARKS[0])
        tail = rest.partition(MARKS[1])[2]
        page = f"{head}{MARKS[0]}\n{table(result)}\n{MARKS[1]}{tail}"
        readme.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
