"""Training: from a file of conversations to a LoRA adapter, on one rank or many.

`launch.run` is the door. It starts `supervisor.py` as a process of its own, which starts torchrun, which starts one `rank.py` a GPU or
CPU process. They speak through files in the run's folder alone: `payload.json` in, `progress.jsonl` while it runs, `result.json` last.
What they have learnt is kept by `keeping.py` in the form of `checkpoints.py`; `run.py` goes on from it and `recorder.py` tells Postgres.
"""
