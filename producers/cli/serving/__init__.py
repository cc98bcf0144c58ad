"""The verbs of models in service: summaries, streams, batches for other fleets, promotions, drift."""
