"""returned jobs and accounts"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply. Of a table of many tweets it takes a while, in which no tweet can be stored. What was forgotten before is so for good."""
    op.create_index("job_again", "job", ["queue", "created_at"], postgresql_where=sa.text("state = 'queued' AND attempt > 0"))
    op.create_index("tweet_received", "tweet", ["received_at"])
    op.add_column("forgotten", sa.Column("account", sa.LargeBinary(), nullable=True))
    op.create_index("forgotten_account", "forgotten", ["account"], postgresql_where=sa.text("account IS NOT NULL"))
    # Blocks of a canary that runs now count for no stream so far.
    op.add_column("canary_shard", sa.Column("stream", sa.Text(), nullable=True))
    op.add_column("canary_shard", sa.Column("ended_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False))


def downgrade() -> None:
    """Undo."""
    op.drop_column("canary_shard", "ended_at")
    op.drop_column("canary_shard", "stream")
    op.drop_index("forgotten_account", table_name="forgotten")
    op.drop_column("forgotten", "account")
    op.drop_index("tweet_received", table_name="tweet")
    op.drop_index("job_again", table_name="job")
