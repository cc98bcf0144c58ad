"""Learning curves: how a figure of quality grows with the number of training pairs, and what more pairs would bring.

`points` groups what was measured by size, `families` holds the laws that are fitted, `extrapolation` fits, stacks and bounds them,
`verdict` says in words whether more pairs are worth it, `differences` puts together how far models are above a baseline. Nothing here
knows where points come from.
"""
