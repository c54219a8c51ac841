package migration

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Prices are what a cloud bill asks for, as somebody has looked them up. No price is built in. The
// struct tags are read as those of a Plan.
type Prices struct {
	// Currency is shown beside the amounts.
	Currency string `json:"currency" required:"true" example:"USD"`
	// Days is how long the copies in S3 and OSS are kept: from the baseline to the cleanup.
	Days int         `json:"days" required:"true" min:"1" example:"14"`
	S3   StorePrices `json:"s3" required:"true"`
	OSS  StorePrices `json:"oss" required:"true"`
}

// StorePrices are those of one object store.
type StorePrices struct {
	// Storage is for one GB in one month.
	Storage float64 `json:"storage" required:"true" min:"0" example:"1.25 (0 if it costs you nothing)"`
	// Writes are for 1,000 requests of PUT, POST and LIST, Reads for 1,000 of GET and HEAD.
	Writes float64 `json:"writes" required:"true" min:"0" example:"1.25 (0 if it costs you nothing)"`
	Reads  float64 `json:"reads" required:"true" min:"0" example:"1.25 (0 if it costs you nothing)"`
	// Traffic is for one GB that is read: from S3 by the copy, from OSS by the target.
	Traffic float64 `json:"traffic" required:"true" min:"0" example:"1.25 (0 if it costs you nothing)"`
}

// InvalidPricesError lists everything that is wrong with a price table.
type InvalidPricesError struct{ Problems []Problem }

func (e *InvalidPricesError) Error() string {
	return notValid("the price table", e.Problems)
}

const (
	priceTable = "a price table"
	// mostDays is longer than anybody migrates, mostPrice more than anybody asks for. They find slips.
	mostDays  = 3650
	mostPrice = 1e6
	// longestCurrency is in characters.
	longestCurrency = 20
)

// DecodePrices reads a price table from YAML or JSON, strictly. The error is an *InvalidPricesError
// that lists every problem.
func DecodePrices(data []byte) (Prices, error) {
	asJSON, problem := yamlToJSON(data, "price table", "`starter plan prices` prints one to fill in")
	if problem != nil {
		return Prices{}, &InvalidPricesError{Problems: []Problem{*problem}}
	}
	prices, problems := decodeRequest[Prices](asJSON, priceTable)
	if len(problems) == 0 {
		problems = prices.problems()
	}
	if len(problems) > 0 {
		return Prices{}, &InvalidPricesError{Problems: problems}
	}
	return prices, nil
}

func (p Prices) problems() []Problem {
	var c checker
	if !utf8.ValidString(p.Currency) || utf8.RuneCountInString(p.Currency) > longestCurrency ||
		strings.TrimSpace(p.Currency) == "" || strings.ContainsFunc(p.Currency, unicode.IsControl) {
		c.add("currency", p.Currency, fmt.Sprintf("must be a short text of up to %d characters", longestCurrency),
			"for example currency: USD")
	}
	if p.Days > mostDays {
		c.add("days", fmt.Sprint(p.Days), fmt.Sprintf("must be at most %d", mostDays), "for example days: 14")
	}
	for _, price := range []struct {
		field string
		value float64
	}{
		{"s3.storage", p.S3.Storage},
		{"s3.writes", p.S3.Writes},
		{"s3.reads", p.S3.Reads},
		{"s3.traffic", p.S3.Traffic},
		{"oss.storage", p.OSS.Storage},
		{"oss.writes", p.OSS.Writes},
		{"oss.reads", p.OSS.Reads},
		{"oss.traffic", p.OSS.Traffic},
	} {
		if price.value > mostPrice {
			c.add(price.field, fmt.Sprint(price.value), fmt.Sprintf("must be at most %.0f", mostPrice),
				"write the price of one GB, or of 1,000 requests")
		}
	}
	return c.problems
}
