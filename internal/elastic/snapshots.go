package elastic

import (
	"cmp"
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/elastic/go-elasticsearch/v7/esapi"
)

// The two states of a snapshot that decide something: one still runs, the other is complete.
// PARTIAL, FAILED and INCOMPATIBLE (too old for this cluster) are neither.
const (
	InProgress = "IN_PROGRESS"
	Success    = "SUCCESS"
)

// SnapshotInfo is the record of one snapshot.
type SnapshotInfo struct {
	Name        string
	UUID        string // before 5.0 the name; later versions show that as the uuid of such a snapshot
	State       string // IN_PROGRESS, SUCCESS, PARTIAL, FAILED, INCOMPATIBLE
	Version     string // of the cluster that took it, e.g. "5.5.2"
	VersionID   int    // the same as a number, see [VersionString]
	Indices     []string
	StartMillis int64 // since 1970
	EndMillis   int64 // 0 while it runs
	Reason      string
	Failures    []SnapshotFailure

	ShardsTotal, ShardsFailed, ShardsSuccessful int
}

// Complete reports whether the snapshot has state SUCCESS and every shard. Also compare Indices
// with what was asked for: older versions leave out indices that they don't find.
func (s SnapshotInfo) Complete() bool {
	return s.State == Success && s.ShardsFailed == 0 && s.ShardsSuccessful == s.ShardsTotal && len(s.Failures) == 0
}

// SnapshotFailure is a shard that isn't in a snapshot.
type SnapshotFailure struct {
	Index  string `json:"index"`
	Shard  int    `json:"shard_id"`
	Reason string `json:"reason"`
}

// CreateSnapshot starts a snapshot of the named indices and returns before it is done: poll
// [Client.Snapshot]. The snapshot has no global state and is never partial. The request says so
// explicitly, since versions before 6.0.1 would leave out a missing index.
//
// [Missing] if there is no such index. [AlreadyExists] after an [OutcomeUnknown] most likely is
// one's own snapshot. [SlotTaken] while another snapshot runs. On a small node that answer may come
// only when the other one has ended (5.5.2: the request queues behind the shards in the same thread
// pool). [Client.RunningSnapshots] tells which one holds the slot.
func (c *Client) CreateSnapshot(ctx context.Context, repository, name string, indices []string) error {
	what := call{operation: "create snapshot", subject: repository + "/" + name, once: true, slow: true}
	if err := firstError(oneName("repository", repository), oneName("snapshot", name), concrete(indices)); err != nil {
		return c.fail(what, Invalid, err.Error())
	}
	request := struct {
		Indices            string `json:"indices"`
		IgnoreUnavailable  bool   `json:"ignore_unavailable"`
		IncludeGlobalState bool   `json:"include_global_state"`
		Partial            bool   `json:"partial"`
	}{Indices: strings.Join(indices, ",")}
	return c.accept(ctx, what, esapi.SnapshotCreateRequest{
		Repository: segment(repository), Snapshot: segment(name),
		WaitForCompletion: ptr(false), Body: body(request), MasterTimeout: c.patience(ctx, what).master,
	})
}

// accept sends a request that starts work in the cluster.
func (c *Client) accept(ctx context.Context, what call, request esapi.Request) error {
	var answer struct {
		Accepted bool `json:"accepted"`
		Snapshot any  `json:"snapshot"` // the result, if there was nothing to do
	}
	if err := c.do(ctx, what, request, &answer); err != nil {
		return err
	}
	if !answer.Accepted && answer.Snapshot == nil {
		return c.fail(what, OutcomeUnknown, "the answer doesn't say that the request was accepted")
	}
	return nil
}

// Snapshot reads one snapshot's record. [Missing] if the repository has none of that name.
func (c *Client) Snapshot(ctx context.Context, repository, name string) (SnapshotInfo, error) {
	what := call{operation: "read snapshot", subject: repository + "/" + name}
	if err := firstError(oneName("repository", repository), oneName("snapshot", name)); err != nil {
		return SnapshotInfo{}, c.fail(what, Invalid, err.Error())
	}
	snapshots, err := c.snapshots(ctx, what, repository, name)
	if err != nil {
		return SnapshotInfo{}, err
	}
	for _, snapshot := range snapshots {
		if snapshot.Name == name {
			return snapshot, nil
		}
	}
	return SnapshotInfo{}, c.fail(what, Missing, "no such snapshot")
}

// Snapshots reads the records of all snapshots in a repository, including running ones. The cluster
// reads one object for each snapshot. A read-only repository with a wrong bucket or path looks
// empty.
func (c *Client) Snapshots(ctx context.Context, repository string) ([]SnapshotInfo, error) {
	what := call{operation: "list snapshots", subject: repository, slow: true}
	if err := oneName("repository", repository); err != nil {
		return nil, c.fail(what, Invalid, err.Error())
	}
	return c.snapshots(ctx, what, repository, "_all")
}

// CurrentSnapshots reads the records of the snapshots that run in one repository. The cluster's state
// has them, so the repository is not read.
func (c *Client) CurrentSnapshots(ctx context.Context, repository string) ([]SnapshotInfo, error) {
	what := call{operation: "read running snapshots", subject: repository}
	if err := oneName("repository", repository); err != nil {
		return nil, c.fail(what, Invalid, err.Error())
	}
	return c.snapshots(ctx, what, repository, "_current")
}

// datedName matches names that sort by time: Amazon's automatic snapshots begin with
// 2026-01-31t04-05-06.
var datedName = regexp.MustCompile(`^\d{4}-\d\d-\d\dt\d\d-\d\d`)

// LatestSnapshots reads the records of the latest snapshots in a repository: at least so many, if
// it has them. The cluster reads one object for each record, and Amazon keeps 336 automatic
// snapshots. So if all names tell the time, it lists the names first (verbose=false, 5.5 and later;
// up to 6.8 that omits snapshots without an index). Else it reads all records.
func (c *Client) LatestSnapshots(ctx context.Context, repository string, atLeast int) ([]SnapshotInfo, error) {
	what := call{operation: "list snapshots", subject: repository, slow: true}
	if err := oneName("repository", repository); err != nil {
		return nil, c.fail(what, Invalid, err.Error())
	}
	version, err := c.Version(ctx)
	if err != nil {
		return nil, err
	}
	if !version.AtLeast(5, 5) {
		return c.snapshots(ctx, what, repository, "_all")
	}
	var answer struct {
		Snapshots []struct {
			Snapshot string `json:"snapshot"`
		} `json:"snapshots"`
	}
	request := esapi.SnapshotGetRequest{
		Repository: segment(repository), Snapshot: []string{"_all"},
		Verbose: ptr(false),
	}
	if err := c.do(ctx, what, request, &answer); err != nil {
		return nil, err
	}
	names := make([]string, len(answer.Snapshots))
	for i, snapshot := range answer.Snapshots {
		names[i] = snapshot.Snapshot
	}
	if len(names) <= atLeast || slices.ContainsFunc(names,
		func(name string) bool { return !datedName.MatchString(name) }) {
		return c.snapshots(ctx, what, repository, "_all")
	}
	slices.Sort(names)
	return c.snapshots(ctx, what, repository, names[len(names)-atLeast:]...)
}

func (c *Client) snapshots(ctx context.Context, what call, repository string, names ...string) ([]SnapshotInfo, error) {
	var answer struct {
		Snapshots []struct {
			Snapshot    string            `json:"snapshot"`
			UUID        string            `json:"uuid"`
			State       string            `json:"state"`
			Version     string            `json:"version"`
			VersionID   int               `json:"version_id"`
			Indices     []string          `json:"indices"`
			StartMillis int64             `json:"start_time_in_millis"`
			EndMillis   int64             `json:"end_time_in_millis"`
			Reason      string            `json:"reason"`
			Failures    []SnapshotFailure `json:"failures"`
			Shards      struct {
				Total      int `json:"total"`
				Failed     int `json:"failed"`
				Successful int `json:"successful"`
			} `json:"shards"`
		} `json:"snapshots"`
	}
	err := c.do(ctx, what, esapi.SnapshotGetRequest{Repository: segment(repository), Snapshot: segments(names)},
		&answer)
	if err != nil {
		return nil, err
	}
	infos := make([]SnapshotInfo, len(answer.Snapshots))
	for i, s := range answer.Snapshots {
		for j := range s.Failures {
			s.Failures[j].Reason = c.redactor.Text(s.Failures[j].Reason)
		}
		infos[i] = SnapshotInfo{
			Name: s.Snapshot, UUID: cmp.Or(s.UUID, s.Snapshot), State: s.State, Version: s.Version,
			VersionID: s.VersionID, Indices: s.Indices,
			StartMillis: s.StartMillis, EndMillis: s.EndMillis, Reason: c.redactor.Text(s.Reason), Failures: s.Failures,
			ShardsTotal: s.Shards.Total, ShardsFailed: s.Shards.Failed, ShardsSuccessful: s.Shards.Successful,
		}
		if infos[i].Version == "" && s.VersionID != 0 {
			infos[i].Version = VersionString(s.VersionID)
		}
	}
	return infos, nil
}

// DeleteSnapshot deletes a snapshot, or aborts a running one, and returns when its objects are
// deleted. [Missing] if there is none. [SlotTaken] if another snapshot runs (before 7.9).
// [OutcomeUnknown] if the answer is lost: check and repeat.
func (c *Client) DeleteSnapshot(ctx context.Context, repository, name string) error {
	what := call{operation: "delete snapshot", subject: repository + "/" + name, once: true, slow: true}
	if err := firstError(oneName("repository", repository), oneName("snapshot", name)); err != nil {
		return c.fail(what, Invalid, err.Error())
	}
	return c.acknowledge(ctx, what, esapi.SnapshotDeleteRequest{
		Repository: segment(repository), Snapshot: segment(name), MasterTimeout: c.patience(ctx, what).master,
	})
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
