"""From a specification to its name: canonical JSON, content keys, derived seeds."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

_SCALARS = frozenset({str, int, bool, type(None)})
# what the encoder writes otherwise than `_plain` has it; one pattern for both is slower than two
_WHOLE_FLOAT = re.compile(r"\.0(?!\d)")  # 1.0, for 1
_KEY_OF_ANOTHER_TYPE = re.compile(r'"(?:true|false|null|-?\d[^"]*)":')  # ordered as what it is, not as text
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
KEY_LENGTH = 32  # hex digits kept of the sha256: 128 bits


def canonical_json(value: Any) -> str:
    """Serialises to JSON with sorted keys, no blanks and no NaN, so that equal values give equal text.

    Raises:
        ValueError: if a float is not finite or a value is not JSON.
    """
    try:
        text = _ENCODER.encode(value)
    except TypeError:  # a set, or a mapping that is no dictionary
        return _ENCODER.encode(_plain(value))
    same = not _WHOLE_FLOAT.search(text) and not _KEY_OF_ANOTHER_TYPE.search(text)
    return text if same else _ENCODER.encode(_plain(value))


def _plain(value: Any) -> Any:
    if type(value) in _SCALARS:
        return value
    if isinstance(value, float):
        # 1.0 and 1 are the same number, so they must give the same key
        return int(value) if math.isfinite(value) and value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in cast("Sequence[Any]", value)]
    if isinstance(value, (set, frozenset)):
        return sorted(_plain(item) for item in cast("Iterable[Any]", value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    return value


def digest(text: str | bytes) -> str:
    """Returns the hex sha256 of a text, shortened to KEY_LENGTH digits."""
    data = text.encode() if isinstance(text, str) else text
    return hashlib.sha256(data).hexdigest()[:KEY_LENGTH]


def content_key(stage: str, version: int, spec: Any, inputs: Sequence[str] = ()) -> str:
    """Names an artifact by everything that may change its content.

    Args:
        stage: name of the stage that makes it.
        version: version of the stage's code; raised when its results change.
        spec: JSON-like specification (method name, version and fields; seeds; sizes).
        inputs: content keys of the artifacts it is made from, in the stage's order.
    """
    return digest(canonical_json({"stage": stage, "version": version, "spec": spec, "inputs": list(inputs)}))


def derive_seed(*parts: int | str) -> int:
    """Derives an independent 63-bit seed from a root seed and names, e.g. `(seed, "poison", epoch)`."""
    raw = hashlib.sha256(canonical_json(list(parts)).encode()).digest()
    return int.from_bytes(raw[:8], "big") >> 1
