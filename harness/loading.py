"""Where a model's files are, and reading its tokenizer."""

from __future__ import annotations

import copy
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from huggingface_hub import is_offline_mode, try_to_load_from_cache
from huggingface_hub.constants import HF_HUB_CACHE
from transformers import AutoTokenizer

from harness.errors import HarnessError


def load_tokenizer(path: str | Path, **kwargs: Any) -> Any:
    """The tokenizer of a folder, hub id or GGUF file.

    Raises:
        HarnessError: missing or unreadable.
    """
    source, gguf = source_of(path)
    hint = "the folder needs tokenizer.json and tokenizer_config.json"
    if gguf:
        hint = "the file is incomplete, or of a model that transformers can't read"
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False, **gguf, **kwargs)
    except Exception as error:
        if absent := absent_from_cache(path, kwargs.get("revision")):
            raise HarnessError(absent) from error
        raise HarnessError(
            f"model {path}: no usable tokenizer ({first_line(error)}); {hint}"
        ) from error
    # Without its files, transformers may make up an empty tokenizer from the model's type.
    if not tokenizer("a", add_special_tokens=False)["input_ids"]:
        raise HarnessError(f"model {path}: no usable tokenizer (it knows no text); {hint}")
    return tokenizer


def absent_from_cache(path: str | Path, revision: str | None = None) -> str:
    """What to say of a hub id that couldn't be loaded: the files that the cache lacks; else "".

    A model in parts is known by its index, which names them.
    """
    repository = str(path)
    if Path(path).exists() or repository.count("/") != 1 or repository.startswith((".", "/", "~")):
        return ""

    def cached(name: str) -> Path | None:
        found = try_to_load_from_cache(repository, name, revision=revision)
        return Path(found) if isinstance(found, str) else None

    wanted = ["config.json", "tokenizer_config.json", "tokenizer.json"]
    index = cached("model.safetensors.index.json")
    if index is None:
        wanted.append("model.safetensors")
    else:
        wanted += sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    absent = [name for name in wanted if cached(name) is None]
    if not absent:
        return ""
    at = f" at {revision}" if revision else ""
    why = "HF_HUB_OFFLINE is set" if is_offline_mode() else "the hub didn't give it"
    return (
        f"model {repository}{at}: {', '.join(absent)} {'is' if len(absent) == 1 else 'are'} not in "
        f"the cache ({HF_HUB_CACHE}), and {why}; `hf download {repository}` where there is a "
        "network, or give a folder"
    )


def source_of(path: str | Path) -> tuple[str, dict[str, Any]]:
    """What transformers loads: a folder or hub id, and the GGUF file's name if it is one.

    Raises:
        HarnessError: no such GGUF file, or the packages that read one are absent.
    """
    if Path(path).suffix != ".gguf":
        return str(path), {}
    if not Path(path).is_file():
        raise HarnessError(f"model {path}: no such file")
    if absent := [name for name in ("gguf", "accelerate") if find_spec(name) is None]:
        raise HarnessError(
            f"model {path}: reading GGUF needs {' and '.join(absent)}; "
            "pip install 'coevolution-harness[gguf]'"
        )
    return str(Path(path).parent), {"gguf_file": Path(path).name}


def plain(model: Any) -> Any:
    """A de-quantised GGUF model as an ordinary one: marked as quantised it can't be saved."""
    config = copy.deepcopy(model.config)
    del config.quantization_config
    plain = type(model)(config).to(model.dtype)
    plain.load_state_dict(model.state_dict())
    plain.tie_weights()
    plain.generation_config = model.generation_config
    return plain


def first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
