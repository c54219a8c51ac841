package repository

import (
	"encoding/binary"
	"errors"
	"math"
	"unicode/utf8"
)

// smileTokens reads one value in Smile, Jackson's binary JSON, which Elasticsearch uses for nearly
// every object of a repository. It reads all of version 0 of the format.
//
// Sources: github.com/FasterXML/smile-format-specification. Where that is unclear (padding of 7-bit
// binary, sharing of long names), Jackson's SmileGenerator, which wrote the bytes. Elasticsearch
// writes shared names and raw binary, but no shared values and no end marker (SmileXContent).
type smileTokens struct {
	in     []byte
	pos    int
	flags  byte
	frames frames
	names  []string // shared names seen; cleared when 1,024 are full
	values []string // shared short string values seen; likewise
	done   bool
}

const (
	smileSharedNames  = 0x01
	smileSharedValues = 0x02
	smileRawBinary    = 0x04
	smileMaxShared    = 1024

	smileEndOfString = 0xFC
	smileEndOfData   = 0xFF
)

var (
	smileMagic = []byte(":)\n")

	errTruncated = errors.New("it ends too early")
	errTrailing  = errors.New("there are more bytes after its end")
)

func newSmileTokens(in []byte) (*smileTokens, error) {
	if len(in) < 4 || string(in[:3]) != string(smileMagic) {
		return nil, errors.New("it doesn't start with a Smile header")
	}
	if in[3]&0xF0 != 0 {
		return nil, errors.New("its Smile version is unknown")
	}
	return &smileTokens{in: in, pos: 4, flags: in[3]}, nil
}

func (s *smileTokens) next() (token, error) {
	if s.done {
		return s.end()
	}
	b, err := s.byte()
	if err != nil {
		return token{}, err
	}
	var t token
	if s.frames.expectsName() {
		t, err = s.key(b)
	} else {
		t, err = s.value(b)
	}
	if err != nil {
		return token{}, err
	}
	s.done, err = s.frames.track(t.kind)
	return t, err
}

// end accepts nothing, or one end marker, after the value.
func (s *smileTokens) end() (token, error) {
	if rest := s.in[s.pos:]; len(rest) > 1 || len(rest) == 1 && rest[0] != smileEndOfData {
		return token{}, errTrailing
	}
	return token{kind: kindEnd}, nil
}

func (s *smileTokens) key(b byte) (token, error) {
	switch {
	case b == 0x20:
		return token{kind: kindName}, nil
	case b >= 0x30 && b <= 0x33: // long shared reference
		low, err := s.byte()
		if err != nil {
			return token{}, err
		}
		return s.shared(kindName, smileSharedNames, s.names, int(b&0x03)<<8|int(low))
	case b == 0x34: // long name
		return s.newName(s.untilMarker())
	case b >= 0x40 && b <= 0x7F: // short shared reference
		return s.shared(kindName, smileSharedNames, s.names, int(b-0x40))
	case b >= 0x80 && b <= 0xBF: // short ASCII name
		return s.newName(s.take(int(b-0x80) + 1))
	case b >= 0xC0 && b <= 0xF7: // short Unicode name
		return s.newName(s.take(int(b-0xC0) + 2))
	case b == 0xFB:
		return token{kind: kindEndObject}, nil
	}
	return token{}, unexpectedByte(b)
}

func (s *smileTokens) value(b byte) (token, error) {
	switch {
	case b >= 0x01 && b <= 0x1F: // short shared reference
		return s.shared(kindString, smileSharedValues, s.values, int(b)-1)
	case b >= 0x20 && b <= 0x2A:
		return s.literal(b)
	case b >= 0x40 && b <= 0x7F: // tiny and short ASCII, 1 to 64 bytes
		return s.newValue(s.take(int(b-0x40) + 1))
	case b >= 0x80 && b <= 0xBF: // tiny and short Unicode, 2 to 65 bytes
		return s.newValue(s.take(int(b-0x80) + 2))
	case b >= 0xC0 && b <= 0xDF: // small integer
		return token{kind: kindInt, int: zigzag(uint64(b & 0x1F))}, nil
	}
	switch b {
	case 0xE0, 0xE4: // long ASCII, long Unicode
		raw, err := s.untilMarker()
		return stringToken(kindString, raw, err)
	case 0xE8:
		raw, err := s.sevenBit()
		return token{kind: kindBytes, bytes: raw}, err
	case 0xEC, 0xED, 0xEE, 0xEF: // long shared reference
		low, err := s.byte()
		if err != nil {
			return token{}, err
		}
		return s.shared(kindString, smileSharedValues, s.values, int(b&0x03)<<8|int(low))
	case 0xF8:
		return token{kind: kindBeginArray}, nil
	case 0xF9:
		return token{kind: kindEndArray}, nil
	case 0xFA:
		return token{kind: kindBeginObject}, nil
	case 0xFD:
		if s.flags&smileRawBinary == 0 {
			return token{}, errors.New("it has raw binary, which its header excludes")
		}
		n, err := s.length()
		if err != nil {
			return token{}, err
		}
		raw, err := s.take(n)
		return token{kind: kindBytes, bytes: raw}, err
	}
	return token{}, unexpectedByte(b)
}

func (s *smileTokens) literal(b byte) (token, error) {
	switch b {
	case 0x20:
		return token{kind: kindString}, nil
	case 0x21:
		return token{kind: kindNull}, nil
	case 0x22, 0x23:
		return token{kind: kindBool, int: int64(b - 0x22)}, nil
	case 0x24:
		u, err := s.vint(5)
		if n := zigzag(u); err == nil && n != int64(int32(n)) {
			return token{}, errors.New("a 32-bit number is too large")
		}
		return token{kind: kindInt, int: zigzag(u)}, err
	case 0x25:
		u, err := s.vint(10)
		return token{kind: kindInt, int: zigzag(u)}, err
	case 0x26: // BigInteger
		_, err := s.sevenBit()
		return token{kind: kindNumber}, err
	case 0x28:
		u, err := s.fixed(5, 32)
		return token{kind: kindFloat, float: float64(math.Float32frombits(uint32(u)))}, err
	case 0x29:
		u, err := s.fixed(10, 64)
		return token{kind: kindFloat, float: math.Float64frombits(u)}, err
	case 0x2A: // BigDecimal: scale, then the unscaled value
		if _, err := s.vint(5); err != nil {
			return token{}, err
		}
		_, err := s.sevenBit()
		return token{kind: kindNumber}, err
	}
	return token{}, unexpectedByte(b)
}

func (s *smileTokens) newName(raw []byte, err error) (token, error) {
	t, err := stringToken(kindName, raw, err)
	if err == nil && s.flags&smileSharedNames != 0 {
		s.names = remember(s.names, t.str)
	}
	return t, err
}

func (s *smileTokens) newValue(raw []byte, err error) (token, error) {
	t, err := stringToken(kindString, raw, err)
	if err == nil && s.flags&smileSharedValues != 0 {
		s.values = remember(s.values, t.str)
	}
	return t, err
}

func remember(seen []string, str string) []string {
	if len(seen) == smileMaxShared {
		seen = seen[:0]
	}
	return append(seen, str)
}

func (s *smileTokens) shared(k kind, flag byte, seen []string, index int) (token, error) {
	if s.flags&flag == 0 || index >= len(seen) {
		return token{}, errors.New("it refers to an earlier string that it doesn't have")
	}
	return token{kind: k, str: seen[index]}, nil
}

func stringToken(k kind, raw []byte, err error) (token, error) {
	if err != nil {
		return token{}, err
	}
	if !utf8.Valid(raw) {
		return token{}, errors.New("a string is not valid UTF-8")
	}
	return token{kind: k, str: string(raw)}, nil
}

func (s *smileTokens) byte() (byte, error) {
	if s.pos >= len(s.in) {
		return 0, errTruncated
	}
	s.pos++
	return s.in[s.pos-1], nil
}

// take returns the next n bytes without copying them.
func (s *smileTokens) take(n int) ([]byte, error) {
	if n > len(s.in)-s.pos {
		return nil, errTruncated
	}
	s.pos += n
	return s.in[s.pos-n : s.pos : s.pos], nil
}

func (s *smileTokens) untilMarker() ([]byte, error) {
	for i := s.pos; i < len(s.in); i++ {
		if s.in[i] == smileEndOfString {
			raw := s.in[s.pos:i:i]
			s.pos = i + 1
			return raw, nil
		}
	}
	return nil, errTruncated
}

// vint reads a number with the most significant bits first: 7 bits in each byte, 6 in the last,
// which has its top bit set.
func (s *smileTokens) vint(most int) (uint64, error) {
	var u uint64
	for range most {
		b, err := s.byte()
		if err != nil {
			return 0, err
		}
		if b&0x80 != 0 {
			if b&0x40 != 0 || u>>58 != 0 {
				return 0, errors.New("a number is malformed")
			}
			return u<<6 | uint64(b&0x3F), nil
		}
		if u>>57 != 0 {
			return 0, errors.New("a number is malformed")
		}
		u = u<<7 | uint64(b)
	}
	return 0, errors.New("a number is too long")
}

// fixed reads bits as n bytes of 7 bits, aligned to the right.
func (s *smileTokens) fixed(n, bits int) (uint64, error) {
	raw, err := s.take(n)
	if err != nil {
		return 0, err
	}
	var u uint64
	for i, b := range raw {
		if b&0x80 != 0 || i == 0 && int(b)>>(bits-7*(n-1)) != 0 {
			return 0, errors.New("a floating point number is malformed")
		}
		u = u<<7 | uint64(b)
	}
	return u, nil
}

// length reads the count of bytes that follow.
func (s *smileTokens) length() (int, error) {
	u, err := s.vint(10)
	if err != nil {
		return 0, err
	}
	if u > uint64(len(s.in)-s.pos) {
		return 0, errTruncated
	}
	return int(u), nil
}

// sevenBit reads binary in which 8 bytes hold 7. In a shorter rest the last byte has its bits on
// the right, as Jackson writes it, and not on the left, as the specification says.
func (s *smileTokens) sevenBit() ([]byte, error) {
	n, err := s.length()
	if err != nil {
		return nil, err
	}
	encoded, err := s.take(n/7*8 + n%7 + min(n%7, 1))
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, n)
	for len(encoded) > 0 {
		group := encoded[:min(8, len(encoded))]
		encoded = encoded[len(group):]
		last := len(group) - 1 // as many bytes come out of it
		var u uint64
		for i, b := range group {
			if b&0x80 != 0 || i == last && int(b)>>last != 0 {
				return nil, errors.New("7-bit binary is malformed")
			}
			if i < last {
				u = u<<7 | uint64(b)
			} else {
				u = u<<last | uint64(b)
			}
		}
		var be [8]byte
		binary.BigEndian.PutUint64(be[:], u)
		out = append(out, be[8-last:]...)
	}
	return out, nil
}

func zigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

func unexpectedByte(b byte) error {
	return errors.New("it has the byte 0x" + string("0123456789abcdef"[b>>4]) + string("0123456789abcdef"[b&15]) +
		" where a Smile token should start")
}
