"""The algorithm: Q-learning by two circuits that learn without backpropagation."""

from sb3_angc.angc.angc import ANGC
from sb3_angc.angc.policies import ANGCPolicy, CnnPolicy, MlpPolicy, MultiInputPolicy

__all__ = ["ANGC", "ANGCPolicy", "CnnPolicy", "MlpPolicy", "MultiInputPolicy"]
