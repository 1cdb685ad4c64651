"""Networks for pictures on the replica axis: sums over lit pixels, convolutions, and the policies made of them."""

import pytest
import torch

from pgcourse import nn, policies
from pgcourse.rng import Rng

D = torch.float64
SIDE = 12


def lists(*leading, length=7, side=SIDE, seed=0):
    """Lists of different lit and dark pixels, some places empty."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.rand(*leading, side * side, generator=generator).argsort(-1)[..., :length] + 1
    return (chosen * torch.randint(-1, 2, chosen.shape, generator=generator)).to(D)


def by_hand(pixels, side=SIDE):
    """The picture, pixel by pixel."""
    drawn = torch.zeros(side * side, dtype=D)
    for k in pixels.long().tolist():
        if k:
            drawn[abs(k) - 1] += 1 if k > 0 else -1
    return drawn.reshape(side, side)


def test_a_list_is_drawn_pixel_by_pixel():
    pixels = lists(2, 3)
    drawn = nn.picture(pixels, SIDE)
    for r in range(2):
        for n in range(3):
            torch.testing.assert_close(drawn[r, n], by_hand(pixels[r, n]))
    assert not nn.picture(torch.zeros(4), 3).any()
    assert nn.picture(torch.tensor([5.0, -5.0, 9.0]), 3).flatten().tolist() == [0] * 8 + [1]  # lit and dark at once: no change


@pytest.mark.parametrize("leading", [(2,), (2, 5), (2, 3, 4)])
def test_pixel_layer_is_the_dense_product_and_so_are_its_gradients(leading):
    layer = nn.PixelLayer(Rng(range(2), dtype=D), SIDE**2, 6)
    layer.bias.data.normal_(generator=torch.Generator().manual_seed(1))
    pixels = lists(*leading)
    images = nn.picture(pixels, SIDE).flatten(-2).reshape(2, -1, SIDE**2)
    expected = (torch.bmm(images, layer.weight[:, 1:]) + layer.bias).reshape(*leading, 6)
    found = layer(pixels)
    torch.testing.assert_close(found, expected)
    ours = torch.autograd.grad(found.pow(3).sum(), list(layer.parameters()))
    dense = torch.autograd.grad(expected.pow(3).sum(), list(layer.parameters()))
    for a, b in zip(ours, dense, strict=True):
        torch.testing.assert_close(a, b)


def test_pixel_layer_gradient_by_finite_differences():
    layer = nn.PixelLayer(Rng(range(2), dtype=D), 9, 2)
    pixels = lists(2, 3, length=4, side=3)

    def value(weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (pixels,)).sin()

    assert torch.autograd.gradcheck(value, (layer.weight, layer.bias))


def test_what_stands_for_none_is_never_moved():
    layer = nn.PixelLayer(Rng(0, dtype=D), 9, 2)
    (gradient, _) = torch.autograd.grad(layer(torch.tensor([[3.0, 0.0, -5.0, 0.0]], dtype=D)).sum(), list(layer.parameters()))
    assert gradient[0, :, 0].nonzero().flatten().tolist() == [3, 5]


def test_the_layer_works_on_weights_that_an_optimizer_has_laid_out():
    policy = policies.Pixels(Rng(range(3), dtype=D), SIDE**2, 2, hidden=5)
    pixels = lists(3, 4)
    before = policy(pixels).logits
    optimizer = nn.SGD(policy, 1.0)
    assert not policy.first.weight.is_contiguous()
    torch.testing.assert_close(policy(pixels).logits, before)
    optimizer.select(torch.tensor([True, False, True]))
    torch.testing.assert_close(policy(pixels[[0, 2]]).logits, before[[0, 2]])
    optimizer.restore()
    torch.testing.assert_close(policy(pixels).logits, before)


def test_convolution_is_torchs_for_each_replica():
    layer = nn.Convolution(Rng(range(3), dtype=D), 2, 4, 3, 2)
    layer.bias.data.normal_(generator=torch.Generator().manual_seed(1))
    x = Rng(range(3), dtype=D).normal(5, 6, 2, 9, 8)
    found = layer(x)
    assert found.shape == (3, 5, 6, 4, 4, 3)
    single = torch.nn.Conv2d(2, 4, 3, stride=2, dtype=D)
    for r in range(3):
        single.weight.data, single.bias.data = layer.weight[r].detach(), layer.bias[r].detach()
        torch.testing.assert_close(found[r], single(x[r].flatten(0, 1)).unflatten(0, (5, 6)))


def test_convolution_by_its_formula():
    layer = nn.Convolution(Rng(0, dtype=D), 1, 1, 2, 1)
    x = Rng(1, dtype=D).normal(1, 1, 3, 3)
    (w,) = layer.weight[0, 0]
    expected = [[(w * x[0, 0, 0, i : i + 2, j : j + 2]).sum() for j in range(2)] for i in range(2)]
    torch.testing.assert_close(layer(x)[0, 0, 0], torch.stack([torch.stack(row) for row in expected]))


@pytest.mark.parametrize("make", [policies.Pixels, policies.Convolutional])
def test_policies_keep_replicas_apart(make):
    many, alone = make(Rng(range(3), dtype=D), SIDE**2, 2), make(Rng([2], dtype=D), SIDE**2, 2)
    pixels = lists(3, 4, 5)
    torch.testing.assert_close(many(pixels).logits[2:], alone(pixels[2:]).logits)
    gradients = torch.autograd.grad(many(pixels).logits[1].sum(), list(many.parameters()))
    assert all(not each[[0, 2]].any() for each in gradients)
    assert sum(each[1].abs().sum() for each in gradients) > 0


def test_the_convolutional_policy_sees_the_picture():
    policy = policies.Convolutional(Rng(range(2), dtype=D), SIDE**2, 2, hidden=5, channels=3)
    pixels = lists(2, 4)
    drawn = nn.picture(pixels, SIDE).unsqueeze(2)
    seen = policy.first(drawn).relu()  # [2, 4, 3, 2, 2]
    assert seen.shape == (2, 4, 3, 2, 2)
    torch.testing.assert_close(policy(pixels).logits, policy.last(seen.flatten(2)))


def test_the_convolutional_policy_takes_squares():
    with pytest.raises(ValueError, match="pixels is 1500"):
        policies.Convolutional(Rng(0), 1500, 2)
