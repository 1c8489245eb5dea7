"""How a plugin declares its parameters: typed, documented, bounded, with named profiles.

A *science* parameter changes what is computed and is part of a run's identity. A *runtime*
parameter only changes how fast (scoring batch, data-loader workers) and is not.

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


def science(default: Any, meaning: str, **bounds: Any) -> Any:
    """Declare a parameter that changes results; ``bounds`` are pydantic's (ge, le, gt, lt)."""
    return Field(default, description=meaning, json_schema_extra={"kind": "science"}, **bounds)


def runtime(default: Any, meaning: str, **bounds: Any) -> Any:
    """Declare a parameter that changes speed or memory only, never a score."""
    return Field(default, description=meaning, json_schema_extra={"kind": "runtime"}, **bounds)
