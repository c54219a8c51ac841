package repository

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// The frame around every *.dat object. Lucene: CodecUtil.writeHeader and writeFooter.
// Elasticsearch: ChecksumBlobStoreFormat.
const (
	codecMagic   = 0x3fd76c17
	footerMagic  = 0xc02893e8 // the complement of codecMagic
	footerLength = 16         // magic, algorithm, CRC32 as 8 bytes
	codecVersion = 1

	codecSnapshot = "snapshot" // root and shard snap-*.dat
	codecIndex    = "index-metadata"
)

// deflateHeader starts a compressed body (Elasticsearch: DeflateCompressor); raw deflate follows.
var deflateHeader = []byte("DFL\x00")

// unframe checks header, footer and checksum of an object and returns its body, inflated.
func unframe(data []byte, codec string, limits Limits) ([]byte, error) {
	if int64(len(data)) > limits.MaxBody {
		return nil, fmt.Errorf("it has %d bytes, more than the limit of %d", len(data), limits.MaxBody)
	}
	headerLength := 4 + 1 + len(codec) + 4
	if len(data) < headerLength+footerLength {
		return nil, fmt.Errorf("it has only %d bytes", len(data))
	}
	header, footer := data[:headerLength], data[len(data)-footerLength:]
	if binary.BigEndian.Uint32(header) != codecMagic {
		return nil, errors.New("it doesn't start with a Lucene codec header")
	}
	if int(header[4]) != len(codec) || string(header[5:5+len(codec)]) != codec {
		return nil, fmt.Errorf("its codec is not %q", codec)
	}
	if v := binary.BigEndian.Uint32(header[headerLength-4:]); v != codecVersion {
		return nil, fmt.Errorf("its codec version is %d, not %d", v, codecVersion)
	}
	if binary.BigEndian.Uint32(footer) != footerMagic || binary.BigEndian.Uint32(footer[4:]) != 0 {
		return nil, errors.New("it doesn't end with a Lucene codec footer, so it was cut off or overwritten")
	}
	stored, computed := binary.BigEndian.Uint64(footer[8:]), uint64(crc32.ChecksumIEEE(data[:len(data)-8]))
	if stored != computed {
		return nil, fmt.Errorf("its checksum is %08x, but that of its content is %08x", stored, computed)
	}
	body := data[headerLength : len(data)-footerLength]
	if compressed, ok := bytes.CutPrefix(body, deflateHeader); ok {
		return inflate(compressed, limits.MaxBody)
	}
	return body, nil
}

func inflate(compressed []byte, most int64) ([]byte, error) {
	in := bytes.NewReader(compressed)
	body, err := io.ReadAll(io.LimitReader(flate.NewReader(in), most+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("it can't be inflated: %w", err)
	case int64(len(body)) > most:
		return nil, fmt.Errorf("it inflates to more than the limit of %d bytes", most)
	case in.Len() > 0:
		return nil, errTrailing
	}
	return body, nil
}

// readValue walks the one value of a body, in Smile or JSON.
func readValue(body []byte, budget int, read func(*reader) error) error {
	var t tokens
	var err error
	if bytes.HasPrefix(body, []byte("{")) {
		t, err = newJSONTokens(body)
	} else {
		t, err = newSmileTokens(body)
	}
	if err != nil {
		return err
	}
	r := &reader{tokens: t, budget: budget}
	if err := read(r); err != nil {
		return err
	}
	return r.end()
}

func decodeBase64(into *[]byte, s string) error {
	raw, err := base64.StdEncoding.DecodeString(s)
	*into = raw
	return err
}
