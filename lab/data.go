package lab

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/snapferry/snapferry/lab/cluster"
)

// The indices that the demo and the tests move.
const (
	MoviesIndex  = "movies"
	MoviesType   = "movie"
	CatalogIndex = "catalog"
	CatalogType  = "product"
)

// Film is a document of the index movies.
type Film struct {
	Title    string `json:"title"`
	Year     int    `json:"year"`
	Director string `json:"director"`
}

// FirstFilms are in the source before the migration starts, LaterFilms come while it runs. Their
// ids are 1 to 5.
var (
	FirstFilms = []Film{
		{"Rashomon", 1950, "Akira Kurosawa"},
		{"The Passenger", 1975, "Michelangelo Antonioni"},
		{"Beau Travail", 1999, "Claire Denis"},
	}
	LaterFilms = []Film{
		{"In the Mood for Love", 2000, "Wong Kar-wai"},
		{"Moonlight", 2016, "Barry Jenkins"},
	}
)

// LoadMovies creates movies as an application would, by writing into it, with the three first
// films.
func LoadMovies(ctx context.Context, c *cluster.Client) error {
	return addFilms(ctx, c, 1, FirstFilms)
}

// AddFilms adds the two later films.
func AddFilms(ctx context.Context, c *cluster.Client) error {
	return addFilms(ctx, c, 1+len(FirstFilms), LaterFilms)
}

func addFilms(ctx context.Context, c *cluster.Client, firstID int, films []Film) error {
	for i, film := range films {
		path := fmt.Sprintf("/%s/%s/%d", MoviesIndex, MoviesType, firstID+i)
		if err := c.Do(ctx, http.MethodPut, path, film, nil); err != nil {
			return fmt.Errorf("the film %q was not added: %w", film.Title, err)
		}
	}
	return c.Refresh(ctx, MoviesIndex)
}

// CatalogOptions shape the index catalog. The zero value is what the demo uses.
type CatalogOptions struct {
	Index           string // default catalog
	Type            string // default product
	Documents       int    // default 50,000
	Shards          int    // default 5
	Replicas        int    // default 0; anything else leaves a cluster of one node yellow, as it should
	RefreshInterval string // default 5s, which is not Elasticsearch's default: a migration has to copy it
	Seed            uint64 // the same seed gives the same documents
}

func (o CatalogOptions) withDefaults() CatalogOptions {
	if o.Index == "" {
		o.Index = CatalogIndex
	}
	if o.Type == "" {
		o.Type = CatalogType
	}
	if o.Documents == 0 {
		o.Documents = 50_000
	}
	if o.Shards == 0 {
		o.Shards = 5
	}
	if o.RefreshInterval == "" {
		o.RefreshInterval = "5s"
	}
	return o
}

// Product is a document of the index catalog.
type Product struct {
	SKU         string    `json:"sku"`
	Name        string    `json:"name"`
	Category    string    `json:"category"`
	Brand       string    `json:"brand"`
	PriceCents  int       `json:"priceCents"`
	Currency    string    `json:"currency"`
	Stock       int       `json:"stock"`
	Tags        []string  `json:"tags"`
	Description string    `json:"description"`
	AddedAt     time.Time `json:"addedAt"`
}

var (
	adjectives = []string{
		"Compact", "Folding", "Waterproof", "Cordless", "Stackable", "Insulated", "Adjustable",
		"Silent", "Reusable", "Handmade",
	}
	materials = []string{"Steel", "Bamboo", "Ceramic", "Linen", "Oak", "Glass", "Cork", "Aluminium", "Wool", "Copper"}
	things    = []string{
		"Kettle", "Lamp", "Backpack", "Bottle", "Chair", "Blender", "Notebook", "Blanket", "Shelf",
		"Speaker", "Tent", "Pan",
	}
	categories = []string{"kitchen", "lighting", "travel", "furniture", "stationery", "audio", "outdoor", "home"}
	brands     = []string{"Nordvik", "Halden", "Mirae", "Osterley", "Casa Lenta", "Tanuki", "Brightwater", "Fjellstad"}
	phrases    = []string{
		"for small kitchens", "made to last", "easy to clean", "with a two-year warranty",
		"packed without plastic",
		"a favourite since its first season", "fits most cupboards", "quiet enough for the night",
		"light enough to carry all day", "spare parts available",
	}
)

// NewProduct makes the n-th product of a catalog. It depends on n and the seed only.
func NewProduct(seed uint64, n int) Product {
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	pick := func(from []string) string { return from[r.IntN(len(from))] }
	material, thing := pick(materials), pick(things)
	p := Product{
		SKU: fmt.Sprintf("SKU-%07d", n), Name: pick(adjectives) + " " + material + " " + thing,
		Category: pick(categories), Brand: pick(brands),
		PriceCents: 199 + r.IntN(50_000), Currency: "USD", Stock: r.IntN(500),
		Tags:    []string{pick(categories), pick(brands)},
		AddedAt: time.Date(2017, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(r.IntN(365*24*60)) * time.Minute),
	}
	p.Description = fmt.Sprintf("%s of %s, %s, %s and %s. Lot %08x.", thing, material, pick(phrases), pick(phrases),
		pick(phrases), r.Uint32())
	return p
}

// catalogRouting sends every hundredth product to a shard of its own choice, as applications with
// tenants do.
func catalogRouting(n int) string {
	if n%100 != 0 {
		return ""
	}
	return fmt.Sprintf("tenant-%d", n/100%7)
}

// LoadCatalog creates the catalog and fills it.
func LoadCatalog(ctx context.Context, c *cluster.Client, o CatalogOptions) error {
	o = o.withDefaults()
	text := map[string]any{"type": "text", "fields": map[string]any{"keyword": map[string]any{
		"type":         "keyword",
		"ignore_above": 256,
	}}}
	description := map[string]any{"type": "text"}
	keyword := map[string]any{"type": "keyword"}
	version, err := c.Version(ctx)
	if err != nil {
		return err
	}
	if strings.HasPrefix(version, "2.") { // one type for both; 5.x still knows it in indices that come from there
		text, description = map[string]any{"type": "string"}, map[string]any{"type": "string"}
		keyword = map[string]any{"type": "string", "index": "not_analyzed"}
	}
	path := "/" + o.Index
	if strings.HasPrefix(version, "7.") {
		// before 7.0 a mapping has a type anyway, and most versions refuse what they don't know
		path += "?include_type_name=true"
	}
	fields := map[string]any{"properties": map[string]any{
		"sku": keyword, "name": text, "category": keyword, "brand": keyword,
		"priceCents": map[string]any{"type": "integer"}, "currency": keyword,
		"stock": map[string]any{"type": "integer"}, "tags": keyword, "description": description,
		"addedAt": map[string]any{"type": "date"},
	}}
	mappings := map[string]any{o.Type: fields}
	if typeless, err := c.Typeless(ctx); err != nil {
		return err
	} else if typeless {
		o.Type, mappings = "", fields
	}
	err = c.Do(ctx, http.MethodPut, path, map[string]any{
		"settings": map[string]any{
			"number_of_shards": o.Shards, "number_of_replicas": o.Replicas,
			"refresh_interval": o.RefreshInterval,
		},
		"mappings": mappings,
	}, nil)
	if err != nil {
		return fmt.Errorf("the index %s was not created: %w", o.Index, err)
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(2) // the lab's computer may be small
	const batch = 1000
	for from := 0; from < o.Documents; from += batch {
		documents := make([]cluster.Document, 0, batch)
		for n := from; n < min(from+batch, o.Documents); n++ {
			documents = append(documents, cluster.Document{
				ID: fmt.Sprintf("p-%07d", n), Routing: catalogRouting(n),
				Source: NewProduct(o.Seed, n),
			})
		}
		group.Go(func() error { return c.Bulk(gctx, o.Index, o.Type, documents) })
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("the index %s was not filled: %w", o.Index, err)
	}
	return c.Refresh(ctx, o.Index)
}
