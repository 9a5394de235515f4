"""The cache of decoded images takes its space before it is written: a full disk is an error, not a dead process."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark.data.prepare import new_images

pytestmark = pytest.mark.unit
SHAPE = (100, 32, 32, 3)  # 307 kB
FILL = f"""
import sys
from pathlib import Path
from benchmark.data.prepare import new_images
try:
    new_images(Path(sys.argv[1]) / "images.npy", {SHAPE})[:] = 7
except OSError as error:
    print(error.errno, error.filename)
"""


def test_the_space_is_taken_and_the_array_is_zero(tmp_path: Path) -> None:
    images = new_images(tmp_path / "images.npy", SHAPE)
    found = (tmp_path / "images.npy").stat()
    assert found.st_blocks * 512 >= found.st_size >= images.nbytes
    assert not images.any()


def test_the_error_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left") as caught:
        new_images(tmp_path / "images.npy", SHAPE)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "images.npy"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "mounted"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=200k", "none", str(place)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("only a user who may mount can make a small disk")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_does_not_kill_the_process(small_disk: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FILL, str(small_disk)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.returncode  # -7 is SIGBUS
    assert done.stdout.split() == [str(errno.ENOSPC), str(small_disk / "images.npy")]
