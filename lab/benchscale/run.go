package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"

	"github.com/snapferry/snapferry/activities"
	"github.com/snapferry/snapferry/internal/elastic/elastictest"
	"github.com/snapferry/snapferry/internal/heartbeat"
	"github.com/snapferry/snapferry/internal/osstest"
	"github.com/snapferry/snapferry/internal/secrets"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/migration"
	"github.com/snapferry/snapferry/worker/serving"
	"github.com/snapferry/snapferry/workflows"
)

const (
	// rounds are the incremental ones before the freeze.
	rounds = 3
	// nameBytes is the length of each index's name.
	nameBytes = 100
)

// What a payload and a run's history may have. Temporal's own limits are 2 MiB, 51,200 events and 50
// MiB; these keep a distance.
const (
	mostPayloadBytes  = 256 << 10
	mostHistoryEvents = 10_000
	mostHistoryBytes  = 10 << 20
)

// Case is what one migration showed.
type Case struct {
	What           string `json:"what"`
	Indices        int    `json:"indices"`
	ShardsPerIndex int    `json:"shardsPerIndex"`
	// LargestPayloadBytes is that of all histories and answers to queries, LargestPayloadOf says
	// where it was.
	LargestPayloadBytes int    `json:"largestPayloadBytes"`
	LargestPayloadOf    string `json:"largestPayloadOf"`
	// LargestHistory is by run: continue-as-new begins another one.
	LargestHistoryEvents int64  `json:"largestHistoryEvents"`
	LargestHistoryBytes  int64  `json:"largestHistoryBytes"`
	Result               string `json:"result"`
}

// check tells what is above its limit.
func (c Case) check() error {
	var over []error
	for _, limit := range []struct {
		what       string
		value, max int64
	}{
		{
			"the largest payload, of " + c.LargestPayloadOf + ", in bytes", int64(c.LargestPayloadBytes),
			mostPayloadBytes,
		},
		{"the largest history in events", c.LargestHistoryEvents, mostHistoryEvents},
		{"the largest history in bytes", c.LargestHistoryBytes, mostHistoryBytes},
	} {
		if limit.value > limit.max {
			over = append(over, fmt.Errorf("%d indices: %s: %d is above %d", c.Indices, limit.what, limit.value,
				limit.max))
		}
	}
	if c.Result != migration.ResultCompleted {
		over = append(over, fmt.Errorf("%d indices: the migration ended as %s", c.Indices, c.Result))
	}
	return errors.Join(over...)
}

// stage is everything that a migration needs.
type stage struct {
	out      io.Writer
	lab      *lab.Lab
	s3       *osstest.Server
	from, to *elastictest.Cluster
	// inS3 and inOSS are what the clusters see in their repositories.
	inS3, inOSS *elastictest.Store
	client      client.Client
	closers     []func()
}

// measure runs a migration of so many indices in a folder of its own.
func measure(ctx context.Context, dir string, indices, shards int, out io.Writer) (result Case, err error) {
	if err := os.RemoveAll(dir); err != nil {
		return Case{}, err
	}
	s, err := newStage(ctx, dir, out)
	defer func() { s.close() }()
	if err != nil {
		return Case{}, err
	}
	for i := range indices {
		name := fmt.Sprintf("index-%06d-", i)
		s.from.Create(name+strings.Repeat("n", nameBytes-len(name)), shards, nil)
	}
	if err := s.serve(); err != nil {
		return Case{}, err
	}
	result = Case{What: "payloads", Indices: indices, ShardsPerIndex: shards}
	return result, s.migrate(ctx, &result)
}

func newStage(ctx context.Context, dir string, out io.Writer) (s *stage, err error) {
	s = &stage{out: out, inS3: elastictest.NewStore(), inOSS: elastictest.NewStore()}
	s.s3, err = osstest.Start(osstest.Options{
		Dir: filepath.Join(dir, "s3"), Region: lab.Region,
		Keys: []osstest.Key{{ID: lab.AWSAccessKey, Secret: lab.AWSSecretKey}},
		S3:   &osstest.S3Options{Region: lab.Region},
	})
	if err != nil {
		return s, err
	}
	s.closers = append(s.closers, func() { _ = s.s3.Close() })
	if err := s.s3.CreateBucket(lab.Bucket, osstest.BucketOptions{}); err != nil {
		return s, err
	}
	s.lab, err = lab.Start(ctx, lab.Options{
		Dir: filepath.Join(dir, "lab"), Parts: []lab.Part{lab.PartOSS, lab.PartTemporal}, S3Endpoint: s.s3.S3URL(),
	})
	if err != nil {
		return s, err
	}
	s.closers = append(s.closers, func() { _ = s.lab.Close() })
	if err := s.setEnvironment(); err != nil {
		return s, err
	}
	for _, cluster := range []**elastictest.Cluster{&s.from, &s.to} {
		store := s.inS3
		if cluster == &s.to {
			store = s.inOSS
		}
		*cluster = elastictest.New(store)
		s.closers = append(s.closers, (*cluster).Close)
	}
	s.to.Version = lab.TargetVersion
	s.client, err = s.lab.Temporal.Dial(ctx, heartbeat.DialOption())
	if err == nil {
		s.closers = append(s.closers, s.client.Close)
	}
	return s, err
}

// setEnvironment gives this process, which is the worker, the credentials.
func (s *stage) setEnvironment() error {
	for _, variable := range s.lab.Environment() {
		name, value, _ := strings.Cut(variable, "=")
		before, there := os.LookupEnv(name)
		if err := os.Setenv(name, value); err != nil {
			return err
		}
		s.closers = append(s.closers, func() {
			if there {
				_ = os.Setenv(name, before)
			} else {
				_ = os.Unsetenv(name)
			}
		})
	}
	return nil
}

func (s *stage) close() {
	for i := len(s.closers) - 1; i >= 0; i-- {
		s.closers[i]()
	}
}

// serve runs a worker in this process. Its copies publish everything at once: what a real copy takes
// is the other benchmark's.
func (s *stage) serve() error {
	main := worker.New(s.client, migration.TaskQueue, serving.Options(migration.TaskQueue, serving.Defaults()))
	workflows.Register(main)
	activities.New(secrets.Fence{}).Register(main)
	guards := worker.New(s.client, migration.GuardTaskQueue,
		serving.Options(migration.GuardTaskQueue, serving.Defaults()))
	activities.NewGuards(activities.New(secrets.Fence{}), s.client).Register(guards)
	copies := worker.New(s.client, migration.CopyTaskQueue,
		serving.Options(migration.CopyTaskQueue, serving.Defaults()))
	generation := int64(-1)
	copies.RegisterActivityWithOptions(func(migration.CopyRequest) (migration.CopyResult, error) {
		s.inS3.Copy(s.inOSS)
		generation++
		return migration.CopyResult{Generation: generation}, nil
	}, activity.RegisterOptions{Name: migration.ActivityCopySnapshot})
	for _, w := range []worker.Worker{main, guards, copies} {
		if err := w.Start(); err != nil {
			return err
		}
		s.closers = append(s.closers, w.Stop)
	}
	return nil
}

func (s *stage) plan() migration.Plan {
	plan := s.lab.Plan("scale", "*")
	plan.Source.Endpoint, plan.Source.Auth = s.from.URL, migration.Auth{Type: migration.AuthNone}
	plan.Target.Endpoint, plan.Target.Auth = s.to.URL, migration.Auth{Type: migration.AuthNone}
	plan.Rounds.Interval = migration.Duration(time.Second)
	plan.Freeze.HotRound = migration.HotRoundNever
	return plan
}

// migrate takes a migration to its end, and reads its histories.
func (s *stage) migrate(ctx context.Context, result *Case) error {
	plan := s.plan()
	id := migration.WorkflowID(plan.Name)
	_, err := s.client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: id, TaskQueue: migration.TaskQueue},
		migration.WorkflowType, plan)
	if err != nil {
		return err
	}
	sizes := &sizes{}
	err = s.await(ctx, id, sizes, func(status migration.Status) bool { return status.RoundsEnded > rounds })
	if err == nil {
		err = s.send(ctx, id, migration.RequestFreeze)
	}
	if err == nil {
		err = s.await(ctx, id, sizes,
			func(status migration.Status) bool { return status.Phase == migration.PhaseAwaitCutover })
	}
	if err == nil {
		err = s.send(ctx, id, migration.RequestCutover)
	}
	if err != nil {
		return errors.Join(err, s.read(ctx, sizes, result))
	}
	var report migration.Report
	if err := s.client.GetWorkflow(ctx, id, "").Get(ctx, &report); err != nil {
		return errors.Join(err, s.read(ctx, sizes, result))
	}
	result.Result = report.Result
	return s.read(ctx, sizes, result)
}

func (s *stage) send(ctx context.Context, id string, request migration.Request) error {
	return s.client.SignalWorkflow(ctx, id, "", string(request), migration.RequestInput{By: "benchscale"})
}

// await asks for the status until it is as wanted.
func (s *stage) await(ctx context.Context, id string, sizes *sizes, done func(migration.Status) bool) error {
	var phase migration.Phase
	for {
		answer, err := s.client.QueryWorkflow(ctx, id, "", migration.QueryStatus)
		if err != nil {
			return err
		}
		var status migration.Status
		if err := answer.Get(&status); err != nil {
			return err
		}
		sizes.addJSON(status, "the status")
		if status.Phase != phase {
			phase = status.Phase
			fmt.Fprintf(s.out, "  %s %s\n", time.Now().Format(time.TimeOnly), phase)
		}
		switch {
		case done(status):
			return nil
		case status.Attention != nil:
			return fmt.Errorf("the migration needs attention in %s: %s: %s", phase, status.Attention.Step,
				status.Attention.Message)
		case status.Phase.Ended():
			return fmt.Errorf("the migration has ended as %s", phase)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}
