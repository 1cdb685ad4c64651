"""The same estimators on the same toy, beside the storchastic package: right or wrong, CPU time a call, samples a CPU second.

    pip install -c constraints.txt .[storchastic]
    OMP_NUM_THREADS=1 python benchmarks/storchastic.py

One coin, Bernoulli(sigmoid(0.7)), f(b) = (b - 0.499)^2 + 3 b + 1; the exact gradient is 0.6656. A call draws 8 samples, builds
the surrogate and runs backward. Ours is timed in both of its forms: the function of ``relaxations``, and a ``Graph``. Batched:
one call with a million samples. Targets: right where storchastic is wrong or fails; a call at least 5 times as fast; at least
1,000 times the samples a CPU second, batched against its calls of 8.
"""

import argparse
import gc
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from pgcourse import relaxations
from pgcourse.distributions import Bernoulli
from pgcourse.rng import Rng
from pgcourse.stochastic import Graph

PHI, SAMPLES, MANY = 0.7, 8, 1_000_000


def cost(b: Tensor) -> Tensor:
    return ((b - 0.499) ** 2 + 3 * b + 1)[..., 0]


def control(z: Tensor) -> Tensor:
    return 2.5 + z.sigmoid()[..., 0]


def by_function(name: str, samples: int, rng: Rng) -> float:
    phi = torch.full((1, 1), PHI, requires_grad=True)
    law = Bernoulli(phi)
    noise = rng.uniform(*relaxations.noise_shape(name, law, samples))
    settings = {"control": control} if name == "relax" else {}
    relaxations.METHODS[name].surrogate(cost, law, noise, **settings).sum().backward()
    return phi.grad.item()


def by_graph(name: str, samples: int, rng: Rng) -> float:
    phi = torch.full((1, 1, 1), PHI, requires_grad=True)
    graph = Graph(rng, "sample")
    settings = {"control": control} if name == "relax" else {}
    graph.cost(cost(graph.sample(Bernoulli(phi), name, along="sample", samples=samples, **settings)))
    graph.surrogate().sum().backward()
    return phi.grad.item()


def theirs(method, storch) -> float:
    phi = torch.tensor([PHI], requires_grad=True)
    b = method(torch.distributions.Bernoulli(logits=phi))
    storch.add_cost(cost(b), "cost")
    storch.backward()
    return phi.grad.item()


def their_methods(storch) -> dict[str, Callable[[int], object]]:
    method = storch.method
    return {
        "score_function": lambda n: method.ScoreFunction("z", n_samples=n),
        "leave_one_out": lambda n: method.ScoreFunction("z", n_samples=n, baseline_factory="batch_average"),
        "arm": lambda n: method.ARM("z", n_samples=n),
        "disarm": lambda n: method.DisARM("z", n_samples=n),
        "rebar": lambda n: method.REBAR("z", n_samples=n),
        "relax": lambda n: method.RELAX("z", n_samples=n, in_dim=[1]),
        "gumbel_softmax": lambda n: method.GumbelSoftmax("z", n_samples=n),
    }


def measure(calls: list[Callable[[], float]], rounds: int, each: int) -> list[tuple[float, float, float]]:
    """Of each call: mean of its estimates, standard error, CPU seconds, the median over rounds in which they take turns."""
    found, seconds = [[] for _ in calls], [[] for _ in calls]
    for _ in range(rounds):
        for call, values, times in zip(calls, found, seconds, strict=True):
            gc.collect()  # storchastic leaves cycles behind, which must not be swept up in the time of others
            begin = time.process_time()
            values += [call() for _ in range(each)]
            times.append((time.process_time() - begin) / each)
    return [
        (statistics.fmean(values), statistics.stdev(values) / len(values) ** 0.5, statistics.median(times))
        for values, times in zip(found, seconds, strict=True)
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=100, help="in a round")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sys.path = [folder for folder in sys.path if not folder.endswith("benchmarks")]  # this file has the package's name
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import storch
    except ImportError as problem:
        print(f"skipped: {problem}. pip install -c constraints.txt .[storchastic] brings the package to compare with.")
        return
    warnings.filterwarnings("ignore", message="Using backward.. with create_graph")
    law = Bernoulli(torch.tensor([[PHI]], dtype=torch.float64, requires_grad=True))
    exact = torch.autograd.grad(relaxations.enumerate_all(cost, law).sum(), law.logits)[0].item()
    print(f"exact gradient {exact:.4f}; {options.rounds} x {options.calls} calls; torch {torch.__version__}\n")
    print("| | storchastic | ms | function | ms | times | graph | ms | times | graph, batched | samples/CPU s, times |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    rng = Rng(0)
    for name, make in their_methods(storch).items():
        calls = [partial(by_function, name, SAMPLES, rng), partial(by_graph, name, SAMPLES, rng)]
        try:
            method = make(SAMPLES)
            theirs(method, storch)
            calls.insert(0, partial(theirs, method, storch))
            failed = None
        except RuntimeError as problem:
            storch.reset()
            failed = f"raises {type(problem).__name__}"
        measured = measure(calls, options.rounds, options.calls)
        each = measured[0][2]
        cells = [name, failed, "-"] if failed else [name]
        for mean, error, seconds in measured:
            cells += [f"{mean:.3f} ± {error:.3f}", f"{1e3 * seconds:.2f}"]
            if failed or seconds != each:
                cells.append("-" if failed else f"{each / seconds:.1f}")
        ((mean, error, batched),) = measure([partial(by_graph, name, MANY, rng)], 5, 4)
        cells += [f"{mean:.4f} ± {error:.4f}", "-" if failed else f"{MANY / batched / (SAMPLES / each):,.0f}"]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
