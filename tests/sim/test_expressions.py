import math

import numpy as np
import pytest

from rpo_lightning.sim.expressions import (
    Expr,
    Trace,
    cos,
    gradient,
    maximum,
    minimum,
    nearest,
    sin,
    sqrt,
    where_less,
)
from rpo_lightning.sim.pieces import emit


def evaluate(x, values):
    """Run a graph on numbers, node by node."""
    if not isinstance(x, Expr):
        return x
    a = [evaluate(y, values) if x.op != "input" else y for y in x.args]
    return {
        "input": lambda: values[a[0]],
        "+": lambda: a[0] + a[1],
        "-": lambda: a[0] - a[1],
        "*": lambda: a[0] * a[1],
        "neg": lambda: -a[0],
        "recip": lambda: 1.0 / a[0],
        "sqrt": lambda: math.sqrt(a[0]),
        "sin": lambda: math.sin(a[0]),
        "cos": lambda: math.cos(a[0]),
        "nearest": lambda: round(a[0]),
        "where": lambda: a[2] if a[0] < a[1] else a[3],
    }[x.op]()


def example(x, y, z):
    u = x * y - 3.0 * z / (1.0 + y * y)
    v = sin(u) * cos(x - z) + sqrt(2.0 + sin(z)) - (-u) * 0.5
    return minimum(u, v * x) + maximum(v, z) * where_less(x, 0.3, x * x, 2.0 - y) + 1.0 / (4.0 + v)


@pytest.mark.parametrize("seed", range(8))
def test_gradient_equals_central_differences(seed):
    point = np.random.default_rng(seed).normal(size=3)
    trace = Trace()
    symbols = [trace.input(n) for n in "xyz"]
    output = example(*symbols)
    values = dict(zip("xyz", point, strict=True))
    assert evaluate(output, values) == pytest.approx(example(*point), rel=1e-12)
    grads = [evaluate(g, values) for g in gradient([output], [1.0], symbols)]
    for i in range(3):
        step = 1e-6 * np.eye(3)[i]
        assert grads[i] == pytest.approx((example(*(point + step)) - example(*(point - step))) / 2e-6, rel=1e-6, abs=1e-8)


def test_zeros_and_repetitions_cost_nothing():
    trace = Trace()
    x, y = trace.inputs("v", 2)
    assert x * 0.0 == 0.0
    assert x + 0.0 is x
    assert x * 1.0 is x
    assert x - x == 0.0
    assert -(-x) is x
    assert x * y is y * x
    assert (x * y) + (-x) is (y * x) - x


def test_ties_send_the_gradient_to_the_second_argument():
    trace = Trace()
    x, y = trace.inputs("v", 2)
    at_tie = {"v[0]": 1.0, "v[1]": 1.0}
    for function in (minimum, maximum):
        assert [evaluate(g, at_tie) for g in gradient([function(x, y)], [1.0], [x, y])] == [0.0, 1.0]


def test_nearest_has_no_gradient():
    trace = Trace()
    x = trace.input("x")
    assert gradient([nearest(x) + 2.0 * x], [1.0], [x]) == [2.0]


def test_emit_reads_before_it_writes():
    trace = Trace()
    a, b = trace.inputs("v", 2)
    code = emit({"v[0]": b, "v[1]": a})
    assert code.index("= v[1];") < code.index("v[0] = ")
