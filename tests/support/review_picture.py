"""Draw docs/images/review.svg: `python -m tests.support.review_picture docs/images/review.svg`.

The page is the real one, the rows are invented.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from producers.review.app import ReviewPage
from producers.review.session import ReviewSession
from workers.review.claims import RowClaim, RowFilter, Verdict

ROW = RowClaim(
    dataset=1,
    key="3f2a9c1b07d4" + "0" * 52,
    reviewer="ann",
    until=datetime(2026, 1, 1, tzinfo=UTC),
    value=9.0,
    reasons=(
        "checks: the target has a number that the tweet lacks",
        "teacher: its answers agree to 34%",
        "new: 2 of 6 words stand in no other target",
    ),
    stage="summary",
    prompt="@slowtrains sooo the 7.42 to Skipton is cancelled AGAIN 😩 thats the 3rd time this week smh, standing in the rain #fail",
    target="The 7.42 to Skipton is cancelled for the 4th time this week.",
    origin="teacher",
    split="train",
    lineage={"teacher": {"model": "llama-3.3-70b"}, "tweet_id": "88120"},
)


class Still(ReviewSession):
    """A review with one row on it, for ever."""

    def counts(self) -> dict[str, Any]:
        return {"rows": 1156, "left": 843}

    def claim(self) -> RowClaim | None:
        return ROW

    def decide(self, claim: RowClaim, verdict: Verdict, seconds: float, target: str | None) -> None:
        """Nothing is kept."""

    def release(self, claims: Iterable[RowClaim]) -> None:
        """Nothing was held."""


async def draw(picture: Path) -> None:
    page = ReviewPage(Still(1, "summaries", "ann", RowFilter()))
    async with page.run_test(size=(100, 26)) as pilot:
        while page.row is None:
            await pilot.pause(0.05)
        page.tally.verdicts.append(("accepted", 3.4))
        page._show(ROW)
        await pilot.pause(0.1)
        # Textual refers to a web font; a picture should need nothing but itself.
        drawn = re.sub(r"@font-face \{.*?\}", "", page.export_screenshot(title="tweetmill review summaries"), flags=re.DOTALL)
        picture.write_text(drawn, encoding="utf-8")
        page.exit()


if __name__ == "__main__":
    asyncio.run(draw(Path(sys.argv[1])))
