import warnings

import pytest
import torch

from pgcourse import nn
from pgcourse.rng import Rng

D = torch.float64


def networks(seeds=range(3), sizes=(4, 5, 2)):
    return nn.MLP(Rng(seeds, dtype=D), sizes)


def test_mlp_is_the_networks_one_by_one():
    mlp = networks()
    x = Rng(range(3), dtype=D).normal(6, 7, 4)
    for r in range(3):
        hidden = torch.tanh(x[r] @ mlp.weights[0][r] + mlp.biases[0][r])
        torch.testing.assert_close(mlp(x)[r], hidden @ mlp.weights[1][r] + mlp.biases[1][r])


@pytest.mark.parametrize("shape", [(3, 6, 5), (2, 6, 4)])
def test_mlp_says_what_it_takes(shape):
    with pytest.raises(ValueError, match=r"it takes \[3, \.\.\., 4\]"):
        networks()(torch.zeros(shape, dtype=D))


@pytest.mark.parametrize("sizes", [(4,), (4, 0, 2)])
def test_mlp_refuses_impossible_sizes(sizes):
    with pytest.raises(ValueError, match="sizes are"):
        nn.MLP(Rng([0]), sizes)


def losses(mlp, x, scale):
    return (mlp(x).square() * scale[:, None, None]).mean((1, 2))


def test_adam_is_torchs_for_each_replica():
    """Five steps with different gradients, against torch.optim.Adam on each replica alone, clipping included."""
    mlp, x = networks(), Rng(range(3), dtype=D).normal(6, 4)
    scale = torch.tensor([1.0, 100.0, 0.01], dtype=D)
    singles = []
    for r in range(3):
        parameters = [p.detach()[r : r + 1].clone().requires_grad_() for p in mlp.parameters()]
        optimizer = torch.optim.Adam(parameters, lr=0.01)
        for _ in range(5):
            single = networks(range(1))
            loss = losses_with(single, parameters, x[r : r + 1], scale[r : r + 1])
            optimizer.zero_grad()
            loss.sum().backward()
            torch.nn.utils.clip_grad_norm_(parameters, 0.5)
            optimizer.step()
        singles.append(parameters)
    optimizer = nn.Adam(mlp, 0.01, max_gradient_norm=0.5)
    for _ in range(5):
        assert optimizer.step(losses(mlp, x, scale)).all()
    for place, parameter in enumerate(mlp.parameters()):
        torch.testing.assert_close(parameter, torch.cat([s[place] for s in singles]), rtol=1e-5, atol=1e-8)


def losses_with(mlp, parameters, x, scale):
    names = [name for name, _ in mlp.named_parameters()]
    out = torch.func.functional_call(mlp, dict(zip(names, parameters, strict=True)), (x,))
    return (out.square() * scale[:, None, None]).mean((1, 2))


@pytest.mark.parametrize("make", [lambda m: nn.Adam(m, 0.1), lambda m: nn.SGD(m, 0.1)], ids=["Adam", "SGD"])
@pytest.mark.parametrize("poison", ["loss", "gradient"])
def test_a_replica_that_is_not_finite_is_frozen_and_the_others_go_on(make, poison):
    def run(broken):
        mlp, x = networks(), Rng(range(3), dtype=D).normal(6, 4)
        optimizer = make(mlp)
        optimizer.step(losses(mlp, x, torch.ones(3, dtype=D)))  # a moment to be preserved
        before = [p.detach().clone() for p in mlp.parameters()]
        state = optimizer.mean.clone() if isinstance(optimizer, nn.Adam) else None
        value = losses(mlp, x, torch.ones(3, dtype=D))
        if broken:
            zero = mlp(x)[1].sum() * 0
            # the square root at 0: the loss is finite, its gradient is not
            poisoned = zero.abs().sqrt() if poison == "gradient" else zero * torch.nan
            value = torch.stack([value[0], poisoned, value[2]])
        finite = optimizer.step(value)
        return mlp, before, finite, state, optimizer

    mlp, before, finite, state, optimizer = run(broken=True)
    whole, *_ = run(broken=False)
    assert finite.tolist() == [True, False, True]
    for parameter, old, right in zip(mlp.parameters(), before, whole.parameters(), strict=True):
        assert torch.equal(parameter[1], old[1])
        assert torch.equal(parameter[[0, 2]], right[[0, 2]])
    if state is not None:
        assert torch.equal(optimizer.mean[1], state[1])


@pytest.mark.parametrize("make", [lambda m: nn.Adam(m, 0.1), lambda m: nn.SGD(m, 0.1)], ids=["Adam", "SGD"])
def test_a_replica_that_waits_is_as_if_the_step_had_not_been(make):
    """Its count of steps included, which Adam's correction rests on."""
    x = Rng(range(3), dtype=D).normal(6, 4)

    def run(masks):
        mlp = networks()
        optimizer = make(mlp)
        for mask in masks:
            assert optimizer.step(losses(mlp, x, torch.ones(3, dtype=D)), torch.tensor(mask)).all()
        return mlp.parameters()

    masked = run([[True, True, True], [True, False, True], [False, False, False], [True, True, True]])
    for whole, three, two in zip(masked, run([[True] * 3] * 3), run([[True] * 3] * 2), strict=True):
        assert torch.equal(whole[[0, 2]], three[[0, 2]])
        assert torch.equal(whole[1], two[1])


def test_two_optimizers_may_share_a_module():
    mlp, alone = networks(), networks()
    x, scale = Rng(range(3), dtype=D).normal(6, 4), torch.ones(3, dtype=D)
    first, second, only = nn.SGD(mlp, 0.1), nn.SGD(mlp, 0.1), nn.SGD(alone, 0.1)
    for optimizer in (first, second, first, first, second):
        optimizer.step(losses(mlp, x, scale))
        only.step(losses(alone, x, scale))
    for shared, own in zip(mlp.parameters(), alone.parameters(), strict=True):
        assert torch.equal(shared, own)


@pytest.mark.parametrize("make", [lambda m: nn.Adam(m, 0.1), lambda m: nn.SGD(m, 0.1)], ids=["Adam", "SGD"])
def test_a_gradient_at_weights_that_are_gone_is_an_error(make):
    mlp, x = networks(), Rng(range(3), dtype=D).normal(6, 4)
    optimizer, old = make(mlp), losses(mlp, x, torch.ones(3, dtype=D))
    optimizer.step(losses(mlp, x, torch.ones(3, dtype=D)))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        optimizer.step(old)


def test_mlp_can_be_differentiated_twice():
    mlp = networks(range(2), (2, 3, 1))
    x = Rng(range(2), dtype=D).normal(4, 2).requires_grad_()
    names = [name for name, _ in mlp.named_parameters()]
    weights = [parameter.detach().clone().requires_grad_() for parameter in mlp.parameters()]

    def out(x, *weights):
        return torch.func.functional_call(mlp, dict(zip(names, weights, strict=True)), (x,))

    assert torch.autograd.gradcheck(out, (x, *weights))
    assert torch.autograd.gradgradcheck(out, (x, *weights))


def test_selecting_replicas_and_restoring_them():
    mlp = networks(range(4))
    start = [p.detach().clone() for p in mlp.parameters()]
    optimizer = nn.Adam(mlp, 0.1)
    optimizer.select(torch.tensor([True, False, True, True]))
    optimizer.select(torch.tensor([False, True, True]))  # of replicas 0, 2, 3
    assert optimizer.index.tolist() == [2, 3]
    x = Rng([2, 3], dtype=D).normal(6, 4)
    optimizer.step(losses(mlp, x, torch.ones(2, dtype=D)))
    moved = [p.detach().clone() for p in mlp.parameters()]
    optimizer.restore()
    for parameter, old, new in zip(mlp.parameters(), start, moved, strict=True):
        assert torch.equal(parameter[:2], old[:2])
        assert torch.equal(parameter[2:], new)
        assert not torch.equal(parameter[2:], old[2:])


def test_a_step_size_of_zero_is_refused():
    with pytest.raises(ValueError, match="must be > 0"):
        nn.Adam(networks(), 0.0)


def batch(replicas=3):
    rng = Rng(range(replicas), dtype=D)
    return rng.normal(5, 4).requires_grad_(), rng.normal(5, 4)


def plain(x, y):
    return (x * y).sum(0).mean()


def branching(x, y):
    return (x * y).sum() if x.sum().item() > 0 else (x * y).sum() * 2


def looped(function, x, y):
    return torch.stack([function(x[r], y[r]) for r in range(len(x))])


def test_lift_is_the_loop_and_quiet():
    x, y = batch()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value = nn.lift(plain)(x, y)
    torch.testing.assert_close(value, looped(plain, x, y))
    (gradient,) = torch.autograd.grad(value.sum(), x)
    torch.testing.assert_close(gradient, y / 4)


def test_lift_falls_back_to_the_loop_and_says_why_once():
    x, y = batch()
    lifted = nn.lift(branching)
    with pytest.warns(UserWarning, match="branching runs learner by learner, .*Nothing is wrong"):
        value = lifted(x, y)
    torch.testing.assert_close(value, looped(branching, x, y))
    lifted(x, y)  # a second warning would be an error here


def test_lift_notices_a_batched_result_that_differs():
    def stateful(x, y):  # counts its calls: two learners in a loop are two calls, batched they are one
        stateful.calls += 1
        return (x * y).sum() * stateful.calls

    stateful.calls = 0
    with pytest.warns(UserWarning, match="other values or gradients"):
        nn.lift(stateful)(*batch())


def test_lift_passes_on_what_is_no_tensor():
    x, y = batch()
    scaled = nn.lift(lambda x, y, factor: plain(x, y) * factor)
    torch.testing.assert_close(scaled(x, y, 3.0), 3 * looped(plain, x, y))


@pytest.mark.parametrize("shape", [(5, 4), (4,)])
def test_lift_folds_a_per_env_function(shape):
    def per_env(x, y):
        return x.cumsum(0) * y if len(shape) == 2 else (x * y).sum(0)

    x, y = batch()
    value = nn.lift(per_env, per_env=True)(x, y)
    assert value.shape == (3, *shape)
    torch.testing.assert_close(value, looped(per_env, x, y))


def test_lift_lets_the_functions_own_error_through():
    def broken(x, y):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        nn.lift(broken)(*batch())


def test_lifting_twice_is_lifting_once():
    once = nn.lift(plain)
    assert nn.lift(once) is once


def test_the_normalizer_sees_batches_as_if_all_at_once():
    rng = Rng(range(3), dtype=torch.float64)
    normalizer = nn.Normalizer(rng, 4)
    x = 3 * rng.normal(50, 2, 4) + 7
    torch.testing.assert_close(normalizer(x), x.clamp(-10, 10), rtol=1e-7, atol=0)
    for part in x.split([1, 9, 40], 1):
        normalizer.update(part)
    torch.testing.assert_close(normalizer.mean, x.mean((1, 2)))
    torch.testing.assert_close(normalizer.variance, x.flatten(1, 2).var(1, correction=0))
    torch.testing.assert_close(normalizer(x).flatten(1, 2).std(1, correction=0), torch.ones(3, 4, dtype=torch.float64))
    assert normalizer(1e9 * x[:, 0]).max() == 10


def test_the_normalizer_leaves_padding_out():
    rng = Rng(range(2), dtype=torch.float64)
    some, all_valid = nn.Normalizer(rng, 3), nn.Normalizer(rng, 3)
    x = rng.normal(20, 1, 3)
    valid = (torch.arange(20) < 13)[None, :, None].expand(2, 20, 1)
    some.update(torch.where(valid.unsqueeze(-1), x, 1e6), valid)
    all_valid.update(x[:, :13])
    torch.testing.assert_close(some.state_dict(), all_valid.state_dict())


def test_buffers_are_selected_and_restored_with_the_weights():
    rng = Rng(range(4))
    module = torch.nn.Sequential(nn.Normalizer(rng, 2), nn.MLP(rng, (2, 1)))
    module[0].update(rng.normal(5, 2))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    optimizer = nn.SGD(module, 0.1)
    optimizer.select(torch.tensor([True, False, True, False]))
    x = rng.select([0, 2]).normal(5, 2)
    module[0].update(x)
    assert module(x).shape == (2, 5, 1)
    optimizer.restore()
    assert torch.equal(module[0].mean[[1, 3]], before["0.mean"][[1, 3]])
    assert torch.equal(module[0].count, torch.tensor([10.0, 5.0, 10.0, 5.0]))
    assert not torch.equal(module[0].mean[0], before["0.mean"][0])


def test_moving_by_a_step_found_elsewhere():
    mlp = nn.MLP(Rng(range(2)), (3, 2))
    before = [parameter.detach().clone() for parameter in mlp.parameters()]
    step = torch.arange(16.0).reshape(2, 8)
    nn.SGD(mlp, 1.0).move(step, 0.5)
    moved = torch.cat([(a - b).flatten(1) for a, b in zip(mlp.parameters(), before, strict=True)], 1)
    torch.testing.assert_close(moved, 0.5 * step)
