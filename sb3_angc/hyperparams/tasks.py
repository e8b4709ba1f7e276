"""The classic tasks: when one counts as solved, and what acting at random earns."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Task:
    """
    Two returns that place a score between "random" and "solved".

    :param threshold: mean return at which the task counts as solved
    :param random_return: mean return of the uniformly random policy
    """

    threshold: float
    random_return: float

    def normalize(self, returns: Any) -> Any:
        """
        :param returns: A number, or an array of numpy
        :return: 0 for acting at random, 1 for the threshold
        """
        return (returns - self.random_return) / (self.threshold - self.random_return)


# Thresholds are those under which the tasks are registered or described as solved. Pendulum-v1 has none of
# its own: -200 is about what RL Zoo reports of SAC and TD3 at 20k steps.
# Random returns: 1000 episodes, reset(seed=0..999), action_space.seed(0).
TASKS = {
    "CartPole-v1": Task(threshold=475.0, random_return=22.2),
    "MountainCar-v0": Task(threshold=-110.0, random_return=-200.0),
    "LunarLander-v3": Task(threshold=200.0, random_return=-181.7),
    "Acrobot-v1": Task(threshold=-100.0, random_return=-499.1),
    "MountainCarContinuous-v0": Task(threshold=90.0, random_return=-33.3),
    "Pendulum-v1": Task(threshold=-200.0, random_return=-1230.7),
}
