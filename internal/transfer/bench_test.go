package transfer_test

import (
	"bufio"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore/objectstoretest"
	"github.com/snapferry/snapferry/internal/objectstore/oss"
	"github.com/snapferry/snapferry/internal/objectstore/s3"
	"github.com/snapferry/snapferry/internal/osstest"
	"github.com/snapferry/snapferry/internal/transfer"
)

// The servers of the benchmarks run in a process of their own, this binary with serversVariable set, so that the CPU time that is
// reported is the copy's alone. They end when their standard input does.
const (
	serversVariable = "SNAPFERRY_BENCHMARK_SERVERS"
	benchBucket     = "bench-es"
	benchRegion     = "ap-southeast-1"
	largeSize       = 64 << 20
)

type benchServers struct{ Source, Sink string }

// serveBenchmarks runs both servers until the standard input ends.
func serveBenchmarks() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: newContents(), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	sink, err := osstest.Start(osstest.Options{Region: benchRegion, Keys: []osstest.Key{{ID: "ak", Secret: "sk"}}})
	if err != nil {
		return err
	}
	defer sink.Close()
	if err := sink.CreateBucket(benchBucket, osstest.BucketOptions{}); err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(benchServers{Source: "http://" + l.Addr().String(), Sink: sink.URL()}); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// contents answers GetObject as S3 does, for keys that end with a size: all of one size have the same bytes.
type contents struct {
	data  []byte
	etags sync.Map // by size
}

func newContents() *contents { return &contents{data: objectstoretest.Random(1, largeSize)} }

func (c *contents) etag(size int) string {
	etag, ok := c.etags.Load(size)
	if !ok {
		sum := md5.Sum(c.data[:size])
		etag, _ = c.etags.LoadOrStore(size, hex.EncodeToString(sum[:]))
	}
	return etag.(string)
}

func (c *contents) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	size, err := strconv.Atoi(r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:])
	if err != nil || size > len(c.data) {
		http.Error(w, "no such key", http.StatusNotFound)
		return
	}
	from, to := 0, size-1
	status := http.StatusOK
	if value := r.Header.Get("Range"); value != "" {
		if _, err := fmt.Sscanf(value, "bytes=%d-%d", &from, &to); err != nil || from > to || to >= size {
			http.Error(w, "range", http.StatusRequestedRangeNotSatisfiable)
			return
		}
		status = http.StatusPartialContent
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, size))
	}
	w.Header().Set("ETag", `"`+c.etag(size)+`"`)
	w.Header().Set("Last-Modified", "Mon, 23 Nov 2026 08:00:00 GMT")
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("X-Amz-Request-Id", "TX000001")
	w.Header().Set("Content-Length", strconv.Itoa(to-from+1))
	w.WriteHeader(status)
	_, _ = w.Write(c.data[from : to+1])
}

// startServers starts them in a process of their own, which ends with the benchmark.
func startServers(b *testing.B) benchServers {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serversVariable+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(b, err)
	out, err := cmd.StdoutPipe()
	require.NoError(b, err)
	require.NoError(b, cmd.Start())
	b.Cleanup(func() {
		require.NoError(b, in.Close())
		require.NoError(b, cmd.Wait())
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	require.NoError(b, err)
	var s benchServers
	require.NoError(b, json.Unmarshal(line, &s))
	return s
}

func cpuTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// benchmarkCopy copies b.N blobs of a size, over HTTP to a bucket of files. It reports what the copy itself used.
func benchmarkCopy(b *testing.B, size, concurrency int) {
	servers := startServers(b)
	source, err := s3.New(b.Context(), s3.Options{Bucket: benchBucket, BasePath: "from/here", Region: benchRegion, Endpoint: servers.Source,
		PathStyle: true, Concurrency: concurrency, Credentials: credentials.NewStaticCredentialsProvider("ak", "sk", "")})
	require.NoError(b, err)
	sink, err := oss.New(oss.Options{Endpoint: servers.Sink, Bucket: benchBucket, BasePath: "to/there", Region: benchRegion, AccessKeyID: "ak",
		AccessKeySecret: "sk", Concurrency: concurrency})
	require.NoError(b, err)
	mover := transfer.New(source, sink, transfer.Options{Concurrency: concurrency})
	etag := newContents().etag(size)
	blobs := func(prefix string, n int) iter.Seq[transfer.Blob] {
		return func(yield func(transfer.Blob) bool) {
			for i := range n {
				if !yield(transfer.Blob{Key: fmt.Sprintf("%s/%d/%d", prefix, i%2000, size), Size: int64(size), ETag: etag}) {
					return
				}
			}
		}
	}
	require.NoError(b, mover.Copy(b.Context(), blobs("warm", min(2*concurrency, 64)), func(transfer.Stored) {}))
	b.ReportAllocs()
	b.SetBytes(int64(size))
	b.ResetTimer()
	before := cpuTime(b)
	require.NoError(b, mover.Copy(b.Context(), blobs("hot", b.N), func(transfer.Stored) {}))
	used := (cpuTime(b) - before).Seconds()
	b.StopTimer()
	total := float64(b.N) * float64(size)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "objects/s")
	b.ReportMetric(used/float64(b.N)*1e6, "CPU-µs/object")
	b.ReportMetric(used/total*(1<<30), "CPU-s/GiB")
}

func BenchmarkCopySmall(b *testing.B)  { benchmarkCopy(b, 4<<10, 32) }
func BenchmarkCopyMedium(b *testing.B) { benchmarkCopy(b, 1<<20, 16) }
func BenchmarkCopyLarge(b *testing.B)  { benchmarkCopy(b, largeSize, 4) }
