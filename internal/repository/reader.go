package repository

import (
	"errors"
	"fmt"
)

// reader reads a value field by field. Its errors don't name the object; the caller does.
type reader struct {
	tokens tokens
	peeked *token
	budget int // how many names and elements it may still give, which bounds the memory of the result
}

var errTooMany = errors.New("it has more entries than the limit")

func (r *reader) next() (token, error) {
	if t := r.peeked; t != nil {
		r.peeked = nil
		return *t, nil
	}
	return r.tokens.next()
}

func (r *reader) peek() (kind, error) {
	if r.peeked == nil {
		t, err := r.tokens.next()
		if err != nil {
			return 0, err
		}
		r.peeked = &t
	}
	return r.peeked.kind, nil
}

func (r *reader) expect(want kind) (token, error) {
	t, err := r.next()
	if err == nil && t.kind != want {
		err = fmt.Errorf("there is %v where %v should be", t.kind, want)
	}
	return t, err
}

// object calls field for each name of an object; field must read the value. It is an error if a
// name occurs twice: readers would disagree about which value counts.
func (r *reader) object(field func(name string) error) error {
	if _, err := r.expect(kindBeginObject); err != nil {
		return err
	}
	seen := map[string]bool{}
	for {
		t, err := r.next()
		if err != nil {
			return err
		}
		if t.kind == kindEndObject {
			return nil
		}
		if r.budget--; r.budget < 0 {
			return errTooMany
		}
		if seen[t.str] {
			return fmt.Errorf("the name %s occurs twice", clip(t.str))
		}
		seen[t.str] = true
		if err := field(t.str); err != nil {
			return fmt.Errorf("in %s: %w", clip(t.str), err)
		}
	}
}

// array calls element for each element of an array; element must read it.
func (r *reader) array(element func() error) error {
	if _, err := r.expect(kindBeginArray); err != nil {
		return err
	}
	for {
		k, err := r.peek()
		if err != nil {
			return err
		}
		if k == kindEndArray {
			_, err := r.next()
			return err
		}
		if r.budget--; r.budget < 0 {
			return errTooMany
		}
		if err := element(); err != nil {
			return err
		}
	}
}

// skip reads a value of any kind and ignores it.
func (r *reader) skip() error {
	depth := 0
	for {
		t, err := r.next()
		if err != nil {
			return err
		}
		switch t.kind {
		case kindBeginArray, kindBeginObject:
			depth++
		case kindEndArray, kindEndObject:
			depth--
		case kindName:
			continue
		}
		if depth == 0 {
			return nil
		}
	}
}

func (r *reader) end() error {
	_, err := r.expect(kindEnd)
	return err
}

func (r *reader) string(into *string) error {
	t, err := r.expect(kindString)
	*into = t.str
	return err
}

// int reads a number. Elasticsearch's parsers accept numbers in strings, but its writers write none
// here.
func (r *reader) int(into *int64) error {
	t, err := r.expect(kindInt)
	*into = t.int
	return err
}

// count reads a number that can't be negative.
func (r *reader) count(into *int64) error {
	if err := r.int(into); err != nil {
		return err
	}
	if *into < 0 {
		return fmt.Errorf("%d is negative", *into)
	}
	return nil
}

func (r *reader) bytes(into *[]byte) error {
	t, err := r.next()
	switch {
	case err != nil:
		return err
	case t.kind == kindBytes:
		*into = t.bytes
		return nil
	case t.kind == kindString: // JSON has binary in base64
		return decodeBase64(into, t.str)
	}
	return fmt.Errorf("there is %v where binary should be", t.kind)
}

func (r *reader) strings(into *[]string) error {
	return r.array(func() error {
		var s string
		err := r.string(&s)
		*into = append(*into, s)
		return err
	})
}

func (r *reader) stringMap(into *map[string]string) error {
	*into = map[string]string{}
	return r.object(func(name string) error {
		var s string
		err := r.string(&s)
		(*into)[name] = s
		return err
	})
}
