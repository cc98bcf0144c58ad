"""Network namespaces joined by a cable, for tests of machines that talk over a network: they need root, and no tool but util-linux."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyroute2 import IPRoute, NetNS

from tests.support.worker_process import wait_for


@dataclass(frozen=True)
class Network:
    """One end: what a command must begin with to run there, and the end's interface and address."""

    enter: tuple[str, ...]
    interface: str
    address: str


@contextmanager
def two_networks() -> Iterator[tuple[Network, Network]]:
    """Two namespaces that see each other and nothing else. They are gone when the block ends, and the cable with them."""
    holders = [subprocess.Popen(["unshare", "--net", "sleep", "infinity"]) for _ in range(2)]
    try:
        here = Path("/proc/self/ns/net").readlink()
        paths = [Path(f"/proc/{holder.pid}/ns/net") for holder in holders]
        assert wait_for(lambda: all(path.readlink() != here for path in paths), 20), "no new network namespace: this test needs root"
        ends = [f"tm{holder.pid}" for holder in holders]
        with IPRoute() as links:
            links.link("add", ifname=ends[0], kind="veth", peer={"ifname": ends[1]})
            for holder, end in zip(holders, ends, strict=True):
                links.link("set", index=links.link_lookup(ifname=end)[0], net_ns_pid=holder.pid)
        addresses = [f"10.77.0.{number}" for number in (1, 2)]
        for path, end, address in zip(paths, ends, addresses, strict=True):
            with NetNS(str(path), flags=0) as inside:
                inside.addr("add", index=inside.link_lookup(ifname=end)[0], address=address, prefixlen=24)
                for name in (end, "lo"):
                    inside.link("set", index=inside.link_lookup(ifname=name)[0], state="up")
        one, other = (
            Network(("nsenter", f"--net={path}"), end, address) for path, end, address in zip(paths, ends, addresses, strict=True)
        )
        yield one, other
    finally:
        for holder in holders:
            holder.kill()
            holder.wait()
