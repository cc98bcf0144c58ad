"""Takes models that were tuned elsewhere into the catalog: adapters, whole models, and models that a server has."""
