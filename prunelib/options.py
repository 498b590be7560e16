"""The types an option may have: the annotations of registered functions are read in this namespace, without torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Bits = Annotated[int, Field(ge=1, le=8)]
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]

__all__ = ["Bits", "Count", "Fraction", "Literal", "Natural", "NonNegative", "Positive", "Share", "Word"]
