"""The loop that one would write by hand for DPO: padded rows, logits at every position, nothing clever.

    python -m peers.plain JOBS.json        a job's `reference_in_loop` says when the reference is asked

It is the middle of the table of levers, between TRL and the engine.
"""

import copy
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from transformers import AutoModelForCausalLM, AutoTokenizer

from peers.cases import END, plain_row
from peers.meter import Memory


def batch_of(rows: list[dict[str, Any]], tokenizer: Any) -> tuple[Tensor, Tensor, Tensor]:
    """ids, attention and completion masks [2B, T]: the chosen ones, then the rejected ones."""
    sequences = []
    for side in ("chosen", "rejected"):
        for row in map(plain_row, rows):
            prompt = tokenizer(row["prompt"])["input_ids"]
            sequences.append((prompt, tokenizer(row[side] + END)["input_ids"]))
    width = max(len(prompt) + len(answer) for prompt, answer in sequences)
    ids, seen, scored = (torch.zeros(len(sequences), width, dtype=torch.long) for _ in range(3))
    for at, (prompt, answer) in enumerate(sequences):
        end = len(prompt) + len(answer)
        ids[at, :end] = torch.tensor(prompt + answer)
        seen[at, :end] = 1
        scored[at, len(prompt) : end] = 1
    return ids, seen, scored


def logps(model: Any, ids: Tensor, seen: Tensor, scored: Tensor) -> Tensor:
    """Summed log-probs of the completions, [2B]."""
    logits = model(input_ids=ids, attention_mask=seen, use_cache=False).logits[:, :-1].float()
    found = logits.log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0]
    return (found * scored[:, 1:]).sum(1)


def measure(job: dict[str, Any]) -> dict[str, Any]:
    plan = json.loads(Path(job["plan"]).read_text())["plan"]
    rows = [json.loads(line) for line in Path(job["rows"]).read_text().splitlines()]
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype="float32")
    batches = [batch_of([rows[index] for index in step], tokenizer) for step in plan]
    memory = Memory()
    reference_seconds, known = 0.0, []
    frozen = copy.deepcopy(model) if job["reference_in_loop"] else model
    started = time.perf_counter()
    if not job["reference_in_loop"]:
        with torch.no_grad():
            known = [logps(model, *batch) for batch in batches]
        reference_seconds = time.perf_counter() - started
    optimiser = torch.optim.AdamW(model.parameters(), lr=job["config"]["learning_rate"], weight_decay=0.0)
    losses = []
    for number, batch in enumerate(batches):
        with torch.no_grad():
            reference = logps(frozen, *batch) if job["reference_in_loop"] else known[number]
        chosen, rejected = (logps(model, *batch) - reference).chunk(2)
        loss = -logsigmoid(0.1 * (chosen - rejected)).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(float(loss))
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "reference_seconds": reference_seconds, "losses": losses, **memory.figures()}


def main() -> None:
    for job in json.loads(Path(sys.argv[1]).read_text()):
        torch.set_num_threads(job["threads"])
        Path(job["out"]).write_text(json.dumps(measure(job)))


if __name__ == "__main__":
    main()
