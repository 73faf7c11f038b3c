"""The collector: action-gradients, window semantics, resume."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import rpo_lightning
from rpo_lightning.algorithms import RPO, FirstOrder
from rpo_lightning.nn import ClippedGaussian, SquashedGaussian
from rpo_lightning.rollout import Collector, RolloutBatch, Window
from tests.reference import window_noise, window_objective
from tests.toy import PointMass, ScriptedEnv, Step

DOUBLE = torch.float64


def small_rpo(dtype: torch.dtype = DOUBLE) -> RPO:
    torch.manual_seed(0)
    module = RPO(3, 1, total_env_steps=10_000, hidden=(16, 16), entropy_coef=0.3)
    module.actor.to(dtype)
    module.critics.ensemble.to(dtype)
    module.normalizer.update(torch.randn(100, 3, generator=torch.Generator().manual_seed(0)))
    return module


class Restless(PointMass):
    """Ends episodes of both kinds within every short window."""

    def __init__(self, seed: int = 3) -> None:
        super().__init__(6, seed=seed, episode_length=5, limit=0.95, dtype=DOUBLE)


def finite_differences(module: RPO, collector: Collector, horizon: int) -> Tensor:
    """d(sum of window objectives)/du (H, N, 1) of the closed loop, by central differences."""
    env, noise = collector.env, window_noise(collector, 1)
    start = {"env": env.state_dict()}

    @torch.no_grad()
    def objective(delta: Tensor) -> Tensor:
        env.load_state_dict(start["env"])
        return window_objective(env, module, *noise, delta=delta)

    gradient, step = torch.zeros(horizon, env.num_envs, 1, dtype=DOUBLE), 1e-5
    for t in range(horizon):
        # Environments are independent, so one evaluation moves step t of all of them.
        delta = torch.zeros(horizon, env.num_envs, 1, dtype=DOUBLE)
        delta[t] = step
        gradient[t, :, 0] = (objective(delta) - objective(-delta)) / (2 * step)
    env.load_state_dict(start["env"])
    return gradient


def test_action_gradients_match_finite_differences_of_the_closed_loop() -> None:
    module, collector = small_rpo(), Collector(Restless(), horizon=8, seed=1)
    expected = finite_differences(module, collector, 8)
    batch = collector.collect(module)
    assert batch.terminated[:-1].any()
    assert batch.truncated[:-1].any()
    torch.testing.assert_close(batch.action_grad, expected, rtol=1e-5, atol=1e-6)


def test_an_open_loop_gradient_is_told_apart() -> None:
    class OpenLoop(RPO):
        def policy(self, obs: Tensor) -> SquashedGaussian:
            return super().policy(obs.detach())

    module = small_rpo()
    open_loop = OpenLoop(3, 1, 10_000, hidden=(16, 16), entropy_coef=0.3).double()
    open_loop.load_state_dict(module.state_dict())
    collector = Collector(Restless(), horizon=8, seed=1)
    expected = finite_differences(module, collector, 8)
    batch = collector.collect(open_loop)
    assert (batch.action_grad - expected).abs().max() > 0.05


def test_collecting_writes_no_parameter_gradient_and_leaves_no_graph() -> None:
    module = small_rpo()
    batch = Collector(Restless(), horizon=4, seed=1).collect(module)
    assert all(param.grad is None for param in module.parameters())
    tensors = [value for value in vars(batch).values() if isinstance(value, Tensor)]
    assert len(tensors) == 20
    assert not any(tensor.requires_grad for tensor in tensors)
    assert not any(tensor.requires_grad for tensor in batch.start_state)


def test_batch_reproduces_the_behaviour_policy_and_the_normaliser_stays_frozen() -> None:
    module = small_rpo(torch.float32)
    before = {name: value.clone() for name, value in module.normalizer.state_dict().items()}
    batch = Collector(PointMass(16), horizon=6, seed=1).collect(module)
    assert all(torch.equal(before[name], value) for name, value in module.normalizer.state_dict().items())
    with torch.no_grad():
        for t in range(6):
            policy = module.policy(batch.obs[t])
            assert torch.equal(policy.mean, batch.mean[t])
            assert torch.equal(policy.log_std, batch.log_std[t])


class LinearAgent:
    """Actions of mean 0 whatever the state; value 10 times the position."""

    discount = 0.5
    needs_action_grad = True
    state_size = 0
    bootstrap_state = "next"
    gradient_lambda = 1.0
    window_objective = RPO.window_objective
    end_state = FirstOrder.end_state

    def behaviour(self, obs: Tensor, state: Tensor) -> tuple[SquashedGaussian, Tensor]:
        """Return a policy that does not look at the state."""
        return self.spread(obs), state

    def spread(self, obs: Tensor) -> SquashedGaussian:
        """Return the policy."""
        return SquashedGaussian(torch.zeros_like(obs), torch.full_like(obs, -20.0))

    @property
    def critics(self) -> Any:
        """Hold the value as RPO's critics do."""
        return SimpleNamespace(mean=self.value)

    def critic_input(self, obs: Tensor, privileged: Tensor) -> Tensor:
        """Return the observation."""
        return obs

    def check_window(self, horizon: int, num_envs: int) -> None:
        """Take any."""

    def value(self, obs: Tensor) -> Tensor:
        """Return 10 x."""
        return 10.0 * obs[..., 0]

    def next_value(self, window: Window) -> Tensor:
        """Return 10 x + 1, to tell it from `value`."""
        return self.value(self.end_state(window)) + 1.0

    def reward_bonus(self, policy: SquashedGaussian, generator: torch.Generator) -> Tensor:
        """Return nothing."""
        return torch.zeros_like(policy.mean[..., 0])


def scripted(**ends: list[tuple[int, int]]) -> RolloutBatch:
    return Collector(ScriptedEnv(horizon=4, num_envs=2, **ends), horizon=4, seed=0).collect(LinearAgent())


def test_a_whole_window_is_discounted_and_ends_in_the_critic() -> None:
    # x_t = 1 + sum of a, reward = x_{t+1}; da/du = 1 at u = 0.
    batch = scripted()
    tail = 0.5**4 * 10
    expected = [1 + 0.5 + 0.25 + 0.125 + tail, 0.5 + 0.25 + 0.125 + tail, 0.25 + 0.125 + tail, 0.125 + tail]
    torch.testing.assert_close(batch.action_grad[:, 0, 0], torch.tensor(expected))
    torch.testing.assert_close(batch.next_value, torch.full((4, 2), 11.0))


def test_termination_cuts_the_gradient_and_has_no_value() -> None:
    batch = scripted(terminated=[(1, 0)])
    tail = 0.5**2 * 10
    expected = [1 + 0.5, 0.5, 1 + 0.5 + tail, 0.5 + tail]
    torch.testing.assert_close(batch.action_grad[:, 0, 0], torch.tensor(expected))
    assert batch.next_value[:, 0].tolist() == [11.0, 0.0, 31.0, 31.0]
    torch.testing.assert_close(batch.next_value[:, 1], torch.full((4,), 11.0))


def test_truncation_cuts_the_gradient_and_bootstraps_from_the_state_reached() -> None:
    batch = scripted(truncated=[(1, 0)])
    tail = 0.5**2 * 10
    expected = [1 + 0.5 + tail, 0.5 + tail, 1 + 0.5 + tail, 0.5 + tail]
    torch.testing.assert_close(batch.action_grad[:, 0, 0], torch.tensor(expected))
    # The reset puts x at 3, the state reached is at 1.
    assert batch.next_value[:, 0].tolist() == [11.0, 11.0, 31.0, 31.0]


@pytest.mark.parametrize("broken", [torch.nan, torch.inf, 2e6])
def test_a_broken_state_reached_has_no_value(broken: float) -> None:
    batch = scripted(truncated=[(1, 0)], broken=broken)
    expected = [1 + 0.5, 0.5]
    torch.testing.assert_close(batch.action_grad[:2, 0, 0], torch.tensor(expected))
    assert batch.next_value[:, 0].tolist() == [11.0, 0.0, 31.0, 31.0]
    assert not batch.nonfinite_grad.any()


def test_bootstrapping_from_the_current_state_takes_it_unless_truncated() -> None:
    agent = LinearAgent()
    agent.bootstrap_state = "current"
    env = ScriptedEnv(horizon=4, num_envs=1, truncated=[(1, 0)], drift=1.0)
    batch = Collector(env, horizon=4, seed=0).collect(agent)
    # States 1, 2 -> 3 reached, reset to 3, 4 -> 5 reached.
    assert batch.next_value[:, 0].tolist() == [11.0, 31.0, 31.0, 41.0]
    # The last action has no value gradient: the state before it does not depend on it.
    torch.testing.assert_close(batch.action_grad[3, 0, 0], torch.tensor(0.5))


def test_nonfinite_gradient_rows_become_zero_and_are_marked() -> None:
    env = ScriptedEnv(horizon=4, num_envs=2, poison=(2, 1))
    batch = Collector(env, horizon=4, seed=0).collect(LinearAgent())
    assert batch.nonfinite_grad.tolist() == [[False, True], [False, True], [False, True], [False, False]]
    assert batch.action_grad[:3, 1].eq(0).all()
    assert batch.action_grad[:, 0].ne(0).all()


def test_episode_statistics_cross_windows_and_leave_out_the_bonus() -> None:
    class Generous(LinearAgent):
        def reward_bonus(self, policy: SquashedGaussian, generator: torch.Generator) -> Tensor:
            return torch.full_like(policy.mean[..., 0], 100.0)

    env = ScriptedEnv(horizon=6, num_envs=2, terminated=[(4, 0)])
    collector = Collector(env, horizon=3, seed=0)
    first, second = collector.collect(Generous()), collector.collect(Generous())
    assert first.episode_return.isnan().all()
    assert second.episode_length[1, 0] == 5
    assert second.episode_return[1, 0] == 5.0
    assert second.episode_return.isnan().sum() == 5
    assert (first.bonus == 100).all()


def test_the_bonus_reaches_actions_only_through_states() -> None:
    """Its noise is drawn apart from the action's, so the direct path is not in the action-gradient."""

    class Bonus(LinearAgent):
        def spread(self, obs: Tensor) -> SquashedGaussian:
            return SquashedGaussian(0.0 * obs, 0.0 * obs - 20.0)

        def value(self, obs: Tensor) -> Tensor:
            return 0.0 * obs[..., 0]

        def reward_bonus(self, policy: SquashedGaussian, generator: torch.Generator) -> Tensor:
            return 7.0 * policy.mean[..., 0] + policy.log_std[..., 0]

    with_bonus = Collector(ScriptedEnv(4, 2), 4, 0).collect(Bonus()).action_grad
    torch.testing.assert_close(with_bonus[-1, 0, 0], torch.tensor(0.125))


class Spied(ScriptedEnv):
    """Remembers the actions it was given."""

    def step(self, action: Tensor) -> Step:
        self.actions = [*getattr(self, "actions", []), action.detach()]
        return super().step(action)


def test_the_behaviour_acts_and_not_the_policy() -> None:
    class Explorer(LinearAgent):
        def policy(self, obs: Tensor) -> SquashedGaussian:
            raise AssertionError

        def spread(self, obs: Tensor) -> SquashedGaussian:
            return SquashedGaussian(0.0 * obs + 0.7, 0.0 * obs - 20.0)

    env = Spied(horizon=4, num_envs=2)
    batch = Collector(env, horizon=4, seed=0).collect(Explorer())
    torch.testing.assert_close(batch.mean, torch.full((4, 2, 1), 0.7))
    torch.testing.assert_close(torch.stack(env.actions), torch.full((4, 2, 1), 0.7).tanh())


def test_a_clipped_policy_gives_the_environment_actions_within_bounds() -> None:
    class Clipped(LinearAgent):
        def spread(self, obs: Tensor) -> ClippedGaussian:
            return ClippedGaussian(torch.zeros_like(obs), torch.ones_like(obs))

    env = Spied(horizon=4, num_envs=20)
    batch = Collector(env, horizon=4, seed=0).collect(Clipped())
    assert (batch.sample.abs() > 1.0).any()
    assert torch.equal(torch.stack(env.actions), batch.sample.clamp(-1.0, 1.0))
    # beyond its bounds an action has no gradient
    assert torch.equal(batch.action_grad == 0.0, batch.sample.abs() > 1.0)


@pytest.mark.parametrize("bootstrap_state", ["next", "current"])
def test_the_objective_gets_the_window_with_its_graph(bootstrap_state: str) -> None:
    class Generous(LinearAgent):
        def window_objective(self, window: Window) -> Tensor:
            windows.append(window)
            return super().window_objective(window)

        def reward_bonus(self, policy: SquashedGaussian, generator: torch.Generator) -> Tensor:
            return torch.full_like(policy.mean[..., 0], 100.0)

    windows: list[Window] = []
    agent = Generous()
    agent.bootstrap_state = bootstrap_state
    env = ScriptedEnv(horizon=4, num_envs=3, terminated=[(1, 0)], truncated=[(2, 1), (1, 2)], broken=5e6, drift=1.0)
    env.broken = torch.tensor([[5.0], [5.0], [5e6]])
    batch = Collector(env, horizon=4, seed=0).collect(agent)
    (window,) = windows
    # positions 1, 2, 3, ... and 3 after a reset; 5 reached where cut off, or a broken state
    assert window.obs[..., 0].T.tolist() == [[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 3.0], [1.0, 2.0, 3.0, 4.0]]
    assert window.done.T.tolist() == [[False, True, False, False], [False, False, True, False], [False, True, False, False]]
    assert window.alive.T.tolist() == [[True, False, True, True], [True] * 4, [True, False, True, True]]
    torch.testing.assert_close(window.reward, batch.reward + 100.0)
    reached = {
        "next": [[2.0, 3.0, 4.0, 5.0], [2.0, 3.0, 5.0, 4.0], [2.0, 5e6, 4.0, 5.0]],
        "current": [[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 5.0, 3.0], [1.0, 5e6, 3.0, 4.0]],
    }
    alive = window.alive.T
    wanted = torch.tensor(reached[bootstrap_state]).where(alive, torch.zeros(()))
    assert torch.equal(agent.end_state(window)[..., 0].T.where(alive, torch.zeros(())), wanted)
    assert window.reward.requires_grad
    assert window.obs.requires_grad
    # what is stored has no graph, and nothing of a broken state
    final = torch.tensor(reached["next"]).T
    final = torch.where(final == 5e6, 0.0, final)
    assert torch.equal(batch.final_obs[..., 0], final)
    assert torch.equal(batch.alive, window.alive)
    assert not batch.final_obs.requires_grad


def test_an_agent_without_action_gradients_runs_without_a_graph() -> None:
    agent = LinearAgent()
    agent.needs_action_grad = False
    env = ScriptedEnv(4, 2)
    env.differentiable = False
    batch = Collector(env, 4, 0).collect(agent)
    assert batch.action_grad is None
    assert not env.x.requires_grad


def test_action_gradients_need_a_differentiable_environment() -> None:
    env = ScriptedEnv(4, 2)
    env.differentiable = False
    with pytest.raises(ValueError, match="ScriptedEnv is not differentiable, but LinearAgent learns"):
        Collector(env, 4, 0).collect(LinearAgent())


def test_state_dict_continues_the_same_windows() -> None:
    module = small_rpo()
    straight = Collector(Restless(), horizon=4, seed=1)
    straight.collect(module)
    resumed = Collector(Restless(seed=99), horizon=4, seed=98)
    resumed.load_state_dict(straight.state_dict())
    ours, theirs = straight.collect(module), resumed.collect(module)
    assert ours.seed == theirs.seed
    assert resumed.windows == 2
    for name in ("obs", "sample", "action_grad", "bonus", "next_value", "episode_return"):
        assert torch.equal(getattr(ours, name).nan_to_num(-1), getattr(theirs, name).nan_to_num(-1)), name


# Where episodes begin


def endless(**options: Any) -> PointMass:
    """Return points that never fail, so that episodes end by their limit of 20 steps."""
    return PointMass(60, seed=3, limit=torch.inf, **options)


def test_episodes_begin_at_their_start_unless_told_otherwise() -> None:
    collector = Collector(endless(), horizon=4, seed=1)
    assert not collector.env.progress.any()
    batch = torch.cat([collector.collect(small_rpo(torch.float32)).truncated for _ in range(5)])
    assert batch.all(1).nonzero().flatten().tolist() == [19]


def test_random_progress_spreads_the_time_limits() -> None:
    collector = Collector(endless(), horizon=4, seed=1, random_progress=True)
    progress = collector.env.progress
    assert progress.dtype == torch.int64
    assert (int(progress.min()), int(progress.max())) == (0, 19)
    assert len(progress.unique()) > 15
    ends = torch.cat([collector.collect(small_rpo(torch.float32)).truncated for _ in range(5)])
    assert torch.equal(ends.long().argmax(0), 19 - progress)
    assert torch.equal(ends.sum(0), torch.ones(60, dtype=torch.int64))
    torch.manual_seed(99)
    assert torch.equal(Collector(endless(), 4, seed=1, random_progress=True).env.progress, progress)
    assert not torch.equal(Collector(endless(), 4, seed=2, random_progress=True).env.progress, progress)


def test_random_progress_stays_below_the_time_limit_of_each() -> None:
    env = rpo_lightning.make("cartpole", num_envs=64, episode_length=200, shortest_episode=2)
    progress = Collector(env, horizon=4, seed=1, random_progress=True).env.progress
    assert (progress < env.time_limits).all()
    assert int(progress.max()) > 100


def test_only_episodes_seen_from_their_beginning_have_a_return() -> None:
    collector = Collector(endless(), horizon=4, seed=1, random_progress=True)
    progress = collector.env.progress
    assert (progress == 0).any()
    batches = [collector.collect(small_rpo(torch.float32)) for _ in range(10)]
    reward, ended, returns, lengths = (
        torch.cat([getattr(batch, name) for batch in batches])
        for name in ("reward", "truncated", "episode_return", "episode_length")
    )
    assert torch.equal(lengths.isfinite(), ended)
    assert (lengths[ended] == 20.0).all()
    for n in range(60):
        first, second = ended[:, n].nonzero().flatten().tolist()
        assert (first, second) == (19 - int(progress[n]), 39 - int(progress[n]))
        if progress[n] == 0:
            torch.testing.assert_close(returns[first, n], reward[: first + 1, n].sum())
        else:
            assert returns[first, n].isnan()
        torch.testing.assert_close(returns[second, n], reward[first + 1 : second + 1, n].sum())


class Named(PointMass):
    """The point, told what its reward is made of."""

    parts = ("effort", "rest")

    def step(self, action: Tensor) -> Step:
        """Push."""
        step = super().step(action)
        effort = -0.05 * action.detach().square().sum(-1)
        return step._replace(reward_terms=dict(zip(self.parts, (effort, step.reward.detach() - effort), strict=True)))


def test_terms_are_summed_over_the_episodes_that_end_and_a_resumed_run_has_the_same_sums() -> None:
    module = small_rpo(torch.float32)
    straight, batches = Collector(Named(6, seed=3), horizon=8, seed=1), []
    for index in range(8):
        if index == 4:
            resumed = Collector(Named(6, seed=9), horizon=8, seed=2)
            resumed.load_state_dict(straight.state_dict())
        batches.append(straight.collect(module))
    assert sum(batch.terminated.sum() for batch in batches) > 3  # episodes of different lengths
    assert sum(batch.truncated.sum() for batch in batches) > 3
    done = torch.cat([batch.done for batch in batches])
    for name in Named.parts:
        terms, ended = (
            torch.cat([getattr(batch, of)[name] for batch in batches]) for of in ("reward_terms", "episode_terms")
        )
        assert torch.equal(ended.isfinite(), done)
        for n in range(6):
            begun = 0
            for t in done[:, n].nonzero().flatten().tolist():
                torch.testing.assert_close(ended[t, n], terms[begun : t + 1, n].sum())
                begun = t + 1
    for batch in batches[4:]:
        again = resumed.collect(module)
        for name in Named.parts:
            assert torch.equal(again.episode_terms[name].nan_to_num(-9), batch.episode_terms[name].nan_to_num(-9))


def test_a_run_that_is_continued_with_other_terms_forgets_the_episodes_it_was_in() -> None:
    class Renamed(Named):
        parts = ("effort", "others")

    module = small_rpo(torch.float32)
    before, after = (
        Collector(Named(6, seed=3, limit=torch.inf), 8, seed=1),
        Collector(Renamed(6, limit=torch.inf), 20, seed=1),
    )
    before.collect(module)
    after.load_state_dict(before.state_dict())
    first, second = after.collect(module), after.collect(module)
    assert first.truncated[11].all()
    assert (first.episode_length[11] == 20).all()
    for each in (first.episode_return, *first.episode_terms.values()):
        assert each.isnan().all()
    assert second.episode_terms.keys() == {"effort", "others"}
    torch.testing.assert_close(sum(each[11] for each in second.episode_terms.values()), second.episode_return[11])


class Restarting(PointMass):
    """Cannot restore where its episodes were, and begins others."""

    begins_at = 0

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Start over."""
        self.reset()
        self.progress = torch.full_like(self.progress, self.begins_at)


@pytest.mark.parametrize("begins_at", [0, 7])
def test_a_simulator_that_restarts_drops_the_unfinished_returns(begins_at: int) -> None:
    module = small_rpo(torch.float32)
    before = Collector(endless(), horizon=4, seed=1)
    before.collect(module)
    env = Restarting(60, limit=torch.inf)
    env.begins_at = begins_at
    resumed = Collector(env, horizon=20, seed=9)
    resumed.load_state_dict(before.state_dict())
    batch = resumed.collect(module)
    last = 19 - begins_at
    assert batch.truncated.all(1).nonzero().flatten().tolist() == [last]
    assert (batch.episode_length[last] == 20.0).all()
    expected = batch.reward.sum(0) if begins_at == 0 else torch.full((60,), torch.nan)
    torch.testing.assert_close(batch.episode_return[last], expected, equal_nan=True)
