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
			return 0, fmt.Errorf("the limit can't be read: %w", err)
		}
		value = strings.TrimSpace(string(text))
	}
	return migration.ParseByteRate(value)
}

// bandwidthInterval is how often the file is looked at.
const bandwidthInterval = 5 * time.Second

// followBandwidth sets the limit whenever the file says another one, at each tick
// until the context ends. What can't be read changes nothing: a limit that is
// lifted by a slip of the pen may cost more than one that stays.
func followBandwidth(ctx context.Context, value string, ticks <-chan time.Time, set func(bytesPerSecond int64), logger *zap.Logger) {
	var last migration.ByteRate
	problem := ""
	for {
		rate, err := readBandwidth(value)
		switch {
		case err != nil && err.Error() != problem:
			logger.Warn("the bandwidth limit stays as it is", zap.Stringer("limit", last), zap.Error(err))
			problem = err.Error()
		case err == nil && (rate != last || problem != ""):
			set(rate.Bytes())
			logger.Info("bandwidth of this worker's copies", zap.Stringer("limit", rate))
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
