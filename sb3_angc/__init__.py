"""
Active Neural Generative Coding (ANGC) for Stable-Baselines3: reinforcement learning without
backpropagation.
"""

from sb3_angc.angc import ANGC, ANGCPolicy, CnnPolicy, MlpPolicy, MultiInputPolicy
from sb3_angc.circuit import NGCCircuit

__version__ = "0.1.0"

__all__ = ["ANGC", "ANGCPolicy", "CnnPolicy", "MlpPolicy", "MultiInputPolicy", "NGCCircuit"]
