"""
Films an agent that comes with the package for one whole episode, as a small GIF for a page::

    python -m tools.gif LunarLander-v3 docs/assets/agents/LunarLander-v3.gif --every 3

Pillow comes with matplotlib, and with moviepy, which writes RL Zoo's films.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from PIL import Image

from sb3_angc import ANGC
from sb3_angc.agents import agent_folder
from sb3_angc.angc.tuned import make_tuned_env

HELD = 1000  # milliseconds for which the end of the episode is shown
FPS = 10  # of environments that do not say how fast they are


def film(env: gym.Env[Any, Any], act: Callable[[Any], Any], seed: int) -> Iterator[np.ndarray[Any, Any]]:
    """
    :param env: An environment with ``render_mode="rgb_array"``
    :param act: From an observation to an action
    :param seed: Of the episode
    :return: What is seen before each step of an episode, and after the last one
    """
    observation, _ = env.reset(seed=seed)
    is_over = False
    while True:
        frame: Any = env.render()
        yield np.asarray(frame)
        if is_over:
            return
        observation, _, is_terminal, is_cut, _ = env.step(act(observation))
        is_over = is_terminal or is_cut


def make_gif(
    frames: Iterator[np.ndarray[Any, Any]], gif: Path, fps: float, every: int, width: int, colors: int
) -> None:
    """
    :param frames: Of an episode, its last one included
    :param gif: What to write; it plays at the speed of the environment and rests at the end
    :param fps: Frames of the episode in a second
    :param every: Which frames to take: each, every second, ...; the last is taken in any case
    :param width: Width of the GIF in pixels
    :param colors: Number of colors, which all frames share
    """
    seen = list(frames)
    pictures = [np.asarray(frame) for frame in islice(seen, 0, len(seen) - 1, every)] + [seen[-1]]
    # Values from 0 to 1 are levels of color, too.
    pictures = [np.uint8(255 * each) if each.dtype.kind == "f" else each for each in pictures]
    images = [Image.fromarray(each) for each in pictures]
    size = (width, round(width * images[0].height / images[0].width))
    how = Image.Resampling.LANCZOS if images[0].width > width else Image.Resampling.NEAREST
    images = [image.resize(size, how) for image in images]
    palette = images[len(images) // 2].quantize(colors)
    # Without dithering a background stays the same from frame to frame, and takes no space.
    first, *others = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    durations = [round(1000 * every / fps)] * len(others) + [HELD]
    first.save(gif, save_all=True, append_images=others, duration=durations, loop=0)


def main(arguments: Sequence[str]) -> int:
    """
    :param arguments: the command line
    :return: exit status
    """
    parser = argparse.ArgumentParser("python -m tools.gif", description="A GIF of an agent of the package.")
    parser.add_argument("env", help="environment id")
    parser.add_argument("gif", type=Path)
    parser.add_argument("--seed", type=int, default=0, help="of the episode")
    parser.add_argument("--every", type=int, default=2, help="take every second, third, ... frame")
    parser.add_argument("--width", type=int, default=300)
    parser.add_argument("--colors", type=int, default=64)
    options = parser.parse_args(arguments)
    agent = ANGC.load_safe(agent_folder(options.env), device="cpu", buffer_size=1)
    env = make_tuned_env(options.env, render_mode="rgb_array")
    frames = film(env, lambda observation: agent.predict(observation, deterministic=True)[0], options.seed)
    fps = env.metadata.get("render_fps", FPS)
    make_gif(frames, options.gif, fps, options.every, options.width, options.colors)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
