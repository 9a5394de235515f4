"""A store's place: a folder on this machine, or any URL that fsspec opens. Every mistake of a place is one line."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# fsspec has no annotations; what it gives is declared where it comes in.

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import fsspec

from benchmark.errors import UserError, unknown

_EXTRAS = {"s3": "aws", "s3a": "aws"}  # protocol -> extra of this package that brings its client
_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


@dataclass(frozen=True)
class Root:
    """One place that holds a store."""

    url: str
    fs: Any
    base: str  # the path inside the file system

    @cached_property
    def local(self) -> Path | None:
        """The folder, where it is on this machine."""
        protocol = self.fs.protocol
        return Path(self.base) if "file" in ((protocol,) if isinstance(protocol, str) else protocol) else None

    @property
    def absolute(self) -> str:
        """The place for a process that stands in another folder."""
        return self.url if self.local is None else self.base

    def read(self, name: str) -> bytes | None:
        """A small file in one piece; None where it is not there."""
        try:
            if self.local is None:
                return self.fs.cat_file(f"{self.base}/{name}")
            with open(f"{self.base}/{name}", "rb") as file:  # fsspec takes five times as long, and there are thousands
                return file.read()
        except _ABSENT:
            return None

    def read_all(self, names: Iterable[str]) -> dict[str, bytes]:
        """Small files in one piece each, without those that are not there; from a remote place, many at once."""
        if self.local is not None:
            found = {name: self.read(name) for name in names}
            return {name: data for name, data in found.items() if data is not None}
        paths = {f"{self.base}/{name}": name for name in names}
        if not paths:
            return {}
        texts: dict[str, bytes] = self.fs.cat(list(paths), on_error="omit")
        return {paths[path]: data for path, data in texts.items()}

    def exists(self, name: str) -> bool:
        """Whether there is such a file."""
        return bool(self.fs.exists(f"{self.base}/{name}"))

    def read_first(self, name: str) -> bytes | None:
        """The first `read` of a store, with one line for whatever keeps its place from being reached.

        Raises:
            UserError: names the place and why.
        """
        try:
            return self.read(name)
        except Exception as error:  # clients of object stores raise what they like
            told = " ".join(str(error).split()) or type(error).__name__
            raise UserError(f"store {self.url} cannot be reached: {told}; check the address and your access") from None

    def list(self, folder: str) -> list[str]:
        """Names of what lies in a folder; none where there is no such folder."""
        try:
            return [path.rstrip("/").rsplit("/", 1)[1] for path in self.fs.ls(f"{self.base}/{folder}", detail=False)]
        except _ABSENT:
            return []

    def size(self, name: str) -> int | None:
        """Bytes of a file; None where the file system does not say.

        Raises:
            FileNotFoundError: it is not there.
        """
        return self.fs.info(f"{self.base}/{name}").get("size")

    def write(self, name: str, text: str) -> None:
        """Writes in one piece: through a temporary name on local disks, in one put elsewhere."""
        if self.local is None:
            with_access(self.url, lambda: self.fs.pipe_file(f"{self.base}/{name}", text.encode()))
            return
        target = self.local / name
        make_folder(target.parent)
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
        try:
            temporary.write_text(text)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)

    def put(self, file: Path, name: str) -> None:
        """Uploads a file to a remote place."""
        with_access(self.url, lambda: self.fs.put_file(str(file), f"{self.base}/{name}"))

    def remove(self, name: str) -> None:
        """Removes a file of a remote place."""
        with_access(self.url, lambda: self.fs.rm_file(f"{self.base}/{name}"))

    def require_writable(self) -> None:
        """Refuses a folder that cannot be written, before anything is computed for it.

        Raises:
            UserError: says how to use it all the same.
        """
        if self.local is None:
            return
        folder = self.local.absolute()
        there = next(item for item in (folder, *folder.parents) if item.exists())
        if not os.access(there, os.W_OK):
            raise _not_writable(self.url)


def open_root(url: str) -> Root:
    """Finds the file system of a place; nothing is read yet.

    Raises:
        UserError: no such protocol, or the package that opens it is not installed.
    """
    protocol = url.partition("://")[0].rpartition("::")[2]
    try:
        fs, base = cast("tuple[Any, str]", fsspec.core.url_to_fs(url))
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        remedy = f"install it with `pip install 'backstop-bench[{extra}]'`" if extra else str(error)
        raise UserError(f"store {url} needs a package that is not installed; {remedy}") from None
    except ValueError as error:
        if protocol in fsspec.available_protocols():
            raise UserError(f"store {url} must be a folder or a URL, got: {error}; choose another place") from None
        raise UserError(f"store {url}: {unknown('protocol', protocol, fsspec.available_protocols())}") from None
    return Root(url, fs, base)


def with_access(url: str, action: Any) -> None:
    """Runs an action that changes a remote place; one line where that is not allowed."""
    try:
        action()
    except (PermissionError, NotImplementedError):
        raise _not_writable(url) from None


def _not_writable(url: str) -> UserError:
    return UserError(
        f"store {url} must be writable, got one that is read-only; choose another with --store, and name this one "
        "with --from"
    )


def make_folder(folder: Path) -> None:
    """Makes a folder of a store; one line where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"store folder {folder} cannot be made: {error.strerror}; choose another with --store"
        ) from None


def parse_json(data: bytes) -> Any:
    """JSON of a document.

    Raises:
        ValueError: it is none.
    """
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None
