"""The artifacts at one place: their manifests, what is damaged of them, and their files on this machine."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from benchmark.store.artifact import Artifact, Damaged, Draft
from benchmark.store.cache import Cache
from benchmark.store.download import cache_folder, fetch, refuse, remote_damage
from benchmark.store.manifest import Manifest, parse_manifest
from benchmark.store.roots import Root, make_folder
from benchmark.store.verify import Verifier, size_damage

Say = Callable[[str], None]


class Shelf:
    """One place's artifacts. What is damaged counts as absent, and is said once."""

    def __init__(self, root: Root, cache: Cache, say: Say, *, ours: bool, remembers: bool = False) -> None:
        """`ours`: the writable one; `remembers`: what was read at a remote place is not read again."""
        self.root, self.ours = root, ours
        self._cache, self._say, self._verifier = cache, say, Verifier()
        self._manifests: dict[str, Manifest | None] | None = {} if remembers and root.local is None else None
        self._keys: dict[str, set[str]] = {}

    def keys(self, stage: str) -> set[str]:
        """Keys of a stage's artifacts, finished or not."""
        if self._manifests is None:
            return set(self.root.names(stage))
        if stage not in self._keys:
            self._keys[stage] = set(self.root.names(stage))
        return self._keys[stage]

    def manifest(self, stage: str, key: str) -> Manifest | None:
        """An artifact's manifest; None where there is none that can be read."""
        return self.manifests(stage, [key]).get(key)

    def manifests(self, stage: str, keys: Iterable[str]) -> dict[str, Manifest]:
        """Those manifests that can be read, by key; of a remote place, many are fetched at once."""
        names = {f"{stage}/{key}/manifest.json": key for key in keys}
        known = {} if self._manifests is None else self._manifests
        new = [name for name in names if name not in known]
        texts = self.root.read_all(new)
        known |= {name: self._parsed(name, texts[name]) if name in texts else None for name in new}
        return {key: manifest for name, key in names.items() if (manifest := known[name])}

    def damage(self, stage: str, key: str, manifest: Manifest, *, by_size: bool = False) -> str:
        """What is wrong with an artifact, as far as that shows without a download.

        `by_size`: no file is read, and of a remote place nothing is asked.
        """
        attempt = _place(stage, key, manifest)
        if self.root.local is None:
            manifests_alone = by_size or self._manifests is not None
            found = "" if manifests_alone else remote_damage(self.root, attempt, manifest, ours=self.ours)
        elif by_size:
            found = size_damage(f"{self.root.local}/{attempt}", manifest)  # to join paths takes as long as to look
        else:
            found = self._verifier.damage(self.root.local / attempt, manifest)
        if found:
            self._say_damaged(f"{stage}/{key}", found)
        return found

    def damages(self, stage: str, manifests: Mapping[str, Manifest], *, by_size: bool) -> dict[str, str]:
        """`damage` of many, by key."""

        def damage(key: str) -> str:
            return self.damage(stage, key, manifests[key], by_size=by_size)

        return {key: damage(key) for key in manifests} if by_size else self.root.side_by_side(damage, manifests)

    def find(self, stage: str, key: str) -> Artifact | None:
        """An artifact that is whole, as far as that shows without a download."""
        manifest = self.manifest(stage, key)
        if manifest is None or self.damage(stage, key, manifest):
            return None
        return self._artifact(stage, key, manifest)

    def _artifact(self, stage: str, key: str, manifest: Manifest) -> Artifact:
        attempt = _place(stage, key, manifest)
        if self.root.local is not None:
            place, bring = self.root.local / attempt, None
        else:
            place, bring = cache_folder(self.root, attempt), partial(self._bring, stage, key, manifest)
        return Artifact(stage, key, manifest.facts, place, manifest.files, manifest.attempt, bring)

    def _bring(self, stage: str, key: str, manifest: Manifest, names: Iterable[str]) -> None:
        """Has files of a remote artifact on this machine; names that it has not are nobody's.

        Raises:
            Damaged: one cannot be had as it was written; from now on the artifact counts as absent.
        """
        attempt = _place(stage, key, manifest)
        try:
            for name in names:
                if name in manifest.files:
                    fetch(self.root, attempt, name, manifest.files[name], self._cache, self._verifier)
        except Damaged as error:
            self._say_damaged(f"{stage}/{key}", str(error))
            if self.ours:  # other processes see a remote file's content only after a download
                self.root.remove(f"{stage}/{key}/manifest.json")
            else:
                refuse(self.root, attempt)
            raise Damaged(f"{self.root.url}/{stage}/{key}: {error}; run the suite again") from None

    def draft(self, stage: str, key: str) -> Draft:
        """Begins an artifact."""
        return Draft(stage, key, folder=partial(self._draft_folder, f"{stage}/{key}"), publish=self._publish)

    def _draft_folder(self, place: str, attempt: str) -> Path:
        if self.root.local is None:
            return self._cache.new_draft()
        folder = self.root.local / place / attempt
        make_folder(folder)
        return folder

    def _publish(self, draft: Draft, manifest: Manifest) -> Artifact:
        """Uploads a draft where the place is remote, and writes its manifest."""
        attempt, folder = _place(draft.stage, draft.key, manifest), draft.folder
        if self.root.local is None:
            self.root.side_by_side(lambda name: self.root.put(folder / name, f"{attempt}/{name}"), manifest.files)
            folder = cache_folder(self.root, attempt)  # what was uploaded need not be fetched again
            self._cache.hold(folder)
            folder.parent.mkdir(parents=True, exist_ok=True)
            os.replace(draft.folder, folder)
        for name, known in manifest.files.items():
            self._verifier.note(folder / name, known)
        self.write_manifest(draft.stage, draft.key, manifest)
        if self.root.local is None:
            self._cache.make_room(sum(manifest.sizes.values()))
        return self._artifact(draft.stage, draft.key, manifest)

    def write_manifest(self, stage: str, key: str, manifest: Manifest) -> None:
        """Has this attempt stand, with these files."""
        text = json.dumps(manifest.model_dump(), indent=1, sort_keys=True)
        self.root.write(f"{stage}/{key}/manifest.json", text)

    def _parsed(self, name: str, data: bytes) -> Manifest | None:
        try:
            return parse_manifest(data)
        except ValueError as error:
            self._say_damaged(name, str(error))
            return None

    def _say_damaged(self, name: str, why: str) -> None:
        then = "it counts as absent and is made again when it is needed" if self.ours else "it is passed over"
        self._say(f"{self.root.url}/{name}: {why}; {then}")


def _place(stage: str, key: str, manifest: Manifest) -> str:
    """Where the files of an artifact lie, from the root."""
    return f"{stage}/{key}/{manifest.attempt}"
