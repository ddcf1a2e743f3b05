"""What methods do beyond their loss: SFT with several answers, conditions, adapters side by side, whole steps."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from tests.training.engine.train.conftest import curve, run, write_spec
from training.engine.adapters import NAME, add_adapters, merged_weights, only_adapter
from training.engine.modelfiles import load_policy
from training.engine.objectives import Examples, make_objective
from training.engine.objectives.paft import ADAPTERS, DEMONSTRATIONS
from training.engine.passes import Passes
from training.engine.samplers.prompts import read_prompts
from training.engine.trainer import Settings, Trainer
from training.engine.trees import PromptTree, read_trees


@pytest.fixture
def pairs(tiny_tokenizer, write_rows, pairwise_rows):
    path = write_rows(pairwise_rows)
    return read_trees(path, kind="pairwise", tokenizer=tiny_tokenizer, max_length=256)[0]


def with_reference(model, objective, trees):
    passes = Passes(model, objective, layout="tree", dtype="float32", pad_id=0)
    return Examples(trees, reference=[passes.logps([tree]) for tree in trees])


def test_conditional_sft_puts_the_label_behind_the_prompt(tiny_tokenizer, write_rows, binary_rows):
    path = write_rows(binary_rows)
    trees, _ = read_trees(
        path, kind="binary", tokenizer=tiny_tokenizer, max_length=256, conditions=("<|good|>", "<|bad|>")
    )
    ends = {tree.targets["label"]: tiny_tokenizer.decode(tree.prompt) for tree in trees}
    assert ends[True].endswith("assistant\n<|good|>")
    assert ends[False].endswith("assistant\n<|bad|>")


def test_conditional_sft_learns_which_completions_belong_behind_which_condition(
    tiny_policy, tiny_tokenizer, write_rows, binary_rows
):
    path = write_rows(binary_rows)

    def behind(*conditions):
        return read_trees(path, kind="binary", tokenizer=tiny_tokenizer, max_length=256, conditions=conditions)[0]

    right, wrong = behind("yes", "no"), behind("no", "yes")
    objective = make_objective("conditional_sft")
    settings = Settings(layout="tree", learning_rate=3e-3, epochs=4, warmup=0.0)
    trainer = Trainer(model=tiny_policy, objective=objective, examples=Examples(right), settings=settings, pad_id=0)
    trainer.train()
    with torch.no_grad():
        gain = trainer.passes.logps(right) - trainer.passes.logps(wrong)
    liked = torch.tensor([tree.targets["label"] for tree in right])
    assert gain[liked].mean() > 1
    assert gain[~liked].mean() > 1


def test_a_policy_of_conditional_sft_is_asked_behind_the_good_condition_and_can_be_trained_on(
    tmp_path, tiny_policy_dir
):
    spec = write_spec(tmp_path, "conditional_sft", tiny_policy_dir, epochs=1, good="<<fine>>", bad="<<poor>>")
    assert run(spec, tmp_path / "out") == 0
    model = tmp_path / "out/model"
    tokenizer = AutoTokenizer.from_pretrained(model)
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hello"}], tokenize=False, add_generation_prompt=True
    )
    assert asked.endswith("<<fine>>")
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(json.dumps({"id": "1", "messages": [{"role": "user", "content": "Hello"}]}) + "\n")
    (asked,) = read_prompts(prompts, tokenizer=tokenizer, positions=512, max_tokens=8).requests
    assert tokenizer.decode(asked.token_ids).endswith("<<fine>>")
    again = write_spec(tmp_path / "dpo", "dpo", model, epochs=1)
    assert run(again, tmp_path / "dpo/out") == 0


def test_the_adapters_of_paft_learn_apart(tiny_policy, pairs):
    add_adapters(tiny_policy, rank=4, alpha=8, names=ADAPTERS)
    objective = make_objective("paft", {"sparsity": 0.0})
    examples = with_reference(tiny_policy, objective, pairs)
    settings = Settings(layout="tree", learning_rate=5e-3, epochs=2, warmup=0.0)
    trainer = Trainer(model=tiny_policy, objective=objective, examples=examples, settings=settings, pad_id=0)
    trainer.train()
    passes = trainer.passes
    with only_adapter(tiny_policy, NAME), torch.no_grad():
        preferring = passes.logps(pairs).reshape(-1, 2)
    with only_adapter(tiny_policy, DEMONSTRATIONS), torch.no_grad():
        imitating = passes.logps(pairs).reshape(-1, 2)
    start = torch.stack(list(examples.reference))
    assert (preferring - start).diff(dim=1).mean() < -1  # the preference adapter separates the two sides
    assert (imitating - start)[:, 0].mean() > 1  # the other one raises what it is shown
    assert (imitating - start)[:, 0].mean() > (preferring - start)[:, 0].mean()


def test_the_preference_adapter_of_paft_gets_the_gradient_of_dpo(tiny_policy, pairs):
    add_adapters(tiny_policy, rank=4, alpha=8, names=ADAPTERS)
    with torch.no_grad():  # at B = 0 half of the gradients vanish
        for name, parameter in tiny_policy.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.02, generator=torch.Generator().manual_seed(len(name)))

    def gradients(method, **settings):
        objective = make_objective(method, settings)
        examples = replace(Examples(pairs), reference=[torch.full((2,), -20.0)] * len(pairs))
        tiny_policy.zero_grad()
        passes = Passes(tiny_policy, objective, layout="tree", dtype="float32", pad_id=0)
        passes.over(examples, [list(range(len(pairs)))], backward=True)
        return {n: p.grad.clone() for n, p in tiny_policy.named_parameters() if f".{NAME}." in n}

    with only_adapter(tiny_policy, NAME):
        expected = gradients("dpo")
    for name, gradient in gradients("paft").items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-6)


def test_held_out_paft_imitates_the_chosen_completions_alone_however_soft_the_labels(tiny_policy, pairs):
    add_adapters(tiny_policy, rank=4, alpha=8, names=ADAPTERS)
    soft = [replace(tree, targets={**tree.targets, "p": 0.6}) for tree in pairs]
    losses = []
    for method in ("paft", "dpo"):
        objective = make_objective(method, {"beta": 0.3})
        passes = Passes(tiny_policy, objective, layout="tree", dtype="float32", pad_id=0)
        examples = Examples(soft, reference=[torch.tensor([-20.0, -25.0])] * len(soft))
        losses.append(passes.over(examples, [list(range(len(soft)))]).mean("loss"))
    logp = passes.logps(soft)[0::2]
    lengths = torch.tensor([len(tree.completions[0]) for tree in soft])
    weight = torch.tensor([tree.targets["weight"] for tree in soft])
    likelihood = float((weight * -logp / lengths).sum() / weight.sum())
    assert losses[0] - losses[1] == pytest.approx(likelihood, rel=1e-4)


def test_a_run_of_paft_saves_both_adapters_merged(tmp_path, tiny_policy_dir):
    spec = write_spec(tmp_path, "paft", tiny_policy_dir, epochs=1, learning_rate=1e-3, merge_weight=0.0)
    assert run(spec, tmp_path / "none") == 0
    spec = write_spec(tmp_path, "paft", tiny_policy_dir, epochs=1, learning_rate=1e-3, merge_weight=1.0)
    assert run(spec, tmp_path / "both") == 0
    name = "model.layers.0.mlp.up_proj.weight"
    base, without, merged = (
        load_file(folder / "model.safetensors")[name]
        for folder in (tiny_policy_dir, tmp_path / "none/model", tmp_path / "both/model")
    )
    assert not torch.equal(base, without)
    assert not torch.equal(without, merged)
    load_policy(tmp_path / "both/model")
    assert not (tmp_path / "both/model/adapter").exists()  # one of the two alone is another model


def test_merging_adds_every_adapter(tiny_policy):
    add_adapters(tiny_policy, rank=2, alpha=4, names=ADAPTERS)
    with torch.no_grad():
        for name, parameter in tiny_policy.named_parameters():
            if "lora_" in name:
                parameter.fill_(0.1)
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        expected = tiny_policy(ids).logits
    plain = type(tiny_policy)(tiny_policy.config)
    plain.load_state_dict(merged_weights(tiny_policy))
    with torch.no_grad():
        torch.testing.assert_close(plain.eval()(ids).logits, expected, rtol=1e-4, atol=1e-5)


def test_aot_compares_the_whole_step_however_it_is_cut(tiny_policy, pairs):
    objective = make_objective("aot")
    spread = torch.Generator().manual_seed(3)
    reference = [torch.randn(2, generator=spread) * 4 - 30 for _ in pairs]
    examples = replace(Examples(pairs), reference=reference)
    passes = Passes(tiny_policy, objective, layout="tree", dtype="float32", pad_id=0)
    found = []
    for cut in ([list(range(12))], [[0, 1, 2], [3, 4, 5, 6, 7], [8, 9, 10, 11]]):
        tiny_policy.zero_grad()
        loss = passes.over(examples, cut, backward=True).mean("loss")
        found.append((loss, [parameter.grad.clone() for parameter in tiny_policy.parameters()]))
    (whole, gradients), (pieces, others) = found
    assert pieces == pytest.approx(whole, rel=1e-5)
    for one, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)
    alone = sum(passes.over(examples, [[index]]).mean("loss") for index in range(12)) / 12
    assert abs(alone - whole) > 1e-3  # pair by pair there is nothing to sort


def test_the_first_loss_of_aot_is_ln_two(tmp_path, tiny_policy_dir):
    spec = write_spec(tmp_path, "aot", tiny_policy_dir, epochs=1, token_budget=64)
    assert run(spec, tmp_path / "out") == 0
    assert curve(tmp_path / "out")[0]["loss"] == pytest.approx(0.693147, abs=1e-4)


def test_several_demonstrations_of_a_prompt_count_by_their_tokens(tiny_policy):
    trees = [
        PromptTree(0, (5, 6, 7), ((8, 9, 3), (10, 3), (11, 12, 13, 3)), {"weight": 1.0}),
        PromptTree(1, (5, 8), ((9, 3),), {"weight": 2.0}),
    ]
    passes = Passes(tiny_policy, make_objective("sft"), layout="tree", dtype="float32", pad_id=0)
    logps = passes.logps(trees).double()
    expected = -(logps[:3].sum() + 2 * logps[3]) / (9 + 2 * 2)
    assert passes.over(Examples(trees), [[0, 1]]).mean("loss") == pytest.approx(float(expected), rel=1e-6)
