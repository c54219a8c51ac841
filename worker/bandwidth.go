package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/snapferry/snapferry/migration"
)

const fileReference = "file:"

// readBandwidth reads --bandwidth: a rate, or the file that holds it.
func readBandwidth(value string) (migration.ByteRate, error) {
	if path, ok := strings.CutPrefix(value, fileReference); ok {
		text, err := os.ReadFile(path)
		if err != nil {
			return 0, fmt.Errorf("can't read the limit: %w", err)
		}
		value = strings.TrimSpace(string(text))
	}
	return migration.ParseByteRate(value)
}

// bandwidthInterval is how often the file is read.
const bandwidthInterval = 5 * time.Second

// followBandwidth reads the file at each tick until the context ends, and sets the limit when it
// has changed. A file that can't be read changes nothing: to lose a limit by a typing mistake may
// cost more than to keep it.
func followBandwidth(
	ctx context.Context, value string, ticks <-chan time.Time, set func(bytesPerSecond int64), logger *zap.Logger,
) {
	var last migration.ByteRate
	problem := ""
	for {
		rate, err := readBandwidth(value)
		switch {
		case err != nil && err.Error() != problem:
			logger.Warn("can't read the bandwidth limit; the last one stays", zap.Stringer("limit", last),
				zap.Error(err))
			problem = err.Error()
		case err == nil && (rate != last || problem != ""):
			set(rate.Bytes())
			logger.Info("bandwidth limit of this worker's copies", zap.Stringer("limit", rate))
			last, problem = rate, ""
		}
		if !strings.HasPrefix(value, fileReference) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-ticks:
		}
	}
}
