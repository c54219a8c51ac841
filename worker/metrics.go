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

// timeBuckets are for what Temporal measures in seconds: from a poll's latency
// to the copy of a baseline. OpenTelemetry's own are for milliseconds.
var timeBuckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600}

// observation is what a worker shows of itself on request.
type observation struct {
	// state is what /healthz says; empty while all is well.
	state    atomic.Pointer[string]
	handler  http.Handler
	metrics  client.MetricsHandler
	registry *prometheus.Registry
}

// newObservation makes the metrics and the pages that show them.
func newObservation(logger *zap.Logger) (*observation, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	reader, err := exporter.New(exporter.WithRegisterer(registry), exporter.WithoutScopeInfo(), exporter.WithoutTargetInfo())
	if err != nil {
		return nil, fmt.Errorf("the metrics can't be set up: %w", err)
	}
	provider := metric.NewMeterProvider(metric.WithReader(reader), metric.WithView(metric.NewView(
		metric.Instrument{Kind: metric.InstrumentKindHistogram},
		metric.Stream{Aggregation: metric.AggregationExplicitBucketHistogram{Boundaries: timeBuckets}},
	)))
	o := &observation{registry: registry, metrics: opentelemetry.NewMetricsHandler(opentelemetry.MetricsHandlerOptions{
		Meter:                provider.Meter("temporal-sdk-go"),
		OnError:              func(err error) { logger.Warn("a metric was not recorded", zap.Error(err)) },
		UseMonotonicCounters: true,
	})}
	o.set("starting")
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", o.health)
	o.handler = mux
	return o, nil
}

// count shows what the copies have met.
func (o *observation) count(copies *transfer.Stats) {
	if o == nil {
		return
	}
	for _, counter := range []struct {
		name, help string
		value      *atomic.Int64
	}{
		{"read_bytes", "Bytes that copies have read from S3.", &copies.BytesRead},
		{"resumed_bytes", "Bytes that stood in OSS already, in uploads of earlier attempts.", &copies.BytesResumed},
		{"retries", "Requests of copies that were sent again.", &copies.Retries},
		{"stalls", "Requests of copies that were ended because nothing moved.", &copies.Stalls},
		{"corruptions", "Copies that were thrown away because their checksums differed.", &copies.Corruptions},
	} {
		o.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Namespace: "snapferry", Subsystem: "copy", Name: counter.name + "_total", Help: counter.help,
		}, func() float64 { return float64(counter.value.Load()) }))
	}
}

// set says what the worker is at; empty once it works.
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

// listen serves until the context ends. An address that can't be listened on is
// a mistake in the configuration.
func (o *observation) listen(ctx context.Context, address string, logger *zap.Logger) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return wrong("--metrics-addr %s can't be listened on: %w; give a free host:port, for example :9090", address, err)
	}
	server := &http.Server{Handler: o.handler, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() }) // nothing is lost with a page half sent
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("metrics are not served any more", zap.Error(err))
		}
	}()
	logger.Info("serving metrics", zap.String("address", listener.Addr().String()))
	return nil
}
