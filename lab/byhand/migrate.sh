#!/usr/bin/env bash
# Carries indices from an Amazon domain to an Alibaba Cloud cluster by hand: what a careful engineer would write, with curl, rclone and
# python3, polling once a second. The benchmark of the frozen window compares snapferry with it.
#
#   migrate.sh register          register the repository on both clusters, with the limits SNAPSHOT_RATE and RESTORE_RATE if these are set
#   migrate.sh round SNAPSHOT    snapshot, copy, restore, while the source is in use
#   migrate.sh final SNAPSHOT    block writes, the same, and compare both sides
#
# Each step prints "step NAME BEGAN ENDED", in microseconds since 1970. The environment says where everything is: SOURCE, TARGET, INDICES
# (comma-separated, or one pattern), DOCTYPE, PREFIX (before the target's names), REPOSITORY, BASE_PATH, S3_BUCKET, ROLE_ARN, AWS_REGION, TARGET_USER,
# TARGET_PASSWORD, OSS_BUCKET, OSS_ENDPOINT, OSS_ACCESS_KEY_ID, OSS_ACCESS_KEY_SECRET, RCLONE, and rclone's remotes s3: and oss: as
# RCLONE_CONFIG_.... The domain lets this computer in by its address: no request to it is signed.
set -euo pipefail

work=$(mktemp -d)
: >"$work/answer"
# What ends the script shows the last answer.
trap '[ $? = 0 ] || cat "$work/answer" >&2; rm -rf "$work"' EXIT

# Both fail on an answer that is no success.
source_api() { # METHOD PATH [BODY]
  curl -sS --fail-with-body --max-time 60 -X "$1" -H 'Content-Type: application/json' ${3:+--data-binary "$3"} "$SOURCE/$2"
}
target_api() { # METHOD PATH [BODY]
  curl -sS --fail-with-body --max-time 60 --user "$TARGET_USER:$TARGET_PASSWORD" \
    -X "$1" -H 'Content-Type: application/json' ${3:+--data-binary "$3"} "$TARGET/$2"
}

fail() { echo "migrate.sh: $*" >&2; exit 1; }

step() { # NAME FUNCTION
  local began=${EPOCHREALTIME/./}
  "$2"
  echo "step $1 $began ${EPOCHREALTIME/./}"
}

targets=$PREFIX${INDICES//,/,$PREFIX}
# The names behind a pattern.
IFS=, read -ra index_names <<<"$INDICES"
if [[ $INDICES == *"*"* ]]; then
  mapfile -t index_names < <(source_api GET "_cat/indices/$INDICES?h=index")
fi

register() {
  source_api PUT "_snapshot/$REPOSITORY" "{\"type\": \"s3\", \"settings\": {\"bucket\": \"$S3_BUCKET\", \"region\": \"$AWS_REGION\",
    \"role_arn\": \"$ROLE_ARN\", \"base_path\": \"$BASE_PATH\", \"server_side_encryption\": true
    ${SNAPSHOT_RATE:+, \"max_snapshot_bytes_per_sec\": \"$SNAPSHOT_RATE\"}}}" >"$work/answer"
  target_api PUT "_snapshot/$REPOSITORY" "{\"type\": \"oss\", \"settings\": {\"endpoint\": \"$OSS_ENDPOINT\", \"bucket\": \"$OSS_BUCKET\",
    \"access_key_id\": \"$OSS_ACCESS_KEY_ID\", \"secret_access_key\": \"$OSS_ACCESS_KEY_SECRET\", \"base_path\": \"$BASE_PATH\",
    \"compress\": true, \"readonly\": true${RESTORE_RATE:+, \"max_restore_bytes_per_sec\": \"$RESTORE_RATE\"}}}" >"$work/answer"
}

# What every shard has counted of writes, and whether any is under way.
writes() { source_api GET "_cat/shards/$INDICES?h=index,shard,indexing.index_current,indexing.index_total,indexing.delete_total" | sort; }

# Nothing was written since the last look, and nothing is being written.
still() {
  writes >"$work/writes.now"
  cmp -s "$work/writes" "$work/writes.now" && awk '$3 > 0 { busy = 1 } END { exit busy }' "$work/writes.now"
}

# The block, and the proof that it holds: counters that stand still, and a write to each index that is refused.
block() {
  local index answer
  source_api PUT "$INDICES/_settings" '{"index.blocks.write": true}' >"$work/answer"
  writes >"$work/writes"
  source_api POST "$INDICES/_flush" >"$work/answer"
  until still; do
    mv "$work/writes.now" "$work/writes"
    sleep 1
  done
  for index in "${index_names[@]}"; do
    answer=$(source_api POST "$index/$DOCTYPE/no-such-document/_update" '{"doc": {}}' 2>"$work/refused" || true)
    grep -q '"status":403' <<<"$answer" || fail "$index takes writes"
  done
  source_api POST "$INDICES/_refresh" >"$work/answer"
  source_api GET "_cat/shards/$INDICES?h=index,shard,prirep,docs" | awk '$3 == "p" { print $1, $2, $4 }' | sort >"$work/source.docs"
}

snapshot() {
  local state
  source_api PUT "_snapshot/$REPOSITORY/$snapshot" \
    "{\"indices\": \"$INDICES\", \"ignore_unavailable\": false, \"include_global_state\": false, \"partial\": false}" >"$work/answer"
  while true; do
    state=$(source_api GET "_snapshot/$REPOSITORY/$snapshot?filter_path=snapshots.state")
    case $state in
      *'"SUCCESS"'*) return ;;
      *'"IN_PROGRESS"'*) sleep 1 ;;
      *) fail "the snapshot $snapshot ended as $state" ;;
    esac
  done
}

copy() {
  "$RCLONE" copy --checksum --fast-list --transfers 32 --stats 0 "s3:$S3_BUCKET/$BASE_PATH" "oss:$OSS_BUCKET/$BASE_PATH"
}

# Blocks and allocation rules of the source don't come along, our own write block does: nobody writes to the target before the handover.
restore() {
  local status present
  # A pattern that nothing matches is answered with nothing, a name that is missing with an error.
  if present=$(target_api GET "_cat/indices/$targets?h=index" 2>"$work/answer") && [ -n "$present" ]; then
    target_api POST "$targets/_close" >"$work/answer"
  fi
  target_api POST "_snapshot/$REPOSITORY/$snapshot/_restore" "{\"indices\": \"$INDICES\", \"ignore_unavailable\": false,
    \"include_global_state\": false, \"include_aliases\": true, \"partial\": false, \"rename_pattern\": \"(.+)\", \"rename_replacement\": \"$PREFIX\$1\",
    \"index_settings\": {\"index.blocks.write\": true, \"index.number_of_replicas\": 0, \"index.auto_expand_replicas\": false},
    \"ignore_index_settings\": [\"index.blocks.*\", \"index.routing.allocation.*\"]}" >"$work/answer"
  while true; do
    status=$(target_api GET "_cluster/health/$targets?filter_path=status") # yellow while primaries are restored, green when all are
    case $status in
      *green*) break ;;
      *) sleep 1 ;;
    esac
  done
  target_api GET "_cluster/health/$targets?wait_for_status=yellow" >"$work/answer" # the restore has opened them
}

# Each shard has the documents that the source's had when it was blocked, a search finds as many on both sides, and settings, mappings
# and aliases are the same.
verify() {
  target_api POST "$targets/_refresh" >"$work/answer"
  target_api GET "_cat/shards/$targets?h=index,shard,prirep,docs" | awk '$3 == "p" { print $1, $2, $4 }' | sed "s/^$PREFIX//" | sort >"$work/target.docs"
  diff "$work/source.docs" "$work/target.docs" || fail "shards differ"
  local index
  for index in "${index_names[@]}"; do
    source_api GET "$index/_count?filter_path=count" >"$work/source.count"
    target_api GET "$PREFIX$index/_count?filter_path=count" >"$work/target.count"
    cmp "$work/source.count" "$work/target.count" || fail "$index differs"
  done
  # 7.x leaves mapping types out; 6.8 does so if it is asked.
  source_api GET "$INDICES${SOURCE_META:-}" >"$work/source.meta"
  target_api GET "$targets" >"$work/target.meta"
  python3 - "$work/source.meta" "$work/target.meta" "$PREFIX" <<'PYTHON'
import json, sys
own = ("creation_date", "uuid", "history", "provided_name", "version", "blocks", "routing", "number_of_replicas", "auto_expand_replicas")
def read(path, prefix):
    read = {}
    for name, index in json.load(open(path)).items():
        for setting in own:
            index["settings"]["index"].pop(setting, None)
        read[name[len(prefix):]] = index
    return read
source, target = read(sys.argv[1], ""), read(sys.argv[2], sys.argv[3])
if source != target:
    sys.exit("migrate.sh: settings, mappings or aliases differ: %s and %s" % (source, target))
PYTHON
}

case ${1:-} in
  register) register ;;
  round | final)
    snapshot=${2:?a name for the snapshot}
    if [ "$1" = final ]; then step block block; fi
    step snapshot snapshot
    step copy copy
    step restore restore
    if [ "$1" = final ]; then step verify verify; fi
    ;;
  *) fail "usage: migrate.sh register | round SNAPSHOT | final SNAPSHOT" ;;
esac
