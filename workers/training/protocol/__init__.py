"""The files by which launcher, supervisor and ranks communicate: JSON, in the run's folder."""
