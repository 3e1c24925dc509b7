"""Any engine as an lm-eval ``LM``.

Imports lm-eval: import this module only where an evaluation is about to run.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.models.utils import normalize_gen_kwargs, postprocess_generated_text

from harness import rng
from harness.engines.base import Engine, SamplingParams
from harness.errors import HarnessError

#: Responses handed to the engine at a time: bounds memory, and is the step of the progress.
BATCH_ROWS = 1024

_KNOWN_KWARGS = {"until", "do_sample", "temperature", "top_p", "top_k", "min_p", "max_gen_toks"}


@dataclass(frozen=True)
class Generation:
    """What lm-eval's own records leave out about one response."""

    n_tokens: int  # end token included
    truncated: bool  # neither an end token nor a stop string within the limit


def sampling_params(gen_kwargs: dict[str, Any]) -> tuple[SamplingParams, list[str]]:
    """lm-eval's generation kwargs as (sampling parameters, stop strings).

    ``do_sample: false`` is greedy whatever the temperature, as in lm-eval. A kwarg that an engine
    would have to ignore raises HarnessError.
    """
    kwargs: dict[str, Any] = dict(normalize_gen_kwargs(gen_kwargs))
    if unknown := sorted(set(kwargs) - _KNOWN_KWARGS):
        raise HarnessError(
            f"generation_kwargs: {', '.join(unknown)} not supported; known: "
            f"{', '.join(sorted(_KNOWN_KWARGS))}"
        )
    temperature = float(kwargs.get("temperature", 1.0)) if kwargs["do_sample"] else 0.0
    params = SamplingParams(
        max_new_tokens=int(kwargs["max_gen_toks"]),
        temperature=temperature,
        top_p=float(kwargs.get("top_p", 1.0)),
        top_k=int(kwargs.get("top_k", 0)),
        min_p=float(kwargs.get("min_p", 0.0)),
    )
    return params, [str(stop) for stop in kwargs["until"]]


class EngineLM(LM):  # type: ignore[misc, unused-ignore]
    """An engine behind lm-eval's interface; generation only.

    A response depends on its prompt, the generation kwargs, ``seed``, task, document and sample
    index, and on nothing else: not on batches, on other tasks, or on a limit.

    Args:
        engine: samples responses; its tokenizer renders the prompts.
        seed: seed of every sample.
        progress: called with (responses done, responses in all) after each batch.

    ``generations`` maps (task, doc_id, sample) to what was recorded beside the text.
    """

    def __init__(
        self,
        engine: Engine,
        seed: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        super().__init__()
        self.engine = engine
        self.seed = seed
        self.generations: dict[tuple[str, int, int], Generation] = {}
        self._progress = progress

    @property
    def tokenizer_name(self) -> str:
        """Identifies the tokenizer in lm-eval's request cache."""
        return str(getattr(self.engine.tokenizer, "name_or_path", "")).replace("/", "__")

    def chat_template(self, chat_template: bool | str = False) -> str:
        """The template's source, for lm-eval's records; empty if none is used."""
        template = getattr(self.engine.tokenizer, "chat_template", None)
        return str(template) if chat_template and template else ""

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Render a chat. Raises HarnessError if the tokenizer has no chat template."""
        tokenizer = self.engine.tokenizer
        if not getattr(tokenizer, "chat_template", None):
            raise HarnessError(
                f"evaluation: the tokenizer {self.tokenizer_name or '(unnamed)'} has no chat "
                "template; evaluate without one (apply_chat_template=False) or add it"
            )
        return str(
            tokenizer.apply_chat_template(
                chat_history,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
        )

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """One response for each request, in order; repeats of a request are its samples."""
        seen: Counter[tuple[str, int]] = Counter()
        by_kwargs: dict[str, list[int]] = {}
        ids: list[tuple[str, int, int]] = []
        for i, request in enumerate(requests):
            document = (str(request.task_name), int(request.doc_id or 0))
            ids.append((*document, seen[document]))
            seen[document] += 1
            by_kwargs.setdefault(json.dumps(request.args[1], sort_keys=True), []).append(i)
        responses = [""] * len(requests)
        done = 0
        for rows in by_kwargs.values():
            params, stops = sampling_params(requests[rows[0]].args[1])
            for start in range(0, len(rows), BATCH_ROWS):
                batch = rows[start : start + BATCH_ROWS]
                prompts = self._encode([requests[i].args[0] for i in batch])
                keys = [rng.key64(self.seed, "eval", *ids[i]) for i in batch]
                rollouts = self.engine.generate(prompts, params, row_keys=keys)
                texts = rollouts.texts(self.engine.tokenizer)
                lengths, cut = rollouts.lengths.tolist(), rollouts.truncated.tolist()
                for i, text, n_tokens, truncated in zip(batch, texts, lengths, cut, strict=True):
                    responses[i] = postprocess_generated_text(text, stops, None)
                    stopped = responses[i] != text
                    self.generations[ids[i]] = Generation(n_tokens, truncated and not stopped)
                done += len(batch)
                if self._progress is not None:
                    self._progress(done, len(requests))
        return responses

    def _encode(self, contexts: Sequence[str]) -> list[list[int]]:
        """Token ids; a rendered chat holds its special tokens already."""
        distinct = list(dict.fromkeys(contexts))
        encoded = self.engine.tokenizer(distinct, add_special_tokens=False)["input_ids"]
        table = dict(zip(distinct, encoded, strict=True))
        return [list(table[context]) for context in contexts]

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Not supported: raises HarnessError."""
        raise self._generation_only(requests)

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Not supported: raises HarnessError."""
        raise self._generation_only(requests)

    @staticmethod
    def _generation_only(requests: list[Instance]) -> HarnessError:
        names = ", ".join(sorted({str(r.task_name) for r in requests})) or "a task"
        return HarnessError(
            f"evaluation: {names} asks for log-likelihoods; engines only generate: use a task "
            "with output_type generate_until, or lm_eval's own hf or vllm model"
        )


def prompt_hash(prompt: str) -> str:
    """sha256 (hex) of a rendered prompt; the value in lm-eval's own sample logs."""
    return hashlib.sha256(prompt.encode()).hexdigest()
