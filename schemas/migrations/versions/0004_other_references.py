"""other references"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply. A constant default rewrites no row, and code of before that does not name the column goes on."""
    op.add_column(
        "curated",
        sa.Column("other_summaries", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'::jsonb"), nullable=False),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_column("curated", "other_summaries")
