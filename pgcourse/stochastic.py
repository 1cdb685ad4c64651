"""Stochastic computation graphs: whose gradient is an expectation's, by whichever estimator, node by node.

    graph = Graph(rng, "digit", "code")                               # the axes behind the replica's, outermost first
    law = Bernoulli(((2 * digits - 1) @ encode + bias).unsqueeze(2))  # [R, 10, 1, 6]
    code = graph.sample(law, "leave_one_out", along="code", samples=6)    # [R, 10, 6, 6]
    pixels = Bernoulli(code @ decode.unsqueeze(1) + offset.unsqueeze(1))
    graph.cost(-pixels.log_prob(digits.unsqueeze(1)))                 # [R, 10, 6]
    graph.cost(6 * math.log(2) - law.entropy())                       # [R, 10, 1]
    graph.surrogate().sum().backward()                                # [R]

**Nodes.** ``graph.sample`` draws from a law and says how the gradient is to be estimated; ``graph.cost`` notes what is to be
made small; between them stands whatever torch code one likes. ``graph.surrogate()`` is a Monte Carlo estimate of the expected
cost of each replica, and its derivatives, of any order, are estimates of the derivatives of that expectation.

**Axes.** Every tensor of the graph begins with all the axes, [R, digit, code, ...], each of its full length or of length one,
so that plain broadcasting lines them up. Plates (data, episodes) and samples are the same thing here: along an axis element i
depends on element i of whatever it was made of, and on no other; and *every axis is averaged*. Whoever mixes the elements of
an axis reduces it to length one (``keepdim=True``); then all of them are charged with the cost.

**Which cost depends on which node** is noted by the samples themselves: a ``Sample`` is a tensor that knows the nodes it
depends on, and so does what torch makes of it, be it whole numbers or cut off from the gradient. A cost is charged to these
nodes and no others. What torch cannot follow (a Python ``if`` on a sample, numpy, writing into a tensor that stood there
before) is an error.

**Estimators** are those of ``relaxations``, besides ``pathwise`` and ``measure_valued``, by name, or a function (law, noise)
-> ``relaxations.Points``: where the rest of the graph is evaluated, and with which differentiable weights w. A cost c is
replaced by c prod_{i before c} w_i, and for each node i with a baseline B_i there is added

    - B_i (w_i - stop(w_i)) prod_{j before i} w_j,

whose mean is zero in all orders. Source: lecture 13; Schulman et al. (2015); Foerster et al. (2018); Mao et al. (2019); van
Krieken et al. (2021).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .distributions import Bernoulli, Categorical, MultivariateNormal, Normal
from .gradients import _MEASURES
from .relaxations import METHODS, OneHot, Points, finite, noise_shape, zero_once
from .rng import Rng

LAWS = (Normal, MultivariateNormal, Categorical, Bernoulli, OneHot)
_VALUES = {Normal: 1, MultivariateNormal: 1, Categorical: 0, Bernoulli: 1, OneHot: 2}
"""How many axes a value of each has, behind those of the graph."""

# ----------------------------------------------------------------------------------------------------------------- samples


class Sample(Tensor):
    """A tensor that knows on which nodes of which graph its numbers depend. What torch computes from it is one, too.

    ``plain()`` is for printing and drawing. Turning it into Python's numbers is an error, because what is then decided with
    them no longer shows on whom it depends.
    """

    _graph: "Graph"
    _nodes: int
    """Bit i is set where it depends on node i."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _NUMBERS:
            raise RuntimeError(
                f"{name.strip('_')}() of something that depends on a sample: a Python branch, loop or number leaves no trace "
                "of that, and its gradient would be lost. Compute both sides and choose with torch.where, or mask; for "
                "printing and drawing take .plain()."
            )
        graph, nodes = _dependence((*args, *kwargs.values()))
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **kwargs)
        if "out" in kwargs or name in _WRITES or (name.endswith("_") and not name.endswith("__")):
            target = kwargs.get("out", args[0])
            if not isinstance(target, Sample) or nodes & ~target._nodes:
                raise RuntimeError(
                    f"{name} writes something that depends on a sample into a tensor that did not, which hides it. Make a new "
                    "tensor: x + y for x += y, torch.stack for filling in, torch.where for choosing."
                )
        return _marked(result, graph, nodes)

    def plain(self) -> Tensor:
        """The numbers alone, cut off from graph and gradient."""
        return _stripped(self).detach()


_NUMBERS = {
    *("__bool__", "__int__", "__float__", "__complex__", "__index__", "__contains__", "__array__", "__dlpack__"),
    *("item", "tolist", "numpy", "equal", "allclose", "is_nonzero"),
}
_WRITES = {"__setitem__", "__set__", "__iand__", "__ior__", "__ixor__", "__ilshift__", "__irshift__"}


def _dependence(things: Any) -> tuple["Graph | None", int]:
    """The graph that samples in nested arguments belong to, and the nodes they depend on.

    Raises ValueError where they belong to two graphs.
    """
    graph, nodes = None, 0
    for thing in things:
        if isinstance(thing, Sample):
            its, more = thing._graph, thing._nodes
        elif isinstance(thing, tuple | list) and thing:
            its, more = _dependence(thing)
        else:
            continue
        if graph is not None and its not in (None, graph):
            raise ValueError("samples of two graphs meet; build one graph for both, or take .plain() of one.")
        graph, nodes = its or graph, nodes | more
    return graph, nodes


def _marked(result: Any, graph: "Graph | None", nodes: int) -> Any:
    if isinstance(result, Tensor):
        marked = result if isinstance(result, Sample) else result.as_subclass(Sample)
        marked._graph, marked._nodes = graph, nodes  # type: ignore[assignment]
        return marked
    if isinstance(result, tuple | list) and not isinstance(result, torch.Size):
        parts = [_marked(part, graph, nodes) for part in result]
        return parts if isinstance(result, list) else type(result)(parts)
    return result


def _stripped(x: Tensor) -> Tensor:
    """The tensor that a sample is, gradient included."""
    if not isinstance(x, Sample):
        return x
    with torch._C.DisableTorchFunctionSubclass():
        return x.as_subclass(Tensor)


# ------------------------------------------------------------------------------------------------------------------ graph


@dataclass(frozen=True)
class _Node:
    name: str
    value: Tensor
    weight: Tensor
    """On the axes of the graph, as ``control`` is"""
    control: Tensor | None
    baseline: Callable[[Tensor], Tensor] | Tensor | None
    own: int | None
    """The axis of its draws, along which a baseline compares"""
    independent: bool
    slope: bool
    before: int
    """The nodes its law depends on"""
    shape: tuple[int, ...]
    mixed: int
    """Axes along which it depends on more than one element of a node before it"""


@dataclass(frozen=True)
class _Cost:
    value: Tensor
    nodes: int


class Graph:
    """Stochastic nodes and costs, in the order in which they are made; see the top of this file.

    rng: a stream for each replica; axes: names of the axes behind the replica's.
    """

    def __init__(self, rng: Rng, *axes: str):
        if len(set(axes)) < len(axes) or "replica" in axes or not all(isinstance(axis, str) for axis in axes):
            raise ValueError(
                f"the axes are {axes}; give names, all different. The first axis is the replica's and has its name."
            )
        self.rng = rng
        self.axes = ("replica", *axes)
        self._lengths: list[int | None] = [len(rng)] + [None] * len(axes)
        self._nodes: list[_Node] = []
        self._costs: list[_Cost] = []

    def length(self, axis: str) -> int | None:
        """Of an axis; None before anything has filled it."""
        return self._lengths[self._place(axis)]

    def sample(
        self,
        law: Any,
        estimator: str | Callable[[Any, Tensor], Points] = "score_function",
        *,
        along: str | None = None,
        samples: int | None = None,
        **settings: Any,
    ) -> Sample:
        """Draw from a law whose parameters are [*axes, *event]; the sample is [*axes, *value].

        along: the axis of the draws. Where the law has length one there, ``samples`` are drawn (left out: as many as the axis
        is long, or one). Where it has the axis's length, or with no ``along``, there is one draw for each of its elements.
        ``leave_one_out`` compares along that axis. Estimators that evaluate at several points for each sample (``arm``,
        ``rebar``, those that list outcomes) make it so much longer, and want it for themselves.

        settings: the estimator's own: temperature, project, scale, control, proposal, keep, size, memory, baseline. A
        baseline is a number or [*axes], of things known before the draw (a critic's value), and is held fixed. A control(z)
        gets [*axes, *event] and returns [*axes].

        Raises TypeError for a law the estimator cannot serve and names those that can; ValueError for shapes that do not fit
        the axes, parameters with inf or NaN, zero samples, and what the estimator itself refuses.
        """
        name = estimator if isinstance(estimator, str) else getattr(estimator, "__name__", "the estimator")
        _check_serves(estimator, law)
        own, parameters = (None if along is None else self._place(along)), _parameters(law)
        if own == 0:
            raise ValueError("along is the replica's axis; replicas have nothing to do with each other. Name another axis.")
        graph, before = _dependence(parameters)
        if graph not in (None, self):
            raise ValueError("the law depends on a sample of another graph; build one graph for both, or take .plain().")
        law = type(law)(*map(_stripped, parameters))
        lengths = self._fit(law, name)
        count = self._count(lengths, own, samples, name)
        self._check_others(estimator, count)
        lead = [length for axis, length in enumerate(lengths) if axis != own][1:]
        noise = _noise(self.rng, name, law, lead, count)
        move = _Move(own, len(self.axes))
        found = _points(estimator)(move.law(law), noise, **{key: move.setting(key, value) for key, value in settings.items()})
        if not found.independent:
            self._check_own_axis(own, lengths, name)
        inner = found.value.shape[: len(self.axes) + (own is None)]
        value = move.back(found.value)
        shape = tuple(value.shape[: len(self.axes)])
        node = _Node(
            f"node {len(self._nodes)} ({type(law).__name__}, {name})",
            value,
            move.back(found.weight.expand(inner)),
            None if found.control is None else move.back(found.control.expand(inner)),
            move.baseline(found.baseline),
            own,
            found.independent,
            found.slope,
            before,
            shape,
            self._mixed(before, shape),
        )
        self._register(shape, name)
        self._nodes.append(node)
        return _marked(value, self, before | 1 << len(self._nodes) - 1)

    def cost(self, value: Tensor) -> None:
        """Add a cost, [*axes]: each axis of its length, or of length one where it has been reduced or does not matter.

        Raises ValueError for another shape, and where a node it depends on has mixed the elements of an axis that it still has.
        """
        if not isinstance(value, Tensor):
            raise TypeError(
                f"the cost is a {type(value).__name__}; it must be a tensor, one number for each element of {self._named()}."
            )
        graph, nodes = _dependence([value])
        if graph not in (None, self):
            raise ValueError("the cost depends on a sample of another graph.")
        value = _stripped(value)
        value = value if value.is_floating_point() else value.to(self.rng.dtype)
        self._register(tuple(value.shape), "the cost")
        self._mixed(nodes, tuple(value.shape), "the cost")
        self._costs.append(_Cost(value, nodes))

    def surrogate(self) -> Float[Tensor, " R"]:
        """An estimate of each replica's expected total cost, whose derivatives of any order estimate its derivatives.

        Raises ValueError where there is no cost, where no cost depends on a node, where a cost has reduced an axis whose
        points are no independent samples, and where an estimator needs the slope of costs that have none.
        """
        self._check_used()
        products = _Products(self._nodes)
        total = torch.zeros(len(self.rng), device=self.rng.device, dtype=self.rng.dtype)
        for cost in self._costs:
            total = total + _averaged(products.of(cost.nodes, tuple(cost.value.shape)) * cost.value)
        for i, node in enumerate(self._nodes):
            if node.baseline is not None:
                baseline = node.baseline(self._charged(i, products)) if callable(node.baseline) else node.baseline
                change = (node.weight - node.weight.detach()) * baseline
                total = total - _averaged(products.of(node.before, node.shape) * change)
            if node.control is not None:
                total = total + _averaged(node.control)
        self._check_slopes(total)
        return total

    def _charged(self, i: int, products: "_Products") -> Tensor:
        """What the costs after node i come to, for each of its points, as numbers: [*axes]."""
        node = self._nodes[i]
        weighted = sum(1 << j for j, other in enumerate(self._nodes) if not other.independent)
        total = torch.zeros(node.shape, device=node.value.device, dtype=node.weight.dtype)
        for cost in self._costs:
            if cost.nodes >> i & 1:
                after = cost.nodes & ~node.before & ~(1 << i) & weighted
                value = (products.of(after, tuple(cost.value.shape)) * cost.value).detach()
                for axis, length in enumerate(node.shape):
                    if length == 1 < value.shape[axis]:
                        value = value.mean(axis, keepdim=True)
                    elif value.shape[axis] == 1 < length:
                        if axis == node.own:
                            raise ValueError(
                                f"{node.name} compares costs along the axis {self.axes[axis]!r}, and a cost that depends on it "
                                "has reduced that axis. Leave one number for each sample, or take score_function."
                            )
                        value = value * length  # the mean over the axis charges each element with a part of it
                total = total + value
        return total

    # ------------------------------------------------------------------------------------------------------------- checks

    def _named(self) -> str:
        return "[" + ", ".join(self.axes) + "]"

    def _place(self, axis: str) -> int:
        if axis not in self.axes:
            raise ValueError(f"there is no axis {axis!r}; this graph has {', '.join(self.axes)}.")
        return self.axes.index(axis)

    def _fit(self, law: Any, name: str) -> list[int]:
        """The law's length along each axis. Raises ValueError where its parameters do not begin with all axes."""
        shapes = []
        for (field, event), parameter in zip(_events(law), _parameters(law), strict=True):
            if parameter.dim() != len(self.axes) + event:
                raise ValueError(
                    f"{field} of the {type(law).__name__} has shape {list(parameter.shape)}; it must begin with all axes of "
                    f"the graph, {self._named()}, and have {event} of its own behind them. Where it does not vary, put an axis "
                    "of length one (unsqueeze)."
                )
            if not finite(parameter):
                raise ValueError(f"{field} given to {name} holds inf or NaN; look at what made it.")
            shapes.append(parameter.shape[: len(self.axes)])
        lengths = [max(each) for each in zip(*shapes, strict=True)]
        self._register(tuple(lengths), f"the {type(law).__name__}")
        return lengths

    def _register(self, shape: tuple[int, ...], what: str) -> None:
        """Note the lengths of axes that were not known. Raises ValueError for a shape that does not fit."""
        fits = len(shape) == len(self.axes) and all(
            length == 1 or known is None or length == known for length, known in zip(shape, self._lengths, strict=True)
        )
        if not fits:
            known = ", ".join(f"{axis} {length or '?'}" for axis, length in zip(self.axes, self._lengths, strict=True))
            raise ValueError(
                f"{what} has shape {list(shape)} on the axes ({known}); each must have its axis's length or be 1, and none be "
                "left out: reduce with keepdim=True, add one with unsqueeze."
            )
        self._lengths = [known if length == 1 else length for length, known in zip(shape, self._lengths, strict=True)]

    def _count(self, lengths: list[int], own: int | None, samples: int | None, name: str) -> int:
        """How many draws along the own axis. Raises ValueError where it is said twice, or is zero."""
        if own is None or lengths[own] > 1:
            if samples is not None:
                where = "no axis is named for them: along=" if own is None else f"the law varies along {self.axes[own]!r}"
                raise ValueError(
                    f"samples is {samples}, but {where}, so there is one draw for each element; leave samples out."
                )
            return 1 if own is None else lengths[own]
        known = self._lengths[own]
        count = (known or 1) if samples is None else samples
        if count < 1:
            raise ValueError(f"samples is {samples}; {name} has zero samples, draw at least one.")
        return count

    def _check_others(self, estimator: Any, count: int) -> None:
        if estimator == "leave_one_out" and count < 2:
            raise ValueError(
                "leave_one_out has one sample, and so no others to compare it with: name the axis to compare along (along=), "
                "with two samples or more, or take score_function."
            )

    def _check_own_axis(self, own: int | None, lengths: list[int], name: str) -> None:
        if own is None or lengths[own] > 1 or (self._lengths[own] or 1) > 1:
            raise ValueError(
                f"{name} evaluates the rest of the graph at points of its own making, and needs an axis for them that no other "
                f"node has used: name one more in Graph(rng, ...) and give it as along. There are: {', '.join(self.axes[1:])}."
            )

    def _mixed(self, before: int, shape: tuple[int, ...], what: str = "the law") -> int:
        """Axes along which something of this shape has mixed elements of the nodes it depends on, a bit each.

        Raises ValueError where that was done on the way, and the axis is there again.
        """
        here = sum(1 << axis for axis, length in enumerate(shape) if length > 1)
        mixed = 0
        for node in _chosen(self._nodes, before):
            if node.mixed & here:
                axis = self.axes[(node.mixed & here).bit_length() - 1]
                raise ValueError(
                    f"{what} has the axis {axis!r}, and depends on {node.name}, which depends on all its elements together; "
                    "reduce it in what comes after, too (mean, keepdim=True)."
                )
            long = sum(1 << axis for axis, length in enumerate(node.shape) if length > 1)
            mixed |= node.mixed | (long & ~here)
        return mixed

    def _check_used(self) -> None:
        if not self._costs:
            raise ValueError("the graph has no cost; add what is to be made small with graph.cost(...).")
        charged = 0
        for cost in self._costs:
            charged |= cost.nodes
        for i, node in enumerate(self._nodes):
            if not charged >> i & 1:
                raise ValueError(
                    f"no cost depends on {node.name}. Either it is not needed, or what it led to was hidden from the graph: by "
                    ".plain(), torch.tensor(...), torch.func.vmap, or a cost that was not added."
                )

    def _check_slopes(self, total: Tensor) -> None:
        moving = [node for node in self._nodes if node.slope and node.value.requires_grad]
        if not moving:
            return
        seen, waiting = set(), [total.grad_fn]
        while waiting:
            step = waiting.pop()
            if step is not None and step not in seen:
                seen.add(step)
                waiting.extend(function for function, _ in step.next_functions)
        for node in moving:
            if node.value.grad_fn not in seen:
                raise ValueError(
                    f"no gradient comes back to {node.name}: what follows compares, rounds or detaches, and its estimator "
                    "needs a slope. score_function, leave_one_out, relax, disarm and enumerate_all need values only."
                )


class _Products:
    """Products of the weights of nodes, brought to the shape of a cost. Most are those of fewer nodes, times one more."""

    def __init__(self, nodes: list[_Node]):
        self.nodes = nodes
        self._known: dict[tuple[int, tuple[int, ...]], Tensor] = {}

    def of(self, chosen: int, shape: tuple[int, ...]) -> Tensor | float:
        missing = []
        while chosen and (chosen, shape) not in self._known:
            missing.append(chosen)
            chosen &= ~(1 << chosen.bit_length() - 1)
        product: Tensor | float = self._known[chosen, shape] if chosen else 1.0
        for more in reversed(missing):
            product = product * self._weight(self.nodes[more.bit_length() - 1], shape)
            self._known[more, shape] = product
        return product

    def _weight(self, node: _Node, shape: tuple[int, ...]) -> Tensor:
        weight = node.weight
        for axis, length in enumerate(shape):
            if length == 1 < weight.shape[axis]:
                if not node.independent:
                    raise ValueError(
                        f"a cost mixes the points of {node.name}, which are no independent samples that count alike. Leave it "
                        "one number for each point (the graph averages them), or take score_function, whose samples may mix."
                    )
                weight = weight.prod(axis, keepdim=True)
        return weight


def _chosen(nodes: list[_Node], bits: int) -> Iterator[_Node]:
    while bits:
        yield nodes[bits.bit_length() - 1]
        bits &= ~(1 << bits.bit_length() - 1)


def _averaged(x: Tensor) -> Tensor:
    """Over all axes but the replica's."""
    return x.mean(tuple(range(1, x.dim()))) if x.dim() > 1 else x


# ------------------------------------------------------------------------------------------------------------- estimators


def _pathwise(law: Any, noise: Tensor) -> Points:
    value = law.rsample(noise)
    return Points(value, value.new_ones(()), independent=True, slope=True)


def _measure_valued(law: Any, noise: Tensor) -> Points:
    """``gradients.measure_valued`` as points: N samples, and those that make the slopes, which only count in the gradient.

    The slopes are linear in the values at the points; differentiating finds the coefficients.
    """
    lead = _parameters(law)[0].dim() - 2
    copies = [p.detach().unsqueeze(-2).requires_grad_(p.requires_grad) for p in _parameters(law)]
    calls: list[tuple[Tensor, Tensor]] = []

    def record(x: Tensor) -> Tensor:
        shape = x.shape if isinstance(law, Categorical) else x.shape[:-1]
        calls.append((x, torch.zeros(shape, dtype=noise.dtype, device=noise.device, requires_grad=True)))
        return calls[-1][1]

    slopes = _MEASURES[type(law)](type(law)(*copies), record, noise.unsqueeze(lead))
    moved = {id(copy): zero_once(p.unsqueeze(-2), "measure_valued") for copy, p in zip(copies, _parameters(law), strict=True)}
    total = torch.stack([(moved[id(copy)] * slope).sum() for copy, slope in slopes]).sum()
    weights = torch.autograd.grad(total, [value for _, value in calls], create_graph=True)

    def listed(x: Tensor, is_weight: bool) -> Tensor:  # [D, *lead, 1, N, ...] or [*lead, 1, N, ...] to [*lead, points, ...]
        each = x.dim() - (0 if is_weight else _VALUES[type(law)]) - lead - 2
        return (x.movedim(0, lead) if each else x).flatten(lead, lead + 1 + each)

    drawn = law.sample(noise[..., 0] if isinstance(law, Normal) else noise)
    value = torch.cat([drawn, *[listed(x, False) for x, _ in calls]], lead)
    weight = torch.cat(
        [
            torch.ones_like(noise[(..., *[0] * (noise.dim() - lead - 1))]) / noise.shape[lead],
            *[listed(w, True) for w in weights],
        ],
        lead,
    )
    return Points(value, weight.shape[-1] * weight)


_OWN = {"pathwise": _pathwise, "measure_valued": _measure_valued}
_ANY_LAW = ("score_function", "leave_one_out", "importance_sampled")
ESTIMATORS = (*_OWN, *[name for name in METHODS if name != "vimco"])
"""The names that ``Graph.sample`` takes."""


def _points(estimator: str | Callable[..., Points]) -> Callable[..., Points]:
    if callable(estimator):
        return estimator
    return _OWN[estimator] if estimator in _OWN else METHODS[estimator].points


def _serves(name: str) -> tuple[type, ...]:
    if name == "pathwise":
        return Normal, MultivariateNormal
    if name == "measure_valued":
        return tuple(_MEASURES)
    if name in _ANY_LAW:
        return LAWS
    return (
        (*METHODS[name].serves, Categorical) if METHODS[name].noise in ("none", "samples", "outcomes") else METHODS[name].serves
    )


def _check_serves(estimator: Any, law: Any) -> None:
    """Raises ValueError for an unknown name, TypeError for a law that it cannot serve, and names those that can."""
    if not isinstance(law, LAWS):
        raise TypeError(f"the law is a {type(law).__name__}; it can be a {', '.join(each.__name__ for each in LAWS)}.")
    if callable(estimator):
        return
    if estimator == "vimco":
        METHODS["vimco"].points  # noqa: B018  # raises, and says what to do
    if estimator not in ESTIMATORS:
        raise ValueError(f"there is no estimator {estimator!r}; there are {', '.join(ESTIMATORS)}.")
    if not isinstance(law, _serves(estimator)):
        able = [name for name in ESTIMATORS if isinstance(law, _serves(name))]
        raise TypeError(f"{estimator} cannot serve a {type(law).__name__}. These can: {', '.join(able)}.")


def _noise(rng: Rng, name: str, law: Any, lead: list[int], count: int) -> Tensor | None:
    """What an estimator needs for so many draws, [R, *lead, ...]."""
    if name in METHODS and isinstance(law, Bernoulli | OneHot):
        shape = noise_shape(name, law, count)
    elif name in METHODS and METHODS[name].noise in ("none", "samples", "outcomes"):
        shape = {"none": (), "samples": (count,), "outcomes": (law.logits.shape[-1],)}[METHODS[name].noise]
    else:
        shape = (count, *_parameters(law)[0].shape[-1:]) if _VALUES[type(law)] else (count,)
        shape = (*shape, 3) if name == "measure_valued" and isinstance(law, Normal) else shape
    if not shape:
        return None
    draw = rng.normal if isinstance(law, Normal | MultivariateNormal) else rng.uniform
    return draw(*lead, *shape)


# ------------------------------------------------------------------------------------------------------- laws and their axes


def _parameters(law: Any) -> list[Tensor]:
    return [getattr(law, field.name) for field in fields(law)]


def _events(law: Any) -> list[tuple[str, int]]:
    """The parameters by name, and how many axes of their own they have."""
    if isinstance(law, MultivariateNormal):
        return [("mean", 1), ("factor", 2)]
    return [(field.name, 2 if isinstance(law, OneHot) else 1) for field in fields(law)]


@dataclass(frozen=True)
class _Move:
    """Between the axes of a graph and those of an estimator, which has the axis of the draws behind all others.

    own: the place of that axis; None where there is one draw for each element, so an axis of length one is added.
    """

    own: int | None
    axes: int

    def there(self, x: Any) -> Any:
        if self.own is None:
            return x.unsqueeze(self.axes)
        return x if self.own == self.axes - 1 else x.movedim(self.own, self.axes - 1)

    def back(self, x: Any) -> Any:
        if self.own is None:
            return x.squeeze(self.axes)
        return x if self.own == self.axes - 1 else x.movedim(self.axes - 1, self.own)

    def law(self, law: Any) -> Any:
        return type(law)(*(self.there(_stripped(parameter)) for parameter in _parameters(law)))

    def setting(self, name: str, value: Any) -> Any:
        if name == "proposal":
            return self.law(value)
        if name == "control":
            return lambda z: self.there(value(self.back(z)))
        if name == "baseline" and isinstance(value, Tensor):
            if value.dim() != self.axes:
                raise ValueError(f"the baseline has shape {list(value.shape)}; it must have the {self.axes} axes of the graph.")
            return self.there(_stripped(value))
        return value

    def baseline(self, baseline: Any) -> Any:
        if callable(baseline):
            return lambda value: self.back(baseline(self.there(value)))
        return self.back(baseline) if isinstance(baseline, Tensor) and baseline.dim() else baseline
