package workflows

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/internal/version"
	"github.com/snapferry/snapferry/migration"
)

const statusDescription = "Phase, rounds, indices, what the migration waits for, and the command that moves it on."

// listen registers the status query and, for each request, a signal and an update. Requests only
// set fields; the story awaits them.
func (m *run) listen(ctx workflow.Context) error {
	err := workflow.SetQueryHandlerWithOptions(ctx, migration.QueryStatus, func() (migration.Status, error) {
		status := m.status()
		status.Version = version.Short() // of this worker: the next answer may come from another
		return status, nil
	}, workflow.QueryHandlerOptions{Description: statusDescription})
	if err != nil {
		return err
	}
	err = workflow.SetQueryHandlerWithOptions(ctx, migration.QueryBandwidth, func() (int64, error) {
		return m.copying.share(m.bandwidth().Bytes()), nil
	}, workflow.QueryHandlerOptions{Description: "How many bytes per second each copy activity may read now; 0 if " +
		"there is no limit."})
	if err != nil {
		return err
	}
	if err := m.listenForBandwidth(ctx); err != nil {
		return err
	}
	m.listenForNotified(ctx)
	for _, request := range listeningOrder {
		if err := m.listenFor(ctx, request); err != nil {
			return err
		}
	}
	return nil
}

func (m *run) listenFor(ctx workflow.Context, request migration.Request) error {
	channel := workflow.GetSignalChannelWithOptions(ctx, string(request),
		workflow.SignalChannelOptions{Description: request.Description()})
	workflow.GoNamed(ctx, string(request), func(ctx workflow.Context) {
		for {
			// A fresh variable each time: a bare signal leaves it untouched.
			var input migration.RequestInput
			channel.Receive(ctx, &input)
			m.take(ctx, request, input)
		}
	})
	return workflow.SetUpdateHandlerWithOptions(ctx, string(request),
		func(ctx workflow.Context, input migration.RequestInput) (migration.Answer, error) {
			message := m.take(ctx, request, input)
			return migration.Answer{Message: message, Phase: m.Phase}, nil
		},
		workflow.UpdateHandlerOptions{
			Description: request.Description(),
			Validator: func(input migration.RequestInput) error {
				if verdict, why := m.meaning(request, input); verdict == migration.Ignored {
					return errors.New(string(request) + " is not possible now: " + why)
				}
				return nil
			},
		})
}

// listeningOrder is the order in which requests are taken that arrive together, for example after a
// time without workers: the SDK doesn't tell which came first. What keeps things safe comes first,
// and pause after resume.
var listeningOrder = []migration.Request{
	migration.RequestAbort, migration.RequestResume, migration.RequestPause, migration.RequestRetry,
	migration.RequestFreeze, migration.RequestRound, migration.RequestCutover,
}

// meaning says what a request means now, with all that it asks for.
func (m *run) meaning(request migration.Request, input migration.RequestInput) (migration.Verdict, string) {
	verdict, why := m.course.judge(request)
	if verdict == migration.Ignored {
		return verdict, why
	}
	if problem := cmp.Or(m.cantLeaveOut(request, input.LeaveOut), m.cantSkip(request, input.SkipHook)); problem != "" {
		return migration.Ignored, problem
	}
	if input.SkipHook {
		why = "it goes on without the hook"
	}
	if len(input.LeaveOut) > 0 {
		why += ", without " + human.Shorten(strings.Join(input.LeaveOut, ", "), longestWarning)
	}
	return verdict, why
}

// take records a request. Unless it makes no sense in this phase, it does what is asked or
// remembers it.
func (m *run) take(ctx workflow.Context, request migration.Request, input migration.RequestInput) string {
	verdict, why := m.meaning(request, input)
	if request == migration.RequestFreeze {
		m.AutoFreeze = false // a person wants it, whatever is predicted
	}
	input = input.Shortened()
	m.decide(migration.Decision{
		Request: request, By: input.By, Reason: input.Reason,
		AtMillis: workflow.Now(ctx).UnixMilli(), Phase: m.Phase, Verdict: verdict, Commentary: why,
	})
	workflow.GetLogger(ctx).Info("request", "request", request, "by", input.By, "verdict", verdict, "why", why)
	if verdict == migration.Ignored {
		m.show(ctx)
		return fmt.Sprintf("%s is not possible now: %s", request, why)
	}
	switch request {
	case migration.RequestFreeze:
		m.FreezeRequested = true
	case migration.RequestCutover:
		m.window.cutoverRequested = true
	case migration.RequestRound:
		m.RoundRequested = true
	case migration.RequestPause:
		m.Paused = true
	case migration.RequestResume:
		m.Paused = false
	case migration.RequestRetry:
		m.attention = nil
		m.handover.leaving, m.skipsHook = input.LeaveOut, input.SkipHook
	case migration.RequestAbort:
		m.abortRequested = &input
		m.stopWork()
	}
	m.show(ctx)
	return why
}

const bandwidthDescription = `Limit how fast all copies together read from S3, for example ` +
	`{"limit": "50MB/s"}. "none" removes the limit.`

func (m *run) listenForBandwidth(ctx workflow.Context) error {
	channel := workflow.GetSignalChannelWithOptions(ctx, migration.Bandwidth,
		workflow.SignalChannelOptions{Description: bandwidthDescription})
	workflow.GoNamed(ctx, migration.Bandwidth, func(ctx workflow.Context) {
		for {
			var input migration.BandwidthInput
			channel.Receive(ctx, &input)
			m.setBandwidth(ctx, input)
		}
	})
	return workflow.SetUpdateHandlerWithOptions(ctx, migration.Bandwidth,
		func(ctx workflow.Context, input migration.BandwidthInput) (migration.Answer, error) {
			m.setBandwidth(ctx, input)
			return migration.Answer{Message: bandwidthMeans(*input.Limit), Phase: m.Phase}, nil
		},
		workflow.UpdateHandlerOptions{
			Description: bandwidthDescription,
			Validator: func(input migration.BandwidthInput) error {
				if input.Problem() != "" {
					return errors.New(migration.Bandwidth + ": " + input.Problem())
				}
				return nil
			},
		})
}

func (m *run) setBandwidth(ctx workflow.Context, input migration.BandwidthInput) {
	if input.Problem() != "" {
		m.warn("the signal " + migration.Bandwidth + " changed nothing: " + input.Problem())
	} else {
		m.Bandwidth = input.Limit
		m.decide(migration.Decision{
			Request: migration.Bandwidth, By: input.By, Reason: input.Reason, AtMillis: workflow.Now(ctx).UnixMilli(),
			Phase:   m.Phase,
			Verdict: migration.Taken, Commentary: bandwidthMeans(*input.Limit),
		})
	}
	workflow.GetLogger(ctx).Info("bandwidth", "limit", input.Limit, "by", input.By, "reason", input.Reason, "problem",
		input.Problem())
	m.show(ctx)
}

func bandwidthMeans(limit migration.ByteRate) string {
	if limit == 0 {
		return "copies read as fast as they can"
	}
	return "all copies together read at most " + limit.String()
}

// bandwidth is the limit on all copies together.
func (m *run) bandwidth() migration.ByteRate {
	if m.Bandwidth != nil {
		return *m.Bandwidth
	}
	return m.plan.Copy.Bandwidth
}
