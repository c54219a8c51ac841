package repositorytest

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"sync"
)

// Object is an object with its fields in order.
type Object []Field

// Field is a name and a value: nil, bool, int, int64, float64, string, []byte, []any or Object.
type Field struct {
	Name  string
	Value any
}

// SmileOptions choose among forms of the same value.
type SmileOptions struct {
	SharedValues bool // refer back to short strings; Elasticsearch doesn't
	SevenBit     bool // binary as 7-bit; Elasticsearch writes it raw
}

// Smile encodes a value as Elasticsearch's writer does: shared names, raw binary.
func Smile(value any) []byte { return SmileOptions{}.Encode(value) }

// Encode encodes a value. It panics on a type that Field doesn't name: that is a mistake in the
// test.
func (o SmileOptions) Encode(value any) []byte {
	e := &encoder{options: o, names: map[string]int{}, values: map[string]int{}}
	flags := byte(0x01)
	if o.SharedValues {
		flags |= 0x02
	}
	if !o.SevenBit {
		flags |= 0x04
	}
	e.out = append(e.out, ':', ')', '\n', flags)
	e.value(value)
	return e.out
}

type encoder struct {
	options       SmileOptions
	out           []byte
	names, values map[string]int
	nameCount     int
	valueCount    int
}

func (e *encoder) value(value any) {
	switch v := value.(type) {
	case nil:
		e.out = append(e.out, 0x21)
	case bool:
		if v {
			e.out = append(e.out, 0x23)
		} else {
			e.out = append(e.out, 0x22)
		}
	case int:
		e.integer(int64(v))
	case int64:
		e.integer(v)
	case float64:
		e.out = append(e.out, 0x29)
		u := math.Float64bits(v)
		for i := 9; i >= 0; i-- {
			e.out = append(e.out, byte(u>>(7*i))&0x7F)
		}
	case string:
		e.text(v)
	case []byte:
		e.binary(v)
	case []any:
		e.out = append(e.out, 0xF8)
		for _, element := range v {
			e.value(element)
		}
		e.out = append(e.out, 0xF9)
	case Object:
		e.out = append(e.out, 0xFA)
		for _, f := range v {
			e.name(f.Name)
			e.value(f.Value)
		}
		e.out = append(e.out, 0xFB)
	default:
		panic(fmt.Sprintf("repositorytest: no Smile for %T", value))
	}
}

func (e *encoder) integer(n int64) {
	zigzag := uint64(n<<1) ^ uint64(n>>63)
	switch {
	case n >= -16 && n <= 15:
		e.out = append(e.out, 0xC0+byte(zigzag))
	case n == int64(int32(n)):
		e.out = append(e.out, 0x24)
		e.vint(zigzag)
	default:
		e.out = append(e.out, 0x25)
		e.vint(zigzag)
	}
}

func (e *encoder) vint(u uint64) {
	reversed := []byte{0x80 | byte(u&0x3F)}
	for u >>= 6; u > 0; u >>= 7 {
		reversed = append(reversed, byte(u&0x7F))
	}
	for i := len(reversed) - 1; i >= 0; i-- {
		e.out = append(e.out, reversed[i])
	}
}

func (e *encoder) text(s string) {
	if s == "" {
		e.out = append(e.out, 0x20)
		return
	}
	n, short := len(s), len(s) <= 64
	if ref, ok := e.values[s]; ok && e.options.SharedValues && short {
		if ref < 31 {
			e.out = append(e.out, byte(ref+1))
		} else {
			e.out = append(e.out, 0xEC|byte(ref>>8), byte(ref))
		}
		return
	}
	switch {
	case ascii(s) && short:
		e.out = append(append(e.out, 0x40+byte(n-1)), s...)
	case short:
		e.out = append(append(e.out, 0x80+byte(n-2)), s...)
	case ascii(s):
		e.out = append(append(append(e.out, 0xE0), s...), 0xFC)
	default:
		e.out = append(append(append(e.out, 0xE4), s...), 0xFC)
	}
	if e.options.SharedValues && short {
		e.valueCount = share(e.values, e.valueCount, s)
	}
}

func (e *encoder) name(s string) {
	if s == "" {
		e.out = append(e.out, 0x20)
		return
	}
	if ref, ok := e.names[s]; ok {
		if ref < 64 {
			e.out = append(e.out, 0x40+byte(ref))
		} else {
			e.out = append(e.out, 0x30|byte(ref>>8), byte(ref))
		}
		return
	}
	n := len(s)
	switch {
	case ascii(s) && n <= 64:
		e.out = append(append(e.out, 0x80+byte(n-1)), s...)
	case !ascii(s) && n <= 57:
		e.out = append(append(e.out, 0xC0+byte(n-2)), s...)
	default:
		e.out = append(append(append(e.out, 0x34), s...), 0xFC)
	}
	e.nameCount = share(e.names, e.nameCount, s)
}

// share remembers a string under the next reference. As Jackson does, references whose low byte is
// 0xFE or 0xFF are never used, though they count.
func share(refs map[string]int, count int, s string) int {
	if count == 1024 {
		clear(refs)
		count = 0
	}
	if count&0xFF < 0xFE {
		refs[s] = count
	}
	return count + 1
}

func (e *encoder) binary(raw []byte) {
	if !e.options.SevenBit {
		e.out = append(e.out, 0xFD)
		e.vint(uint64(len(raw)))
		e.out = append(e.out, raw...)
		return
	}
	e.out = append(e.out, 0xE8)
	e.vint(uint64(len(raw)))
	for len(raw) > 0 {
		n := min(7, len(raw))
		var u uint64
		for _, b := range raw[:n] {
			u = u<<8 | uint64(b)
		}
		for i := 1; i <= n; i++ {
			e.out = append(e.out, byte(u>>(8*n-7*i))&0x7F)
		}
		e.out = append(e.out, byte(u)&(1<<n-1)) // the last n bits, to the right
		raw = raw[n:]
	}
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// Frame puts a Lucene codec header and footer around a body, after deflating it if asked.
func Frame(codec string, body []byte, compress bool) []byte {
	out := binary.BigEndian.AppendUint32(nil, 0x3fd76c17)
	out = append(append(out, byte(len(codec))), codec...)
	out = binary.BigEndian.AppendUint32(out, 1)
	if compress {
		body = Deflate(body)
	}
	out = append(out, body...)
	out = binary.BigEndian.AppendUint32(out, 0xc02893e8)
	out = binary.BigEndian.AppendUint32(out, 0)
	return binary.BigEndian.AppendUint64(out, uint64(crc32.ChecksumIEEE(out)))
}

// Deflate compresses a body as Elasticsearch's DeflateCompressor does.
func Deflate(body []byte) []byte {
	var b bytes.Buffer
	b.WriteString("DFL\x00")
	w := deflaters.Get().(*flate.Writer)
	defer deflaters.Put(w)
	w.Reset(&b)
	if _, err := w.Write(body); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// deflaters saves making one for each object, which would take most of a test's time.
var deflaters = sync.Pool{New: func() any {
	w, err := flate.NewWriter(nil, 3)
	if err != nil {
		panic(err)
	}
	return w
}}
