"""Run Flower, the page that shows the workers: always with a password, and never with one on a command line.

`python -m deploy.flower --address 0.0.0.0` runs it in a container.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from pathlib import Path

from deploy.environment import CODE, python
from deploy.local.home import Home
from workers.configuration.settings_sources import read_password
from workers.errors import SettingsError, TweetmillError
from workers.file_permissions import discard, write_private
from workers.settings import Settings, get_settings

_GENERATED = "flower_password"


def password_file(settings: Settings, home: Home) -> Path:
    """Return where the password lies: the file that the user named, or the one that `command` generates."""
    return settings.flower_password_file or home.secrets / _GENERATED


def ask_for_workers(settings: Settings, home: Home, port: int) -> int:
    """Have Flower look for workers anew; return how many it lists then, 0 while it does not answer."""
    import httpx

    password = read_password("TWEETMILL_FLOWER_PASSWORD_FILE", password_file(settings, home))
    try:
        answer = httpx.get(
            f"http://127.0.0.1:{port}/api/workers", params={"refresh": "1"}, auth=(settings.flower_user, password), timeout=10
        )
        return len(answer.json()) if answer.status_code == httpx.codes.OK else 0
    except (httpx.HTTPError, ValueError):
        return 0


def command(settings: Settings, home: Home, port: int, address: str = "127.0.0.1") -> list[str]:
    """Return the command that starts Flower. Its options, the password among them, go into a file that only the owner may read.

    Raises:
        SettingsError: the password can't be read.
    """
    file = password_file(settings, home)
    if file == home.secrets / _GENERATED:
        home.secret(_GENERATED)
    password = read_password("TWEETMILL_FLOWER_PASSWORD_FILE", file)
    options = {
        "address": address,
        "port": port,
        "basic_auth": [f"{settings.flower_user}:{password}"],
        "cookie_secret": home.secret("flower_cookie").read_text().strip(),
        "purge_offline_workers": 60,
    }
    configuration = home.run / "flower.conf.py"
    write_private(configuration, "".join(f"{name} = {value!r}\n" for name, value in options.items()))
    for kept in home.run.glob("flower.db*"):  # pickles, of an earlier version
        discard(kept)
    return python("-m", "celery", "-A", "workers.app:app", "flower", f"--conf={configuration}")


def free_port(wanted: int, address: str = "127.0.0.1") -> int:
    """Return `wanted`, or the next port that nobody listens on."""
    for port in range(wanted, min(wanted + 100, 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                continue
            return port
    raise SettingsError(f"no free port from {wanted} on: set TWEETMILL_FLOWER_PORT")


def main() -> None:
    """Replace this process by Flower."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--address", default="127.0.0.1")
    address = parser.parse_args().address
    try:
        settings = get_settings()
        home = Home(settings.home)
        home.prepare()
        arguments = command(settings, home, settings.flower_port, address)
    except TweetmillError as error:
        sys.stderr.write(f"tweetmill: {error}\n")
        raise SystemExit(1) from None
    os.chdir(CODE)
    os.execv(arguments[0], arguments)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
