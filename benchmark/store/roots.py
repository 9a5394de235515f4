"""A store's place: a folder on this machine, or any URL that fsspec opens. Every mistake of a place is one line."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# fsspec has no annotations; what it gives is declared where it comes in.

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

import fsspec

from benchmark.errors import UserError, unknown
from benchmark.store.access import ABSENT, changed, not_writable, reached
from benchmark.store.walk import Found, changed_at, walk_folder

_EXTRAS = {"s3": "aws", "s3a": "aws"}  # protocol -> extra of this package that brings its client
AT_ONCE = 16  # requests to a remote place
_Result = TypeVar("_Result")


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
                return reached(self.url, lambda: self._cat(name))
            with open(f"{self.base}/{name}", "rb") as file:  # fsspec takes five times as long, and there are thousands
                return file.read()
        except ABSENT:
            return None

    def read_all(self, names: Iterable[str]) -> dict[str, bytes]:
        """Small files in one piece each, without those that are not there; from a remote place, many at once."""
        found = self.side_by_side(self.read, names)
        return {name: data for name, data in found.items() if data is not None}

    def side_by_side(self, action: Callable[[str], _Result], names: Iterable[str]) -> dict[str, _Result]:
        """What an action gives for each name; at a remote place, which answers slowly, many are asked for at once."""
        wanted = list(names)
        if self.local is not None or len(wanted) < 2:
            return {name: action(name) for name in wanted}
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return dict(zip(wanted, pool.map(action, wanted), strict=True))

    def read_first(self, name: str) -> bytes | None:
        """The first `read` of a store, with one line for whatever keeps its place from being reached.

        Raises:
            UserError: names the place and why.
        """
        if self.local is None:  # more likely a mistyped address than a server that is about to answer
            try:
                return reached(self.url, lambda: self._cat(name), patience_s=0.0)
            except ABSENT:
                return None
        try:
            return self.read(name)
        except OSError as error:
            told = " ".join(str(error).split())
            raise UserError(f"store {self.url} cannot be reached: {told}; check the address and your access") from None

    def _cat(self, name: str) -> bytes:
        one_request = {"max_concurrency": 1} if "s3" in self.fs.protocol else {}  # s3fs would ask for the size before
        return self.fs.cat_file(f"{self.base}/{name}", **one_request)

    def names(self, folder: str) -> list[str]:
        """What lies in a folder, folders too; none where there is no such folder."""
        return [*self.sizes(folder, folders=True)]

    def sizes(self, folder: str, *, folders: bool = False) -> dict[str, int | None]:
        """Bytes of the files in a folder, None where the file system does not say; empty without the folder.

        Args:
            folder: its name.
            folders: name the folders in it too, with None.
        """
        try:
            entries = self._entries(folder) if self.local is None else _scan(f"{self.base}/{folder}")
        except ABSENT:
            return {}
        return {name: size for name, is_file, size in entries if folders or is_file}

    def _entries(self, folder: str) -> list[tuple[str, bool, int | None]]:
        path = f"{self.base}/{folder}"

        def entries() -> list[dict[str, Any]]:
            self.fs.invalidate_cache(path)  # others write here too
            return self.fs.ls(path, detail=True)

        found = [(item["name"].rstrip("/").rsplit("/", 1)[1], item) for item in reached(self.url, entries)]
        return [(name, item["type"] == "file", item.get("size")) for name, item in found]

    def sha256(self, name: str) -> str | None:
        """Hex SHA-256 of a file, which is read anew; None where it is not there."""

        def digest() -> str:
            with self.fs.open(f"{self.base}/{name}", "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()

        try:
            return digest() if self.local is not None else reached(self.url, digest)
        except ABSENT:
            return None

    def walk(self) -> dict[str, Found]:
        """Every file in the place, by its name from there; on this machine empty folders too, with a slash behind."""
        if self.local is not None:
            return dict(walk_folder(self.local))

        def everything() -> dict[str, dict[str, Any]]:
            self.fs.invalidate_cache()
            return self.fs.find(self.base, detail=True)

        base = self.fs._strip_protocol(self.base).rstrip("/")
        return {
            path.removeprefix(base).lstrip("/"): Found(item.get("size") or 0, changed_at(item))
            for path, item in reached(self.url, everything).items()
        }

    def write(self, name: str, text: str) -> None:
        """Writes in one piece: through a temporary name on local disks, in one put elsewhere."""
        if self.local is None:
            changed(self.url, lambda: self.fs.pipe_file(f"{self.base}/{name}", text.encode()))
            return
        target = self.local / name
        make_folder(target.parent)
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
        try:
            temporary.write_text(text)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)

    def create(self, name: str, text: str) -> bool:
        """Writes a small file where there is none of this name; whether that was so.

        Of several that ask at once one is told so, on this machine, on S3 and where else its file system can do that.
        """
        try:
            if self.local is None:
                changed(self.url, lambda: self._create(name, text.encode()))
            else:
                make_folder((self.local / name).parent)
                with open(self.local / name, "x") as file:
                    file.write(text)
        except FileExistsError:
            return False
        return True

    def _create(self, name: str, data: bytes) -> None:
        path = f"{self.base}/{name}"
        try:
            self.fs.pipe_file(path, data, mode="create")
        except OSError as error:
            if error.errno == errno.EINVAL:  # as s3fs tells that the condition did not hold
                raise FileExistsError(path) from None
            raise

    def put(self, file: Path, name: str) -> None:
        """Uploads a file to a remote place."""
        changed(self.url, lambda: self.fs.put_file(str(file), f"{self.base}/{name}"))

    def get(self, name: str, file: Path) -> None:
        """Downloads a file of a remote place.

        Raises:
            FileNotFoundError: it is not there.
        """
        reached(self.url, lambda: self.fs.get_file(f"{self.base}/{name}", str(file)))

    def remove(self, name: str) -> None:
        """Removes a file; nothing where it is not there."""
        with suppress(FileNotFoundError):
            if self.local is not None:
                (self.local / name).unlink()
            else:
                changed(self.url, lambda: self.fs.rm_file(f"{self.base}/{name}"))

    def remove_folder(self, name: str) -> None:
        """Removes a folder with all that is in it; nothing where it is not there."""
        if self.local is not None:
            shutil.rmtree(self.local / name, ignore_errors=True)
            return
        with suppress(FileNotFoundError):
            changed(self.url, lambda: self.fs.rm(f"{self.base}/{name}", recursive=True))

    def require_writable(self) -> None:
        """Refuses a place that cannot be written, before anything is computed for it.

        Raises:
            UserError: says how to use it all the same.
        """
        if self.local is None:
            trial = f"scratch/writable-{uuid.uuid4().hex[:8]}"
            self.write(trial, "")
            self.remove(trial)
            return
        folder = self.local.absolute()
        there = next(item for item in (folder, *folder.parents) if item.exists())
        if not os.access(there, os.W_OK):
            raise not_writable(self.url)


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


def _scan(folder: str) -> list[tuple[str, bool, int | None]]:
    with os.scandir(folder) as entries:
        return [(item.name, item.is_file(), None) for item in entries]


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
