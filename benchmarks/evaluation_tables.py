"""The tables of docs/evaluation.md: results, and our scores beside lm-eval's stock scoring.

    python -m benchmarks.evaluation_tables EVAL_FOLDER... --data DIR

Takes the responses of finished evaluations (`items.parquet`) and scores the same texts with the
filters, metrics and functions that lm-eval ships for `gsm8k` and `hendrycks_math500`. Writes both
tables into the page, between its markers, and every response on which the two scorings differ into
a CSV beside it; responses and gold answers stay out of the file, since the data are not ours to
publish.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lm_eval.tasks
import pandas as pd
from lm_eval.api.instance import Instance
from lm_eval.api.metrics import exact_match_fn
from lm_eval.filters import build_filter_ensemble
from lm_eval.tasks._yaml_loader import load_yaml
from lm_eval.tasks.hendrycks_math.utils import process_results

from harness.data import load_items, use_folder
from harness.grading import Verdict, extract_final, shared_grader
from harness.store import read_json, read_parquet

STOCK = Path(lm_eval.tasks.__file__).parent
KEY = ("model", "task", "mode", "doc_id", "sample")
Scorer = Callable[[dict[str, Any], str], float]


def gsm8k_scorers() -> dict[str, Scorer]:
    """Stock `gsm8k`: exact match after its strict and its flexible filter."""
    config = load_yaml(STOCK / "gsm8k" / "gsm8k.yaml", resolve_func=False)
    (metric,) = config["metric_list"]
    keep = ("regexes_to_ignore", "ignore_case", "ignore_punctuation")
    options = {key: metric[key] for key in keep if key in metric}

    def scorer(components: list[dict[str, Any]], name: str) -> Scorer:
        steps = [
            [c["function"], {k: v for k, v in c.items() if k != "function"}] for c in components
        ]

        def score(item: dict[str, Any], response: str) -> float:
            instance = Instance("generate_until", item, ("", {}), 0)
            instance.resps = [response]
            build_filter_ensemble(name, steps).apply([instance])
            found = instance.filtered_resps[name]
            target = item["solution"]
            return float(
                exact_match_fn(predictions=[found], references=[target], **options)["exact_match"]
            )

        return score

    return {f["name"]: scorer(f["filter"], f["name"]) for f in config["filter_list"]}


def math500_scorers() -> dict[str, Scorer]:
    """Stock `hendrycks_math500`: string equality of what lies between the first and last `$`."""

    def score(item: dict[str, Any], response: str) -> float:
        return float(process_results(item, [response])["exact_match"])

    return {"stock": score}


def _model(folder: Path) -> str:
    return str(read_json(folder / "manifest.json")["model"])


def compare(folders: list[Path]) -> pd.DataFrame:
    """One row for each response and stock filter: our verdict and theirs.

    Beside the model's responses the sets' own solutions are scored as if they were responses, each
    to its own problem (mode "solution") and to the problem before it (mode "swapped").
    """
    parts = [read_parquet(f / "items.parquet").assign(model=_model(f)) for f in folders]
    rows = pd.concat(parts, ignore_index=True)
    scorers = {"gsm8k": gsm8k_scorers(), "math500": math500_scorers()}
    sources = {"gsm8k": "gsm8k_test", "math500": "math500"}
    found = []
    for task, named in scorers.items():
        items = load_items(sources[task])
        mine = rows[rows["task"] == task].to_dict("records")
        for row in (*mine, *_solutions(task, items)):
            item = items[int(row["doc_id"])]
            for name, score in named.items():
                theirs = score(item, str(row["response"]))
                key = {k: row[k] for k in (*KEY, "verdict", "found")}
                found.append({**key, "filter": name, "ours": row["score"], "theirs": theirs})
    return pd.DataFrame(found)


def _solutions(task: str, items: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The items' solutions in the shape of an evaluation's rows."""
    for mode, shift in (("solution", 0), ("swapped", 1)):
        responses = [items[(i + shift) % len(items)]["solution"] for i in range(len(items))]
        golds = [item["answer"] for item in items]
        finals = [extract_final(r, gold=g) for r, g in zip(responses, golds, strict=True)]
        verdicts = shared_grader().grade(gold=golds, pred=[f.answer for f in finals])
        for i, verdict in enumerate(verdicts):
            yield {
                "model": "none",
                "task": task,
                "mode": mode,
                "doc_id": i,
                "sample": 0,
                "response": responses[i],
                "verdict": str(verdict),
                "found": str(finals[i].how),
                "score": float(verdict is Verdict.CORRECT),
            }


def results(folders: list[Path]) -> list[str]:
    """Rows of Markdown: one for each task and mode."""
    lines = [
        "| model | task | mode | items | samples | accuracy [95 %] | truncated | no answer "
        "| timeout | no box, answer in words | mean tokens | dtype |",
        "|---|---|---|--:|--:|---|--:|--:|--:|--:|--:|---|",
    ]
    for folder in folders:
        dtype = read_json(folder / "manifest.json")["engine"]["dtype"]
        table = pd.read_csv(folder / "summary.csv", keep_default_na=False)
        for row in table[table["group"] == ""].to_dict("records"):
            shares = (row[k] for k in ("truncated", "no_answer", "timeout", "fallback"))
            cells = [_model(folder), row["task"], row["mode"], row["items"], row["samples"]]
            cells += [f"{row['accuracy']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"]
            cells += [*(f"{share:.2f}" for share in shares), f"{row['tokens']:.0f}", dtype]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def agreement(table: pd.DataFrame) -> list[str]:
    """Rows of Markdown: how often both scorings, one or none count a response as right."""
    lines = [
        "| model | task | mode | filter | responses | both right | ours only | theirs only "
        "| neither |",
        "|---|---|---|---|--:|--:|--:|--:|--:|",
    ]
    for key, part in table.groupby(["model", "task", "mode", "filter"], sort=False):
        counts = part.groupby(["ours", "theirs"]).size()
        cells = [int(counts.get(key, 0)) for key in ((1, 1), (1, 0), (0, 1), (0, 0))]
        lines.append(f"| {' | '.join(map(str, (*key, len(part), *cells)))} |")
    return lines


def write_between(page: Path, name: str, lines: list[str]) -> None:
    """Replace what stands between the markers ``<!-- name -->`` and ``<!-- /name -->``."""
    head, _, rest = page.read_text(encoding="utf-8").partition(f"<!-- {name} -->")
    _, found, tail = rest.partition(f"<!-- /{name} -->")
    if not found:
        raise SystemExit(f"{page}: no markers for {name!r}")
    body = "\n".join(lines)
    text = f"{head}<!-- {name} -->\n{body}\n<!-- /{name} -->{tail}"
    page.write_text(text, encoding="utf-8")


def main() -> None:
    """Compare, and write page and disagreements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--page", type=Path, default=Path("docs/evaluation.md"))
    options = parser.parse_args()
    use_folder(options.data)
    table = compare(options.folders)
    write_between(options.page, "results", results(options.folders))
    write_between(options.page, "agreement", agreement(table))
    differing = table[table["ours"] != table["theirs"]]
    columns = [*KEY, "filter", "found", "verdict", "theirs"]
    target = options.page.with_suffix(".disagreements.csv")
    differing[columns].to_csv(target, index=False)
    print(f"{len(differing)} disagreements: {target}")


if __name__ == "__main__":
    main()
