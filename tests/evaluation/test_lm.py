"""The LM itself: generation kwargs, stop strings, and agreement with lm-eval's own model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from miniature import ITEMS, LADDER, LookupEngine
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness import rng
from harness.engines.torch_engine import TorchEngine
from harness.errors import HarnessError
from harness.evaluation import Evaluator
from harness.evaluation.lm import EngineLM, sampling_params


def _request(context: str, kwargs: dict[str, Any], doc_id: int = 0) -> Instance:
    return Instance("generate_until", {}, (context, kwargs), 0, ("t", doc_id, 1))


@pytest.mark.parametrize(
    ("kwargs", "temperature", "max_new_tokens", "stops"),
    [
        ({"until": []}, 0.0, 256, []),
        ({"until": ["\n"], "max_gen_toks": 5}, 0.0, 5, ["\n"]),
        ({"until": "\n", "do_sample": False, "temperature": 0.7}, 0.0, 256, ["\n"]),
        ({"until": [], "temperature": 0.7, "max_new_tokens": 9}, 0.7, 9, []),
        ({"until": [], "do_sample": True}, 1.0, 256, []),
    ],
)
def test_generation_kwargs(
    kwargs: dict[str, Any], temperature: float, max_new_tokens: int, stops: list[str]
) -> None:
    params = sampling_params(kwargs)
    assert (params.temperature, params.max_new_tokens) == (temperature, max_new_tokens)
    assert params.stop == tuple(stops)


def test_truncation_rules_are_passed_on_and_others_refused() -> None:
    params = sampling_params({"do_sample": True, "top_p": 0.9, "top_k": 5, "min_p": 0.1})
    assert (params.top_p, params.top_k, params.min_p) == (0.9, 5, 0.1)
    with pytest.raises(HarnessError, match="num_beams"):
        sampling_params({"num_beams": 4})


def test_stop_strings_cut_and_are_no_truncation() -> None:
    lm = EngineLM(LookupEngine({"one": ["1 stop 2"], "two": ["long text"]}), seed=0)
    kwargs = {"until": ["stop"], "max_gen_toks": 7}
    texts = lm.generate_until([_request("one", kwargs, 0), _request("two", kwargs, 1)])
    assert texts == ["1 ", "long te"]
    assert [lm.generations[("t", i, 0)].truncated for i in (0, 1)] == [False, True]


def test_row_keys_name_task_document_and_sample() -> None:
    engine = LookupEngine({"one": ["1"]})
    request = _request("one", {"until": []}, doc_id=3)
    EngineLM(engine, seed=5).generate_until([request, request])
    assert [key for _, key, _ in engine.calls] == [rng.key64(5, "eval", "t", 3, s) for s in (0, 1)]


def test_a_plain_prompt_starts_as_the_tokenizer_starts_a_text() -> None:
    engine = LookupEngine({"one": ["1"]})
    core = engine.tokenizer.backend_tokenizer
    core.post_processor = TemplateProcessing("<|user|> $A", None, [("<|user|>", 2)])
    engine.tokenizer.bos_token = "<|user|>"
    lm = EngineLM(engine, seed=0)
    for lm.chat, context in ((True, "one"), (False, "one"), (False, "<|user|>one")):
        lm.generate_until([_request(context, {"until": []})])
    assert [text for text, _, _ in engine.calls] == ["one", "<|user|>one", "<|user|>one"]


def test_loglikelihood_is_refused() -> None:
    lm = EngineLM(LookupEngine({}), seed=0)
    request = Instance("loglikelihood", {}, ("a", "b"), 0, ("arc", 0, 1))
    for method in (lm.loglikelihood, lm.loglikelihood_rolling):
        with pytest.raises(HarnessError, match="arc asks for log-likelihoods"):
            method([request])


def test_greedy_responses_are_those_of_transformers(
    tasks_folder: Path, tiny_engine: TorchEngine
) -> None:
    rows = Evaluator(["ladder"], tasks_folder).evaluate(tiny_engine, seed=0)
    tokenizer = tiny_engine.tokenizer
    for item, response in zip(ITEMS, rows["response"], strict=True):
        chat = [{"role": "user", "content": f"solve: {item['question']}"}]
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        out = tiny_engine.model.generate(ids, do_sample=False, max_new_tokens=56)
        assert response == tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)


def _as_lm_evals_own_model(evaluator: Evaluator, engine: TorchEngine, limit: int) -> None:
    pytest.importorskip("accelerate", reason="lm_eval --model hf needs it")
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM

    ours = evaluator.evaluate(engine, seed=0, limit=limit)
    theirs = HFLM(pretrained=engine.model, tokenizer=engine.tokenizer, batch_size=16)
    result = evaluate(
        lm=theirs,
        task_dict={"tasks": dict(evaluator.tasks)},
        limit=limit,
        bootstrap_iters=0,
        apply_chat_template=True,
    )
    logged = sorted(result["samples"]["ladder"], key=lambda entry: int(entry["doc_id"]))
    assert ours["response"].tolist() == [entry["resps"][0][0] for entry in logged]
    assert ours["prompt_hash"].tolist() == [entry["prompt_hash"] for entry in logged]
    assert ours["score"].mean() == result["results"]["ladder"]["exact_match,none"]


def test_responses_and_score_are_those_of_lm_evals_own_model(
    tasks_folder: Path, tiny_engine: TorchEngine
) -> None:
    _as_lm_evals_own_model(Evaluator(["ladder"], tasks_folder), tiny_engine, limit=len(ITEMS))


@pytest.mark.slow
def test_the_base_scores_as_under_lm_evals_own_model() -> None:
    base = LADDER / "base"
    model = AutoModelForCausalLM.from_pretrained(base)
    engine = TorchEngine(model, AutoTokenizer.from_pretrained(base))
    evaluator = Evaluator(["ladder"], LADDER.parent)
    _as_lm_evals_own_model(evaluator, engine, limit=100)
