package repository

import "testing"

func TestParseRootOfEachVersion(t *testing.T) {
	for name, data := range map[string]string{
		"2.x":          `{"snapshots":["a","b"]}`,
		"5.0":          `{"snapshots":[{"name":"a","uuid":"A"}],"indices":{"i":{"id":"I","snapshots":[{"name":"a","uuid":"A"}]}}}`,
		"5.4.1 to 7.5": `{"snapshots":[{"name":"a","uuid":"A","state":1}],"indices":{"i":{"id":"I","snapshots":["A"]}}}`,
	} {
		if _, err := ParseRoot(3, []byte(data)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
