"""Shapes that every operation has, as the document declares them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Shape(BaseModel):
    """An answer: nothing but what is declared."""

    model_config = ConfigDict(extra="forbid")


class Fault(Shape):
    """One mistake."""

    pointer: str | None = Field(None, description="JSON pointer into the event; empty: the whole of it")
    header: str | None = Field(None, description="the header, where the event was sent in binary mode")
    index: int | None = Field(None, description="which event of a batch that was to be taken as a whole")
    code: str = Field(description="what sort of mistake, for programs")
    detail: str = Field(description="what is wrong, for people; never the value, which may be personal")
    did_you_mean: str | None = Field(None, description="what was probably meant")


class Problem(Shape):
    """Everything that goes wrong (RFC 9457)."""

    type: str = Field(description="the page that tells of this kind of problem")
    title: str
    status: int
    code: str = Field(description="the kind, for programs")
    detail: str | None = None
    hint: str | None = Field(None, description="how to mend it")
    request_id: str | None = Field(None, description="also in the header Request-Id, and in our log")
    errors: list[Fault] | None = Field(None, description="every mistake")
