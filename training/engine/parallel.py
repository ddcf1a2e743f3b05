"""Several processes that train one model: data parallel (DDP), or with the weights sharded too (FSDP2).

Every process makes the same plan, computes its share of the micro-batches, and divides by the counts of the whole step,
so the numbers are those of one process. accelerate finds out who the processes are, whoever started them: torchrun,
`accelerate launch`, or the setting `processes`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from training.engine.errors import EngineError

MicroBatches = Sequence[Sequence[int]]
# On one processor too: what two processes do is what any number does.
ALWAYS_ALLOWED = 2


def check_processes(count: int, device: torch.device) -> None:
    """EngineError where a run asks for more processes than there are GPUs or processors for them; a launcher sees to
    that itself."""
    if "WORLD_SIZE" in os.environ:
        return
    gpu = device.type == "cuda"
    most = torch.cuda.device_count() if gpu else max(os.cpu_count() or 1, ALWAYS_ALLOWED)
    if count > most:
        raise EngineError(
            f"There are {'GPUs' if gpu else 'processors'} for {most} processes here, and this run asks for {count:,}. "
            f"Set processes to at most {most}.",
            field="config.processes",
        )


class Unit(nn.Module):
    """A model whose forward pass is whatever is to be done with it, so that the hooks of DDP and FSDP2 run."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, work: Callable[[nn.Module], Any]) -> Any:
        return work(self.model)


@dataclass(frozen=True)
class World:
    """The processes of a run; this one is number `rank` of `size`."""

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls, device: torch.device) -> World:
        """The world that the environment names (RANK, WORLD_SIZE, …), or a process of its own."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        from accelerate import PartialState

        with warnings.catch_warnings():
            # Of threads that are set below.
            warnings.filterwarnings("ignore", message="OMP_NUM_THREADS")
            state = PartialState(cpu=device.type == "cpu")
        if device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // state.num_processes))
        return cls(state.process_index, state.num_processes)

    @property
    def main(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def wrap(self, model: nn.Module, *, shard: bool = False, bfloat16: bool = False) -> nn.Module:
        """The model as the unit that passes go through."""
        unit = Unit(model)
        if shard:
            return self._sharded(unit, bfloat16)
        if self.size == 1:
            return unit
        # Encoders have parts that no reward depends on; buffers never change.
        return DistributedDataParallel(unit, forward_sync_buffers=False, find_unused_parameters=True)

    def syncing(self, unit: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
        """Within, DDP adds gradients up over the processes after a step's last micro-batch only."""
        return unit.no_sync() if isinstance(unit, DistributedDataParallel) and not last else nullcontext()

    def share(self, micro_batches: MicroBatches) -> list[tuple[list[int], bool]]:
        """This process's micro-batches, and whether each counts: all processes do as many passes, for they meet in
        each of them, so what cannot be cut any further is done twice and counted once."""
        groups = [list(group) for group in micro_batches]
        while len(groups) % self.size and max(map(len, groups)) > 1:
            longest = max(range(len(groups)), key=lambda index: len(groups[index]))
            group = groups[longest]
            groups[longest : longest + 1] = [group[: len(group) // 2], group[len(group) // 2 :]]
        spare = -len(groups) % self.size
        dealt = [(group, True) for group in groups] + [(group, False) for group in groups[-1:]] * spare
        return dealt[self.rank :: self.size]

    def gathered(self, value: Any) -> list[Any]:
        """What every process says, in the order of ranks."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(found, value)
        return found

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag, whether it is set in any process."""
        if self.size == 1:
            return flags
        told = torch.tensor([float(flag) for flag in flags])
        told = told.cuda() if torch.distributed.get_backend() == "nccl" else told
        torch.distributed.all_reduce(told, torch.distributed.ReduceOp.MAX)
        return tuple(bool(flag) for flag in told.tolist())

    def _sharded(self, unit: Unit, bfloat16: bool) -> nn.Module:
        """FSDP2, one unit per layer; in bfloat16 it keeps float32 shards and adds gradients up in float32."""
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
        from transformers.modeling_layers import GradientCheckpointingLayer

        device = next(unit.parameters()).device
        mesh = init_device_mesh(device.type, (self.size,))
        rounded = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if bfloat16 else MixedPrecisionPolicy()
        for layer in [one for one in unit.modules() if isinstance(one, GradientCheckpointingLayer)]:
            fully_shard(layer, mesh=mesh, mp_policy=rounded)
        head = getattr(unit.model, "head", None)
        if isinstance(head, nn.Module):  # a reward model's, which computes in float32
            fully_shard(head, mesh=mesh)
        fully_shard(unit, mesh=mesh, mp_policy=rounded)
        return unit


def whole(tensor: Tensor) -> Tensor:
    """The tensor, put together from the shards of all processes where it is one of FSDP2's; all must ask at once."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def placed_like(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, cut up as `like` is."""
    if not isinstance(like, DTensor) or tensor.shape != like.shape:
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)


def unshard(unit: nn.Module) -> None:
    """Puts whole weights in the place of shards, for saving; afterwards the model can no longer be trained."""
    from torch.distributed.fsdp import FSDPModule

    found: dict[Tensor, nn.Parameter] = {}
    for module in unit.modules():
        if isinstance(module, FSDPModule):
            module.reshard()  # else its state dict would bring the shards back
    for module in unit.modules():
        for name, parameter in module._parameters.items():
            if isinstance(parameter, DTensor):
                if parameter not in found:
                    found[parameter] = nn.Parameter(parameter.full_tensor(), requires_grad=parameter.requires_grad)
                module._parameters[name] = found[parameter]


def leave() -> None:
    """Ends this process's part in a world, where it has one."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        from accelerate import PartialState

        torch.distributed.destroy_process_group()
        PartialState._reset_state()
