package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	exporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/opentelemetry"
	"go.uber.org/zap"

	"github.com/snapferry/snapferry/internal/transfer"
)

// timeBuckets are for the times that Temporal measures in seconds, from the latency of a poll to
// the copy of a baseline. OpenTelemetry's own buckets are for milliseconds.
var timeBuckets = []float64{
	.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600,
	24 * 3600,
}

// observation is what a worker shows about itself on request.
type observation struct {
	// state is what /healthz says. It is empty while the worker works.
	state    atomic.Pointer[string]
	handler  http.Handler
	metrics  client.MetricsHandler
	registry *prometheus.Registry
}

// newObservation makes the metrics and the pages that show them.
func newObservation(logger *zap.Logger) (*observation, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	reader, err := exporter.New(exporter.WithRegisterer(registry), exporter.WithoutScopeInfo(),
		exporter.WithoutTargetInfo())
	if err != nil {
		return nil, fmt.Errorf("can't set up the metrics: %w", err)
	}
	provider := metric.NewMeterProvider(metric.WithReader(reader), metric.WithView(metric.NewView(
		metric.Instrument{Kind: metric.InstrumentKindHistogram},
		metric.Stream{Aggregation: metric.AggregationExplicitBucketHistogram{Boundaries: timeBuckets}},
	)))
	o := &observation{registry: registry, metrics: opentelemetry.NewMetricsHandler(opentelemetry.MetricsHandlerOptions{
		Meter:                provider.Meter("temporal-sdk-go"),
		OnError:              func(err error) { logger.Warn("can't record a metric", zap.Error(err)) },
		UseMonotonicCounters: true,
	})}
	o.set("starting")
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", o.health)
	o.handler = mux
	return o, nil
}

// count adds the counters of the copies.
func (o *observation) count(copies *transfer.Stats) {
	if o == nil {
		return
	}
	for _, counter := range []struct {
		name, help string
		value      *atomic.Int64
	}{
		{"read_bytes", "Bytes that copies have read from S3.", &copies.BytesRead},
		{"resumed_bytes", "Bytes that were in OSS already, in uploads of earlier attempts.", &copies.BytesResumed},
		{"retries", "Requests of copies that were sent again.", &copies.Retries},
		{"stalls", "Requests of copies that were ended because no bytes moved.", &copies.Stalls},
		{"corruptions", "Copies that were discarded because their checksums differed.", &copies.Corruptions},
	} {
		o.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Namespace: "snapferry", Subsystem: "copy", Name: counter.name + "_total", Help: counter.help,
		}, func() float64 { return float64(counter.value.Load()) }))
	}
}

// set says what the worker does while it does not serve yet or any more; empty while it serves.
func (o *observation) set(state string) {
	if o != nil {
		o.state.Store(&state)
	}
}

func (o *observation) health(w http.ResponseWriter, _ *http.Request) {
	if state := *o.state.Load(); state != "" {
		http.Error(w, state, http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// listen serves until the context ends. An unusable address is a mistake in the configuration.
func (o *observation) listen(ctx context.Context, address string, logger *zap.Logger) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return wrong("can't listen on --metrics-addr %s: %w; use a free host:port, for example :9090", address, err)
	}
	server := &http.Server{Handler: o.handler, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() }) // nobody needs the rest of a page
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("stopped serving metrics", zap.Error(err))
		}
	}()
	logger.Info("serving metrics", zap.String("address", listener.Addr().String()))
	return nil
}
