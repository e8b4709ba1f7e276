"""How much is measured: everything, or a little of everything."""

from dataclasses import dataclass

# ANGC's settings: on LunarLander-v3 they have the layers, batches and number of updates of RL Zoo's DQN.
TUNED = "benchmarks/presets/tuned_angc.yml"


@dataclass(frozen=True)
class Plan:
    """
    Sizes of the measurements.

    :param transitions: in the replay buffers
    :param pairs: of samples in each row of the table
    :param seconds: of a sample, about
    :param zoo_pairs: pairs of whole runs
    :param zoo_timesteps: budget of a whole run; ``None`` is that of its settings
    :param growth_pairs: of samples at each size
    :param steps: inference steps ``T`` of ``ngc``
    :param growth_steps: inference steps ``T`` of growth
    :param widths: of the hidden layers
    :param batches: sizes
    :param depths: numbers of hidden layers
    :param profiled: calls of ``train()`` under the profiler
    :param device: of the section "gpu"
    :param gpu_widths: of both hidden layers there
    :param gpu_batches: sizes there
    :param gpu_image: sides of the images there
    :param compiler: backend of ``torch.compile``
    """

    transitions: int = 5000
    pairs: int = 51
    seconds: float = 0.02
    zoo_pairs: int = 3
    zoo_timesteps: int | None = None
    growth_pairs: int = 11
    steps: tuple[int, ...] = (1, 2, 5, 10, 20)
    growth_steps: tuple[int, ...] = (1, 5, 20)
    widths: tuple[int, ...] = (64, 256, 1024)
    batches: tuple[int, ...] = (32, 128, 1024)
    depths: tuple[int, ...] = (2, 4, 8)
    profiled: int = 100
    device: str = "cuda"
    gpu_widths: tuple[int, ...] = (256, 1024)
    gpu_batches: tuple[int, ...] = (128, 4096)
    gpu_image: int = 84
    compiler: str = "inductor"

    @property
    def compiled(self) -> str:
        """What updates are called that have gone through the compiler."""
        return "compiled" if self.compiler == "inductor" else f"traced, not compiled ({self.compiler})"


FULL = Plan()
QUICK = Plan(
    transitions=300,
    pairs=5,
    seconds=0.002,
    zoo_pairs=1,
    zoo_timesteps=2000,
    growth_pairs=3,
    steps=(1, 2),
    growth_steps=(1, 2),
    widths=(16, 32),
    batches=(8, 16),
    depths=(2, 3),
    profiled=3,
    device="cpu",
    gpu_widths=(16,),
    gpu_batches=(8,),
    gpu_image=36,
    compiler="eager",
)
