package repository

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"unicode/utf8"
)

// jsonTokens gives the tokens of one JSON value. Unlike a map it shows names that occur twice.
type jsonTokens struct {
	decoder *json.Decoder
	frames  frames
	done    bool
}

func newJSONTokens(in []byte) (*jsonTokens, error) {
	if !utf8.Valid(in) {
		return nil, errors.New("it is not valid UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(in))
	d.UseNumber()
	return &jsonTokens{decoder: d}, nil
}

func (j *jsonTokens) next() (token, error) {
	raw, err := j.decoder.Token()
	switch {
	case j.done && errors.Is(err, io.EOF):
		return token{kind: kindEnd}, nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return token{}, errTruncated
	case err != nil:
		return token{}, errors.New("it is not JSON: " + err.Error())
	case j.done:
		return token{}, errTrailing
	}
	t := j.convert(raw)
	j.done, err = j.frames.track(t.kind)
	return t, err
}

func (j *jsonTokens) convert(raw json.Token) token {
	switch v := raw.(type) {
	case json.Delim:
		return token{kind: map[json.Delim]kind{
			'{': kindBeginObject, '}': kindEndObject,
			'[': kindBeginArray, ']': kindEndArray,
		}[v]}
	case bool:
		t := token{kind: kindBool}
		if v {
			t.int = 1
		}
		return t
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return token{kind: kindInt, int: n}
		}
		if f, err := v.Float64(); err == nil {
			return token{kind: kindFloat, float: f}
		}
		return token{kind: kindNumber}
	case string:
		if j.frames.expectsName() {
			return token{kind: kindName, str: v}
		}
		return token{kind: kindString, str: v}
	default:
		return token{kind: kindNull}
	}
}
