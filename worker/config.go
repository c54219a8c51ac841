package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.uber.org/zap/zapcore"

	"github.com/snapferry/snapferry/internal/secrets"
	"github.com/snapferry/snapferry/internal/version"
	"github.com/snapferry/snapferry/migration"
	"github.com/snapferry/snapferry/worker/serving"
)

// config is how a worker is set up.
type config struct {
	address, namespace, profile string

	queues        []string
	maxActivities int
	maxCopies     int
	copyMemory    string
	bandwidth     string
	stopTimeout   time.Duration
	metricsAddr   string
	// metricsInterval is between two looks at the migrations.
	metricsInterval time.Duration
	logLevel        string
	logFormat       string

	// fence says what plans may read, and where they may connect to.
	fence secrets.Fence

	// deployment and buildID turn worker versioning on.
	deployment, buildID string

	// client is what the above and Temporal's own configuration come to.
	client client.Options
}

const (
	formatJSON    = "json"
	formatConsole = "console"

	// variablePrefix begins the environment variables of all flags.
	variablePrefix = "SNAPFERRY_"
	// These two are what the Temporal worker controller for Kubernetes sets.
	variableDeployment = "TEMPORAL_DEPLOYMENT_NAME"
	variableBuildID    = "TEMPORAL_WORKER_BUILD_ID"
)

// configError is a mistake in the flags or the environment.
type configError struct{ error }

func (e *configError) Unwrap() error { return e.error }

func wrong(format string, args ...any) error { return &configError{fmt.Errorf(format, args...)} }

// codeOf is the exit code for an error.
func codeOf(err error) int {
	if _, ok := errors.AsType[*configError](err); ok {
		return 2
	}
	return 1
}

// newCommand is the worker's command line. run gets a valid configuration.
func newCommand(environment envconfig.EnvLookup, run func(context.Context, config) error) *cobra.Command {
	var c config
	command := &cobra.Command{
		Use:   "worker",
		Short: "Run snapferry's Temporal worker",
		Long: `worker runs the workflows and the activities of snapferry until it gets SIGINT or
SIGTERM. Then it accepts no more work, and finishes its tasks within the stop timeout.
Other workers take over the rest. A second signal ends it immediately.

The worker finds Temporal as the temporal command line does: TEMPORAL_ADDRESS,
TEMPORAL_NAMESPACE, TEMPORAL_API_KEY, TEMPORAL_TLS_*, or a profile
(TEMPORAL_PROFILE) in its configuration file. It waits until it can reach Temporal.

Credentials for the source and S3 come from the AWS SDK's own chain
(AWS_ACCESS_KEY_ID and so on, a profile, or the role of an instance). Plans name all
other secrets. env:NAME is an environment variable that begins with
` + secrets.DefaultEnvPrefix + `, file:/PATH is a regular file of at most 64 KiB below
` + secrets.DefaultDir + `. Flags change both. Variables that begin with AWS_ or TEMPORAL_, and the
files that they name, are never read for a plan.

Every flag can also be an environment variable: ` + variablePrefix + ` and its name in
capitals, such as ` + variablePrefix + `MAX_COPIES. The flag overrides the variable.

` + variableDeployment + ` and ` + variableBuildID + ` together turn on worker
versioning. Then no work arrives until you make a version the current one
(temporal worker deployment set-current-version).

Exit codes: 0 stopped by a signal, 1 failure, 2 wrong flags or configuration.`,
		Example: `  worker
  worker --queues ` + migration.CopyTaskQueue + ` --max-copies 4     # copies only, where the bandwidth is
  worker --queues ` + migration.TaskQueue + ` --metrics-addr :9090`,
		Args:         func(_ *cobra.Command, args []string) error { return noArguments(args) },
		Version:      version.Get().String(),
		SilenceUsage: true, SilenceErrors: true,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := fromEnvironment(command.Flags(), environment); err != nil {
				return err
			}
			if err := c.complete(environment); err != nil {
				return err
			}
			return run(command.Context(), c)
		},
	}
	command.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return wrong("%w; see worker --help", err) })
	command.SetVersionTemplate("worker {{.Version}}\n")
	flags := command.Flags()
	flags.StringVar(&c.address, "address", "", "Temporal's host:port (default: TEMPORAL_ADDRESS, the profile, or "+
		"localhost:7233)")
	flags.StringVar(&c.namespace, "namespace", "", "Temporal namespace (default: TEMPORAL_NAMESPACE, the profile, or "+
		"default)")
	flags.StringVar(&c.profile, "profile", "", "profile in the temporal command line's configuration file")
	flags.StringSliceVar(&c.queues, "queues", []string{migration.TaskQueue, migration.CopyTaskQueue},
		"task queues to serve")
	flags.IntVar(&c.maxActivities, "max-activities", serving.Activities,
		"activities that run at the same time, without copies")
	flags.IntVar(&c.maxCopies, "max-copies", serving.Copies,
		"copies that run at the same time; each copies many objects at the same time")
	flags.StringVar(&c.copyMemory, "copy-memory", "128MiB", "most memory for blobs, of all copies together")
	flags.StringVar(&c.bandwidth, "bandwidth", "", "the most that all copies of this worker together read from "+
		"S3, such as 50MB/s, or file:PATH, which the worker reads again every few seconds (default: no limit)")
	flags.DurationVar(&c.stopTimeout, "stop-timeout", serving.StopTimeout, "time to finish work after a signal")
	flags.StringVar(&c.metricsAddr, "metrics-addr", "",
		"serve Prometheus metrics at /metrics, and health at /healthz, on this host:port (default: off)")
	flags.DurationVar(&c.metricsInterval, "metrics-interval", watchInterval,
		"with --metrics-addr: how often the worker asks running migrations for their numbers")
	flags.StringVar(&c.fence.EnvPrefix, secrets.FlagEnvPrefix, secrets.DefaultEnvPrefix,
		"plans may name environment variables that begin with this")
	flags.StringVar(&c.fence.Dir, secrets.FlagDir, secrets.DefaultDir,
		"plans may name files below this folder: secrets and certificate authorities")
	flags.StringSliceVar(&c.fence.Allowed, secrets.FlagAllowed, nil, "references that plans may name besides, "+
		"such as env:TARGET_PASSWORD: for migrations that began before there was a fence")
	flags.StringSliceVar(&c.fence.Endpoints, secrets.FlagEndpoints, nil, "hosts of clusters, stores and webhooks "+
		"that plans may name, such as *.es.amazonaws.com (default: any)")
	flags.StringVar(&c.logLevel, "log-level", "info", "debug, info, warn or error")
	flags.StringVar(&c.logFormat, "log-format", formatJSON, "json or console")
	return command
}

func noArguments(args []string) error {
	if len(args) > 0 {
		return wrong("worker takes no arguments, but got %q; see worker --help", args[0])
	}
	return nil
}

// fromEnvironment sets the flags that were not given from their variables.
func fromEnvironment(flags *pflag.FlagSet, environment envconfig.EnvLookup) error {
	var first error
	flags.VisitAll(func(flag *pflag.Flag) {
		switch flag.Name {
		case "address", "namespace", "profile": // Temporal's own variables are for these
			return
		case "help", "version": // asked for, never configured
			return
		}
		name := variablePrefix + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
		value, given := environment.LookupEnv(name)
		if !given || value == "" || flag.Changed || first != nil {
			return
		}
		if err := flags.Set(flag.Name, value); err != nil {
			first = wrong("the environment variable %s is wrong: %w", name, err)
		}
	})
	return first
}

// complete checks the configuration and adds Temporal's own.
func (c *config) complete(environment envconfig.EnvLookup) error {
	c.queues = trimmed(c.queues)
	slices.Sort(c.queues)
	c.queues = slices.Compact(c.queues)
	switch unknown := slices.IndexFunc(c.queues, func(queue string) bool {
		return queue != migration.TaskQueue && queue != migration.CopyTaskQueue
	}); {
	case len(c.queues) == 0:
		return wrong("--queues is empty: use %s, %s or both", migration.TaskQueue, migration.CopyTaskQueue)
	case unknown >= 0:
		return wrong("--queues: there is no task queue %s: use %s, %s or both",
			c.queues[unknown], migration.TaskQueue, migration.CopyTaskQueue)
	case c.maxActivities < 2:
		// With a single slot, a poll could delay an unblock.
		return wrong("--max-activities is %d and must be at least 2", c.maxActivities)
	case c.maxCopies < 1:
		return wrong("--max-copies is %d and must be at least 1", c.maxCopies)
	case c.metricsInterval < time.Second:
		return wrong("--metrics-interval is %s and must be at least 1s, for example 10s", c.metricsInterval)
	case c.memoryBytes() == 0:
		return wrong("--copy-memory %s is not a size: use a number with a unit, for example 128MiB", c.copyMemory)
	case c.stopTimeout <= 0:
		return wrong("--stop-timeout is %s and must be more than 0, for example 30s", c.stopTimeout)
	case c.logFormat != formatJSON && c.logFormat != formatConsole:
		return wrong("--log-format %s is not known: use json or console", c.logFormat)
	}
	for _, list := range []*[]string{&c.fence.Allowed, &c.fence.Endpoints} {
		*list = trimmed(*list)
	}
	if flag, problem := c.fence.Problem(); problem != "" {
		return wrong("--%s: %s", flag, problem)
	}
	if c.bandwidth != "" {
		if _, err := readBandwidth(c.bandwidth); err != nil {
			return wrong("--bandwidth: %w", err)
		}
	}
	if _, err := zapcore.ParseLevel(c.logLevel); err != nil {
		return wrong("--log-level %s is not known: use debug, info, warn or error", c.logLevel)
	}
	c.deployment, _ = environment.LookupEnv(variableDeployment)
	c.buildID, _ = environment.LookupEnv(variableBuildID)
	if (c.deployment == "") != (c.buildID == "") {
		return wrong("%s and %s turn worker versioning on together: set both or neither", variableDeployment,
			variableBuildID)
	}
	return c.loadClient(environment)
}

// trimmed is a list without the white space around its items, and without those that are empty.
func trimmed(list []string) []string {
	var kept []string
	for _, item := range list {
		if item = strings.TrimSpace(item); item != "" {
			kept = append(kept, item)
		}
	}
	return kept
}

func (c *config) loadClient(environment envconfig.EnvLookup) error {
	options, err := envconfig.LoadClientOptions(envconfig.LoadClientOptionsRequest{
		ConfigFileProfile: c.profile, EnvLookup: environment,
	})
	if err != nil {
		return wrong("can't read the configuration of Temporal's client: %w; check --profile, the TEMPORAL_* "+
			"variables and the configuration file of the temporal command line", err)
	}
	if c.address != "" {
		options.HostPort = c.address
	}
	if c.namespace != "" {
		options.Namespace = c.namespace
	}
	if options.HostPort == "" {
		options.HostPort = client.DefaultHostPort
	}
	if options.Namespace == "" {
		options.Namespace = client.DefaultNamespace
	}
	c.client = options
	return nil
}

// memoryBytes is --copy-memory in bytes, 0 if it is not a size.
func (c *config) memoryBytes() int64 {
	bytes, err := humanize.ParseBytes(c.copyMemory)
	if err != nil || bytes > math.MaxInt64 {
		return 0
	}
	return int64(bytes)
}

// versioned reports whether worker versioning is on.
func (c config) versioned() bool { return c.deployment != "" }
