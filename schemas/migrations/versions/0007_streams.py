"""streams"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply. The tables are new, and no job of before belongs to a stream."""
    _create_stream()
    _create_arrival()
    _create_stream_shard()


def _create_stream() -> None:
    op.create_table(
        "stream",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("options", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("job", sa.Uuid(), nullable=True),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("arrived", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("sharded", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("shards", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("counters", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_arrival_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('running', 'stopped', 'ended', 'failed')", name="stream_state_is_known"),
        sa.ForeignKeyConstraint(["job"], ["job.id"]),
        sa.PrimaryKeyConstraint("name"),
    )


def _create_arrival() -> None:
    op.create_table(
        "arrival",
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("ordinal", sa.BigInteger(), nullable=False),
        sa.Column("tweet", sa.Text(), nullable=False),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.Column("said_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("arrived_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["stream"], ["stream.name"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tweet"], ["tweet.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("stream", "ordinal"),
    )
    op.create_index("arrival_tweet", "arrival", ["tweet", "stream"], unique=True)


def _create_stream_shard() -> None:
    op.create_table(
        "stream_shard",
        sa.Column("job", sa.Uuid(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.BigInteger(), nullable=False),
        sa.Column("tweets", sa.Integer(), nullable=False),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["job.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["stream"], ["stream.name"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["model"], ["model.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job"),
    )
    op.create_index("stream_shard_stream", "stream_shard", ["stream", "first"], unique=False)


def downgrade() -> None:
    """Undo."""
    op.drop_table("stream_shard")
    op.drop_table("arrival")
    op.drop_table("stream")
