"""The store: artifacts addressed by content key, on a local path or any fsspec URL.

`<root>/<stage>/<key>/<attempt>/` holds files; `<root>/<stage>/<key>/manifest.json`, written last and in one piece,
names the attempt, and the hashes and sizes of its files. Without a manifest an artifact does not exist, so a run may
die at any moment. No rename of folders is needed. What cannot be read or is not what was written counts as absent: it
is said in one line, made again in the writable store, and passed over in those behind it.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmark.errors import UserError
from benchmark.store.cache import new_draft, user_cache
from benchmark.store.download import Damaged, cache_folder, fetch, remote_damage
from benchmark.store.format import check_format, write_format
from benchmark.store.documents import parse_document
from benchmark.store.manifest import Manifest, bare_name, parse_manifest
from benchmark.store.roots import Root, make_folder, open_root
from benchmark.store.verify import Verifier, sha256, size_damage

_log = logging.getLogger(__name__)


class Artifact(NamedTuple):
    """A finished artifact: its facts and where its files lie."""

    stage: str
    key: str
    facts: dict[str, Any]  # what the stage wrote about it (small JSON)
    folder: Path  # local folder with the files; remote artifacts are fetched into a cache
    hashes: Mapping[str, str] = {}  # SHA-256 of each file

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
            make_folder(self.folder)
        else:
            self.folder = new_draft()

    def path(self, name: str) -> Path:
        """Where to write one of its files."""
        return self.folder / name

    def commit(self, facts: dict[str, Any]) -> Artifact:
        """Hashes the files, uploads them where the store is remote, and writes the manifest last."""
        files = [path for path in sorted(self.folder.iterdir()) if path.is_file()]
        manifest = Manifest(
            attempt=self.attempt,
            files={path.name: sha256(path) for path in files},
            sizes={path.name: path.stat().st_size for path in files},
            facts=facts,
        )
        self.folder = self._store.publish(self, manifest)
        return Artifact(self.stage, self.key, facts, self.folder, manifest.files)


class Store:
    """A writable root and, behind it, read-only roots that are searched in order."""

    def __init__(self, root: str | Path, *, read_only: tuple[str, ...] = ()) -> None:
        self._open(str(root), read_only)
        for place in self._roots:
            check_format(place, behind=place is not self._roots[0])

    def _open(self, root: str, read_only: tuple[str, ...]) -> None:
        self.root, self.behind = root.rstrip("/") or "/", tuple(url.rstrip("/") or "/" for url in read_only)
        self._roots = tuple(open_root(url) for url in (self.root, *self.behind))
        self.local_root = self._roots[0].local
        self._verifier, self._said = Verifier(), set[str]()

    def __getstate__(self) -> dict[str, Any]:
        # absolute paths: a worker may stand in another folder
        first, *behind = (place.absolute for place in self._roots)
        return {"root": first, "behind": tuple(behind)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._open(state["root"], state["behind"])

    def find(self, stage: str, key: str) -> Artifact | None:
        """Looks an artifact up here and in the read-only stores behind; None if it does not exist or is damaged."""
        for place in self._roots:
            manifest = self._manifest(place, stage, key)
            folder = self._files(place, stage, key, manifest) if manifest else None
            if manifest and folder:
                return Artifact(stage, key, manifest.facts, folder, manifest.files)
        return None

    def facts(self, stage: str, key: str) -> dict[str, Any] | None:
        """Facts of an artifact that `find` would find; of a remote one nothing but the manifest is fetched."""
        for place in self._roots:
            manifest = self._manifest(place, stage, key)
            if manifest and not self._damage(place, stage, key, manifest):
                return manifest.facts
        return None

    def has(self, stage: str, key: str) -> bool:
        """Whether an artifact exists and, as far as that shows without a download, is whole."""
        return self.facts(stage, key) is not None

    def facts_of(self, stage: str, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Facts of those artifacts that exist, as their manifests and, on this machine, the sizes of their files say.

        For what looks at thousands at once: a stage's folder is listed once, and manifests alone are read.
        """
        found: dict[str, dict[str, Any]] = {}
        for place, there in self._listed(stage, keys):
            texts = place.read_all(f"{stage}/{key}/manifest.json" for key in there if key not in found)
            manifests = {name: self._parsed(place, name, text) for name, text in texts.items()}
            for name, manifest in manifests.items():
                key = name.split("/")[1]
                if manifest and not self._damage(place, stage, key, manifest, by_size=True):
                    found[key] = manifest.facts
        return found

    def made(self, stage: str, keys: Iterable[str]) -> set[str]:
        """Those of the keys whose artifact has a manifest; a stage's folder is listed once, and nothing is read."""
        listed = list(self._listed(stage, keys))
        return {key for place, there in listed for key in there if place.exists(f"{stage}/{key}/manifest.json")}

    def _listed(self, stage: str, keys: Iterable[str]) -> Iterator[tuple[Root, list[str]]]:
        """Of each place, those of the keys that it has a folder of."""
        wanted = list(dict.fromkeys(keys))
        _check_names(stage)
        for place in self._roots:
            listed = set(place.list(stage))
            yield place, [key for key in wanted if key in listed]

    def draft(self, stage: str, key: str) -> Draft:
        """Begins an artifact. Earlier attempts that never got a manifest stay as they are."""
        _check_names(stage, key)
        self._write_format()
        return Draft(self, stage, key)

    def require_writable(self) -> None:
        """Refuses a store that cannot be written, before anything is computed for it.

        Raises:
            UserError: says which, and what to do.
        """
        self._roots[0].require_writable()

    def scratch(self, stage: str, key: str) -> Path:
        """A local folder for unfinished state of one artifact (training checkpoints); gone after `clear_scratch`."""
        folder = self._scratch(stage, key)
        make_folder(folder)
        return folder

    def clear_scratch(self, stage: str, key: str) -> None:
        """Drops the unfinished state of an artifact that is finished now."""
        shutil.rmtree(self._scratch(stage, key), ignore_errors=True)

    def _scratch(self, stage: str, key: str) -> Path:
        _check_names(stage, key)
        return (self.local_root or user_cache()) / "scratch" / stage / key

    def write_json(self, name: str, value: Any) -> None:
        """Writes a small JSON document at the store's root in one piece."""
        _check_names(*name.split("/"))
        self._write_format()
        self._roots[0].write(name, json.dumps(value, indent=1, sort_keys=True))

    def read_json(self, name: str) -> Any | None:
        """Reads a JSON document at the store's root; None if it is not there, torn, or not of its folder's form."""
        _check_names(*name.split("/"))
        data = self._roots[0].read(name)
        try:
            return None if data is None else parse_document(name, data)
        except ValueError as error:
            self._say(f"{self.root}/{name} must be a document as runs write it, got {error}; it counts as absent")
            return None

    def write_text(self, name: str, text: str) -> None:
        """Writes a small text file at the store's root in one piece."""
        _check_names(*name.split("/"))
        self._write_format()
        self._roots[0].write(name, text)

    def read_text(self, name: str) -> str | None:
        """Reads a text file at the root of this store or of one behind it; None if it is in none of them."""
        _check_names(*name.split("/"))
        found = (place.read(name) for place in self._roots)
        return next((data.decode(errors="replace") for data in found if data is not None), None)

    def keys(self, stage: str) -> list[str]:
        """Sorted keys of a stage's artifacts, here and in the stores behind, finished or not."""
        _check_names(stage)
        return sorted({key for place in self._roots for key in place.list(stage)})

    def list_json(self, folder: str) -> list[str]:
        """Sorted names, without `.json`, of the documents in a folder of the store's root."""
        fs, base = self._roots[0].fs, self._roots[0].base
        if not fs.isdir(f"{base}/{folder}"):
            return []
        files = [path.rsplit("/", 1)[1] for path in fs.ls(f"{base}/{folder}", detail=False)]
        return sorted(file.removesuffix(".json") for file in files if file.endswith(".json"))

    def _manifest(self, place: Root, stage: str, key: str) -> Manifest | None:
        _check_names(stage, key)
        name = f"{stage}/{key}/manifest.json"
        data = place.read(name)
        return None if data is None else self._parsed(place, name, data)

    def _parsed(self, place: Root, name: str, data: bytes) -> Manifest | None:
        try:
            return parse_manifest(data)
        except ValueError as error:
            self._say_damaged(place, name, str(error))
            return None

    def _damage(self, place: Root, stage: str, key: str, manifest: Manifest, *, by_size: bool = False) -> str:
        """What is wrong with an artifact, as far as that shows without a download; said once.

        `by_size`: no file is read, and of a remote place nothing is asked.
        """
        attempt = f"{stage}/{key}/{manifest.attempt}"
        if place.local is None:
            found = "" if by_size else remote_damage(place, attempt, manifest)
        elif by_size:
            found = size_damage(f"{place.local}/{attempt}", manifest)  # to join paths would take as long as to look
        else:
            found = self._verifier.damage(place.local / attempt, manifest)
        if found:
            self._say_damaged(place, f"{stage}/{key}", found)
        return found

    def _files(self, place: Root, stage: str, key: str, manifest: Manifest) -> Path | None:
        """The local folder with an artifact's files; None where they are damaged."""
        attempt = f"{stage}/{key}/{manifest.attempt}"
        if place.local is not None:
            return None if self._damage(place, stage, key, manifest) else place.local / attempt
        try:
            return fetch(place, attempt, manifest, self._verifier)
        except Damaged as error:
            self._say_damaged(place, f"{stage}/{key}", str(error))
        if place is self._roots[0]:  # other processes see a remote file's content only after a download
            place.remove(f"{stage}/{key}/manifest.json")
        return None

    def _say_damaged(self, place: Root, name: str, why: str) -> None:
        ours = place is self._roots[0]
        then = "it counts as absent and is made again when it is needed" if ours else "it is passed over"
        self._say(f"{place.url}/{name}: {why}; {then}")

    def _say(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            _log.warning("backstop: store %s", line)

    def publish(self, draft: Draft, manifest: Manifest) -> Path:
        """Uploads a draft where the store is remote, writes its manifest, and returns the folder that stays."""
        first, base, folder = self._roots[0], f"{draft.stage}/{draft.key}", draft.folder
        if self.local_root is None:
            for name in manifest.files:
                first.put(folder / name, f"{base}/{manifest.attempt}/{name}")
            # what was uploaded need not be fetched again
            folder = cache_folder(first, f"{base}/{manifest.attempt}")
            folder.parent.mkdir(parents=True, exist_ok=True)
            os.replace(draft.folder, folder)
        for name, known in manifest.files.items():
            self._verifier.note(folder / name, known)
        first.write(f"{base}/manifest.json", json.dumps(manifest.model_dump(), indent=1, sort_keys=True))
        return folder

    def _write_format(self) -> None:
        write_format(self._roots[0])


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
