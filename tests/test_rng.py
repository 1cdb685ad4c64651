import pytest
import torch

from pgcourse.rng import Noise, Rng


def test_a_replica_draws_the_same_alone_and_among_others():
    many, alone = Rng(range(5)), Rng([3])
    for _ in range(2):  # also after something has been drawn
        assert torch.equal(many.normal(4, 7)[3], alone.normal(4, 7)[0])
        assert torch.equal(many.uniform(3)[3], alone.uniform(3)[0])


def test_permuting_seeds_permutes_draws():
    order = [2, 0, 1]
    assert torch.equal(Rng(order).normal(50), Rng(range(3)).normal(50)[order])


def test_select_goes_on_where_the_stream_is():
    whole, part = Rng(range(4)), Rng(range(4))
    whole.normal(10), part.normal(10)
    part = part.select([1, 3])
    assert part.seeds == (1, 3)
    assert torch.equal(part.normal(6), whole.normal(6)[[1, 3]])


def test_streams_of_one_seed_differ():
    assert not torch.equal(Rng([1], stream=0).normal(10), Rng([1], stream=1).normal(10))
    assert not torch.equal(Rng([1], stream=0).normal(10), Rng([0], stream=1).normal(10))


def test_the_seeds_one_uses_are_all_different():
    streams = Rng(range(14_000)).uniform(4)
    assert len(streams.unique(dim=0)) == 14_000


def test_moments():
    """False-alarm rate 1e-6: both z-tests at 5 standard errors."""
    n = 100_000
    normal, uniform = Rng([7], dtype=torch.float64).normal(n)[0], Rng([8], dtype=torch.float64).uniform(n)[0]
    assert abs(normal.mean()) < 5 / n**0.5
    assert abs(normal.square().mean() - 1) < 5 * (2 / n) ** 0.5
    assert abs(uniform.mean() - 0.5) < 5 * (1 / 12 / n) ** 0.5
    assert uniform.min() >= 0
    assert uniform.max() < 1


def test_draw_has_the_shape_asked_for_and_the_format_of_the_stream():
    rng = Rng(range(2), dtype=torch.float64)
    assert rng.draw(Noise("normal", (3,)), 5, 4).shape == (2, 5, 4, 3)
    assert rng.draw(None, 5) is None
    assert rng.normal(2).dtype == torch.float64


def test_no_global_seed_is_touched():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    Rng(range(3)).normal(10)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("seeds", [[], [1, 1], [-1, 2], [0, 2**32]])
def test_bad_seeds_are_refused(seeds):
    with pytest.raises(ValueError, match="one whole number"):
        Rng(seeds)


def test_bad_noise_is_refused():
    with pytest.raises((ValueError, TypeError)):
        Noise("cauchy")


def test_auto_device_is_there():
    assert Rng([0], device="auto").normal(1).device.type == ("cuda" if torch.cuda.is_available() else "cpu")
