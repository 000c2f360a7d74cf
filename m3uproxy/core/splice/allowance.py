"""The allowance for one call: the work that it may do before it must leave the rest to the next call.

A join reads and compares megabytes. All other streams wait as long as one call takes, so each step of a join estimates
its cost and stops when the allowance is used up. The next call continues there. There is no clock here; the estimates
are about microseconds of CPU.
"""

from __future__ import annotations

from ..mpegts.access_index import AccessIndex
from ..mpegts.packets import PACKET_SIZE
from ..mpegts.pes import count_starts

#: The cost that one call may reach.
CALL_COST = 10_000
#: Bytes that are scanned or copied for one unit of cost.
BYTES_PER_COST = 2048
#: Cost of a packet in which a unit starts.
START_COST = 4


class Allowance:
    """The cost that is still allowed in one call.

    :ivar left: the rest; negative after a last expensive step.
    """

    __slots__ = ("left",)

    def __init__(self, cost: int = CALL_COST) -> None:
        self.left = cost

    def spend(self, cost: int) -> bool:
        """Subtract the cost of a step. Return True if another step may follow."""
        self.left -= cost
        return self.left > 0


#: Bytes of packets that are scanned in one step. Each may hold many tables.
SCAN_BYTES = 256 * PACKET_SIZE


def scan_cost(index: AccessIndex, packets: bytes) -> int:
    """Return the cost of the packets that an index has scanned, with the tables and pictures that it has read."""
    return len(packets) // BYTES_PER_COST + count_starts(packets) * START_COST + index.take_work()
