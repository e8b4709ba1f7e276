"""The classic tasks: when one counts as solved, and what acting at random earns."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """
    Two returns that place a score between "random" and "solved".

    :param threshold: mean return at which the task counts as solved
    :param random_return: mean return of the uniformly random policy
    """

    threshold: float
    random_return: float


# Thresholds are those under which the tasks are registered or described as solved.
# Random returns: 1000 episodes, reset(seed=0..999), action_space.seed(0).
TASKS = {
    "CartPole-v1": Task(threshold=475.0, random_return=22.2),
    "MountainCar-v0": Task(threshold=-110.0, random_return=-200.0),
    "LunarLander-v3": Task(threshold=200.0, random_return=-181.7),
    "Acrobot-v1": Task(threshold=-100.0, random_return=-499.1),
}
