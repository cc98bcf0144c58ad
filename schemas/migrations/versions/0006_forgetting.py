"""forgetting"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# By name: the table, what is indexed, and of which rows.
_INDEXES = {
    "curated_key": ("curated", "key", "text IS NULL"),
    "curated_text": ("curated", "md5(text)", "text IS NOT NULL"),
    "dropped_text": ("dropped", "md5(prompt_text)", "tweet IS NULL"),
    "dropped_tweet": ("dropped", "tweet", "tweet IS NOT NULL"),
    "example_text": ("example", "md5(prompt_text)", "tweet IS NULL"),
    "example_tweet": ("example", "tweet", "tweet IS NOT NULL"),
    "forgotten_tweet": ("forgotten", "tweet", "tweet IS NOT NULL"),
    "rejected_row_job": ("rejected_row", "job", None),
    "selection_tweet": ("selection", "tweet", None),
    "teaching_job": ("teaching", "job", None),
    "teaching_tweet": ("teaching", "tweet", None),
    "tweet_author": ("tweet", "author", "author IS NOT NULL"),
}


def upgrade() -> None:
    """Apply. Postgres looks into these indexes when a tweet or a job is deleted: without them it would read whole tables for each one."""
    op.create_table(
        "forgotten",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("tweet", sa.LargeBinary(), nullable=True),
        sa.Column("forgotten_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("kind IN ('tweet', 'author', 'text')", name="forgotten_kind_is_known"),
        sa.PrimaryKeyConstraint("kind", "digest"),
    )
    op.create_table(
        "taken_back",
        sa.Column("dataset", sa.BigInteger(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("split", sa.Text(), nullable=False),
        sa.Column("examples", sa.Integer(), nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["dataset"], ["dataset.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("dataset", "stage", "split"),
    )
    for name, (table, indexed, where) in _INDEXES.items():
        column = sa.text(indexed) if "(" in indexed else indexed
        op.create_index(name, table, [column], unique=False, postgresql_where=sa.text(where) if where else None)


def downgrade() -> None:
    """Undo."""
    for name, (table, _, _) in _INDEXES.items():
        op.drop_index(name, table_name=table)
    op.drop_table("taken_back")
    op.drop_table("forgotten")
