"""DeepSpeed's ZeRO: its config, and the state that a run is saved from and restored to."""
