"""The store: artifacts addressed by content key, on a local path or any fsspec URL.

`<root>/<stage>/<key>/<attempt>/` holds files; `<root>/<stage>/<key>/manifest.json`, written last and in one piece,
names the attempt, and the hashes and sizes of its files. Without a manifest an artifact does not exist, so a run may
die at any moment. No rename of folders is needed. What cannot be read or is not what was written counts as absent: it
is said in one line, made again in the writable store, and passed over in those behind it.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmark.errors import UserError
from benchmark.store.artifact import Artifact, Damaged, Draft
from benchmark.store.cache import Cache, user_cache
from benchmark.store.claims import Claims
from benchmark.store.documents import parse_document
from benchmark.store.format import check_format, write_format
from benchmark.store.manifest import bare_name
from benchmark.store.roots import Root, make_folder, open_root
from benchmark.store.scratch import Scratch
from benchmark.store.shelf import Shelf

_log = logging.getLogger(__name__)


class Store:
    """A writable root and, behind it, read-only roots that are searched in order."""

    def __init__(self, root: str | Path, *, read_only: tuple[str, ...] = ()) -> None:
        self._open(str(root), read_only)
        for shelf in self._shelves:
            check_format(shelf.root, behind=not shelf.ours)

    def _open(self, root: str, read_only: tuple[str, ...], *, remembers: bool = False) -> None:
        self.root, self.behind = root.rstrip("/") or "/", tuple(url.rstrip("/") or "/" for url in read_only)
        self._cache, self._said = Cache(), set[str]()
        self._shelves = tuple(
            Shelf(open_root(url), self._cache, self._say, ours=not order, remembers=remembers)
            for order, url in enumerate((self.root, *self.behind))
        )
        self._own = self._shelves[0].root
        self.local_root = self._own.local
        self.claims = Claims(self._own)

    def __getstate__(self) -> dict[str, Any]:
        # absolute paths: a worker may stand in another folder
        first, *behind = (shelf.root.absolute for shelf in self._shelves)
        return {"root": first, "behind": tuple(behind)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._open(state["root"], state["behind"])

    def snapshot(self) -> Store:
        """This store, for a command that only looks: what it has read of remote places it does not ask for again."""
        store = Store.__new__(Store)
        store._open(self.root, self.behind, remembers=True)
        return store

    def find(self, stage: str, key: str, *, whole: bool = False) -> Artifact | None:
        """Looks an artifact up here and in the read-only stores behind; None if it does not exist or is damaged.

        Args:
            stage: its stage.
            key: its key.
            whole: has all files of a remote one here, so that damage shows now; else they come when asked for.
        """
        _check_names(stage, key)
        for shelf in self._shelves:
            found = shelf.find(stage, key)
            if found and (not whole or _is_whole(found)):
                return found
        return None

    def find_all(self, stage: str, keys: Iterable[str]) -> dict[str, Artifact]:
        """Those artifacts of a stage that `find` finds, by key; of a remote store, many are looked for at once."""
        found = self._own.side_by_side(lambda key: self.find(stage, key), dict.fromkeys(keys))
        return {key: artifact for key, artifact in found.items() if artifact}

    def facts(self, stage: str, key: str) -> dict[str, Any] | None:
        """Facts of an artifact that `find` would find; of a remote one nothing but the manifest is fetched."""
        found = self.find(stage, key)
        return found.facts if found else None

    def has(self, stage: str, key: str) -> bool:
        """Whether an artifact exists and, as far as that shows without a download, is whole."""
        return self.find(stage, key) is not None

    def facts_of(self, stage: str, keys: Iterable[str], *, whole: bool = False) -> dict[str, dict[str, Any]]:
        """Facts of those artifacts that exist, as their manifests and, on this machine, the sizes of their files say.

        For what looks at thousands at once: a stage's folder is listed once, and manifests alone are read, of a remote
        store many at a time.

        Args:
            stage: the stage of all of them.
            keys: of the artifacts.
            whole: damage is looked for as `facts` does.
        """
        found: dict[str, dict[str, Any]] = {}
        for shelf, there in self._listed(stage, keys):
            manifests = shelf.manifests(stage, (key for key in there if key not in found))
            damages = shelf.damages(stage, manifests, by_size=not whole)
            found |= {key: manifest.facts for key, manifest in manifests.items() if not damages[key]}
        return found

    def made(self, stage: str, keys: Iterable[str]) -> set[str]:
        """Those of the keys whose artifact has a manifest; a stage's folder is listed once."""
        found = set[str]()
        for shelf, there in self._listed(stage, keys):
            if shelf.root.local is None:
                found |= shelf.manifests(stage, there).keys()
            else:
                found |= {key for key in there if os.path.exists(f"{shelf.root.base}/{stage}/{key}/manifest.json")}
        return found

    def _listed(self, stage: str, keys: Iterable[str]) -> Iterable[tuple[Shelf, list[str]]]:
        """Of each place, those of the keys that it has a folder of."""
        wanted = list(dict.fromkeys(keys))
        _check_names(stage)
        for shelf in self._shelves if wanted else ():
            listed = shelf.keys(stage)
            yield shelf, [key for key in wanted if key in listed]

    def keys(self, stage: str) -> list[str]:
        """Sorted keys of a stage's artifacts, here and in the stores behind, finished or not."""
        _check_names(stage)
        return sorted({key for shelf in self._shelves for key in shelf.keys(stage)})

    def draft(self, stage: str, key: str) -> Draft:
        """Begins an artifact. Earlier attempts that never got a manifest stay as they are."""
        _check_names(stage, key)
        write_format(self._own)
        return self._shelves[0].draft(stage, key)

    def claim(self, stage: str, key: str) -> bool:
        """Whether this process may make an artifact now; False while another one, of any machine, is about to.

        A claim lasts until `release`, or until `claims` is closed.
        """
        _check_names(stage, key)
        return self.claims.claim(stage, key)

    def release(self, stage: str, key: str) -> None:
        """Gives a claim back; nothing where it is not this process's."""
        self.claims.release(stage, key)

    def release_files(self) -> None:
        """Lets what was fetched to this machine go when room is needed: it is asked for anew by what comes next."""
        self._cache.release()

    @property
    def own(self) -> Shelf:
        """The artifacts of the writable place alone, for what looks after a store."""
        return self._shelves[0]

    def require_writable(self) -> None:
        """Refuses a store that cannot be written, before anything is computed for it.

        Raises:
            UserError: says which, and what to do.
        """
        self._own.require_writable()

    def scratch(self, stage: str, key: str) -> Path:
        """A local folder for unfinished state of one artifact (training checkpoints); gone after `clear_scratch`."""
        folder = self._scratch(stage, key)
        make_folder(folder)
        return folder

    def clear_scratch(self, stage: str, key: str) -> None:
        """Drops the unfinished state of an artifact that is finished now."""
        shutil.rmtree(self._scratch(stage, key), ignore_errors=True)
        if self.local_root is None:
            self._own.remove_folder(f"scratch/{stage}/{key}")

    def shared_scratch(self, stage: str, key: str) -> Scratch:
        """The same folder, of which one file can be kept in a remote store, for the node that comes after this one."""
        return Scratch(self.scratch(stage, key), self._own, f"scratch/{stage}/{key}")

    def arrow_scratch(self, stage: str, key: str) -> tuple[str, Any]:
        """The same state in the store itself, remote or not: path and, where it is remote, Arrow's file system."""
        if self.local_root is not None:
            return str(self.scratch(stage, key).resolve()), None
        arrow: Any = importlib.import_module("pyarrow.fs")  # which has no annotations

        _check_names(stage, key)
        return f"{self._own.base}/scratch/{stage}/{key}", arrow.PyFileSystem(arrow.FSSpecHandler(self._own.fs))

    def _scratch(self, stage: str, key: str) -> Path:
        _check_names(stage, key)
        if self.local_root is not None:
            return self.local_root / "scratch" / stage / key
        return user_cache() / "scratch" / hashlib.sha256(self.root.encode()).hexdigest()[:16] / stage / key

    def write_json(self, name: str, value: Any) -> None:
        """Writes a small JSON document at the store's root in one piece."""
        _check_names(*name.split("/"))
        write_format(self._own)
        self._own.write(name, json.dumps(value, indent=1, sort_keys=True))

    def read_json(self, name: str, *, behind: bool = False) -> Any | None:
        """Reads a JSON document at the store's root; None if it is not there, torn, or not of its folder's form.

        `behind`: where it is none, those of the stores behind it are looked at, too.
        """
        _check_names(*name.split("/"))
        found = (self._document(shelf.root, name) for shelf in (self._shelves if behind else self._shelves[:1]))
        return next((document for document in found if document is not None), None)

    def _document(self, place: Root, name: str) -> Any | None:
        data = place.read(name)
        try:
            return None if data is None else parse_document(name, data)
        except ValueError as error:
            self._say(f"{place.url}/{name} must be a document as runs write it, got {error}; it counts as absent")
            return None

    def remove_json(self, name: str) -> None:
        """Removes a JSON document at the store's root; nothing where it is not there."""
        _check_names(*name.split("/"))
        self._own.remove(name)

    def write_text(self, name: str, text: str) -> None:
        """Writes a small text file at the store's root in one piece."""
        _check_names(*name.split("/"))
        write_format(self._own)
        self._own.write(name, text)

    def read_text(self, name: str) -> str | None:
        """Reads a text file at the root of this store or of one behind it; None if it is in none of them."""
        _check_names(*name.split("/"))
        found = (shelf.root.read(name) for shelf in self._shelves)
        return next((data.decode(errors="replace") for data in found if data is not None), None)

    def list_json(self, folder: str) -> list[str]:
        """Sorted names, without `.json`, of the documents in a folder of the store's root."""
        return sorted(name.removesuffix(".json") for name in self._own.names(folder) if name.endswith(".json"))

    def _say(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            _log.warning("backstop: store %s", line)


def open_store(root: str | None = None, *, read_only: tuple[str, ...] = ()) -> Store:
    """Opens the store named by the argument, else by BACKSTOP_STORE, else `./store`."""
    return Store(root or os.environ.get("BACKSTOP_STORE") or "store", read_only=read_only)


def _check_names(*names: str) -> None:
    """Refuses a stage, key or document that would leave the store; keys are also read from documents of others."""
    for name in names:
        try:
            bare_name(name)
        except ValueError as error:
            raise UserError(f"a name in the store {error}; choose another") from None


def _is_whole(found: Artifact) -> bool:
    try:
        return bool(found.folder)
    except Damaged:
        return False
