"""A dataset of curated pairs, for trainings that learn from some of them."""

from __future__ import annotations

from sqlalchemy import Engine, text

_TWEET = "INSERT INTO tweet (id, text, source, text_hash) VALUES (:id, :text, 'test', :id)"
_EXAMPLE = """
INSERT INTO example (dataset, key, stage, prompt_text, target_text, origin, tweet, split, cluster)
VALUES (:dataset, :key, 'summary', :prompt, :target, :origin, :tweet, :split, :cluster)
"""


def add_pairs(engine: Engine, pairs: int, held_back: int, name: str = "mine") -> str:
    """Pairs to learn from, each of them noised once, and some more that are held back; return the dataset's name."""
    with engine.begin() as connection:
        new = text("INSERT INTO dataset (name, fingerprint) VALUES (:name, 'f') RETURNING id")
        dataset = connection.execute(new, {"name": name}).scalar_one()
        for number in range(pairs + held_back):
            tweet, held = f"omg bus {number} was late #fail", number >= pairs
            connection.execute(text(_TWEET), {"id": str(number), "text": tweet})
            pair = {"dataset": dataset, "target": f"Bus {number} was late.", "tweet": str(number), "cluster": number}
            for origin, prompt in (("human", tweet), ("noise", f"bsu {number} late"))[: 1 if held else 2]:
                row = {"key": f"{origin}-{number}", "prompt": prompt, "origin": origin, "split": "test" if held else "train"}
                connection.execute(text(_EXAMPLE), pair | row)
    return name
