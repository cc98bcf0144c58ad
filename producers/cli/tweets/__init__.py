"""The verbs that bring tweets in and take them away."""
