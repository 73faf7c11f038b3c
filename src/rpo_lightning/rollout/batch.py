"""One window of experience."""

from dataclasses import dataclass

from torch import Tensor

__all__ = ["RolloutBatch"]


@dataclass
class RolloutBatch:
    """A window of H steps in N environments; time-major tensors without a graph."""

    obs: Tensor
    """Raw observations acted on, (H, N, D)."""
    privileged: Tensor
    """What only critics see beside them; P may be 0, (H, N, P)."""
    policy_state: Tensor
    """Hidden state of the actor at the window's start; S may be 0, (N, S)."""
    sample: Tensor
    """Samples u of the Gaussian, before tanh or clipping, (H, N, A)."""
    mean: Tensor
    """Mean of u under the behaviour policy, (H, N, A)."""
    log_std: Tensor
    """Log standard deviation of the behaviour policy, (H, N, A)."""
    reward: Tensor
    """Rewards of the environment, (H, N)."""
    reward_terms: dict[str, Tensor]
    """What the reward is made of by name, if the environment tells, (H, N) each."""
    bonus: Tensor
    """Scaled entropy bonus of each step, 0 if the algorithm has none, (H, N)."""
    terminated: Tensor
    """Episode ended by failure at this step, (H, N) bool."""
    truncated: Tensor
    """Episode ended by the time limit at this step, (H, N) bool."""
    invalid: Tensor
    """The simulation was found non-finite at this step, (H, N) bool."""
    invalid_reward: Tensor
    """It was the reward alone that broke it, where the environment tells, (H, N) bool."""
    final_obs: Tensor
    """Raw observation of the state reached, before any reset; 0 where not finite or beyond 1e6, (H, N, D)."""
    final_privileged: Tensor
    """What only critics see of that state, likewise, (H, N, P)."""
    alive: Tensor
    """The state reached has a future: not failed, nor broken, (H, N) bool."""
    next_value: Tensor
    """Value of the state reached, before any reset; 0 where not `alive`, (H, N)."""
    action_grad: Tensor | None
    """d(sum of window objectives)/du through dynamics and policy, (H, N, A)."""
    nonfinite_grad: Tensor
    """Rows of `action_grad` that were not finite and are now 0, (H, N) bool."""
    episode_return: Tensor
    """Undiscounted return of the episode that ended at this step, else NaN, (H, N)."""
    episode_length: Tensor
    """Length of the episode that ended at this step, else NaN, (H, N)."""
    episode_terms: dict[str, Tensor]
    """Sums of the reward's terms over the episode that ended at this step, else NaN, (H, N) each."""
    start_state: tuple[Tensor, Tensor, Tensor]
    """(q, qd, progress) at the window's start."""
    start_context: dict[str, Tensor]
    """What steps depend on besides, by the environment's own names: `parameters` (N, k), `target` (N, t), if it has any."""
    seed: int
    """Drawn from the collector's generator, for whatever the update samples."""
    rollout_time: float
    """Seconds the collection took."""

    @property
    def done(self) -> Tensor:
        """Episode ended at this step, either way, (H, N) bool."""
        return self.terminated | self.truncated
