"""From the equations to kernels: the C body of one env step, of its adjoint, and of the accelerations.

One instance of a kernel serves a block of environments: `LANES` at once in vector registers on a CPU, one per thread on
CUDA. All substeps and all phases run inside it; the state, the factor of the mass matrix and every intermediate stay in
registers or on the stack. The only thing written besides the result is the trajectory of substep states, laid out
(block, substep, entry, lane).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

from rpo_lightning.sim import dynamics, factorization, kinematics
from rpo_lightning.sim.algebra import Vector, vector
from rpo_lightning.sim.emission import assigned
from rpo_lightning.sim.expressions import Expr, Scalar, Trace, gradient
from rpo_lightning.sim.model import Model
from rpo_lightning.sim.pairs import Loops
from rpo_lightning.sim.pairs.shapes import BODY
from rpo_lightning.sim.parameters import Parameters
from rpo_lightning.sim.pieces import Stage, emit
from rpo_lightning.sim.prelude import PRELUDE, RECORD, TRAJECTORY
from rpo_lightning.sim.signatures import LOCALS, SIGNATURES
from rpo_lightning.sim.springs import implicit_damping

__all__ = ["KERNELS", "source"]

_DT = "(lane)(dt)"
_MANY_ENTRIES = 300  # of a mass matrix: more are factored in loops, whose text does not grow with them


class _Writer:
    """Collects C text for one model; every method adds a block that reads and writes the named local arrays."""

    def __init__(self, model: Model, parameters: Parameters) -> None:
        self.model, self.parameters = model, parameters
        self.controls = parameters.controls
        self.trace = trace = Trace()
        self.q = trace.inputs("q", model.nq)
        self.matrix = dynamics.mass_matrix(self._robot(trace), self.q, _point(trace))
        self.entries = sorted(self.matrix)
        self.loops = Loops(model, parameters) if model.pairs else None
        self.emit = functools.partial(emit, cut=not model.as_reference)
        self.factorize, self.solve = factorization.method(model)

    def sizes(self) -> dict[str, int]:
        """Return the lengths of local arrays."""
        model = self.model
        return {"NQ": model.nq, "ND": model.nd, "NH": len(self.entries), "NU": self.controls, "NP": self.parameters.size}

    def constants(self) -> str:
        return "".join(f"const int {name} = {value};\n" for name, value in self.sizes().items())

    def zero(self, *names: str) -> str:
        """Return code that sets local arrays to 0."""
        there = ((name, LOCALS[name]) for name in names if self.sizes().get(LOCALS[name], 1))
        return "".join(f"for (int i = 0; i < {size}; ++i) {name}[i] = (lane)(0.0f);\n" for name, size in there)

    def _robot(self, trace: Trace) -> Model:
        """Return the robot with its parameters as symbols of a trace."""
        return self.parameters.applied(self.model, trace.inputs("par", self.parameters.size))

    def _inputs(self, trace: Trace) -> list[Expr]:
        """Return the symbols of what is constant in a step and has a cotangent: force, controls, parameters."""
        counts = {"u": self.model.nd, "c": self.controls, "par": self.parameters.size}
        return [symbol for name, count in counts.items() for symbol in trace.inputs(name, count)]

    def _input_cotangents(self, values: Sequence[Scalar]) -> dict[str, Scalar]:
        nd, end = self.model.nd, self.model.nd + self.controls
        return assigned("gu", values[:nd]) | assigned("gc", values[nd:end]) | assigned("gpar", values[end:])

    def origin(self) -> str:
        """Return code for q -> o, the reference point: a constant of the step, as the physics does not depend on it."""
        trace = Trace()
        return emit(assigned("o", list(kinematics.reference_point(self.model, trace.inputs("q", self.model.nq)))))

    def enter(self) -> str:
        """Return code for qd: rates of the state -> those that are solved for."""
        trace, q, qd = self._state()
        return emit(assigned("qd", dynamics.inner_rates(self.model, q, qd, _point(trace))))

    def leave(self) -> str:
        """Return code for qd: rates that are solved for -> those of the state."""
        trace, q, qd = self._state()
        return emit(assigned("qd", dynamics.outer_rates(self.model, q, qd, _point(trace))))

    def leave_accelerated(self) -> str:
        """Return code for q, qd, a: the time derivative of what `leave` returns."""
        trace, q, qd = self._state()
        a = trace.inputs("a", self.model.nd)
        return emit(assigned("a", dynamics.outer_acceleration(self.model, q, qd, a, _point(trace))))

    def enter_adjoint(self) -> str:
        """Return code that pulls gqd back through `enter`, at its result; gq +=."""
        return self._rates_adjoint(dynamics.inner_rates)

    def leave_adjoint(self) -> str:
        """Return code that pulls gqd back through `leave`; gq +=."""
        return self._rates_adjoint(dynamics.outer_rates)

    def leave_accelerated_adjoint(self) -> str:
        """Return code that pulls ga back through `leave_accelerated`; gq, gqd +=."""
        trace, q, qd = self._state()
        nq, nd = self.model.nq, self.model.nd
        a, seeds = trace.inputs("a", nd), trace.inputs("ga", nd)
        shifted = dynamics.outer_acceleration(self.model, q, qd, a, _point(trace))
        grads = gradient(shifted, seeds, [*q, *qd, *a])
        sums = assigned("gq", grads[:nq]) | assigned("gqd", grads[nq : nq + nd])
        return emit(_sums(trace, sums) | assigned("ga", grads[nq + nd :]))

    def _rates_adjoint(self, change: Callable[..., list[Scalar]]) -> str:
        trace, q, qd = self._state()
        seeds = trace.inputs("gqd", self.model.nd)
        grads = gradient(change(self.model, q, qd, _point(trace)), seeds, [*q, *qd])
        return emit(_sums(trace, assigned("gq", grads[: self.model.nq])) | assigned("gqd", grads[self.model.nq :]))

    def _state(self) -> tuple[Trace, list[Expr], list[Expr]]:
        trace = Trace()
        return trace, trace.inputs("q", self.model.nq), trace.inputs("qd", self.model.nd)

    def factor(self, dt: str = "") -> str:
        """Return code for q, qd, c, par, o -> f, the factor of the mass matrix, with the damping of steps of `dt` in it."""
        matrix = self._augmented(dt)
        if len(self.entries) > _MANY_ENTRIES and not self.model.as_reference:
            filled = self.emit(assigned("f", [matrix[e] for e in self.entries]))
            return f"{{\n{filled}{factorization.factor_loops(self.entries)}}}\n"
        factors = self.factorize(matrix)
        return self.emit(assigned("f", [factors[e] for e in self.entries]))

    def factor_adjoint(self, dt: str = "") -> str:
        """Return code for q, qd, c, par, o, gh -> gq, gqd, gc, gpar +=, through the mass matrix."""
        trace, matrix, nq, nd = self.trace, self._augmented(dt), self.model.nq, self.model.nd
        inputs = [*self.q, *trace.inputs("qd", nd), *self._inputs(trace)]
        grads = gradient([matrix[e] for e in self.entries], trace.inputs("gh", len(self.entries)), inputs)
        # rates and controls only count in implicit damping that depends on them
        outputs = assigned("gq", grads[:nq]) | assigned("gqd", grads[nq : nq + nd])
        return self.emit(_sums(trace, outputs | self._input_cotangents(grads[nq + nd :])))

    def _augmented(self, dt: str) -> factorization.Matrix:
        """Return the mass matrix with armature and, for steps of `dt`, the damping that is taken implicitly."""
        model, trace = self._robot(self.trace), self.trace
        damping: factorization.Matrix = {}
        if dt and model.damping == "implicit":
            step, qd, control = trace.input(dt), trace.inputs("qd", model.nd), trace.inputs("c", self.controls)
            damping = {entry: step * d for entry, d in implicit_damping(model, self.q, qd, control).items()}
        return factorization.augmented(model, self.matrix, damping)

    def accelerate(self) -> str:
        """Return code for q, qd, u, c, par, f, o -> a."""
        trace, q, qd, inputs, factors = self._symbols()
        tau = self._bias(trace, q, qd, inputs)
        return self._forward(trace, q, qd, assigned("a", self.solve(factors, tau)))

    def accelerate_adjoint(self) -> str:
        """Return code for q, qd, u, c, par, f, o, ga -> gq, gqd, gu, gc, gpar, gh (all +=)."""
        trace, q, qd, inputs, factors = self._symbols()
        tau = self._bias(trace, q, qd, inputs)
        x, push = self.solve(factors, tau), self.solve(factors, trace.inputs("ga", self.model.nd))
        before, grads = self._pull_back(trace, q, qd, inputs, tau, push)
        nq, nd = self.model.nq, self.model.nd
        matrix = factorization.mass_matrix_gradient(self.entries, x, push)
        outputs = assigned("gq", grads[:nq]) | assigned("gqd", grads[nq : nq + nd])
        outputs |= self._input_cotangents(grads[nq + nd :]) | assigned("gh", matrix)
        return self.emit(*before, _sums(trace, outputs))

    def substep(self) -> str:
        """Return code for q, qd, u, c, par, f, o, dt -> q, qd one substep later."""
        trace, q, qd, inputs, factors = self._symbols()
        x = self.solve(factors, self._bias(trace, q, qd, inputs))
        new_q, new_qd = dynamics.integrate(self.model, q, qd, x, trace.input(_DT), _point(trace))
        return self._forward(trace, q, qd, assigned("q", new_q) | assigned("qd", new_qd))

    def substep_adjoint(self) -> str:
        """Return code for gq, gqd of the new state -> of the old one; gu, gc, gpar, gh +=."""
        trace, q, qd, inputs, factors = self._symbols()
        model = self.model
        nq, nd = model.nq, model.nd
        tau = self._bias(trace, q, qd, inputs)
        x = self.solve(factors, tau)
        new_q, new_qd = dynamics.integrate(model, q, qd, x, trace.input(_DT), _point(trace))
        # the gradient stops at x, because the solve has an adjoint of its own
        seeds = trace.inputs("gq", nq) + trace.inputs("gqd", nd)
        direct = gradient(new_q + new_qd, seeds, [*q, *qd, *x])
        push = self.solve(factors, direct[nq + nd :])
        before, through = self._pull_back(trace, q, qd, inputs, tau, push)
        total = [one + two for one, two in zip(direct[: nq + nd], through[: nq + nd], strict=True)]
        matrix = factorization.mass_matrix_gradient(self.entries, x, push)
        sums = _sums(trace, self._input_cotangents(through[nq + nd :]) | assigned("gh", matrix))
        return self.emit(*before, assigned("gq", total[:nq]) | assigned("gqd", total[nq:]) | sums)

    def _bias(self, trace: Trace, q: list[Expr], qd: list[Expr], inputs: list[Expr]) -> list[Scalar]:
        nd = self.model.nd
        force, control = inputs[:nd], inputs[nd : nd + self.controls]
        return dynamics.bias_force(self._robot(trace), q, qd, force, _point(trace), self._touched(trace), control)

    def _touched(self, trace: Trace) -> dict[int, tuple[Vector, Vector]]:
        """Return what the loops over pairs leave in `bw`: (torque, force) by link."""
        if self.loops is None:
            return {}
        symbols = self.loops.inputs(trace, "bw", 6)
        return {link: (vector(x[:3]), vector(x[3:])) for link, x in zip(self.loops.links, symbols, strict=True) if link >= 0}

    def _poses(self, trace: Trace, q: Sequence[Scalar], qd: Sequence[Scalar]) -> dict[str, Scalar]:
        assert self.loops is not None
        origin = _point(trace)
        return self.loops.outputs(kinematics.bodies(self.model, q, qd, origin), kinematics.world(origin))

    def _forward(self, trace: Trace, q: Sequence[Scalar], qd: Sequence[Scalar], outputs: dict[str, Scalar]) -> str:
        """Return code for `outputs`, after that for the pairs' wrenches, which they read."""
        if self.loops is None:
            return self.emit(outputs)
        return self.emit(self._poses(trace, q, qd), self.loops.forward(), outputs)

    def _pull_back(
        self, trace: Trace, q: list[Expr], qd: list[Expr], inputs: list[Expr], tau: list[Scalar], push: list[Scalar]
    ) -> tuple[list[Stage], list[Scalar]]:
        """Return stages that have to run before, and the cotangent of q, qd, inputs, given tau's."""
        direct: list[Scalar] = [*q, *qd, *inputs]
        if self.loops is None:
            return [], gradient(tau, push, direct)
        poses = self._poses(trace, q, qd)
        wrenches: list[Scalar] = [x for body in self.loops.inputs(trace, "bw", 6) for x in body]
        moved = [x for body in self.loops.inputs(trace, "gp", BODY) for x in body]
        grads = gradient(tau, push, direct + wrenches)
        through = gradient(list(poses.values()), moved, [*q, *qd]) + [0.0] * len(inputs)
        seeds = assigned("gw", grads[len(direct) :])
        before: list[Stage] = [poses, self.loops.forward(adjoint=True), seeds, self.loops.backward()]
        return before, [one + two for one, two in zip(grads, through, strict=False)]

    def _symbols(self) -> tuple[Trace, list[Expr], list[Expr], list[Expr], factorization.Matrix]:
        trace, model = Trace(), self.model
        factors: factorization.Matrix = dict(zip(self.entries, trace.inputs("f", len(self.entries)), strict=True))
        return trace, trace.inputs("q", model.nq), trace.inputs("qd", model.nd), self._inputs(trace), factors


def _point(trace: Trace) -> Vector:
    return vector(trace.inputs("o", 3))


def _sums(trace: Trace, added: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return what adds to variables instead of overwriting them, where that is not constantly zero."""
    return {name: trace.input(name) + value for name, value in added.items() if isinstance(value, Expr)}


def source(name: str, model: Model, parameters: Sequence[str] = ()) -> str:
    """Return the C text of a kernel of `KERNELS` for one block of environments, with `parameters` as arguments.

    `step` advances by `substeps` substeps of `dt` and records their states if `record`; `step_adjoint` pulls the cotangents
    of its result back to its inputs, from the recorded trajectory. `acceleration` computes the joint accelerations, and
    `acceleration_adjoint` pulls theirs back. The step sizes are arguments, so that another one is the same machine code.
    """
    signature, writer = SIGNATURES[name], _Writer(model, Parameters(model, parameters))
    head = PRELUDE + writer.constants()
    if "trajectory" in signature.passes:
        head += TRAJECTORY.replace("ROWS", "(substeps + 1)" if model.records_end else "substeps")
    if writer.loops is not None:
        head += writer.loops.declare(adjoint=name.endswith("adjoint"))
    start = signature.prologue(writer.sizes()) + (writer.loops.look_up() if writer.loops is not None else "")
    return head + start + KERNELS[name](writer) + signature.epilogue(writer.sizes())


def _step(w: _Writer) -> str:
    last = f"if (record) {RECORD.replace('row(s)', 'row(substeps)')}\n" if w.model.records_end else ""
    return f"""{w.origin()}{w.enter()}
for (int s = 0; s < substeps; ++s) {{
    if (s % interval == 0) {w.factor(_DT)}
    if (record) {RECORD}
    {w.substep()}
}}
{last}{w.leave()}
"""


def _step_adjoint(w: _Writer) -> str:
    first, then = (f"restore(substeps);\n{w.leave_adjoint()}", "") if w.model.records_end else ("", w.leave_adjoint())
    return f"""auto restore = [&](int s) {{
    lane* from = row(s);
    for (int i = 0; i < NQ; ++i) q[i] = from[i * stride];
    for (int i = 0; i < ND; ++i) qd[i] = from[(NQ + i) * stride];
}};
{first}restore(0);
{w.origin()}{then}{w.zero("gu", "gc", "gpar")}
for (int s = substeps - 1; s >= 0; --s) {{
    if (s == substeps - 1 || (s + 1) % interval == 0) {{
        restore(s - s % interval);
        {w.factor(_DT)}{w.zero("gh")}
    }}
    restore(s);
    {w.substep_adjoint()}
    if (s % interval == 0) {w.factor_adjoint(_DT)}
}}
{w.enter_adjoint()}
"""


def _acceleration(w: _Writer) -> str:
    return f"""{w.origin()}{w.enter()}{w.factor()}{w.accelerate()}{w.leave_accelerated()}"""


def _acceleration_adjoint(w: _Writer) -> str:
    first = w.accelerate() if w.model.records_end else ""  # `leave_accelerated` depends on it
    return f"""{w.zero("gq", "gqd", "gu", "gc", "gpar", "gh")}{w.origin()}{w.enter()}{w.factor()}
{first}{w.leave_accelerated_adjoint()}{w.accelerate_adjoint()}{w.factor_adjoint()}{w.enter_adjoint()}"""


KERNELS = {
    "step": _step,
    "step_adjoint": _step_adjoint,
    "acceleration": _acceleration,
    "acceleration_adjoint": _acceleration_adjoint,
}
