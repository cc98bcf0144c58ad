#!/bin/sh
# Names what is missing, with its cure, before an install fails half-way. Nothing is compiled: neither compiler nor headers are needed.
set -eu
python=${PYTHON:-python3}
fail() { printf 'setup: %s\n' "$1" >&2; exit 1; }

[ "$(uname -s)" = Linux ] ||
  fail "this is $(uname -s): training and the one-machine stack need Linux. In a container or a virtual machine they work"
command -v "$python" >/dev/null 2>&1 ||
  fail "$python is not there. Install Python 3.11 or newer (Debian: apt-get install python3 python3-venv), or name one: make setup PYTHON=python3.12"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  fail "$($python --version) is too old: Python 3.11 or newer is needed. Name another: make setup PYTHON=python3.12"
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
  fail "Python's venv module is missing (Debian: apt-get install python3-venv)"
