"""Network namespaces joined by a cable, for tests of machines that talk over a network. Making them needs root and util-linux.

Where this machine does not let us, both ends are on loopback: the test then shows all but that nothing else connects the two.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyroute2 import IPRoute, NetNS
from pyroute2.netlink.exceptions import NetlinkError

from tests.support.worker_process import wait_for


@dataclass(frozen=True)
class Network:
    """One end: what a command must begin with to run there, and the end's interface and address."""

    enter: tuple[str, ...]
    interface: str
    address: str


LOOPBACK = Network((), "lo", "127.0.0.1")


@contextmanager
def two_networks() -> Iterator[tuple[Network, Network]]:
    """Two namespaces that see each other and nothing else, or loopback twice. They are gone when the block ends, as is the cable."""
    holders = [subprocess.Popen(["unshare", "--net", "sleep", "infinity"], stderr=subprocess.DEVNULL) for _ in range(2)]
    try:
        yield _joined([holder.pid for holder in holders]) if _are_apart(holders) else (LOOPBACK, LOOPBACK)
    finally:
        for holder in holders:
            holder.kill()
            holder.wait()


def _are_apart(holders: Sequence[subprocess.Popen[bytes]]) -> bool:
    """Whether each process has a network of its own; it ends where the machine does not let it have one."""
    here = Path("/proc/self/ns/net").readlink()

    def has_own(holder: subprocess.Popen[bytes]) -> bool:
        return holder.poll() is None and Path(f"/proc/{holder.pid}/ns/net").readlink() != here

    wait_for(lambda: any(holder.poll() is not None for holder in holders) or all(map(has_own, holders)), 20)
    return all(map(has_own, holders))


def _joined(pids: Sequence[int]) -> tuple[Network, Network]:
    """Lay a cable between the networks of two processes."""
    ends = [f"tm{pid}" for pid in pids]
    paths = [f"/proc/{pid}/ns/net" for pid in pids]
    addresses = ["10.77.0.1", "10.77.0.2"]
    try:
        with IPRoute() as links:
            links.link("add", ifname=ends[0], kind="veth", peer={"ifname": ends[1]})
            for pid, end in zip(pids, ends, strict=True):
                links.link("set", index=links.link_lookup(ifname=end)[0], net_ns_pid=pid)
    except (NetlinkError, OSError):  # a container whose root may make namespaces and no cables
        return LOOPBACK, LOOPBACK
    for path, end, address in zip(paths, ends, addresses, strict=True):
        with NetNS(path, flags=0) as inside:
            inside.addr("add", index=inside.link_lookup(ifname=end)[0], address=address, prefixlen=24)
            for name in (end, "lo"):
                inside.link("set", index=inside.link_lookup(ifname=name)[0], state="up")
    one, other = (Network(("nsenter", f"--net={path}"), end, address) for path, end, address in zip(paths, ends, addresses, strict=True))
    return one, other
