"""Bundles of synapses between two adjacent layers: all-to-all, convolutional, side by side."""

from sb3_angc.circuit.synapses.base import Synapses
from sb3_angc.circuit.synapses.convolutional import ConvSynapses
from sb3_angc.circuit.synapses.dense import DenseSynapses
from sb3_angc.circuit.synapses.parallel import ParallelSynapses

__all__ = ["ConvSynapses", "DenseSynapses", "ParallelSynapses", "Synapses"]
