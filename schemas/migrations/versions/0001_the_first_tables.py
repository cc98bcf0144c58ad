"""the first tables"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    _create_curated()
    _create_dataset()
    _create_job()
    _create_source_cursor()
    _create_tweet()
    _create_worker()
    _create_example()
    _create_job_event()
    _create_metric()
    _create_model()
    _create_rejected_row()
    _create_selection()
    _create_evaluation()
    _create_summary()


def _create_curated() -> None:
    op.create_table(
        "curated",
        sa.Column("collection", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("clean", sa.Text(), nullable=True),
        sa.Column("summary", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("collection", "position"),
    )


def _create_dataset() -> None:
    op.create_table(
        "dataset",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("recipe", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )


def _create_job() -> None:
    op.create_table(
        "job",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("state", sa.Text(), server_default="queued", nullable=False),
        sa.Column("parent", sa.Uuid(), nullable=True),
        sa.Column("remaining", sa.Integer(), nullable=True),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("preemptions", sa.Integer(), server_default="0", nullable=False),
        sa.Column("max_failures", sa.Integer(), server_default="3", nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("run_after", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("progress", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("result", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("error", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("orders", sa.Text(), nullable=True),
        sa.CheckConstraint("state IN ('queued', 'running', 'done', 'failed', 'cancelled', 'quarantined')", name="job_state_is_known"),
        sa.ForeignKeyConstraint(
            ["parent"],
            ["job.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("idempotency_key"),
    )
    op.create_index("job_created", "job", ["created_at"], unique=False)
    op.create_index("job_lease", "job", ["lease_until"], unique=False, postgresql_where=sa.text("state = 'running'"))
    op.create_index("job_parent", "job", ["parent"], unique=False, postgresql_where=sa.text("parent IS NOT NULL"))
    op.create_index(
        "job_published",
        "job",
        ["queue", "published_at"],
        unique=False,
        postgresql_where=sa.text("state = 'queued' AND published_at IS NOT NULL"),
    )
    op.create_index("job_queued", "job", ["queue", "created_at"], unique=False, postgresql_where=sa.text("state = 'queued'"))


def _create_source_cursor() -> None:
    op.create_table(
        "source_cursor",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("source"),
    )


def _create_tweet() -> None:
    op.create_table(
        "tweet",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=True),
        sa.Column("lang", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("text_hash", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("tweet_hash", "tweet", ["text_hash"], unique=False)
    op.create_index("tweet_source", "tweet", ["source"], unique=False)


def _create_worker() -> None:
    op.create_table(
        "worker",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("queues", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def _create_example() -> None:
    op.create_table(
        "example",
        sa.Column("dataset", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("prompt_text", sa.Text(), nullable=False),
        sa.Column("target_text", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("tweet", sa.Text(), nullable=True),
        sa.Column("lineage", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("split", sa.Text(), nullable=False),
        sa.Column("cluster", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["dataset"], ["dataset.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tweet"], ["tweet.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("dataset", "key"),
    )
    op.create_index("example_split", "example", ["dataset", "split"], unique=False)


def _create_job_event() -> None:
    op.create_table(
        "job_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("job", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["job"], ["job.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("job_event_job", "job_event", ["job", "id"], unique=False)


def _create_metric() -> None:
    op.create_table(
        "metric",
        sa.Column("job", sa.Uuid(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["job.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job", "step", "name"),
    )


def _create_model() -> None:
    op.create_table(
        "model",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("base", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("adapter_uri", sa.Text(), nullable=True),
        sa.Column("adapter_sha256", sa.Text(), nullable=True),
        sa.Column("dataset", sa.BigInteger(), nullable=True),
        sa.Column("job", sa.Uuid(), nullable=True),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset"],
            ["dataset.id"],
        ),
        sa.ForeignKeyConstraint(
            ["job"],
            ["job.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )


def _create_rejected_row() -> None:
    op.create_table(
        "rejected_row",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("job", sa.Uuid(), nullable=True),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("row_key", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("rejected_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["job.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("origin", "row_key", "reason", name="rejected_row_once"),
    )


def _create_selection() -> None:
    op.create_table(
        "selection",
        sa.Column("job", sa.Uuid(), nullable=False),
        sa.Column("ordinal", sa.BigInteger(), nullable=False),
        sa.Column("tweet", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["job.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tweet"], ["tweet.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job", "ordinal"),
    )


def _create_evaluation() -> None:
    op.create_table(
        "evaluation",
        sa.Column("job", sa.Uuid(), nullable=False),
        sa.Column("subset", sa.Text(), nullable=False),
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("model", sa.BigInteger(), nullable=False),
        sa.Column("reference_set", sa.Text(), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("low", sa.Float(), nullable=False),
        sa.Column("high", sa.Float(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["job.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["model"],
            ["model.id"],
        ),
        sa.PrimaryKeyConstraint("job", "subset", "system", "metric"),
    )


def _create_summary() -> None:
    op.create_table(
        "summary",
        sa.Column("tweet", sa.Text(), nullable=False),
        sa.Column("model", sa.BigInteger(), nullable=False),
        sa.Column("prompt_version", sa.Text(), nullable=False),
        sa.Column("cleaned", sa.Text(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("flags", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'::jsonb"), nullable=False),
        sa.Column("tries", sa.Integer(), server_default="1", nullable=False),
        sa.Column("tokens_in", sa.Integer(), server_default="0", nullable=False),
        sa.Column("tokens_out", sa.Integer(), server_default="0", nullable=False),
        sa.Column("job", sa.Uuid(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["job"],
            ["job.id"],
        ),
        sa.ForeignKeyConstraint(
            ["model"],
            ["model.id"],
        ),
        sa.ForeignKeyConstraint(["tweet"], ["tweet.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tweet", "model", "prompt_version"),
    )
    op.create_index("summary_job", "summary", ["job"], unique=False)


def downgrade() -> None:
    """Undo."""
    # ### commands auto generated by Alembic - please adjust! ###
    op.drop_index("summary_job", table_name="summary")
    op.drop_table("summary")
    op.drop_table("evaluation")
    op.drop_table("selection")
    op.drop_table("rejected_row")
    op.drop_table("model")
    op.drop_table("metric")
    op.drop_index("job_event_job", table_name="job_event")
    op.drop_table("job_event")
    op.drop_index("example_split", table_name="example")
    op.drop_table("example")
    op.drop_table("worker")
    op.drop_index("tweet_source", table_name="tweet")
    op.drop_index("tweet_hash", table_name="tweet")
    op.drop_table("tweet")
    op.drop_table("source_cursor")
    op.drop_index("job_queued", table_name="job", postgresql_where=sa.text("state = 'queued'"))
    op.drop_index("job_published", table_name="job", postgresql_where=sa.text("state = 'queued' AND published_at IS NOT NULL"))
    op.drop_index("job_parent", table_name="job", postgresql_where=sa.text("parent IS NOT NULL"))
    op.drop_index("job_lease", table_name="job", postgresql_where=sa.text("state = 'running'"))
    op.drop_index("job_created", table_name="job")
    op.drop_table("job")
    op.drop_table("dataset")
    op.drop_table("curated")
    # ### end Alembic commands ###
