"""Files on the disk: written in one piece, and looked through before anything in them is unpickled."""

from __future__ import annotations

import errno
import io
import json
import os
import pathlib
import shutil
import uuid
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from stable_baselines3.common.save_util import open_path

Target = str | pathlib.Path | io.BufferedIOBase

# One more whenever a file of this version could not be read by the version before.
FILE_FORMAT = 1
MEMBERS = ("data", "policy.pth", "policy.optimizer.pth")


# What a file system answers that has no such operation: network and FUSE file systems among them.
NOT_OFFERED = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES)
# What it answers where a file cannot be moved over another: one mounted by itself, or held open.
NOT_MOVABLE = (errno.EBUSY, errno.EXDEV, errno.EPERM, errno.EACCES, errno.ETXTBSY)


@contextmanager
def writing(target: Target, suffix: str) -> Iterator[BinaryIO]:
    """
    A file to write to, which takes the target's place only when all of it is on the disk: until
    then, and if anything goes wrong, an older file stays whole. A process that is killed leaves
    a ``.*.tmp`` beside it, which may be deleted. Names are completed as SB3 does it. Where the place does
    not allow this (a pipe, a folder in which no file can be made), the target is written to directly.

    :param target: Path, whose folder is made if needed, or an open file, which is written to directly
    :param suffix: Ending of a path that has none, without the dot; ``""`` leaves it without
    :return: The file
    :raises OSError: If it cannot be written
    """
    if not isinstance(target, (str, pathlib.Path)):
        yield open_path(target, "w")
        return
    path = _complete(pathlib.Path(target), suffix)
    path = path.resolve()  # a link stays a link
    temporary = _new_file_beside(path)
    if temporary is None:
        with path.open("wb") as file:
            yield file
        return
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            _sync(file.fileno())
        if path.exists():
            with suppress(OSError):  # permissions are not everywhere
                shutil.copymode(path, temporary)
        _move(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the folder's entry, too, has to survive a power cut
        with suppress(OSError):
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def _new_file_beside(path: pathlib.Path) -> pathlib.Path | None:
    """A new, empty file in the same folder; ``None`` where the target is no file or no new one is allowed."""
    if path.exists() and not path.is_file():
        return None
    temporary = path.with_name(f".{uuid.uuid4().hex[:8]}.tmp")  # the name itself may be as long as allowed
    try:
        temporary.touch(exist_ok=False)
    except PermissionError:
        if path.exists():
            return None
        raise
    return temporary


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NOT_OFFERED:  # a disk that is full says so here, on some systems
            raise


def _move(temporary: pathlib.Path, path: pathlib.Path) -> None:
    try:
        temporary.replace(path)
    except OSError as error:
        if error.errno not in NOT_MOVABLE or not path.exists():
            raise
        shutil.copyfile(temporary, path)
        temporary.unlink()


def _complete(path: pathlib.Path, suffix: str) -> pathlib.Path:
    if suffix and path.suffix == "":
        path = path.with_name(f"{path.name}.{suffix}")
    if path.is_dir():
        warnings.warn(f"Path '{path}' is a folder. Will save instead to {path}_2", stacklevel=2)
        path = path.with_name(f"{path.name}_2")
    if not path.parent.exists():
        warnings.warn(f"Path '{path.parent}' does not exist. Will create it.", stacklevel=2)
        path.parent.mkdir(parents=True, exist_ok=True)
    return path


def check_zip(source: Target) -> None:
    """
    Look whether a file is one of ANGC's, complete, and of a version that can be read. Nothing in it
    is unpickled.

    :param source: Path or open file
    :raises ValueError: If it is not
    """
    file = open_path(source, "r", suffix="zip")
    start = file.tell()
    try:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
            if damaged is not None:
                raise ValueError(f"{source} is damaged: its checksum of {damaged!r} is wrong")
            if "_stable_baselines3_version" not in archive.namelist():
                # What is left may end with a whole archive within: torch's files are zip files, too.
                raise ValueError(f"{source} is not a complete file of SB3: it may have been cut short")
            missing = [name for name in MEMBERS if name not in archive.namelist()]
            if missing:
                raise ValueError(f"{source} was not saved by ANGC: it has no {', '.join(missing)}")
            data = json.loads(archive.read("data"))
    except ValueError:
        raise
    except Exception as error:  # zipfile has many
        raise ValueError(f"{source} is not a complete file of SB3: it may have been cut short") from error
    finally:
        if isinstance(source, (str, pathlib.Path)):
            file.close()
        else:
            file.seek(start)
    file_format = data.get("_file_format", 1) if isinstance(data, dict) else None
    if isinstance(data, dict) and "alpha_epistemic" not in data:
        raise ValueError(f"{source} was not saved by ANGC: it has no alpha_epistemic")
    if not isinstance(file_format, int):
        raise ValueError(f"{source} is damaged: it does not tell its format")
    if file_format > FILE_FORMAT:
        raise ValueError(
            f"{source} was saved by a newer version of sb3_angc: its format is {file_format}, and this "
            f"version reads up to {FILE_FORMAT}"
        )
