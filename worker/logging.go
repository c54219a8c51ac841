package main

import (
	"io"
	"log/slog"

	"go.temporal.io/sdk/log"
	"go.uber.org/zap"
	"go.uber.org/zap/exp/zapslog"
	"go.uber.org/zap/zapcore"

	"github.com/snapferry/snapferry/internal/human"
)

// newLogger makes the one logger of the process, and Temporal's view of it.
func newLogger(c config, out io.Writer) (*zap.Logger, log.Logger) {
	level, err := zapcore.ParseLevel(c.logLevel)
	if err != nil {
		level = zapcore.InfoLevel // complete has checked it
	}
	encoding := zap.NewProductionEncoderConfig()
	encoding.EncodeTime = zapcore.RFC3339TimeEncoder
	encoding.EncodeDuration = zapcore.StringDurationEncoder
	encoding.TimeKey = "time"
	encoder := zapcore.NewJSONEncoder(encoding)
	if c.logFormat == formatConsole {
		encoding.EncodeLevel = zapcore.CapitalLevelEncoder
		encoder = zapcore.NewConsoleEncoder(encoding)
	}
	core := zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(human.NewVisibleWriter(out))), level)
	// Through slog, Temporal's caller and fields arrive unchanged. The stack of an activity's error
	// would only show the SDK, and that of a panic comes as a field.
	handler := zapslog.NewHandler(core, zapslog.WithCaller(true), zapslog.AddStacktraceAt(slog.LevelError+1))
	temporal := log.NewStructuredLogger(slog.New(handler))
	return zap.New(core), temporal
}
