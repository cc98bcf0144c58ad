"""One rank of a training. Of the packages that train, this one alone loads torch."""
