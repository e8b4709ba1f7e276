"""
Turns a video that ``python -m sb3_angc.zoo record_video`` has made into a small GIF for a page::

    python -m tools.gif videos/final-model-angc-CartPole-v1-step-0-to-step-500.mp4 docs/assets/CartPole-v1.gif

imageio (with its ffmpeg) and Pillow come with moviepy, by which videos are written.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import imageio.v3 as iio
from PIL import Image


def make_gif(video: Path, gif: Path, every: int, frames: int, width: int, colors: int) -> None:
    """
    :param video: What to read
    :param gif: What to write; it plays at the speed of the video
    :param every: Which frames to take: each, every second, ...
    :param frames: How many to take at most
    :param width: Width of the GIF in pixels
    :param colors: Number of colors, which all frames share
    """
    fps = iio.immeta(video, plugin="FFMPEG")["fps"]
    taken = islice(iio.imiter(video, plugin="FFMPEG"), 0, every * frames, every)
    images = [Image.fromarray(frame) for frame in taken]
    size = (width, round(width * images[0].height / images[0].width))
    images = [image.resize(size, Image.Resampling.LANCZOS) for image in images]
    palette = images[len(images) // 2].quantize(colors)
    # Without dithering a background stays the same from frame to frame, and takes no space.
    first, *others = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    first.save(gif, save_all=True, append_images=others, duration=round(1000 * every / fps), loop=0)


def main(arguments: Sequence[str]) -> int:
    """
    :param arguments: the command line
    :return: exit status
    """
    parser = argparse.ArgumentParser("python -m tools.gif", description="A small GIF of a video.")
    parser.add_argument("video", type=Path)
    parser.add_argument("gif", type=Path)
    parser.add_argument("--every", type=int, default=2, help="take every second, third, ... frame")
    parser.add_argument("--frames", type=int, default=200, help="at most")
    parser.add_argument("--width", type=int, default=300)
    parser.add_argument("--colors", type=int, default=64)
    make_gif(**vars(parser.parse_args(arguments)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
