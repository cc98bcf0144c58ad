"""models in service"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_HOLDS = "state IN ('in_service', 'canary')"


def upgrade() -> None:
    """Apply."""
    _create_promotion()
    _create_canary_shard()


def _create_promotion() -> None:
    op.create_table(
        "promotion",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("stream", sa.Text(), nullable=True),
        sa.Column("model", sa.BigInteger(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("command", sa.Text(), nullable=False),
        sa.Column("share", sa.Integer(), nullable=True),
        sa.Column("auto", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("incumbent", sa.BigInteger(), nullable=True),
        sa.Column("previous", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("figures", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('canary', 'in_service', 'stopped', 'replaced')", name="promotion_state_is_known"),
        sa.CheckConstraint("(state <> 'canary') OR (share BETWEEN 1 AND 50)", name="promotion_share_is_a_part"),
        sa.ForeignKeyConstraint(["model"], ["model.id"], ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["incumbent"], ["model.id"], ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["previous"], ["promotion.id"], ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id"),
    )
    of_stream, of_default = sa.text(f"{_HOLDS} AND stream IS NOT NULL"), sa.text(f"{_HOLDS} AND stream IS NULL")
    op.create_index("promotion_of_stream", "promotion", ["stream", "state"], unique=True, postgresql_where=of_stream)
    op.create_index("promotion_of_default", "promotion", ["state"], unique=True, postgresql_where=of_default)
    op.create_index("promotion_model", "promotion", ["model"], unique=False)


def _create_canary_shard() -> None:
    op.create_table(
        "canary_shard",
        sa.Column("job", sa.Uuid(), nullable=False),
        sa.Column("promotion", sa.BigInteger(), nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=False),
        sa.Column("candidate", sa.Boolean(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("faulty", sa.Integer(), nullable=False),
        sa.Column("fallbacks", sa.Integer(), nullable=False),
        sa.Column("retried", sa.Integer(), nullable=False),
        sa.Column("words", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["job"], ["job.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["promotion"], ["promotion.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job"),
    )
    op.create_index("canary_shard_block", "canary_shard", ["promotion", "block"], unique=False)


def downgrade() -> None:
    """Undo."""
    op.drop_table("canary_shard")
    op.drop_table("promotion")
