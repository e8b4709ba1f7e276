"""
Active Neural Generative Coding (ANGC) for Stable-Baselines3: reinforcement learning without
backpropagation.
"""

from sb3_angc.angc.angc import ANGC
from sb3_angc.circuit import NGCCircuit
from sb3_angc.angc.policies import ANGCPolicy, CnnPolicy, MlpPolicy, MultiInputPolicy

__version__ = "0.1.0"

__all__ = ["ANGC", "ANGCPolicy", "CnnPolicy", "MlpPolicy", "MultiInputPolicy", "NGCCircuit"]
