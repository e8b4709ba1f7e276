"""Files on file systems that do not offer everything: written as well as the place allows."""

import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch as th

from sb3_angc import ANGC
from sb3_angc.saving.files import writing
from tests.agents import TINY


def write(path: Path, content: bytes) -> None:
    with writing(path, "") as file:
        file.write(content)


def fails_with(number: int) -> Callable[..., NoReturn]:
    def fail(*_: Any, **__: Any) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP])
def test_no_fsync(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", fails_with(number))
    for content in (b"first", b"second"):
        write(tmp_path / "file", content)
        assert (tmp_path / "file").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_that_is_told_by_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "file", b"old")
    monkeypatch.setattr(os, "fsync", fails_with(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_no_permissions_to_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "copymode", fails_with(errno.EPERM))
    for content in (b"first", b"second"):
        write(tmp_path / "file", content)
        assert (tmp_path / "file").read_bytes() == content


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EXDEV])
def test_a_file_that_cannot_be_moved_over(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is mounted by itself, as containers do it."""
    write(tmp_path / "file", b"old")
    monkeypatch.setattr(Path, "replace", fails_with(number))
    write(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_in_which_no_file_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"old")
    monkeypatch.setattr(Path, "touch", fails_with(errno.EACCES))
    write(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    with pytest.raises(PermissionError):
        write(tmp_path / "another", b"new")


def test_a_name_as_long_as_allowed(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    for content in (b"first", b"second"):
        write(path, content)
        assert path.read_bytes() == content


def test_a_pipe_stays_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()
    write(path, b"content")
    reader.join(timeout=10)
    assert read == [b"content"]
    assert path.is_fifo()


def test_saving_starts_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("get_rng_state", "get_rng_state_all", "_lazy_init"):
        monkeypatch.setattr(th.cuda, name, fails_with(errno.EBUSY))
    model = ANGC("CartPole-v1", **TINY).learn(60)
    model.save(tmp_path / "model")
    assert ANGC.load(tmp_path / "model", device="cpu").num_timesteps == 60
