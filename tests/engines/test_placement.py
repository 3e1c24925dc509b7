"""Which GPUs the servers take."""

from __future__ import annotations

import pytest

from harness.config import EngineConfig
from harness.engines.placement import server_gpus, visible_gpus
from harness.errors import HarnessError

NODE = [str(i) for i in range(8)]


def test_servers_stand_behind_the_trainer() -> None:
    assert server_gpus(EngineConfig(servers=4), 4, NODE) == ["4", "5", "6", "7"]
    pairs = EngineConfig(servers=2, tensor_parallel_size=2)
    assert server_gpus(pairs, 1, ["a", "c", "b", "f", "e"]) == ["c,b", "f,e"]


def test_asleep_they_share_the_trainers() -> None:
    assert server_gpus(EngineConfig(sleep=True), 1, ["3"]) == ["3"]


def test_no_gpu_is_no_error() -> None:
    assert server_gpus(EngineConfig(servers=2), 4, []) == [None, None]


def test_too_few_are_told_before_anything_starts() -> None:
    with pytest.raises(HarnessError, match=r"need 2 GPUs, 1 are visible.*engine\.sleep=true"):
        server_gpus(EngineConfig(), 1, ["0"])
    with pytest.raises(HarnessError, match=r"need 9 GPUs, 8 are visible"):
        server_gpus(EngineConfig(sleep=True, servers=9), 1, NODE)


def test_what_the_system_lets_us_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-7f")
    assert visible_gpus() == ["2", "GPU-7f"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_gpus() == ["0", "1"]
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert visible_gpus() == []
