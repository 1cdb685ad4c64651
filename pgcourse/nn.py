"""Layers, optimizers and ``lift``: one learner's computation done for R learners at once.

Every parameter has a leading replica axis. Losses come out as [R] and are summed before the gradient is taken, so that each
replica's gradient is its own.
"""

import itertools
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .rng import Rng


class MLP(torch.nn.Module):
    """R fully connected networks of one shape: x -> W_L act(... act(W_1 x + b_1) ...) + b_L.

    sizes: numbers of units from input to output. Weights are [R, in, out], drawn from N(0, 1 / in); ``output_scale``
    multiplies those of the last layer, so that a policy can begin close to indifferent. Biases [R, 1, out] begin at 0.
    """

    def __init__(
        self,
        rng: Rng,
        sizes: Sequence[int],
        activation: Callable[[Tensor], Tensor] = torch.tanh,
        output_scale: float = 1.0,
    ):
        super().__init__()
        if len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(f"sizes are {tuple(sizes)}; give at least an input and an output size, each >= 1.")
        self.sizes = tuple(sizes)
        self.activation = activation
        layers = list(itertools.pairwise(sizes))
        scales = [1.0] * (len(layers) - 1) + [output_scale]
        self.weights = torch.nn.ParameterList(
            rng.normal(n, m) * (scale / n**0.5) for (n, m), scale in zip(layers, scales, strict=True)
        )
        self.biases = torch.nn.ParameterList(torch.zeros(len(rng), 1, m, device=rng.device, dtype=rng.dtype) for _, m in layers)

    def forward(self, x: Float[Tensor, "R *batch n"]) -> Float[Tensor, "R *batch m"]:
        replicas = len(next(iter(_members(self.biases))))
        if x.shape[-1] != self.sizes[0] or x.shape[0] != replicas:
            raise ValueError(
                f"the network got an input of shape {tuple(x.shape)}; it takes [{replicas}, ..., {self.sizes[0]}]: "
                f"{replicas} replicas first, {self.sizes[0]} features last."
            )
        hidden = x.reshape(replicas, -1, x.shape[-1])
        layers = list(zip(_members(self.weights), _members(self.biases), strict=True))
        for weight, bias in layers[:-1]:
            hidden = torch.baddbmm(bias, hidden, weight)
            hidden = (
                hidden.tanh_() if self.activation is torch.tanh else self.activation(hidden)
            )  # in place where that is known
        weight, bias = layers[-1]
        return torch.baddbmm(bias, hidden, weight).reshape(*x.shape[:-1], self.sizes[-1])


def _members(parameters: torch.nn.ParameterList) -> Iterable[Tensor]:
    # Not by its own iterator, which takes 5 us a tensor: as long as a small layer.
    return parameters._parameters.values()


class PixelLayer(torch.nn.Module):
    """A first layer of R networks for pictures of which only a few pixels are lit: the sum of those pixels' columns.

        y = b + sum_k sign(k) W[|k|],    k the numbers in the list, 0 for none

    The list says +k where pixel k - 1 is +1 and -k where it is -1 (``picture`` draws it). The result is that of the product of
    the whole picture with W [R, pixels, units], in time that does not depend on the number of pixels. W begins small, as
    N(0, 0.05^2): what the pixels say is to be learned, not drawn.
    """

    def __init__(self, rng: Rng, pixels: int, units: int):
        super().__init__()
        self.weight = torch.nn.Parameter(0.05 * rng.normal(pixels + 1, units))  # row 0 stands for none
        self.bias = torch.nn.Parameter(torch.zeros(len(rng), 1, units, device=rng.device, dtype=rng.dtype))

    def forward(self, pixels: Float[Tensor, "R *batch L"]) -> Float[Tensor, "R *batch units"]:
        lists = pixels.reshape(len(self.weight), -1, pixels.shape[-1])
        index, sign = lists.abs().long(), lists.sign()
        # A replica at a time: their weights do not lie side by side in memory, and one table of them all would be a copy.
        total = torch.stack([_summed(*each) for each in zip(index, self.weight, sign, strict=True)])
        return (total + self.bias).reshape(*pixels.shape[:-1], -1)


def _summed(index: Tensor, weight: Tensor, sign: Tensor) -> Tensor:
    return torch.nn.functional.embedding_bag(index, weight, mode="sum", per_sample_weights=sign)


def picture(pixels: Float[Tensor, "*batch L"], side: int) -> Float[Tensor, "*batch side side"]:
    """A list of pixels (see ``PixelLayer``) drawn out: +1 and -1 where the list says so, 0 elsewhere."""
    drawn = pixels.new_zeros(*pixels.shape[:-1], side * side + 1)
    return drawn.scatter_add(-1, pixels.abs().long(), pixels.sign())[..., 1:].unflatten(-1, (side, side))


class Convolution(torch.nn.Module):
    """R layers that look at a picture patch by patch, everywhere with the same weights.

        y[m, i, j] = b[m] + sum_{n, k, l} W[m, n, k, l] x[n, stride i + k, stride j + l]

    Weights [R, m, n, size, size] are drawn from N(0, 1 / (n size^2)), biases [R, m] begin at 0.
    """

    def __init__(self, rng: Rng, channels_in: int, channels_out: int, size: int, stride: int):
        super().__init__()
        self.stride = stride
        scale = (channels_in * size**2) ** -0.5
        self.weight = torch.nn.Parameter(scale * rng.normal(channels_out, channels_in, size, size))
        self.bias = torch.nn.Parameter(torch.zeros(len(rng), channels_out, device=rng.device, dtype=rng.dtype))

    def forward(self, x: Float[Tensor, "R *batch n H W"]) -> Float[Tensor, "R *batch m H2 W2"]:
        replicas = len(self.weight)
        folded = x.reshape(replicas, -1, *x.shape[-3:]).transpose(0, 1).flatten(1, 2)  # replicas as groups of channels
        y = torch.nn.functional.conv2d(
            folded, self.weight.flatten(0, 1), self.bias.flatten(), stride=self.stride, groups=replicas
        )
        y = y.unflatten(1, (replicas, -1)).transpose(0, 1)
        return y.reshape(*x.shape[:-3], *y.shape[2:])


class Normalizer(torch.nn.Module):
    """Shifts and scales inputs to mean 0 and standard deviation 1 by what each replica has seen so far.

        y = clip((x - mean) / sqrt(variance + 1e-8), +-clip)

    mean, variance [R, n] and count [R] are buffers: they are saved with the module, and no gradient reaches them. Until the
    first ``update``, y = clip(x, +-clip).
    """

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, rng: Rng, size: int, clip: float = 10.0):
        super().__init__()
        self.clip = clip
        start = torch.zeros(len(rng), size, device=rng.device, dtype=rng.dtype)
        self.register_buffer("mean", start)
        self.register_buffer("variance", torch.ones_like(start))
        self.register_buffer("count", start[:, 0].clone())

    @torch.no_grad()
    def update(self, x: Float[Tensor, "R *batch n"], valid: Bool[Tensor, "R *batch"] | None = None) -> None:
        """Take in more inputs, as if all had been seen at once. Source: Chan, Golub & LeVeque (1983)."""
        x = x.flatten(1, -2)
        weight = torch.ones_like(x[..., :1]) if valid is None else valid.flatten(1).unsqueeze(-1).to(x.dtype)
        count = weight.sum(1)  # [R, 1]
        mean = (x * weight).sum(1) / count.clamp(min=1)
        variance = ((x - mean.unsqueeze(1)).square() * weight).sum(1) / count.clamp(min=1)
        total = self.count.unsqueeze(1) + count
        share = count / total.clamp(min=1)
        shift = mean - self.mean
        self.variance.lerp_(variance, share).add_(share * (1 - share) * shift.square())
        self.mean.add_(share * shift)
        self.count.copy_(total[:, 0])

    def forward(self, x: Float[Tensor, "R *batch n"]) -> Float[Tensor, "R *batch n"]:
        between = (len(self.mean), *(1,) * (x.ndim - 2), -1)
        scale = (self.variance + 1e-8).rsqrt()
        return ((x - self.mean.reshape(between)) * scale.reshape(between)).clamp(-self.clip, self.clip)


def flat_gradient(objective: Float[Tensor, " R"], parameters: Iterable[Tensor]) -> Float[Tensor, "R P"]:
    """Each replica's gradient of its own objective, all parameters in one row.

    Summing over replicas first is what keeps them apart: replica r's parameters reach no other term of the sum.
    """
    parameters = list(parameters)
    gradients = torch.autograd.grad(objective.sum(), parameters, allow_unused=True, materialize_grads=True)
    return torch.cat([gradient.flatten(1) for gradient in gradients], 1)


class Optimizer(ABC):
    """What the optimizers share: per-replica clipping, freezing of replicas that are not finite, and compaction."""

    def __init__(self, module: torch.nn.Module, step_size: float, max_gradient_norm: float | None = None):
        if not step_size > 0:
            raise ValueError(f"step_size is {step_size}; it must be > 0 (3e-3 is a common choice for a small network).")
        self.parameters = list(module.parameters())
        self._tensors = [*self.parameters, *module.buffers()]
        self.step_size = step_size
        self.max_gradient_norm = max_gradient_norm
        self.replicas = len(self.parameters[0])
        self.index = torch.arange(self.replicas)
        """Which of the original replicas the rows are; fewer once some have stopped."""
        self._parked: list[tuple[Tensor, list[Tensor]]] = []
        self._gather()

    def _gather(self) -> None:
        """Lay the weights of each replica out in one row of memory, to be passed over once; the parameters are views of it."""
        self._weights = torch.cat([parameter.detach().flatten(1) for parameter in self.parameters], 1)  # [R, P]
        parts = self._weights.split([parameter[0].numel() for parameter in self.parameters], 1)
        for parameter, part in zip(self.parameters, parts, strict=True):
            parameter.data = part.view(parameter.shape)

    def _rows(self) -> Tensor:
        """The weights [R, P], about to be changed in place."""
        if self.parameters[0].data_ptr() != self._weights.data_ptr():  # another optimizer has laid them out since
            self._gather()
        torch.autograd.graph.increment_version(
            self.parameters
        )  # who still needs the old weights for a gradient is to hear of it
        return self._weights

    def step(self, losses: Float[Tensor, " R"], going: Bool[Tensor, " R"] | None = None) -> Bool[Tensor, " R"]:
        """Descend each replica's loss by one step; returns which replicas' losses and gradients are finite.

        A replica whose loss or gradient is not finite, or that is not ``going``, keeps its weights and its optimizer state as
        they were: it is the *update* that is masked (a loss set to zero would still move Adam, and its gradient would still be
        NaN).
        """
        finite = torch.isfinite(losses.detach())
        gradient = flat_gradient(losses, self.parameters)
        return self.descend(gradient, finite if going is None else finite & going) & finite

    def descend(self, gradient: Float[Tensor, "R P"], going: Bool[Tensor, " R"] | None = None) -> Bool[Tensor, " R"]:
        """``step`` with a gradient that was found elsewhere, by another process, say; returns where it is finite. It is clipped
        in place."""
        norm = torch.linalg.vector_norm(gradient, dim=1)
        finite = torch.isfinite(norm)
        if self.max_gradient_norm is not None:
            gradient.mul_((self.max_gradient_norm / norm.clamp(min=self.max_gradient_norm)).unsqueeze(1))
        self._descend(gradient, finite if going is None else finite & going)
        return finite

    def share_memory(self) -> None:
        """Move weights and state to memory that other processes work on as well, once the optimizer has been sent to them."""
        for tensor in vars(self).values():
            if isinstance(tensor, Tensor):
                tensor.share_memory_()  # the parameters are views of it, and move along

    @torch.no_grad()
    def move(self, step: Float[Tensor, "R P"], size: float = 1.0) -> None:
        """Add ``size * step`` to the weights, all of a replica's in one row: for methods that find their step by themselves."""
        self._rows().add_(step, alpha=size)

    @abstractmethod
    def _descend(self, gradient: Tensor, alive: Tensor) -> None:
        """Take the step [R, P]; where ``alive`` [R] is false, weights and state stay as they are."""

    @abstractmethod
    def _select(self, keep: Tensor) -> None:
        """Keep only these rows of the optimizer's own state."""

    def select(self, keep: Bool[Tensor, " R"]) -> None:
        """Go on with some replicas only; the others' weights and buffers are put aside until ``restore``."""
        rows = keep.cpu()
        self._parked.append((self.index[~rows], [tensor.detach()[~keep].clone() for tensor in self._tensors]))
        self.index = self.index[rows]
        for tensor in self._tensors:
            tensor.data = tensor.data[keep]
        self._gather()
        self._select(keep)

    def restore(self) -> None:
        """Bring the weights and buffers of stopped replicas back to their places; the end of a run."""
        for place, tensor in enumerate(self._tensors):
            whole = tensor.new_empty((self.replicas, *tensor.shape[1:]))
            whole[self.index] = tensor.data
            for index, parked in self._parked:
                whole[index] = parked[place]
            tensor.data = whole
        self._parked, self.index = [], torch.arange(self.replicas)


class SGD(Optimizer):
    """Gradient descent: theta <- theta - step_size * gradient."""

    def _descend(self, gradient, alive):
        self.move(torch.where(alive.unsqueeze(1), gradient, 0), -self.step_size)

    def _select(self, keep):
        pass


class Adam(Optimizer):
    """Adam, one state per replica.

        m <- b1 m + (1 - b1) g,    v <- b2 v + (1 - b2) g^2,
        theta <- theta - step_size * (m / (1 - b1^k)) / (sqrt(v / (1 - b2^k)) + epsilon)

    Source: Kingma & Ba (2015), algorithm 1.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        step_size: float,
        max_gradient_norm: float | None = None,
        decay: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
    ):
        super().__init__(module, step_size, max_gradient_norm)
        self.decay, self.epsilon = decay, epsilon
        self.mean, self.square = torch.zeros_like(self._weights), torch.zeros_like(self._weights)
        self.steps = torch.zeros(self.replicas, device=self._weights.device)  # a replica may miss some

    @torch.no_grad()
    def _descend(self, gradient, alive):
        rows = [tensor.unbind() for tensor in (self._rows(), gradient, self.mean, self.square)]
        count = self.steps.unbind()
        if not alive.all():
            going = alive.nonzero()[:, 0].tolist()
            if not going:
                return
            *rows, count = ([row[r] for r in going] for row in (*rows, count))
        # torch's own kernel, which reads and writes everything once: written out it takes fifteen passes over the weights.
        torch._foreach_add_(count, 1)
        options = {"beta1": self.decay[0], "beta2": self.decay[1], "eps": self.epsilon, "lr": self.step_size}
        torch._fused_adam_(*rows, [], count, weight_decay=0.0, amsgrad=False, maximize=False, **options)

    def _select(self, keep):
        self.mean, self.square, self.steps = self.mean[keep], self.square[keep], self.steps[keep]


def lift(function: Callable[..., Tensor], *, per_env: bool = False) -> Callable[..., Tensor]:
    """Give a function written for one learner a leading replica axis on every tensor it takes and returns.

    A *reducing* function ([T, E] in, a scalar out) goes through ``torch.func.vmap``; a *per-env* one ([T, E] in, [T, E] or
    [E] out) gets the replicas folded into the env axis, [T, R E]. On the first call, values and gradients are compared with
    a plain loop on two replicas; on an exception or a mismatch the loop is used from then on, with a warning that says why
    and what it costs. (vmap takes no ``.item()``, no ``if`` on a tensor, no boolean indexing.) Arguments that are not
    tensors are passed on as they are. A function with a true attribute ``lifted`` is left alone.
    """
    return function if getattr(function, "lifted", False) else _Lifted(function, per_env)


class _Lifted:
    lifted = True

    def __init__(self, function, per_env):
        self.function = function
        self._fast = self._fold if per_env else self._vmap
        self._run: Callable | None = None

    def __call__(self, *arguments):
        if self._run is None:
            self._run = self._choose(arguments)
        return self._run(*arguments)

    def _vmap(self, *arguments):
        axes = tuple(0 if isinstance(argument, Tensor) else None for argument in arguments)
        return torch.func.vmap(self.function, in_dims=axes)(*arguments)

    def _fold(self, *arguments):
        replicas, _, environments = next(a for a in arguments if isinstance(a, Tensor)).shape[:3]
        folded = [a.transpose(0, 1).flatten(1, 2) if isinstance(a, Tensor) else a for a in arguments]
        value = self.function(*folded)
        axis = 1 if value.ndim > 1 else 0  # [T, R E] or [R E]
        return value.unflatten(axis, (replicas, environments)).movedim(axis, 0)

    def _loop(self, *arguments):
        replicas = next(len(a) for a in arguments if isinstance(a, Tensor))
        return torch.stack([self.function(*(a[r] if isinstance(a, Tensor) else a for a in arguments)) for r in range(replicas)])

    def _choose(self, arguments) -> Callable:
        """The fast way where it gives what the loop gives; the loop, with a warning, elsewhere."""
        two = [a[:2].detach() if isinstance(a, Tensor) else a for a in arguments]
        wants = [isinstance(a, Tensor) and a.requires_grad for a in arguments]
        begin = time.perf_counter()
        expected = _value_and_gradients(self._loop, two, wants)  # an error here is the function's own
        each = (time.perf_counter() - begin) / len(two[0])
        try:
            found = _value_and_gradients(self._fast, two, wants)
        except Exception as problem:
            why = f"{type(problem).__name__}: {str(problem).strip().splitlines()[0] if str(problem) else ''}"
        else:
            if all(_agree(a, b) for a, b in zip(found, expected, strict=True)):
                return self._fast
            why = "batched, it gives other values or gradients than learner by learner"
        replicas = next(len(a) for a in arguments if isinstance(a, Tensor))
        name = getattr(self.function, "__name__", "the function")
        warnings.warn(
            f"{name} runs learner by learner, about {replicas * each * 1e3:.3g} ms "
            f"a call for {replicas} replicas instead of {each * 1e3:.3g} ms. Nothing is wrong with the result. Why: {why}",
            stacklevel=4,
        )
        return self._loop


def _value_and_gradients(function, arguments, wants) -> list[Tensor]:
    arguments = [a.clone().requires_grad_() if want else a for a, want in zip(arguments, wants, strict=True)]
    with torch.enable_grad():
        value = function(*arguments)
    inputs = [a for a, want in zip(arguments, wants, strict=True) if want]
    if not inputs or not value.requires_grad:
        return [value.detach()]
    gradients = torch.autograd.grad(value.sum(), inputs, allow_unused=True, materialize_grads=True)
    return [value.detach(), *gradients]


def _agree(a: Tensor, b: Tensor) -> bool:
    tolerance = 1e-4 if a.dtype == torch.float32 else 1e-9
    return a.shape == b.shape and torch.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)
