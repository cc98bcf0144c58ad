#!/bin/sh
# Makes the passwords that docker-compose.yml reads, in ./secrets. Those that exist stay: a database keeps the one it was made with.
set -eu
cd "$(dirname "$0")/../.."
# The folder is closed to others; the files are readable, because in the containers other users than you read them.
mkdir -p secrets && chmod 700 secrets
for name in redis_password postgres_password flower_password; do
  [ -s "secrets/$name" ] && continue
  head -c 24 /dev/urandom | base64 | tr '+/' '-_' | tr -d '\n' >"secrets/$name"
  chmod 444 "secrets/$name"
  printf 'made secrets/%s\n' "$name"
done
