#!/bin/sh
# A light on p2p-sync: writes a key, reads it, and follows it, also after the connection was cut.
#
#     sh light.sh DATA_DIRECTORY
#
# Shows how a script talks to the node on its machine with curl: writes and reads a value, watches a prefix, and goes on behind the last
# event that it has got. Needs curl, sed and a node that runs on that data directory. (Where `p2p-sync` itself is at hand, its commands
# `add`, `get` and `watch --state FILE` do all this in one line each.)
set -eu

key=example/light
# A key is one segment of the path, so "/" becomes "%2F".
path=/v1/kv/example%2Flight

fail() {
  echo "light.sh: $*" >&2
  exit 1
}

[ $# -eq 1 ] || fail "usage: light.sh DATA_DIRECTORY"
directory=$1
[ -r "$directory/node.json" ] || fail "no node runs on $directory"

temporary=$(mktemp -d)
watching=
hang_up() {
  [ -z "$watching" ] || kill "$watching" 2>/dev/null || :
  [ -z "$watching" ] || wait "$watching" 2>/dev/null || :
  watching=
}
trap 'hang_up; rm -rf "$temporary"' EXIT

# What all requests share. The token goes to curl by a file of ours, not among its arguments, which every user of the machine can see.
# No proxy, because the node is on this machine; and a refusal is a failure.
(
  umask 077
  cat >"$temporary/curl" <<END
header = "Authorization: Bearer $(cat "$directory/api.token")"
silent
show-error
fail
noproxy = "*"
END
)

# Where the node listens. Read again for each request: a node that was restarted may listen on another port.
node() {
  sed -n 's/.*"api": *"\([^"]*\)".*/http:\/\/\1/p' "$directory/node.json"
}

put() {
  curl -K "$temporary/curl" -X PUT --data-binary "$1" -o /dev/null "$(node)$path" || fail "cannot write $key"
  echo "put: $key = $1"
}

# field NAME: the text of a field of the event. Enough for what this script stores; for any value, use jq.
field() {
  printf '%s\n' "$event" | sed -n 's/.*"'"$1"'":"\([^"]*\)".*/\1/p'
}

put on
value=$(curl -K "$temporary/curl" "$(node)$path") || fail "cannot read $key"
echo "get: $key = $value"
[ "$value" = on ] || fail "expected on, got $value"

light= # what this script knows of its key
cursor= # how far it has come; a script that may end keeps this in a file
mkfifo "$temporary/events"
for connection in 1 2; do
  # What is there and what changes, one line per event, until somebody hangs up.
  curl -K "$temporary/curl" -N -H 'Accept: application/x-ndjson' \
    "$(node)/v1/watch?prefix=$key${cursor:+&since=$cursor}" >"$temporary/events" &
  watching=$!
  exec 3<"$temporary/events"
  ready=
  while read -r event <&3; do
    case $(field event) in
      put)
        light=$(field value)
        echo "watch: $(field key) = $light"
        ;;
      # With a reset, the store is another one than before: all that it holds follows.
      delete | reset) light= ;;
      ready) ready=yes ;;
    esac
    # Behind what has been handled, and only there, the next connection goes on.
    next=$(field cursor)
    cursor=${next:-$cursor}
    # Everything so far has been told. A real script would stay; this one hangs up.
    [ -z "$ready" ] || break
  done
  hang_up
  exec 3<&-
  [ "$ready" ] || fail "the watch has ended"
  if [ "$connection" = 1 ]; then
    [ "$light" = on ] || fail "expected on, was told $light"
    echo "watch: cut off"
    put off # while nobody listens
  fi
done
[ "$light" = off ] || fail "expected off, was told $light"

curl -K "$temporary/curl" -X DELETE -o /dev/null "$(node)$path" || fail "cannot delete $key"
echo "done"
