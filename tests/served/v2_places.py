"""Run by vLLM's interpreter: the processor for Model Runner V2 against the one for the first.

That runner needs a GPU, its interface does not: rows in another order at every step, a place used
again, a request of somebody else's between ours, a prompt that is read in parts.
"""

import json
import sys
from types import SimpleNamespace

import numpy as np
import torch
from vllm import SamplingParams as Params
from vllm.v1.sample.logits_processor import BatchUpdate
from vllm.v1.worker.gpu.sample.logits_processor.interface import LogitsContext

from harness.engines import SamplingParams
from harness.engines import vllm_worker as worker
from harness.engines.rows import ARGUMENT, Announced, Row, mask_of

V, PLACES, LONGEST = 50, 4, 16
stated = json.loads(sys.argv[1])


def banned(logits, prefix, keys):
    """A rule that sees prefixes: no token twice."""
    return logits.scatter(1, prefix, -torch.inf)


def request(key, mask_row):
    row = Row(key, mask_row, SamplingParams(8))
    return Params(extra_args={ARGUMENT: row.as_argument()}, temperature=0.0)


def states():
    return SimpleNamespace(
        prompt_len=SimpleNamespace(np=np.zeros(PLACES, dtype=np.int32)),
        all_token_ids=SimpleNamespace(gpu=torch.zeros(PLACES, LONGEST, dtype=torch.int32)),
    )


def context(places, seen):
    mapping = torch.as_tensor(places)
    return LogitsContext(
        expanded_idx_mapping=mapping,
        idx_mapping=mapping,
        idx_mapping_np=np.asarray(places),
        expanded_local_pos=torch.zeros(len(places), dtype=torch.long),
        input_ids=torch.zeros(len(places), dtype=torch.long),
        pos=torch.as_tensor(seen) - 1,
        seq_lens_upper_bound_np=np.asarray(seen),
    )


def expected(logits, params, written):
    """The first runner's processor on one row."""
    one = worker.V1Sampling(None, logits.device, False)
    one.update_state(BatchUpdate(1, removed=[], added=[(0, params, None, written)], moved=[]))
    return one.apply(logits[None])[0]


worker._ANNOUNCED[0] = Announced(mask_of(stated), banned)
have = states()
two = worker.V2Sampling(None, have)
draw = torch.Generator().manual_seed(0)
foreign = Params(temperature=0.0)
keys = {0: 11, 2: 2**63 + 5, 3: 7}
for place, key in keys.items():
    assert two.add_request(place, request(key, place))
assert not two.add_request(1, foreign)
have.prompt_len.np[:] = [3, 2, 5, 1]
written = {place: [] for place in range(PLACES)}
checked = 0
for step in range(6):
    if step == 3:  # place 2 is given to another
        keys[2], written[2] = 99, []
        assert two.add_request(2, request(99, 1))
    order = [int(i) for i in torch.randperm(PLACES, generator=draw)]
    seen = [int(have.prompt_len.np[p]) + len(written[p]) for p in order]
    logits = torch.randn(PLACES, V, generator=draw)
    for p in order:
        start = int(have.prompt_len.np[p])
        row = torch.as_tensor(written[p], dtype=torch.int32)
        have.all_token_ids.gpu[p, start : start + len(row)] = row
    drawn = two.apply(logits.clone(), context(order, seen))
    for i, p in enumerate(order):
        if p == 1:
            assert torch.equal(drawn[i], logits[i]), "somebody else's request was touched"
            token = int(logits[i].argmax())
        else:
            mask_row = 1 if keys[p] == 99 else p
            wanted = expected(logits[i], request(keys[p], mask_row), list(written[p]))
            assert torch.equal(drawn[i], wanted), (step, p)
            token = int(drawn[i].argmax())
            assert token not in written[p]
            checked += 1
        written[p].append(token)
# A prompt of which only a part has been read: position 0, never a negative one.
part = two.apply(torch.randn(1, V, generator=draw), context([2], [2]))
assert int(torch.isfinite(part).sum()) == 1
# Its place is given to somebody else: what was ours is forgotten.
assert not two.add_request(2, foreign)
logits = torch.randn(1, V, generator=draw)
assert torch.equal(two.apply(logits.clone(), context([2], [6])), logits)
print(f"checked {checked}")
