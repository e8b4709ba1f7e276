"""A GIF shows a whole episode, to its end: the frames asked for, in their colors, at the task's speed."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

pytest.importorskip("PIL", reason="Pillow comes with the extra 'plots'")

from PIL import Image, ImageSequence

from tools.gif import HELD, film, main, make_gif


class Bar(gym.Env[Any, Any]):
    """A white bar on blue that moves 20 pixels a step; the episode ends after 10 steps."""

    observation_space = spaces.Discrete(11)
    action_space = spaces.Discrete(1)

    def reset(self, *, seed: int | None = None, **_: Any) -> tuple[int, dict[str, Any]]:
        self.place = 0
        return 0, {}

    def step(self, action: Any) -> tuple[int, float, bool, bool, dict[str, Any]]:
        self.place += 1
        return self.place, 0.0, self.place == 10, False, {}

    def render(self) -> Any:
        frame = np.full((160, 320, 3), (20, 40, 200), np.uint8)
        frame[:, 20 * self.place : 20 * self.place + 20] = 255
        return frame


def test_frames_of_the_episode(tmp_path: Path) -> None:
    frames = film(Bar(), lambda observation: 0, seed=0)
    make_gif(frames, tmp_path / "v.gif", fps=10, every=3, width=160, colors=64)
    with Image.open(tmp_path / "v.gif") as gif:
        pairs = [
            (np.asarray(each.convert("RGB")), each.info["duration"]) for each in ImageSequence.Iterator(gif)
        ]
    assert [duration for _, duration in pairs] == [300] * 4 + [HELD]
    for number, (frame, _) in zip((0, 3, 6, 9, 10), pairs, strict=True):  # the last one is the end
        assert frame.shape == (80, 160, 3)
        bar = frame[:, 10 * number + 2 : 10 * number + 8]
        assert bar.min() > 230
        others = np.delete(frame, range(max(10 * number - 2, 0), 10 * number + 12), axis=1)
        assert np.abs(others.astype(int) - (20, 40, 200)).max() < 25


def test_an_agent_of_the_package(tmp_path: Path) -> None:
    pytest.importorskip("pygame", reason="pygame draws the classic tasks")
    pytest.importorskip("safetensors", reason="safetensors is the extra 'safe'")
    pytest.importorskip("yaml", reason="pyyaml is in the extra 'extra'")
    assert main(["MountainCar-v0", str(tmp_path / "car.gif"), "--every=8", "--width=90", "--seed=3"]) == 0
    with Image.open(tmp_path / "car.gif") as gif:
        assert gif.width == 90
        assert 10 <= gif.n_frames <= 26
