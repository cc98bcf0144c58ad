"""Training: from a file of conversations to a LoRA adapter, on one rank or many.

`launcher.launch.run` starts `launcher.supervisor` as a process of its own, which starts torchrun, which starts one `rank.main` for each
GPU or CPU process. They communicate through files in the run's folder alone, in the forms of `protocol`: `payload.json` in,
`progress.jsonl` while it runs, `result.json` last. `job.py` runs a training for the queue; `recorder.py` writes its metrics and
checkpoints to Postgres.
"""
