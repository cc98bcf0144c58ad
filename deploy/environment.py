"""Choose by name what a child process gets of this one's environment: what it needs, and nothing else.

A server gets what any program needs. Flower gets its settings and the broker's address too, and a worker the keys and what the libraries
that compute read.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from workers.settings import ENVIRONMENT

PROCESS = "TWEETMILL_PROCESS"
"""Marks a process of a stack, by the name that the stack has for it. Its home is in `TWEETMILL_HOME`."""

CODE = Path(__file__).resolve().parents[1]
"""Where our packages lie, and where children run: Celery puts the working folder on the import path."""

# A name that ends with `_` or `*` means all that begin so.
_ANY = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "LC_", "TZ", "TZDIR", "TMPDIR", "LD_LIBRARY_PATH")
_PYTHON = ("PYTHONHASHSEED", "PYTHONUTF8", "PYTHONIOENCODING", "PYTHONWARNINGS", "PYTHONDONTWRITEBYTECODE", "PYTHONFAULTHANDLER")
_NETWORK = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_OWN = ("TWEETMILL_", "CELERY_BROKER_URL")
_WORK = ("DATABASE_URL", "OPENAI_", "PG*")  # what libpq reads belongs to DATABASE_URL
_COMPUTING = (
    *("CUDA_", "NVIDIA_", "NCCL_", "GLOO_", "HIP_", "ROCR_", "HSA_", "HF_", "HUGGINGFACE_", "TRANSFORMERS_", "TOKENIZERS_", "XDG_"),
    *("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "NUMEXPR_", "ONEDNN_", "DNNL_", "ATEN_", "TORCH_", "TORCHINDUCTOR_", "PYTORCH_"),
    *("TRITON_", "DS_", "DEEPSPEED_", "ACCELERATE_", "MALLOC_", "LD_PRELOAD"),
)


def for_server(home: Path, name: str) -> dict[str, str]:
    """Return the environment of a server."""
    return _chosen(_ANY) | _marks(home, name)


def for_flower(home: Path, name: str) -> dict[str, str]:
    """Return the environment of Flower, whose options lie in a file: a `FLOWER_…` variable could switch its login off."""
    return _chosen((*_ANY, *_PYTHON, *_NETWORK, *_OWN)) | _python() | _marks(home, name)


def for_worker(home: Path, name: str) -> dict[str, str]:
    """Return the environment of a worker, or of what starts workers."""
    return _chosen((*_ANY, *_PYTHON, *_NETWORK, *_OWN, *_WORK, *_COMPUTING)) | _python() | _marks(home, name)


def _chosen(names: tuple[str, ...], environment: Mapping[str, str] = ENVIRONMENT) -> dict[str, str]:
    exact = {name for name in names if not name.endswith(("_", "*"))}
    beginnings = tuple(name.removesuffix("*") for name in names if name not in exact)
    return {name: value for name, value in environment.items() if name.upper() in exact or name.upper().startswith(beginnings)}


def _python() -> dict[str, str]:
    """Return settings of Python: modules come from where ours do, never from the folder that a process happens to run in."""
    paths = [path for path in ENVIRONMENT.get("PYTHONPATH", "").split(os.pathsep) if Path(path).is_absolute()]
    return {"PYTHONSAFEPATH": "1"} | ({"PYTHONPATH": os.pathsep.join(paths)} if paths else {})


def _marks(home: Path, name: str) -> dict[str, str]:
    return {"TWEETMILL_HOME": str(home), PROCESS: name}


def python(*arguments: str) -> list[str]:
    """Return a command of this interpreter that imports nothing from the working folder."""
    return [sys.executable, "-P", *arguments]
