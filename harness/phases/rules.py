"""A method's rule on the logits, for an engine that samples in another process."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from harness.base import find_base
from harness.config.schema import RunConfig
from harness.engines.base import LogitsRule, PortableRule, SamplingParams
from harness.engines.rows import params_of
from harness.errors import HarnessError
from harness.loading import load_tokenizer
from harness.masks import protected_set
from harness.methods import HookContext, Method, build, load_plugin, plugin_files
from harness.roles import format_strings

MAKER = f"{__name__}:remake"


def portable(
    rule: LogitsRule | None, entry: str, method: Method, ctx: HookContext, params: SamplingParams
) -> LogitsRule | None:
    """The rule with its recipe; None if there is none.

    Args:
        rule: what ``method.logits_rule`` gave in this place.
        entry: the method's canonical name.
        params: the sampling parameters in force.
    """
    if rule is None:
        return None
    recipe = {
        "entry": entry,
        "plugins": plugin_files(entry),
        "state": method.state_dict(),
        "config": ctx.config.model_dump(mode="json"),
        "place": {
            "role": ctx.role,
            "phase": ctx.phase,
            "iteration": ctx.iteration,
            "step": ctx.step,
            "seed": ctx.seed,
            "archive": [list(texts) for texts in ctx.archive],
        },
        "params": asdict(params),
    }
    return PortableRule(rule, MAKER, recipe, ctx.count)


@dataclass(frozen=True)
class _Remade:
    """A rule with what it counted."""

    rule: LogitsRule
    counts: Counter[str]

    def __call__(self, logits: Tensor, prefix: Tensor, row_keys: Sequence[int]) -> Tensor:
        return self.rule(logits, prefix, row_keys)


def remake(recipe: Mapping[str, Any]) -> _Remade:
    """The rule of a recipe, in the process that samples.

    Raises:
        HarnessError: the method's file isn't there, or the method has no rule here.
    """
    for path in recipe["plugins"]:
        load_plugin(path)
    method, _ = build(recipe["entry"])
    method.load_state_dict(recipe["state"])
    ctx = _context(recipe)
    method.sampling(ctx, params_of(recipe["params"]))  # where a rule learns the temperature
    rule = method.logits_rule(ctx, None)
    if rule is None:
        raise HarnessError(f"method {recipe['entry']}: no rule here in the engine's process")
    ctx.counts.clear()  # what the hooks counted was counted where the run is
    return _Remade(rule, ctx.counts)


def _context(recipe: Mapping[str, Any]) -> HookContext:
    config = RunConfig.model_validate(recipe["config"])
    tokenizer = _tokenizer(config.model.path)
    return HookContext(
        **recipe["place"],
        config=config,
        tokenizer=tokenizer,
        protected=protected_set(tokenizer, config.protected, format_strings(config.roles)),
        embed=functools.partial(_absent, "embeddings"),
        tally=functools.partial(_absent, "a grader"),
        counts=Counter(),
    )


@functools.cache
def _tokenizer(path: str) -> Any:
    return load_tokenizer(find_base(path))


def _absent(what: str, *_: object) -> Any:
    raise HarnessError(f"a rule on the logits has no {what} in the engine's process")
