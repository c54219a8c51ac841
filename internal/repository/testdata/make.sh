#!/bin/sh
# Writes small real repositories with a node of lab/elasticsearch: make.sh LIB VERSION
# LIB is the folder of jars that `mvn -f lab/elasticsearch/pom.xml -Delasticsearch.version=VERSION -Dlab.output=DIR package`
# leaves in DIR/lib. Needs curl, java and tar.
set -eu
lib=$1 version=$2
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'exec 3>&-; wait; rm -rf "$work"' EXIT
mkdir -p "$work/repo"
mkfifo "$work/stdin"
java -Xmx512m --add-opens java.base/java.lang=ALL-UNNAMED --add-opens java.base/java.nio=ALL-UNNAMED \
	--add-opens java.base/sun.nio.ch=ALL-UNNAMED -cp "$lib/*" io.snapferry.lab.Launcher path.home="$work/home" \
	path.data="$work/data" path.repo="$work/repo" <"$work/stdin" >"$work/ready" 2>"$work/log" &
exec 3>"$work/stdin" # the node ends when this closes
tries=0
until grep -q READY "$work/ready"; do
	tries=$((tries + 1))
	if [ $tries -gt 120 ]; then
		cat "$work/log" >&2
		exit 1
	fi
	sleep 0.5
done
es=$(sed 's/READY http=//' "$work/ready")

call() { # METHOD PATH [BODY]
	curl -sS --fail-with-body -X "$1" "$es$2" -H 'Content-Type: application/json' ${3:+-d "$3"} >>"$work/answers"
}
docs() { # INDEX FROM TO
	i=$2
	while [ "$i" -le "$3" ]; do
		echo "{\"index\":{\"_index\":\"$1\",\"_type\":\"doc\",\"_id\":\"$i\"}}"
		echo "{\"title\":\"title $i of $1\",\"year\":$((1900 + i)),\"note\":\"$(echo "$1 $i" | md5sum)\"}"
		i=$((i + 1))
	done >"$work/bulk"
	curl -sS --fail-with-body "$es/_bulk?refresh=true" -H 'Content-Type: application/x-ndjson' --data-binary @"$work/bulk" >>"$work/answers"
}
snapshot() { call PUT "/_snapshot/$repo/$1?wait_for_completion=true" "{\"indices\":\"$2\",\"include_global_state\":false}"; }
keep() { # NAME: the repository as it is now
	tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@1514764800 -C "$work/repo/$repo" -cf - . | gzip -9n >"$here/$version-$1.tar.gz"
}

scenario() { # NAME SETTINGS
	repo=$1
	call PUT "/_snapshot/$repo" "{\"type\":\"fs\",\"settings\":{\"location\":\"$work/repo/$repo\"$2}}"
	call PUT /movies '{"settings":{"number_of_shards":2,"number_of_replicas":0}}'
	call PUT /logs '{"settings":{"number_of_shards":1,"number_of_replicas":0}}'
	docs movies 1 40
	docs logs 1 20
	snapshot one movies,logs
	docs movies 41 60
	snapshot two movies,logs
	case $version-$repo in [25]*-plain) keep plain-before ;; esac
	# The names of what only two needed come back with other bytes.
	call DELETE "/_snapshot/$repo/two"
	docs movies 61 90
	call DELETE '/movies/doc/3?refresh=true'
	snapshot three movies,logs
	# A primary that no node may have makes the snapshot FAILED.
	call PUT '/stuck?wait_for_active_shards=0' '{"settings":{"number_of_shards":1,"index.routing.allocation.require._name":"nobody"}}'
	snapshot failed stuck || true # 7.x refuses instead
	call DELETE /stuck
	# An index deleted and created again under its name keeps its folder.
	call DELETE /logs
	call PUT /logs '{"settings":{"number_of_shards":3,"number_of_replicas":0}}'
	docs logs 1 30
	snapshot four movies,logs
	keep "$repo"
	# What the node itself counts.
	stats=snapshots.indices.*.shards.*.stats
	fields=snapshots.snapshot,$stats.incremental,$stats.total,$stats.number_of_files,$stats.total_size_in_bytes
	curl -sS --fail-with-body "$es/_snapshot/$repo/one,three,four/_status?filter_path=$fields" >"$here/$version-$repo.status.json"
	curl -sS "$es/_snapshot/$repo/_all?filter_path=snapshots.snapshot,snapshots.state" >&2
	echo >&2
	call DELETE "/_snapshot/$repo"
	call DELETE /movies,logs
}
scenario plain ',"compress":false'
case $version in # what differs: 2.x packs the shards' files as well, 7.x does so without being asked
2*) scenario chunked ',"chunk_size":"2kb","compress":true' ;;
5*)
	scenario compressed ',"compress":true'
	scenario chunked ',"chunk_size":"2kb"'
	;;
*) scenario chunked ',"chunk_size":"2kb"' ;;
esac
