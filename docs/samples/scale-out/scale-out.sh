#!/usr/bin/env bash
# Starts replicas of `skylight serve` on this machine, on free ports of 127.0.0.1, and nginx before them:
#     scale-out.sh DIR [options of skylight serve]
# REPLICAS (2) says how many, LISTEN (127.0.0.1:8080) where nginx listens, SKYLIGHT (skylight) is the command. Ctrl-C or SIGTERM ends nginx and the replicas,
# which finish what they write. On several cards give each replica its own, with CUDA_VISIBLE_DEVICES, below. A service manager would start them again when one
# ends; this does not.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
read -ra skylight <<<"${SKYLIGHT:-skylight}"
nginx=$(command -v nginx || echo /usr/sbin/nginx)
[ -x "$nginx" ] || { echo "scale-out: there is no nginx; on Debian: apt-get install nginx-light libnginx-mod-http-js" >&2; exit 1; }
[ "$#" -gt 0 ] || { echo "scale-out: which model? scale-out.sh DIR [options of skylight serve]" >&2; exit 1; }
model=$1
shift

folder=$(mktemp -d)
chmod 755 "$folder"
children=()
finish() {
    trap '' INT TERM
    [ "${#children[@]}" -eq 0 ] || kill -TERM "${children[@]}" 2>/dev/null || true
    wait
    rm -rf "$folder"
}
trap finish EXIT
trap 'exit 0' INT TERM

: >"$folder/replicas.conf"
echo "listen ${LISTEN:-127.0.0.1:8080};" >"$folder/listen.conf"
cp "$here/nginx.conf" "$here/prefix.js" "$folder"
for ((number = 1; number <= ${REPLICAS:-2}; number++)); do
    "${skylight[@]}" serve "$model" --port 0 "$@" >"$folder/$number.out" 2> >(sed "s/^/replica $number: /" >&2) &
    children+=($!)
done
for ((number = 1; number <= ${REPLICAS:-2}; number++)); do
    process=${children[number - 1]}
    until address=$(grep -om1 '127\.0\.0\.1:[0-9]*' "$folder/$number.out"); do
        kill -0 "$process" 2>/dev/null || { echo "scale-out: replica $number has ended" >&2; exit 1; }
        sleep 0.2
    done
    echo "server $address max_fails=1 fail_timeout=10s;" >>"$folder/replicas.conf"
    echo "Replica $number, process $process, on http://$address"
done

"$nginx" -p "$folder" -c "$folder/nginx.conf" -e stderr -g 'daemon off;' &
children+=($!)
echo "Listening on http://${LISTEN:-127.0.0.1:8080}"
wait "$!"
