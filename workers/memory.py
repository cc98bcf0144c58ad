"""Tells how much memory this machine has left, and recognises that it ran out: in the words of torch, CUDA, cuBLAS, NCCL, the kernel.

Only torch's own allocators raise an exception of a type of its own. All other libraries put it into the text of a `RuntimeError` or an
`OSError`, and a process that a native thread ends has nothing but its log.
"""

from __future__ import annotations

import errno
import os
import re
from contextlib import suppress
from pathlib import Path

# By name, so that torch need not be loaded: `torch.OutOfMemoryError`, numpy's and Python's own.
_TYPES = {"OutOfMemoryError", "MemoryError", "_ArrayMemoryError"}
# Of safetensors and jaxlib: they derive from `Exception` itself.
_TELLS = {"SafetensorError", "XlaRuntimeError"}

_WORDS = re.compile(
    r"""
    \bout\ of\ memory\b                               # CUDA, HIP, MPS, NCCL ("Cuda failure 2 'out of memory'"), Triton, bitsandbytes
    | OUT_OF_MEMORY | cudaErrorMemoryAllocation       # names of the driver's and the runtime's codes
    | (CUBLAS|CUDNN|CUSOLVER|CUSPARSE|CUFFT|HIPBLAS|ROCBLAS)_STATUS_(\w+_)?ALLOC(ATION)?_FAILED
    | CUFFT_ALLOC_FAILED | CUSPARSE_STATUS_INSUFFICIENT_RESOURCES
    | Failed\ to\ CUDA\ (host\ )?(m|c)alloc            # NCCL
    | can(no|')t\ allocate\ memory                    # torch on a CPU: "DefaultCPUAllocator: can't allocate memory"
    | \bcannot\ allocate\ memory\b                    # strerror(ENOMEM): mmap, fork, shared memory
    | \bnot\ enough\ memory\b | std::bad_alloc | \bbad\ allocation\b
    | \bunable\ to\ allocate\ [\d.]+\ ?[KMGT]?i?B\b    # numpy
    | \bENOMEM\b
    """,
    re.VERBOSE | re.IGNORECASE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out, of the host or of a GPU, here or in the error that led to this one.

    Text is believed from errors that libraries raise about the machine (`RuntimeError`, `OSError` and their kinds), not from those about a
    value: these may quote what they were given.
    """
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if _says_so(current):
            return True
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return False


def _says_so(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ in _TYPES:
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM or (error.errno is None and tells_of_memory(str(error)))
    return (isinstance(error, RuntimeError) or type(error).__name__ in _TELLS) and tells_of_memory(str(error))


def tells_of_memory(text: str) -> bool:
    """Return whether a library's message, or the log of a process that died, says that memory ran out."""
    return _WORDS.search(text) is not None


def host_memory() -> int:
    """Return the bytes of memory that new processes may take: what the kernel calls available, within the control group's limit."""
    return min([_available(), *_group_room()])


def _available() -> int:
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _group_room() -> list[int]:
    """The room below the memory limit of this process's control group, of version 2 or 1, where it has one."""
    places = [("/sys/fs/cgroup", "memory.max", "memory.current")]
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if not controllers:
                places.append((f"/sys/fs/cgroup/{group.lstrip('/')}", "memory.max", "memory.current"))
            elif "memory" in controllers.split(","):
                places.append((f"/sys/fs/cgroup/memory/{group.lstrip('/')}", "memory.limit_in_bytes", "memory.usage_in_bytes"))
    rooms = []
    for folder, limit, usage in places:
        with suppress(OSError, ValueError):
            rooms.append(max(0, int((Path(folder) / limit).read_text()) - int((Path(folder) / usage).read_text())))
    return rooms
