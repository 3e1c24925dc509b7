"""Any engine as an lm-eval ``LM``.

Imports lm-eval: import this module only where an evaluation is about to run.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.models.utils import normalize_gen_kwargs, postprocess_generated_text

from harness import rng
from harness.engines.base import Engine, SamplingParams
from harness.errors import HarnessError
from harness.evaluation.cache import Generation, ResponseCache

#: Responses handed to the engine at a time: bounds memory, and is the step of progress and cache.
BATCH_ROWS = 1024

_KNOWN_KWARGS = {"until", "do_sample", "temperature", "top_p", "top_k", "min_p", "max_gen_toks"}


class _Request(NamedTuple):
    """One response to sample: (task, doc_id, sample) and the rendered prompt."""

    id: tuple[str, int, int]
    context: str


def sampling_params(gen_kwargs: dict[str, Any]) -> SamplingParams:
    """lm-eval's generation kwargs as sampling parameters.

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
        stop=tuple(str(stop) for stop in kwargs["until"] if stop),
    )
    return params


class EngineLM(LM):  # type: ignore[misc, unused-ignore]
    """An engine behind lm-eval's interface; generation only.

    A response depends on its prompt, the generation kwargs, ``seed``, task, document and sample
    index, and on nothing else: not on other tasks or on a limit, and on batches only through the
    rounding of floating-point sums.

    Args:
        engine: samples responses; its tokenizer renders the prompts.
        seed: seed of every sample.
        progress: called with the responses of each batch as it is done.
        batch_rows: responses asked of the engine at a time.
        cache: where responses are kept and looked up; needs ``task_hashes``.
        task_hashes: `sampling_hash` of each task by name.

    ``generations`` maps (task, doc_id, sample) to what was recorded of a response; ``chat`` says
    whether the prompts to come are rendered chats.
    """

    def __init__(
        self,
        engine: Engine,
        seed: int,
        progress: Callable[[int], None] | None = None,
        *,
        batch_rows: int = BATCH_ROWS,
        cache: ResponseCache | None = None,
        task_hashes: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.engine = engine
        self.seed = seed
        self.generations: dict[tuple[str, int, int], Generation] = {}
        self.chat = True
        self._progress = progress
        self._batch_rows = batch_rows
        self._cache = cache
        self._task_hashes = task_hashes or {}

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
                "template; choose a task for base models (NAME_base) or give it a template"
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
        parts: dict[tuple[str, str], list[_Request]] = {}
        ids: list[tuple[str, int, int]] = []
        for request in requests:
            context, kwargs = request.args
            document = (str(request.task_name), int(request.doc_id or 0))
            ids.append((*document, seen[document]))
            seen[document] += 1
            same = parts.setdefault((document[0], json.dumps(kwargs, sort_keys=True)), [])
            same.append(_Request(ids[-1], context))
        for (task, kwargs_text), part in parts.items():
            self._generate(task, json.loads(kwargs_text), part)
        return [self.generations[i].response for i in ids]

    def _generate(self, task: str, gen_kwargs: dict[str, Any], part: Sequence[_Request]) -> None:
        """Fill ``generations`` for requests of one task under the same generation kwargs."""
        params = sampling_params(gen_kwargs)
        task_hash = self._task_hashes.get(task, "")
        known = self._cache.known(task, task_hash) if self._cache else {}
        for start in range(0, len(part), self._batch_rows):
            batch = part[start : start + self._batch_rows]
            keys = {r.id: (r.id[1], r.id[2], prompt_hash(r.context)) for r in batch}
            self.generations.update({i: known[k] for i, k in keys.items() if k in known})
            # The missing rows of a batch are sampled together, whichever run it is.
            missing = [r for r in batch if keys[r.id] not in known]
            if missing:
                found = self._sample(missing, params)
                self.generations.update(found)
                if self._cache:
                    self._cache.add(task, task_hash, [(keys[i], g) for i, g in found.items()])
            if self._progress is not None:
                self._progress(len(batch))

    def _sample(
        self, batch: Sequence[_Request], params: SamplingParams
    ) -> dict[tuple[str, int, int], Generation]:
        prompts = self._encode([r.context for r in batch])
        keys = [rng.key64(self.seed, "eval", *r.id) for r in batch]
        rollouts = self.engine.generate(prompts, params, row_keys=keys)
        found = {}
        rows = zip(
            batch,
            rollouts.texts(self.engine.tokenizer),
            rollouts.lengths.tolist(),
            rollouts.truncated.tolist(),
            strict=True,
        )
        for request, text, n_tokens, truncated in rows:
            response = postprocess_generated_text(text, list(params.stop), None)
            found[request.id] = Generation(response, n_tokens, truncated and response == text)
        return found

    def _encode(self, contexts: Sequence[str]) -> list[list[int]]:
        """Token ids; a rendered chat holds its special tokens already, a plain prompt doesn't."""
        distinct = list(dict.fromkeys(contexts))
        start = getattr(self.engine.tokenizer, "bos_token", None)
        special = not self.chat and not (start and distinct[0].startswith(start))
        try:
            encoded = self.engine.tokenizer(distinct, add_special_tokens=special)["input_ids"]
        except Exception as error:  # tokenizers raises plain Exception: letters it doesn't know
            raise HarnessError(
                f"evaluation: the tokenizer {self.tokenizer_name or '(unnamed)'} can't read a "
                f"prompt ({str(error)[:100]}); it was not made for such text"
            ) from error
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
