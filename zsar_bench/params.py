"""How a plugin declares its parameters: typed, documented, bounded, with named profiles.

A *science* parameter changes what is computed and is part of a run's identity. A *runtime*
parameter changes only speed or memory (scoring batch, data-loader workers) and is not.

    class Params(zsar_bench.params.Params):
        profiles = {"paper": {}, "laptop": {"width": 128}}
        width: int = science(768, "channels of the transformer", ge=8)
        score_batch: int = runtime(4096, "rows scored at once", ge=1)
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field


class Params(BaseModel):
    """Base of every plugin's parameters. Unknown names are refused; values are immutable.

    ``profiles`` maps a profile's name to the values in which it differs from the defaults;
    ``paper`` is the published setting, ``laptop`` takes minutes on two cores.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    profiles: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}}


def science(default: Any, meaning: str, search: dict[str, Any] | None = None, **bounds: Any) -> Any:
    """Declare a parameter that changes results.

    Args:
        default: its value in the ``paper`` profile, unless the profile sets another.
        meaning: one line.
        search: range for ``tune``: ``between(...)`` or ``among(...)``; None: it is not tuned.
        bounds: pydantic's (ge, le, gt, lt).
    """
    extra: dict[str, Any] = {"kind": "science"}
    extra |= {} if search is None else {"search": search}
    return Field(default, description=meaning, json_schema_extra=extra, **bounds)


def between(low: float, high: float) -> dict[str, Any]:
    """A search range with a uniform logarithm; integers for an ``int``.

    Raises:
        ValueError: unless 0 < low < high.
    """
    if not 0 < low < high:
        raise ValueError(f"a search range needs 0 < low < high, not {low} and {high}")
    return {"low": low, "high": high}


def among(*choices: Any) -> dict[str, Any]:
    """A search among values of equal probability.

    Raises:
        ValueError: unless there are at least two.
    """
    if len(choices) < 2:
        raise ValueError("a search needs at least two values to choose among")
    return {"choices": list(choices)}


def runtime(default: Any, meaning: str, **bounds: Any) -> Any:
    """Declare a parameter that changes speed or memory only, never a score."""
    return Field(default, description=meaning, json_schema_extra={"kind": "runtime"}, **bounds)
