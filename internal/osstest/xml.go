package osstest

import (
	"bytes"
	"encoding/xml"
	"net/http"
	"strconv"
	"time"
)

// document writes an XML answer. Listings have thousands of elements, so no reflection.
type document struct{ bytes.Buffer }

func (d *document) open(name string) {
	if d.Len() == 0 {
		d.WriteString(xml.Header)
	}
	d.tag("<", name)
}

func (d *document) tag(opening, name string) {
	d.WriteString(opening)
	d.WriteString(name)
	d.WriteByte('>')
}

// root opens the outermost element, which S3 puts into a namespace.
func (d *document) root(name string, of *dialect) { d.open(name + of.namespace) }

func (d *document) close(name string) { d.tag("</", name) }

func (d *document) element(name, text string) {
	d.open(name)
	if plainText(text) {
		d.WriteString(text)
	} else {
		_ = xml.EscapeText(d, []byte(text)) // a bytes.Buffer takes everything
	}
	d.close(name)
}

// plainText tells whether a text has only characters of ASCII that XML leaves as they are.
func plainText(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '<' || c == '>' || c == '&' || c == '"' || c == '\'' {
			return false
		}
	}
	return true
}

func (d *document) number(name string, n int64) { d.element(name, strconv.FormatInt(n, 10)) }

// owner is the same for all: one account, as behind one endpoint with one key pair.
func (d *document) owner() {
	d.open("Owner")
	d.element("ID", ownerID)
	d.element("DisplayName", ownerID)
	d.close("Owner")
}

const ownerID = "1305433695150000"

// stamp is how OSS writes times in XML; it knows whole seconds only.
func stamp(t time.Time) string {
	return t.UTC().Truncate(time.Second).Format("2006-01-02T15:04:05.000Z")
}

// encoder returns how keys travel in an answer: as they are, or escaped when the request asks with
// encoding-type=url.
func (c *call) encoder() (func(string) string, error) {
	switch c.query.Get("encoding-type") {
	case "":
		return func(s string) string { return s }, nil
	case "url":
		return c.d.escape, nil
	}
	return nil, errInvalidArgument.because("Invalid Encoding Method specified in Request").
		with("ArgumentName", "encoding-type").with("ArgumentValue", c.query.Get("encoding-type"))
}

// encodingType tells the reader of a listing that keys are escaped.
func (c *call) encodingType(d *document) {
	if e := c.query.Get("encoding-type"); e != "" {
		d.element("EncodingType", e)
	}
}

// reply sends d (nil: no body) with the status.
func (c *call) reply(status int, d *document) {
	if c.effect.loseAnswer {
		c.injected(FaultLoseAnswer)
		c.reset()
		return
	}
	h := c.w.Header()
	if d == nil {
		if status != http.StatusNoContent {
			h.Set("Content-Length", "0")
		}
		c.w.WriteHeader(status)
		return
	}
	h.Set("Content-Type", "application/xml")
	h.Set("Content-Length", strconv.Itoa(d.Len()))
	c.w.WriteHeader(status)
	_, _ = c.w.Write(d.Bytes()) // whoever went away gets no answer
}

// number reads an integer parameter; fallback when it's absent.
func (c *call) number(name string, fallback, low, high int) (int, error) {
	v := c.query.Get(name)
	if v == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < low || n > high {
		return 0, errInvalidArgument.because("Argument %s must be an integer between %d and %d.", name, low, high).
			with("ArgumentName", name).with("ArgumentValue", v)
	}
	return n, nil
}
