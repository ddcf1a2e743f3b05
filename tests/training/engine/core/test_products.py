"""float32 products by oneDNN: the same numbers and gradients, wherever the layer stands, and only where they pay."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from tests.training.engine.core.helpers import gradients, random_trees
from training.engine import products
from training.engine.acceleration import recompute_layers
from training.engine.batch import make_batch
from training.engine.modelfiles import load_policy, load_reward
from training.engine.products import Linear, columns_by_columns, rows_by_columns, rows_by_rows, use_products
from training.engine.projection import Projection
from training.engine.scorer import score

ENOUGH = 352  # rows


@pytest.fixture(params=[256, 512])
def bits(request, monkeypatch):
    """A processor on which oneDNN is faster."""
    monkeypatch.setattr(products, "bits_at_once", lambda: request.param)
    return request.param


@pytest.fixture
def however_small(monkeypatch):
    """Products by oneDNN that are too small to pay, as long as PyTorch asks it for them."""
    for name in ("FEWEST_MULTIPLICATIONS", "FEWEST_ROWS", "FEWEST_ROWS_SUMMED"):
        monkeypatch.setattr(products, name, 1)
    monkeypatch.setattr(products, "bits_at_once", lambda: 512)


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def operations(work):
    """The names of what torch did."""
    with profile(activities=[ProfilerActivity.CPU]) as found:
        work()
    return {event.key for event in found.key_averages()}


def convolutions(work):
    return {name for name in operations(work) if "conv" in name}


def by_onednn(work):
    """Whether torch convolves, and never by a product of its own."""
    done = convolutions(work)
    return bool(done) and not any("slow" in name for name in done)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("rows", [ENOUGH, ENOUGH + 1])
@pytest.mark.parametrize("strided", [False, True])
def test_the_products_are_what_they_are_in_float64(bits, threads, rows, strided):
    left, right = random(rows, 160), random(rows, 192, seed=1)
    if strided:
        left, right = random(160, rows).t(), random(192, rows, seed=1).t()
    weight = random(192, 160, seed=2)
    for found, expected in (
        (rows_by_rows(left, weight), left.double() @ weight.double().t()),
        (rows_by_columns(right, weight), right.double() @ weight.double()),
        (columns_by_columns(right, left), right.double().t() @ left.double()),
    ):
        assert found.shape == expected.shape
        assert found.is_contiguous()
        assert torch.allclose(found.double(), expected, rtol=1e-5, atol=1e-3)


def test_one_thread_asks_onednn_too(bits, threads):
    left, weight, slope = random(ENOUGH, 160), random(192, 160), random(ENOUGH, 192)
    assert by_onednn(lambda: rows_by_rows(left, weight))
    assert by_onednn(lambda: rows_by_columns(slope, weight))
    # Half as wide, oneDNN takes longer than MKL for sums over rows.
    assert by_onednn(lambda: columns_by_columns(slope, left)) == (bits == 512)


def test_nothing_is_copied_for_it(bits):
    left, weight, slope = random(ENOUGH, 160), random(192, 160), random(ENOUGH, 192)
    for work in (lambda: rows_by_rows(left, weight), lambda: rows_by_columns(slope, weight)):
        assert "aten::copy_" not in operations(work)


@pytest.mark.parametrize(
    ("rows", "height", "width"),
    [(64, 512, 512), (128, 128, 128), (256, 4096, 4096)],
    ids=["few rows", "a small product", "a large weight for few rows"],
)
def test_what_does_not_pay_is_multiplied_as_ever(bits, rows, height, width):
    left, weight = torch.ones(rows, width), torch.ones(height, width)
    for work in (
        lambda: rows_by_rows(left, weight),
        lambda: rows_by_columns(torch.ones(rows, height), weight),
        lambda: columns_by_columns(torch.ones(rows, height), left),
    ):
        assert not convolutions(work)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_types_are_multiplied_as_ever(bits, dtype):
    layer = nn.Linear(160, 192, dtype=dtype)
    use_products(layer)
    states = random(ENOUGH, 160).to(dtype)
    assert not convolutions(lambda: layer(states))


@pytest.mark.parametrize(
    ("processor", "capability", "whole", "expected"),
    [
        ("AMD EPYC", "AVX512", True, 512),
        ("AMD EPYC", "AVX512", False, 256),
        ("AMD EPYC", "AVX2", True, 256),
        ("AMD EPYC", "DEFAULT", True, 0),
        ("Intel Xeon Platinum 8481C", "AVX512", False, 0),
    ],
)
def test_intels_own_processors_keep_to_intels_library(monkeypatch, processor, capability, whole, expected):
    known = {"cpu_name": processor, "avx512_vp2intersect": whole}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    assert products.bits_at_once.__wrapped__() == expected


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("frozen", ["nothing", "weight", "states"])
def test_a_linear_layer_has_the_same_gradients(bits, threads, bias, frozen):
    ours = nn.Linear(160, 192, bias=bias)
    torchs = copy.deepcopy(ours)
    use_products(ours)
    assert type(ours) is Linear
    found = []
    for layer in (ours, torchs):
        layer.weight.requires_grad_(frozen != "weight")
        states = random(2, ENOUGH // 2, 160).requires_grad_(frozen != "states")
        output = layer(states)
        output.square().sum().backward()
        found.append([output, states.grad, *(one.grad for one in layer.parameters())])
    for mine, expected in zip(*found, strict=True):
        assert (mine is None) == (expected is None)
        assert mine is None or torch.allclose(mine, expected, rtol=1e-5, atol=1e-3)


def test_what_a_layer_gives_may_be_written_to(bits):
    """Gemma 3n does."""
    ours = nn.Linear(160, 192, bias=False)
    torchs = copy.deepcopy(ours)
    use_products(ours)
    found = []
    for layer in (ours, torchs):
        output = layer(random(2, ENOUGH // 2, 160))
        output[0] *= 3
        output.square().sum().backward()
        found.append(layer.weight.grad)
    assert torch.allclose(*found, rtol=1e-5, atol=1e-3)


def test_a_copy_of_a_layer_has_weights_of_its_own(bits):
    layer = nn.Linear(160, 192)
    use_products(layer)
    other = copy.deepcopy(layer)
    with torch.no_grad():
        other.weight.zero_()
        other.bias.zero_()
    states = random(ENOUGH, 160)
    assert by_onednn(lambda: other(states))
    assert not other(states).any()
    assert layer(states).any()


@pytest.mark.parametrize("recomputed", [False, True], ids=["kept layers", "recomputed layers"])
def test_a_policy_scores_and_learns_the_same(tiny_policy_dir, however_small, monkeypatch, recomputed):
    batch = make_batch(random_trees(5, 2), layout="tree", pad_id=0)

    def run():
        policy, _ = load_policy(tiny_policy_dir)
        if recomputed:
            recompute_layers(policy)
        logp = score(policy, batch).logp
        logp.sum().backward()
        return logp.detach(), gradients(policy)

    assert by_onednn(run)
    logp, found = run()
    monkeypatch.setattr(products, "bits_at_once", lambda: 0)
    assert not convolutions(run)
    expected_logp, expected = run()
    assert torch.allclose(logp, expected_logp, rtol=1e-5, atol=1e-4)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        assert torch.allclose(gradient, expected[name], rtol=1e-3, atol=1e-4), name


def test_a_reward_model_has_these_layers_too(tiny_policy_dir):
    model, _ = load_reward(tiny_policy_dir)
    kinds = {type(one) for one in model.backbone.modules() if isinstance(one, nn.Linear)}
    assert kinds == {Linear}


def test_the_vocabulary_projection_has_the_same_gradients(tiny_policy, however_small, monkeypatch):
    def run():
        states = random(400, tiny_policy.config.hidden_size).requires_grad_()
        tiny_policy.zero_grad()
        logp, _ = Projection(tiny_policy).logps(states, torch.arange(400))
        logp.sum().backward()
        return logp.detach(), states.grad, tiny_policy.get_output_embeddings().weight.grad

    assert by_onednn(run)
    found = run()
    monkeypatch.setattr(products, "bits_at_once", lambda: 0)
    assert not convolutions(run)
    for mine, expected in zip(found, run(), strict=True):
        assert torch.allclose(mine, expected, rtol=1e-4, atol=1e-5)
