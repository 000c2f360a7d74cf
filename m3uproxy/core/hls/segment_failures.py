"""Failed segments of the source in use: one is tolerated, a second one counts against the source.

Only the main programme counts, and one variant of several does not: if segments of a variant fail while those of
another one come, the players of the first can change the variant. The variants are told apart by the rung in a token
(:mod:`.url_tokens`). Separate sound is compared with other separate sound only.
"""

from __future__ import annotations

import attrs

from .uri_rewriter import ResourceKind, ResourceRole
from .url_tokens import TokenTarget

#: Different segments that fail one after another until their source counts as failed.
MAX_FAILED_SEGMENTS = 2
#: A segment and its first byte, for segments that are ranges of one file.
FailedSegment = tuple[TokenTarget, int]


@attrs.define
class RungState:
    """
    The segments of one variant.

    :ivar failed: the failed segments since the last success, at most :data:`MAX_FAILED_SEGMENTS`.
    :ivar excused: True if the failures do not count, because another variant works.
    :ivar succeeded_at: time of the last success in seconds, None before the first.
    """

    failed: set[FailedSegment] = attrs.field(factory=set)
    excused: bool = False
    succeeded_at: float | None = None

    def works(self, since: float) -> bool:
        """Return whether a segment came since then, and none has failed after it."""
        return not self.failed and self.succeeded_at is not None and self.succeeded_at >= since


class SegmentFailures:
    """The failed segments of one source, by variant."""

    def __init__(self) -> None:
        self._rungs: dict[tuple[ResourceRole, int], RungState] = {}

    def clear(self) -> None:
        """Forget all segments, because another source is in use."""
        self._rungs.clear()

    def succeeded(self, target: TokenTarget, now: float) -> None:
        """
        Note a segment that came.

        It clears the failures of its own group only: available keys or maps say nothing about the video.
        """
        if target.role is ResourceRole.SIDE:
            return
        rung = self._rung(target)
        rung.succeeded_at = now
        rung.failed = {failed for failed in rung.failed if _group(failed[0]) != _group(target)}
        rung.excused = rung.excused and bool(rung.failed)

    def failed(self, target: TokenTarget, first: int, since: float) -> bool:
        """
        Note a failed segment.

        :param first: the first byte of the range.
        :param since: time in seconds since which another variant must have delivered to count as working.
        :return: True if the source has failed.
        """
        if target.role is ResourceRole.SIDE:
            return False
        rung = self._rung(target)
        if len(rung.failed) < MAX_FAILED_SEGMENTS:
            rung.failed.add((target, first))
        counted = [each for each in self._rungs.values() if each is rung or not each.excused]
        if sum(len(each.failed) for each in counted) < MAX_FAILED_SEGMENTS:
            return False
        rung.excused = bool(target.rung) and any(
            other.works(since) for (role, number), other in self._rungs.items() if role is target.role and number
        )
        return not rung.excused

    def _rung(self, target: TokenTarget) -> RungState:
        return self._rungs.setdefault((target.role, target.rung), RungState())


def _group(target: TokenTarget) -> tuple[ResourceKind, str]:
    """Return the kind and the folder of a segment."""
    return target.kind, target.url.partition("?")[0].rpartition("/")[0]
