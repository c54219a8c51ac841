plan=$(mktemp)
cat > "$plan" <<'PLAN'
{
  "name": "movies",
  "source": {
    "endpoint": "https://search-shop-abc123.ap-southeast-1.es.amazonaws.com",
    "auth": {
      "type": "sigv4",
      "region": "ap-southeast-1"
    },
    "repository": {
      "bucket": "shop-es-migration",
      "region": "ap-southeast-1",
      "roleArn": "arn:aws:iam::123456789012:role/EsSnapshotRole",
      "basePath": "snapferry/movies"
    },
    "warm": "refuse"
  },
  "target": {
    "endpoint": "http://es-sg-abc123.elasticsearch.aliyuncs.com:9200",
    "auth": {
      "type": "basic",
      "user": "elastic",
      "password": "env:SNAPFERRY_SECRET_TARGET_PASSWORD"
    },
    "repository": {
      "bucket": "shop-es-migration-sg",
      "region": "ap-southeast-1",
      "endpoint": "http://oss-ap-southeast-1-internal.aliyuncs.com",
      "accessKeyId": "env:SNAPFERRY_SECRET_OSS_CLUSTER_ACCESS_KEY_ID",
      "secretAccessKey": "env:SNAPFERRY_SECRET_OSS_CLUSTER_ACCESS_KEY_SECRET",
      "basePath": "snapferry/movies",
      "writer": {
        "endpoint": "https://oss-ap-southeast-1.aliyuncs.com",
        "accessKeyId": "env:SNAPFERRY_SECRET_OSS_ACCESS_KEY_ID",
        "accessKeySecret": "env:SNAPFERRY_SECRET_OSS_ACCESS_KEY_SECRET"
      }
    }
  },
  "indices": [
    "movies"
  ],
  "rounds": {
    "interval": "15m"
  },
  "copy": {
    "concurrency": 64,
    "pages": 16
  },
  "throttles": {
    "window": {
      "snapshot": "4gb",
      "restore": "4gb",
      "recovery": "4gb"
    }
  },
  "freeze": {
    "maxDuration": "2h",
    "standstillTimeout": "2m",
    "slotWait": "1h",
    "hotRound": "auto",
    "hotRoundAbove": "10s",
    "pipeline": {
      "from": "20s"
    }
  },
  "restore": {
    "deletedIndices": "keep"
  },
  "verify": {
    "checksum": "versions",
    "rate": 5000
  }
}
PLAN

temporal workflow start \
  --type Migration \
  --task-queue snapferry \
  --workflow-id migration/movies \
  --id-reuse-policy AllowDuplicate \
  --fail-existing \
  --static-summary 'movies: search-shop-abc123.ap-southeast-1.es.amazonaws.com to es-sg-abc123.elasticsearch.aliyuncs.com' \
  --input-file "$plan" \
  --address 'temporal.example.com:7233'

# With tctl:
# tctl workflow start --workflow_type Migration --taskqueue snapferry --workflow_id migration/movies --input_file "$plan"
# Next: starter watch movies
