package memory_test

import (
	"testing"

	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/internal/objectstore/objectstoretest"
)

func TestSource(t *testing.T) {
	s := memory.NewSource()
	objectstoretest.TestSource(t, objectstoretest.SourceFixture{
		Source: s, Put: s.Store, Delete: s.Remove,
		PutParts: func(key string, data []byte, partSize int) { s.StoreParts(key, data, int64(partSize)) },
	})
}

func TestSink(t *testing.T) {
	objectstoretest.TestSink(t, objectstoretest.SinkFixture{Sink: memory.NewSink()})
}
