"""A GIF shows the frames of its video: those asked for, in their colors, at the video's speed."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("moviepy", reason="moviepy comes with the extra 'zoo'")

import imageio.v3 as iio

from tools.gif import main


def test_frames_of_the_video(tmp_path: Path) -> None:
    # A white bar on blue that moves 20 pixels a frame, 10 frames a second
    frames = np.full((12, 160, 320, 3), (20, 40, 200), np.uint8)
    for number, frame in enumerate(frames):
        frame[:, 20 * number : 20 * number + 20] = 255
    iio.imwrite(tmp_path / "v.mp4", frames, plugin="FFMPEG", fps=10)

    arguments = ["v.mp4", "v.gif"]
    assert (
        main([str(tmp_path / name) for name in arguments] + ["--every=3", "--frames=3", "--width=160"]) == 0
    )

    gif = iio.imread(tmp_path / "v.gif")
    assert gif.shape == (3, 80, 160, 3)
    assert iio.immeta(tmp_path / "v.gif")["duration"] == 300  # milliseconds: three frames of the video
    for number, frame in zip((0, 3, 6), gif, strict=True):
        bar = frame[:, 10 * number + 2 : 10 * number + 8]
        assert bar.min() > 230
        others = np.delete(frame, range(max(10 * number - 2, 0), 10 * number + 12), axis=1)
        assert np.abs(others.astype(int) - (20, 40, 200)).max() < 25
