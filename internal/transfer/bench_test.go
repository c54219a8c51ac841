package transfer_test

import (
	"bufio"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
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

// The server of a benchmark runs in a process of its own, this binary with serverVariable set, so
// that the CPU time that is reported is the copy's alone. It speaks S3 and OSS, and ends when its
// standard input does.
const (
	serverVariable = "SNAPFERRY_BENCHMARK_SERVER" // how many source objects there are, of which size: "2000 4096"
	benchSource    = "bench-source"
	benchSink      = "bench-sink"
	benchRegion    = "ap-southeast-1"
)

type benchServer struct{ S3, OSS string }

func benchKey(i int) string { return fmt.Sprintf("indices/%d/__%d", i%40, i) }

// benchData is what all objects of a size are.
func benchData(size int) []byte { return objectstoretest.Random(1, size) }

// serveBenchmark runs the server until the standard input ends.
func serveBenchmark(what string) error {
	var count, size int
	if _, err := fmt.Sscan(what, &count, &size); err != nil {
		return err
	}
	server, err := osstest.Start(osstest.Options{
		Region: benchRegion, Keys: []osstest.Key{{ID: "ak", Secret: "sk"}},
		S3: &osstest.S3Options{Region: benchRegion},
	})
	if err != nil {
		return err
	}
	defer server.Close()
	for _, bucket := range []string{benchSource, benchSink} {
		if err := server.CreateBucket(bucket, osstest.BucketOptions{}); err != nil {
			return err
		}
	}
	data := benchData(size)
	for i := range count {
		if err := server.Put(benchSource, "from/here/"+benchKey(i), data); err != nil {
			return err
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(benchServer{S3: server.S3URL(), OSS: server.URL()}); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// startServer starts it in a process of its own, which ends with the benchmark.
func startServer(b *testing.B, count, size int) benchServer {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d", serverVariable, count, size))
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
	var s benchServer
	require.NoError(b, json.Unmarshal(line, &s))
	return s
}

func cpuTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// benchmarkCopy copies b.N blobs of a size, over HTTP and signed as in earnest, from and to a
// server that keeps files. It reports what the copy itself used.
func benchmarkCopy(b *testing.B, size, count, concurrency int) {
	server := startServer(b, count, size)
	source, err := s3.New(b.Context(), s3.Options{
		Bucket: benchSource, BasePath: "from/here", Region: benchRegion,
		Endpoint:  server.S3,
		PathStyle: true, Concurrency: concurrency, Credentials: credentials.NewStaticCredentialsProvider("ak", "sk",
			""),
	})
	require.NoError(b, err)
	sink, err := oss.New(oss.Options{
		Endpoint: server.OSS, Bucket: benchSink, BasePath: "to/there", Region: benchRegion,
		AccessKeyID:     "ak",
		AccessKeySecret: "sk", Concurrency: concurrency,
	})
	require.NoError(b, err)
	mover := transfer.New(source, sink, transfer.Options{Concurrency: concurrency})
	sum := md5.Sum(benchData(size))
	blobs := func(n int) iter.Seq[transfer.Blob] {
		return func(yield func(transfer.Blob) bool) {
			for i := range n {
				if !yield(transfer.Blob{
					Key: benchKey(i % count), Size: int64(size),
					ETag: hex.EncodeToString(sum[:]),
				}) {
					return
				}
			}
		}
	}
	copyAll := func(n int) { require.NoError(b, mover.Copy(b.Context(), blobs(n), func(transfer.Stored) {})) }
	copyAll(min(4*concurrency, count))
	b.ReportAllocs()
	b.SetBytes(int64(size))
	b.ResetTimer()
	before := cpuTime(b)
	copyAll(b.N)
	used := (cpuTime(b) - before).Seconds()
	b.StopTimer()
	total := float64(b.N) * float64(size)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "objects/s")
	b.ReportMetric(used/float64(b.N)*1e6, "CPU-µs/object")
	b.ReportMetric(used/total*(1<<30), "CPU-s/GiB")
}

func BenchmarkCopySmall(b *testing.B)  { benchmarkCopy(b, 4<<10, 2000, 32) }
func BenchmarkCopyMedium(b *testing.B) { benchmarkCopy(b, 1<<20, 64, 16) }
func BenchmarkCopyLarge(b *testing.B)  { benchmarkCopy(b, 64<<20, 4, 4) }
