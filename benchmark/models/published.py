"""Weights that open_clip publishes: which there are, and that they are here before anything is computed for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from benchmark.config.spec import ModelSpec
from benchmark.errors import UserError, must, unknown
from benchmark.hub import hub_or_cache
from benchmark.models.architectures import TINY, image_size


def fetch_published(spec: ModelSpec) -> None:
    """Fetches a model's published weights into the hub's cache of this machine.

    Raises:
        UserError: there are none of this tag, or the hub does not answer and its cache has none.
    """
    with published_weights(spec):
        import open_clip

        open_clip.download_pretrained(open_clip.get_pretrained_cfg(spec.name, spec.pretrained or ""))


@contextmanager
def published_weights(spec: ModelSpec) -> Iterator[None]:
    """Inside, a model's published weights may be asked for; what cannot be had is one line.

    Raises:
        UserError: see `fetch_published`.
    """
    if not spec.pretrained:
        yield
        return
    _check_tag(spec.name, spec.pretrained)
    with hub_or_cache() as answers:
        try:
            yield
        except (OSError, RuntimeError) as error:
            if answers:
                raise
            rule = f"a tag of {spec.name} in the hub's cache where the hub does not answer"
            raise must("model.pretrained", rule, spec.pretrained, "connect, or give a file: model.weights") from error


def _check_tag(name: str, tag: str) -> None:
    if name in TINY:
        raise UserError(f"model.pretrained: {name!r} has no published weights; use model.weights or another model")
    image_size(name)  # refuses an unknown name
    import open_clip

    if tag not in (tags := open_clip.list_pretrained_tags_by_model(name)):
        raise unknown(f"pretrained tag of {name}", tag, tags)
