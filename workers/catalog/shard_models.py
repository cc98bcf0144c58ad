"""Which model writes a shard: the one in service, or for a share of the shards the one that runs as a canary."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.payloads import CanaryPart


@dataclass(frozen=True)
class Assigned:
    """Which model writes a shard, and what the shard is to a canary; None where none runs."""

    model_id: int
    canary: CanaryPart | None = None


@dataclass(frozen=True)
class InService:
    """What writes for a stream.

    Attributes:
        model_id: of the model in service.
        candidate_id: of the canary's model; None where no canary runs.
        share: percent of the shards that the candidate writes.
        promotion: the canary's row of `promotion`.
    """

    model_id: int
    candidate_id: int | None = None
    share: int = 0
    promotion: int | None = None

    def of_shard(self, ordinal: int) -> Assigned:
        """Return which model writes the shard with this number, counted from 0 over the life of the stream.

        The candidate writes the last shard of each block. A block ends where `share` percent of the shards so far pass the next whole
        number, so that of the first N shards the candidate has exactly `N * share // 100`.
        """
        if self.candidate_id is None or self.promotion is None:
            return Assigned(self.model_id)
        block = ordinal * self.share // 100
        is_candidates = (ordinal + 1) * self.share // 100 > block
        part = CanaryPart(promotion=self.promotion, block=block, candidate=is_candidates)
        return Assigned(self.candidate_id if is_candidates else self.model_id, part)


def shards_of(block: int, share: int) -> int:
    """Return how many shards a block has, the last of which the candidate writes: those that `InService.of_shard` counts to it."""
    return -(-(block + 1) * 100 // share) - -(-block * 100 // share)
