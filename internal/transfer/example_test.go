package transfer_test

import (
	"context"
	"fmt"

	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/internal/transfer"
)

// A blob is copied and proven. The second time one HEAD shows that the sink has a proven copy.
func ExampleMover_CopyOne() {
	ctx := context.Background()
	source, sink := memory.NewSource(), memory.NewSink()
	source.Store("indices/films/0/__0", []byte("a Lucene file"))

	info, err := source.Head(ctx, "indices/films/0/__0")
	if err != nil {
		fmt.Println(err)
		return
	}
	blob := transfer.Blob{Key: info.Key, Size: info.Size, ETag: info.ETag}

	mover := transfer.New(source, sink, transfer.Options{})
	for range 2 {
		stored, err := mover.CopyOne(ctx, blob)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s: %d bytes, skipped: %t\n", stored.Key, stored.Size, stored.Skipped)
		blob.Look = true
	}
	fmt.Printf("%s\n", sink.Objects()["indices/films/0/__0"])
	// Output:
	// indices/films/0/__0: 13 bytes, skipped: false
	// indices/films/0/__0: 13 bytes, skipped: true
	// a Lucene file
}
