"""The verbs of datasets: build, look, compare, trace, import and export."""
