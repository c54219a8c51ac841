package elastic

import (
	"context"
	"fmt"
	"time"

	"github.com/elastic/go-elasticsearch/v7/esapi"
)

// Document is what is compared of a document.
type Document struct {
	Type, ID, Routing, Parent string
	Version                   int64
}

// Unlike is a document that a shard doesn't hold just so.
type Unlike struct {
	Document
	// Found is what the shard holds under that id instead; nil if nothing.
	Found *Document
}

// String says what is different.
func (u Unlike) String() string {
	name := fmt.Sprintf("document %q", u.ID)
	if u.Routing != "" {
		name += fmt.Sprintf(" (routing %q)", u.Routing)
	}
	switch f := u.Found; {
	case f == nil:
		return fmt.Sprintf("%s of version %d is missing", name, u.Version)
	case f.Version != u.Version:
		return fmt.Sprintf("%s has version %d instead of %d", name, f.Version, u.Version)
	case f.Routing != u.Routing:
		return fmt.Sprintf("%s has routing %q instead", name, f.Routing)
	case f.Parent != u.Parent:
		return fmt.Sprintf("%s has parent %q instead of %q", name, f.Parent, u.Parent)
	case f.Type != u.Type:
		return fmt.Sprintf("%s has type %q instead of %q", name, f.Type, u.Type)
	}
	return name + " is there twice"
}

// LookupOptions tune a look-up; the zero value works.
type LookupOptions struct {
	// IgnoreTypes leaves the mapping type out, for clusters of which only one has types.
	IgnoreTypes bool
	// Settings are the index's, as [Client.IndexSettings] gives them. They are read if nil.
	Settings map[string]string
	// Pace bounds the documents a second.
	Pace *Pace
	// Sleep pauses for Pace. The default is a real pause.
	Sleep func(context.Context, time.Duration) error
}

// idsAtOnce is how many documents one request looks up. The ids are the largest part of a request:
// 512 bytes each at most.
const idsAtOnce = 1000

// Lookup looks documents up by id in one shard of an index, and returns those that the shard
// doesn't hold just so: with the same type, routing, parent and version. Documents of the shard
// that weren't asked for are no matter. Refresh first. Errors as for Checksum.
func (c *Client) Lookup(ctx context.Context, index string, shard int, documents []Document,
	options LookupOptions,
) ([]Unlike, error) {
	what := call{operation: "look documents up", subject: fmt.Sprintf("[%s][%d]", index, shard), slow: true}
	if err := c.named(what.operation, []string{index}); err != nil {
		return nil, err
	}
	base, _, err := c.scanOf(ctx, what, index, ChecksumOptions{
		Settings: options.Settings, PageSize: defaultResultWindow, IgnoreTypes: options.IgnoreTypes,
	})
	if err != nil {
		return nil, err
	}
	l := looking{Client: c, what: what, index: index, shard: shard, version: base.version, window: base.size}
	var unlike []Unlike
	for len(documents) > 0 {
		n := min(len(documents), options.Pace.page(idsAtOnce))
		found, err := l.look(ctx, documents[:n], options.IgnoreTypes)
		if err != nil {
			return nil, err
		}
		unlike = append(unlike, found...)
		documents = documents[n:]
		if err := options.Pace.wait(ctx, n, options.Sleep); err != nil {
			return nil, fmt.Errorf("%s on %s: %w", what.operation, c.host, err)
		}
	}
	return unlike, nil
}

// looking is a look-up in one shard.
type looking struct {
	*Client
	what    call
	index   string
	shard   int
	version Version
	window  int // the most documents of one answer
}

func (l looking) look(ctx context.Context, documents []Document, ignoreTypes bool) ([]Unlike, error) {
	asked := map[string]bool{}
	ids := make([]string, 0, len(documents))
	for _, d := range documents {
		if !asked[d.ID] { // types share ids up to 5.x
			asked[d.ID] = true
			ids = append(ids, d.ID)
		}
	}
	hits, err := l.byIDs(ctx, ids)
	if err != nil {
		return nil, err
	}
	held := map[string][]Document{}
	for _, h := range hits {
		d, err := l.document(l.what, h, ignoreTypes)
		if err != nil {
			return nil, err
		}
		held[d.ID] = append(held[d.ID], d)
	}
	var unlike []Unlike
	for _, d := range documents {
		if ignoreTypes {
			d.Type = ""
		}
		if u, differs := d.among(held[d.ID]); differs {
			unlike = append(unlike, u)
		}
	}
	return unlike, nil
}

// among compares a document with those that a shard holds under its id. Up to 5.x each type may
// have one.
func (d Document) among(held []Document) (Unlike, bool) {
	u := Unlike{Document: d}
	same, ofType := 0, 0
	for _, other := range held {
		if other == d {
			same++
		}
		if other.Type == d.Type {
			ofType++
		}
		if u.Found == nil || other.Type == d.Type && other != d {
			u.Found = &other
		}
	}
	return u, same != 1 || ofType != 1
}

// byIDs finds all documents of a shard that have one of these ids.
func (l looking) byIDs(ctx context.Context, ids []string) ([]hit, error) {
	// There may be more than were asked for: ids are those of a type up to 5.x, and a broken shard may
	// hold a document twice.
	size := min(2*len(ids)+10, l.window)
	query := map[string]any{
		"query": map[string]any{"ids": map[string]any{"values": ids}}, "size": size, "sort": []string{"_doc"},
		"_source": false, "version": true,
	}
	if l.version.Major >= 7 {
		query["track_total_hits"] = true
	}
	var p page
	request := esapi.SearchRequest{
		Index: []string{segment(l.index)}, Preference: onShards([]int{l.shard}), Body: body(query),
		FilterPath: pageFields,
	}
	if err := l.do(ctx, l.what, request, &p); err != nil {
		return nil, err
	}
	if p.TimedOut {
		return nil, l.fail(l.what, Unavailable, "the search timed out")
	}
	if err := l.answeredBy(l.what, p.Shards, 1); err != nil {
		return nil, err
	}
	if int64(len(p.Hits.Hits)) == int64(p.Hits.Total) {
		return p.Hits.Hits, nil
	}
	if len(ids) == 1 {
		return nil, l.fail(l.what, Unavailable, fmt.Sprintf("it gave %d documents of id %q instead of %d",
			len(p.Hits.Hits),
			ids[0], int64(p.Hits.Total)))
	}
	// More types share the ids than fit: ask for fewer ids.
	half := len(ids) / 2
	first, err := l.byIDs(ctx, ids[:half])
	if err != nil {
		return nil, err
	}
	second, err := l.byIDs(ctx, ids[half:])
	return append(first, second...), err
}

// document is what is compared of a hit.
func (c *Client) document(what call, h hit, ignoreTypes bool) (Document, error) {
	if h.ID == "" || h.Version == nil {
		return Document{}, c.fail(what, Internal, "a document came without id or version")
	}
	if ignoreTypes {
		h.Type = ""
	}
	return Document{Type: h.Type, ID: h.ID, Routing: h.Routing, Parent: h.Parent, Version: *h.Version}, nil
}
