#!/bin/sh
# Makes the passwords that docker-compose.yml reads, in ./secrets. Those that exist stay: a database keeps the one it was made with.
set -eu
cd "$(dirname "$0")/../.."
# The folder is closed to others; the files are readable, because in the containers other users than you read them.
mkdir -p secrets && chmod 700 secrets
for name in redis_password redis_worker_password redis_producer_password redis_flower_password \
  postgres_password postgres_worker_password postgres_producer_password flower_password; do
  [ -s "secrets/$name" ] && continue
  head -c 24 /dev/urandom | base64 | tr '+/' '-_' | tr -d '\n' >"secrets/$name"
  chmod 444 "secrets/$name"
  printf 'made secrets/%s\n' "$name"
done

hash_of() {
  { sha256sum <"secrets/$1" 2>/dev/null || shasum -a 256 <"secrets/$1"; } | cut -d ' ' -f 1
}

# Redis's users with the hashes of their passwords, made anew each time: what each may do comes with the source.
rm -f secrets/redis_users.acl
sed -e "s/@admin@/$(hash_of redis_password)/" -e "s/@worker@/$(hash_of redis_worker_password)/" \
  -e "s/@producer@/$(hash_of redis_producer_password)/" -e "s/@flower@/$(hash_of redis_flower_password)/" \
  deploy/redis/users.acl.in >secrets/redis_users.acl
chmod 444 secrets/redis_users.acl
