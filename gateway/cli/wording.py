"""Numbers and times in words, for the lines that people read."""

from streams.wording import EPOCH, LAST, SPANS, counted, moment, span

__all__ = ["EPOCH", "LAST", "SPANS", "counted", "moment", "span"]
