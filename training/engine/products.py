"""float32 matrix products of a CPU, by oneDNN where that is faster than what PyTorch takes.

PyTorch hands float32 products to MKL, which makes nothing of AVX-512 on processors that are not Intel's, and
convolutions to oneDNN, which does. A product is a convolution with a kernel of one pixel over an image whose pixels
are the rows. Both sum in float32; their last digits differ.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

# oneDNN compiles for every shape, and brings the weight into an order of its own each time. Fewer multiplications or
# fewer rows than these are not worth it, nor is a weight beyond the caches unless there are many rows.
FEWEST_MULTIPLICATIONS = 1 << 23
FEWEST_ROWS, FEWEST_ROWS_OF_LARGE, LARGE = 96, 512, 5 << 20
# Sums over the rows pay from more rows on, and never for large results.
FEWEST_ROWS_SUMMED = 320
# PyTorch convolves by itself where an image has no more numbers than this, and with one thread wherever a kernel of one
# pixel is not dilated, which means nothing for one pixel.
SMALL_IMAGE = 20_480
_DILATION = (2, 2)
# Of a convolution's backward pass: stride, padding, dilation, whether it is transposed, padding of the result, groups.
_CONVOLUTION = ((1, 1), (0, 0), _DILATION, False, (0, 0), 1)


class Linear(nn.Linear):
    """A linear layer with the products of this module."""

    def forward(self, input: Tensor) -> Tensor:
        rows = input.reshape(-1, self.in_features)
        if not _pays(rows, *self.weight.shape):
            return super().forward(input)
        found = _rows(_Product.apply(rows, self.weight)).unflatten(0, input.shape[:-1])
        return found if self.bias is None else found + self.bias


def use_products(model: nn.Module) -> None:
    """Makes every linear layer of a model a `Linear`, for good."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = Linear


class _Product(torch.autograd.Function):
    """left [T, K] · right [N, K]ᵀ, as the image [1, N, T, 1]: what comes from here may be a view of nothing, or models
    could not write to it."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor) -> Tensor:
        ctx.save_for_backward(left, right)
        return _convolved(left, right)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None]:
        left, right = ctx.saved_tensors
        to_left, to_right = ctx.needs_input_grad
        slope = _rows(slope)
        return (
            rows_by_columns(slope, right) if to_left else None,
            columns_by_columns(slope, left) if to_right else None,
        )


def rows_by_rows(left: Tensor, right: Tensor) -> Tensor:
    """left [T, K] · right [N, K]ᵀ → [T, N]."""
    if not _pays(left, *right.shape):
        return torch.mm(left, right.t())
    return _rows(_convolved(left, right))


def rows_by_columns(left: Tensor, right: Tensor) -> Tensor:
    """left [T, N] · right [N, K] → [T, K]: what a product's slope is to its rows."""
    if not _pays(left, *right.shape):
        return torch.mm(left, right)
    shape = _image(left.new_empty(len(left), right.shape[1]))
    found, _, _ = torch.ops.aten.convolution_backward(
        _image(left), shape, _kernel(right), None, *_CONVOLUTION, (True, False, False)
    )
    return _rows(found)


def columns_by_columns(left: Tensor, right: Tensor) -> Tensor:
    """left [T, N]ᵀ · right [T, K] → [N, K]: what a product's slope is to its weight."""
    size = left.shape[1], right.shape[1]
    if not _pays(left, *size, summed=True):
        return torch.mm(left.t(), right)
    shape = _kernel(left.new_empty(size))
    _, found, _ = torch.ops.aten.convolution_backward(
        _image(left), _image(right), shape, None, *_CONVOLUTION, (False, True, False)
    )
    return found.reshape(size)


def _convolved(left: Tensor, right: Tensor) -> Tensor:
    return functional.conv2d(_image(left), _kernel(right), dilation=_DILATION)


def _image(rows: Tensor) -> Tensor:
    """[T, C] as an image [1, C, T, 1] with the channels of a pixel side by side, without a copy."""
    return rows.contiguous().view(1, len(rows), 1, -1).permute(0, 3, 1, 2)


def _rows(image: Tensor) -> Tensor:
    return image.permute(0, 2, 3, 1).reshape(-1, image.shape[1])


def _kernel(weight: Tensor) -> Tensor:
    return weight[:, :, None, None]


def _pays(left: Tensor, height: int, width: int, *, summed: bool = False) -> bool:
    """Whether oneDNN is faster at a product of ``left`` with height · width multiplications a row."""
    rows, large = len(left), height * width > LARGE
    if left.dtype != torch.float32 or left.device.type != "cpu" or rows * height * width < FEWEST_MULTIPLICATIONS:
        return False
    if rows * width <= SMALL_IMAGE:
        return False
    if summed:
        return rows >= FEWEST_ROWS_SUMMED and not large and bits_at_once() == 512
    return rows >= (FEWEST_ROWS_OF_LARGE if large else FEWEST_ROWS) and bits_at_once() > 0


@cache
def bits_at_once() -> int:
    """How wide the vectors are on which a processor computes where oneDNN is faster than MKL; 0 where it is not."""
    capability = torch.backends.cpu.get_cpu_capability()
    libraries = torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()
    if not libraries or capability not in ("AVX2", "AVX512"):
        return 0
    processor = torch.cpu.get_capabilities()
    if "Intel" in processor["cpu_name"]:
        return 0
    # AMD's took AVX-512 in two halves before Zen 5, which is also the first of theirs with this instruction.
    return 512 if capability == "AVX512" and processor["avx512_vp2intersect"] else 256
