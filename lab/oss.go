package lab

import (
	"fmt"
	"os"

	"github.com/snapferry/snapferry/internal/osstest"
)

// OSS is the OSS server, which runs in this process. The bucket is not there yet: a migration
// creates it, if its plan says so.
type OSS struct {
	Endpoint   string // http://HOST:PORT
	Region     string
	Bucket     string
	CopierKey  osstest.Key     // may write: for the worker
	ClusterKey osstest.Key     // may read: for the target cluster's repository
	Server     *osstest.Server // its hooks: latency, errors, broken transfers, ...
}

func (o *OSS) start(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("no folder for the OSS server: %w", err)
	}
	server, err := osstest.Start(osstest.Options{
		Dir: dir, Region: o.Region,
		Keys: []osstest.Key{o.CopierKey, o.ClusterKey},
	})
	if err != nil {
		return fmt.Errorf("the OSS server did not start: %w", err)
	}
	o.Server, o.Endpoint = server, server.URL()
	return nil
}
