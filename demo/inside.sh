#!/usr/bin/env bash
# The demo itself; runs in a private host, where nothing of the machine can be changed.
set -euo pipefail
cd "$(dirname "$0")"
bold='' plain=''
if [ -t 1 ]; then bold=$(tput bold 2>/dev/null || true) plain=$(tput sgr0 2>/dev/null || true); fi

say() { printf '\n%s# %s%s\n' "$bold" "$*" "$plain"; }
typed() { # the command as a person types it
  local word line=''
  for word; do
    case $word in
      *\'*) word="\"$word\"" ;;
      *[!A-Za-z0-9_./:=,-]*) word="'$word'" ;;
    esac
    line+=" $word"
  done
  printf '%s$%s%s\n' "$bold" "$line" "$plain"
}
show() { typed "$@"; "$@"; }
prove() { # prove "SENTENCE" PATTERN COMMAND...: its output has the pattern, or the demo fails
  local sentence=$1 pattern=$2 output
  shift 2
  typed "$@"
  output=$("$@" 2>&1) || true
  printf '%s\n' "$output" | head -n 12
  if ! grep -qE "$pattern" <<< "$output"; then
    printf 'NOT SO: %s (no line with %s)\n' "$sentence" "$pattern" >&2
    exit 1
  fi
  printf '  => %s\n' "$sentence"
}
page='http://127.0.0.1/GPL-3'
head_of() { echo "wget -qO- $1 | sed -n 1,2p"; }

say "bring up the four modes from one file"
show podnet up article.yaml
show podnet get podsandboxes,podnetworks -o wide

say "none: a namespace with lo and nothing else"
prove "only lo" '^lo ' podnet exec alone -- ip -brief addr
prove "no route at all" '^0$' podnet exec alone -- sh -c 'ip route | wc -l'

say "bridge: a veth pair, one end on the bridge, the other eth0 inside"
prove "02:42 and the address in hex" '02:42:ac:' podnet exec neighbour -- ip -brief link show eth0
prove "the way out is the bridge" 'default via .* dev eth0' podnet exec neighbour -- ip route
show podnet explain neighbour

say "a pod: two containers, one namespace, talking over localhost"
prove "web answers shell on 127.0.0.1" 'GNU GENERAL PUBLIC' podnet exec -c shell pod -- sh -c "busybox $(head_of "$page")"

say "a published port leads from this host into the pod"
prove "port 8080 of the host is port 80 of the pod" 'GNU GENERAL PUBLIC' sh -c "busybox $(head_of http://127.0.0.1:8080/GPL-3)"

say "container mode: another sandbox in the same namespace"
prove "the lodger is on the pod's localhost" 'GNU GENERAL PUBLIC' podnet exec lodger -- sh -c "busybox $(head_of "$page")"

say "host mode: the machine's own interfaces, but processes of its own"
prove "it sees the bridge" 'podnet0' podnet exec guest -- ip -brief link
prove "its own first process" '^sleep infinity' podnet exec guest -- sh -c "tr '\\0' ' ' < /proc/1/cmdline; echo"

say "take it all away"
show podnet down
prove "no link is left but lo" '^1$' sh -c 'ip -o link | wc -l'
prove "no rule is left" '^0$' sh -c 'nft list tables | grep -c podnet'
prove "no namespace is left" '^0$' sh -c 'ls /run/netns 2>/dev/null | wc -l'
say "all of it held"
