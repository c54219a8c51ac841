package elastic

import (
	"context"
	"strconv"

	"github.com/elastic/go-elasticsearch/v7/esapi"
)

// Progress counts what a snapshot uploads. Files that it shares with earlier snapshots don't count.
type Progress struct {
	FilesTotal, FilesDone int64
	BytesTotal, BytesDone int64
}

func (p *Progress) add(q Progress) {
	p.FilesTotal += q.FilesTotal
	p.FilesDone += q.FilesDone
	p.BytesTotal += q.BytesTotal
	p.BytesDone += q.BytesDone
}

// SnapshotStatus is the progress of one snapshot. Decide about its outcome by [Client.Snapshot]
// only: older versions show SUCCESS here for a partial snapshot.
type SnapshotStatus struct {
	Repository, Snapshot, UUID string
	State                      string // internal: INIT, STARTED, SUCCESS, FAILED, ABORTED
	Progress
	ShardsTotal, ShardsDone, ShardsFailed int
	Indices                               map[string]IndexStatus
}

// IndexStatus is the progress of one index in a snapshot.
type IndexStatus struct {
	Progress
	Shards map[int]ShardStatus
}

// ShardStatus is the progress of one shard in a snapshot. Once the stage is DONE, the shard's list
// of files is final. If FilesTotal is 0 then, the shard needs no new data blobs.
type ShardStatus struct {
	Progress
	Stage  string // INIT, STARTED, FINALIZE, DONE, FAILURE
	Reason string // of a FAILURE, where the version tells it
}

// stats reads the three shapes that the versions give:
//
//	5.x to 6.3   number_of_files, processed_files, total_size_in_bytes, processed_size_in_bytes
//	6.4 to 6.8   these and incremental, processed, total
//	7.x          incremental, total, and processed only while it differs from incremental
type stats struct {
	NumberOfFiles      int64       `json:"number_of_files"`
	ProcessedFiles     int64       `json:"processed_files"`
	TotalSizeInBytes   int64       `json:"total_size_in_bytes"`
	ProcessedSizeBytes int64       `json:"processed_size_in_bytes"`
	Incremental        *fileCounts `json:"incremental"`
	Processed          *fileCounts `json:"processed"`
}

type fileCounts struct {
	FileCount   int64 `json:"file_count"`
	SizeInBytes int64 `json:"size_in_bytes"`
}

func (s stats) progress() Progress {
	switch {
	case s.Incremental == nil:
		return Progress{s.NumberOfFiles, s.ProcessedFiles, s.TotalSizeInBytes, s.ProcessedSizeBytes}
	case s.Processed == nil:
		return Progress{
			s.Incremental.FileCount, s.Incremental.FileCount, s.Incremental.SizeInBytes,
			s.Incremental.SizeInBytes,
		}
	}
	return Progress{s.Incremental.FileCount, s.Processed.FileCount, s.Incremental.SizeInBytes, s.Processed.SizeInBytes}
}

type statusAnswer struct {
	Snapshots []struct {
		Snapshot    string `json:"snapshot"`
		Repository  string `json:"repository"`
		UUID        string `json:"uuid"`
		State       string `json:"state"`
		ShardsStats struct {
			Done   int `json:"done"`
			Failed int `json:"failed"`
			Total  int `json:"total"`
		} `json:"shards_stats"`
		Indices map[string]struct {
			Shards map[string]struct {
				Stage  string `json:"stage"`
				Stats  stats  `json:"stats"`
				Reason string `json:"reason"`
			} `json:"shards"`
		} `json:"indices"`
	} `json:"snapshots"`
}

// SnapshotStatus reads a snapshot's progress by index and shard. It is cheap while the snapshot
// runs: asked for all that run in a repository, the cluster doesn't read that; asked by name, it reads
// the repository's roots first. For a finished snapshot the cluster reads one object per shard, so ask
// once. [Missing] if there is no such snapshot.
func (c *Client) SnapshotStatus(ctx context.Context, repository, name string) (SnapshotStatus, error) {
	what := call{operation: "read snapshot status", subject: repository + "/" + name, slow: true}
	if err := firstError(oneName("repository", repository), oneName("snapshot", name)); err != nil {
		return SnapshotStatus{}, c.fail(what, Invalid, err.Error())
	}
	status, err := c.statusOf(ctx, what, esapi.SnapshotStatusRequest{Repository: segment(repository)}, name)
	switch KindOf(err) {
	case Missing, NotSupported, Unauthorized: // it doesn't run, or the service allows only the other request
		return c.statusOf(ctx, what, esapi.SnapshotStatusRequest{
			Repository: segment(repository), Snapshot: []string{segment(name)},
		}, name)
	}
	return status, err
}

// statusOf reads the status of one snapshot out of an answer that may have others.
func (c *Client) statusOf(ctx context.Context, what call, request esapi.Request, name string) (SnapshotStatus, error) {
	var answer statusAnswer
	if err := c.do(ctx, what, request, &answer); err != nil {
		return SnapshotStatus{}, err
	}
	for _, s := range answer.Snapshots {
		if s.Snapshot != name {
			continue
		}
		status := SnapshotStatus{
			Repository: s.Repository, Snapshot: s.Snapshot, UUID: s.UUID, State: s.State,
			ShardsTotal: s.ShardsStats.Total, ShardsDone: s.ShardsStats.Done, ShardsFailed: s.ShardsStats.Failed,
			Indices: map[string]IndexStatus{},
		}
		for name, index := range s.Indices {
			sums := IndexStatus{Shards: make(map[int]ShardStatus, len(index.Shards))}
			for number, shard := range index.Shards {
				n, err := strconv.Atoi(number)
				if err != nil {
					return SnapshotStatus{}, c.fail(what, Internal, "shard "+number+" isn't a number")
				}
				progress := shard.Stats.progress()
				if shard.Stage == "DONE" {
					// 7.7 and later never count tiny files as processed: they are in the list
					// itself and not uploaded.
					progress.FilesDone, progress.BytesDone = progress.FilesTotal, progress.BytesTotal
				}
				sums.Shards[n] = ShardStatus{progress, shard.Stage, c.redactor.Text(shard.Reason)}
				sums.add(progress)
			}
			status.Indices[name] = sums
			status.add(sums.Progress)
		}
		return status, nil
	}
	return SnapshotStatus{}, c.fail(what, Missing, "no such snapshot")
}

// RunningSnapshot names a snapshot that holds the cluster's slot.
type RunningSnapshot struct {
	Repository, Name string
}

// RunningSnapshots gives the snapshots that run now in any repository, including the vendor's
// automatic ones.
func (c *Client) RunningSnapshots(ctx context.Context) ([]RunningSnapshot, error) {
	var answer statusAnswer
	if err := c.do(ctx, call{operation: "read running snapshots"}, esapi.SnapshotStatusRequest{}, &answer); err != nil {
		return nil, err
	}
	var running []RunningSnapshot
	for _, s := range answer.Snapshots {
		running = append(running, RunningSnapshot{s.Repository, s.Snapshot})
	}
	return running, nil
}
