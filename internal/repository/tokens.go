package repository

import "errors"

type kind uint8

const (
	kindEnd kind = iota // after the value
	kindNull
	kindBool   // int is 0 or 1
	kindInt    // int
	kindFloat  // float
	kindNumber // beyond int64 and float64: no value kept
	kindString // str
	kindBytes  // bytes
	kindName   // str: a field's name
	kindBeginObject
	kindEndObject
	kindBeginArray
	kindEndArray
)

var kindNames = [...]string{
	"the end", "null", "a boolean", "an integer", "a fraction", "a huge number", "a string",
	"binary",
	"a name", "an object", "the end of an object", "an array", "the end of an array",
}

func (k kind) String() string { return kindNames[k] }

// token is one step through a value in JSON or Smile.
type token struct {
	kind  kind
	int   int64
	float float64
	str   string
	bytes []byte
}

// tokens gives the tokens of exactly one value, well nested, and then kindEnd.
type tokens interface{ next() (token, error) }

// frames follows the nesting: one element per open object or array.
type frames []frame

type frame struct{ array, value bool } // value: an object's name was read, its value comes next

func (f frames) expectsName() bool {
	return len(f) > 0 && !f[len(f)-1].array && !f[len(f)-1].value
}

// track follows the nesting and refuses a token in the wrong place. done reports that the complete
// value was read.
func (f *frames) track(k kind) (done bool, err error) {
	top := len(*f) - 1
	switch k {
	case kindName:
		(*f)[top].value = true
		return false, nil
	case kindEndObject, kindEndArray:
		if top < 0 || (*f)[top].array != (k == kindEndArray) || (*f)[top].value {
			return false, errors.New("its brackets don't match")
		}
		*f = (*f)[:top]
		return top == 0, nil
	}
	if top >= 0 {
		(*f)[top].value = false
	}
	if k == kindBeginObject || k == kindBeginArray {
		if len(*f) == maxDepth {
			return false, errors.New("it is nested too deep")
		}
		*f = append(*f, frame{array: k == kindBeginArray})
		return false, nil
	}
	return top < 0, nil
}
