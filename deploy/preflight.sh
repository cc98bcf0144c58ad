#!/bin/sh
# Names what is missing, with its cure, before an install fails half-way.
set -eu
python=${PYTHON:-python3}
fail() { printf 'setup: %s\n' "$1" >&2; exit 1; }

command -v "$python" >/dev/null 2>&1 ||
  fail "$python is not there. Install Python 3.11 or newer (Debian: apt-get install python3 python3-venv), or name one: make setup PYTHON=python3.12"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  fail "$($python --version) is too old: Python 3.11 or newer is needed. Name another: make setup PYTHON=python3.12"
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
  fail "Python's venv module is missing (Debian: apt-get install python3-venv)"
command -v c++ >/dev/null 2>&1 || command -v g++ >/dev/null 2>&1 ||
  fail "no C++ compiler: DeepSpeed builds a small communication kernel (Debian: apt-get install g++; macOS: xcode-select --install)"
header=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h
[ -f "$header" ] || fail "Python's headers are missing: $header (Debian: apt-get install python3-dev)"
