"""The store: artifacts addressed by content key, on a local path or any fsspec URL.

`<root>/<stage>/<key>/<attempt>/` holds files; `<root>/<stage>/<key>/manifest.json`, written last and in one piece,
names the attempt and the hashes of its files. Without a manifest an artifact does not exist, so a run may die at any
moment. No rename of folders is needed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import fsspec

from benchmark.errors import UserError

FORMAT_VERSION = 1


class Artifact(NamedTuple):
    """A finished artifact: its facts and where its files lie."""

    stage: str
    key: str
    facts: dict[str, Any]  # what the stage wrote about it (small JSON)
    folder: Path  # local folder with the files; remote artifacts are fetched into a cache

    def path(self, name: str) -> Path:
        """Local path of one of its files."""
        return self.folder / name


class Draft:
    """An artifact in the making. Write into `folder`, then `commit`."""

    def __init__(self, store: Store, stage: str, key: str) -> None:
        self.stage, self.key, self._store = stage, key, store
        self.attempt = f"{time.strftime('%Y%m%dT%H%M%S')}-{uuid.uuid4().hex[:8]}"
        if store.local_root is not None:
            self.folder = store.local_root / stage / key / self.attempt
            _make_folder(self.folder)
        else:
            self.folder = Path(tempfile.mkdtemp(prefix="backstop-"))

    def path(self, name: str) -> Path:
        """Where to write one of its files."""
        return self.folder / name

    def commit(self, facts: dict[str, Any]) -> Artifact:
        """Hashes the files, uploads them where the store is remote, and writes the manifest last."""
        files = {path.name: _sha256(path) for path in sorted(self.folder.iterdir()) if path.is_file()}
        self._store._publish(self, {"attempt": self.attempt, "files": files, "facts": facts})
        return Artifact(self.stage, self.key, facts, self.folder)


class Store:
    """A writable root and, behind it, read-only roots that are searched in order."""

    def __init__(self, root: str | Path, *, read_only: tuple[str, ...] = ()) -> None:
        self.root = str(root).rstrip("/")
        self.behind = tuple(url.rstrip("/") for url in read_only)
        self.fs, self._base = fsspec.core.url_to_fs(self.root)
        self.local_root = Path(self._base) if "file" in _protocols(self.fs) else None
        for url in (self.root, *self.behind):
            _check_format(url)

    def __getstate__(self) -> dict[str, Any]:
        # an absolute path: a worker may stand in another folder
        root = self.root if self.local_root is None else str(self.local_root)
        return {"root": root, "behind": tuple(_absolute(url) for url in self.behind)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["root"], read_only=state["behind"])

    def find(self, stage: str, key: str) -> Artifact | None:
        """Looks an artifact up here and in the read-only stores behind; None if it does not exist."""
        for root in (self.root, *self.behind):
            fs, base = fsspec.core.url_to_fs(root)
            manifest = _read_json(fs, f"{base}/{stage}/{key}/manifest.json")
            if manifest is not None:
                folder = self._local_folder(fs, f"{base}/{stage}/{key}/{manifest['attempt']}", manifest)
                return Artifact(stage, key, manifest["facts"], folder)
        return None

    def has(self, stage: str, key: str) -> bool:
        """Whether an artifact exists; cheaper than `find` on a remote store."""
        for root in (self.root, *self.behind):
            fs, base = fsspec.core.url_to_fs(root)
            if fs.exists(f"{base}/{stage}/{key}/manifest.json"):
                return True
        return False

    def draft(self, stage: str, key: str) -> Draft:
        """Begins an artifact. Earlier attempts that never got a manifest stay as they are."""
        self._write_format()
        return Draft(self, stage, key)

    def scratch(self, stage: str, key: str) -> Path:
        """A local folder for unfinished state of one artifact (training checkpoints); gone after `clear_scratch`."""
        root = self.local_root or Path(tempfile.gettempdir()) / "backstop-scratch"
        folder = root / "scratch" / stage / key
        _make_folder(folder)
        return folder

    def clear_scratch(self, stage: str, key: str) -> None:
        """Drops the unfinished state of an artifact that is finished now."""
        root = self.local_root or Path(tempfile.gettempdir()) / "backstop-scratch"
        shutil.rmtree(root / "scratch" / stage / key, ignore_errors=True)

    def write_json(self, name: str, value: Any) -> None:
        """Writes a small JSON document at the store's root in one piece."""
        self._write_format()
        _write_text(self.fs, f"{self._base}/{name}", json.dumps(value, indent=1, sort_keys=True))

    def read_json(self, name: str) -> Any | None:
        """Reads a JSON document at the store's root; None if it is not there."""
        return _read_json(self.fs, f"{self._base}/{name}")

    def list_json(self, folder: str) -> Iterator[str]:
        """Names of the JSON documents in a folder of the store's root."""
        if self.fs.isdir(f"{self._base}/{folder}"):
            for path in sorted(self.fs.ls(f"{self._base}/{folder}", detail=False)):
                if path.endswith(".json"):
                    yield f"{folder}/{path.rsplit('/', 1)[1]}"

    def _publish(self, draft: Draft, manifest: dict[str, Any]) -> None:
        base = f"{self._base}/{draft.stage}/{draft.key}"
        if self.local_root is None:
            for name in manifest["files"]:
                self.fs.put_file(str(draft.folder / name), f"{base}/{draft.attempt}/{name}")
        _write_text(self.fs, f"{base}/manifest.json", json.dumps(manifest, indent=1, sort_keys=True))

    def _local_folder(self, fs: Any, folder: str, manifest: dict[str, Any]) -> Path:
        if "file" in _protocols(fs):
            return Path(folder)
        cache = Path(tempfile.gettempdir()) / "backstop-cache" / hashlib.sha256(folder.encode()).hexdigest()[:32]
        for name, expected in manifest["files"].items():
            target = cache / name
            if not target.exists() or _sha256(target) != expected:
                _make_folder(cache)
                fs.get_file(f"{folder}/{name}", str(target))
        return cache

    def _write_format(self) -> None:
        if not self.fs.exists(f"{self._base}/format.json"):
            _write_text(self.fs, f"{self._base}/format.json", json.dumps({"version": FORMAT_VERSION}))


def open_store(root: str | None = None, *, read_only: tuple[str, ...] = ()) -> Store:
    """Opens the store named by the argument, else by BACKSTOP_STORE, else `./store`."""
    return Store(root or os.environ.get("BACKSTOP_STORE") or "store", read_only=read_only)


def _check_format(root: str) -> None:
    """Refuses a store, writable or behind, that a newer version made."""
    fs, base = fsspec.core.url_to_fs(root)
    found = _read_json(fs, f"{base}/format.json")
    if found is not None and found.get("version", 0) > FORMAT_VERSION:
        raise UserError(
            f"store {root}: format.version must be at most {FORMAT_VERSION}, got {found['version']}; "
            "it was made by a newer Backstop: upgrade, or choose another store with --store"
        )


def _absolute(url: str) -> str:
    fs, base = fsspec.core.url_to_fs(url)
    return base if "file" in _protocols(fs) else url


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"store folder {folder} cannot be made: {error.strerror}; choose another with --store"
        ) from None


def _read_json(fs: Any, path: str) -> Any | None:
    try:
        with fs.open(path, "r") as file:
            return json.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        raise UserError(f"{path} must be JSON, got something else; delete it and run again") from None


def _write_text(fs: Any, path: str, text: str) -> None:
    """Writes in one piece: through a temporary name on local disks, in one put elsewhere."""
    if "file" in _protocols(fs):
        target = Path(path)
        _make_folder(target.parent)
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
        temporary.write_text(text)
        os.replace(temporary, target)
    else:
        fs.pipe_file(path, text.encode())
