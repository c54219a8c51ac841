package migration

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// sizeSetting is a repository setting that is a size, and the least and most that the repository
// takes. Elasticsearch refuses others only when the repository is registered, and a plan can't be
// changed then.
type sizeSetting struct {
	name        string
	least, most string
}

// Elasticsearch: S3Repository. Alibaba: OssRepository.
var (
	sourceSizes = []sizeSetting{{"chunk_size", "5mb", "5tb"}, {"buffer_size", "5mb", "5gb"}}
	targetSizes = []sizeSetting{{"chunk_size", "1mb", "1gb"}}
)

// elasticsearchSize is a size as Elasticsearch writes it: ByteSizeValue.
var elasticsearchSize = regexp.MustCompile(`^([0-9]{1,15}(?:\.[0-9]{1,3})?)(b|k|kb|m|mb|g|gb|t|tb|p|pb)$`)

// sizeOf is a size in bytes; false if it is none.
func sizeOf(text string) (float64, bool) {
	parts := elasticsearchSize.FindStringSubmatch(strings.ToLower(strings.TrimSpace(text)))
	if parts == nil {
		return 0, false
	}
	number, err := strconv.ParseFloat(parts[1], 64)
	power := strings.Index("bkmgtp", parts[2][:1])
	return number * math.Pow(1024, float64(power)), err == nil
}

// settingText is a value as the plan has it.
func settingText(value any) string {
	if number, ok := value.(float64); ok {
		return strconv.FormatFloat(number, 'f', -1, 64)
	}
	return fmt.Sprint(value)
}

// checkSizes holds the sizes among a repository's settings to what the repository takes.
func (c *checker) checkSizes(field string, settings map[string]any, sizes []sizeSetting) {
	for _, size := range sizes {
		value, given := settings[size.name]
		if !given {
			continue
		}
		text := settingText(value)
		bytes, ok := sizeOf(text)
		least, _ := sizeOf(size.least)
		most, _ := sizeOf(size.most)
		remedy := fmt.Sprintf("for example %s: 100mb, or leave it out", size.name)
		switch {
		case !ok:
			c.add(field+"."+size.name, text, "is not a size with a unit", remedy)
		case bytes < least || bytes > most:
			c.add(field+"."+size.name, text, fmt.Sprintf("must be from %s to %s: the repository refuses others",
				size.least, size.most), remedy)
		}
	}
	chunkText, bufferText := settingText(settings["chunk_size"]), settingText(settings["buffer_size"])
	chunk, chunked := sizeOf(chunkText)
	if buffer, buffered := sizeOf(bufferText); chunked && buffered && chunk < buffer {
		c.add(field+".chunk_size", chunkText, "must not be less than buffer_size ("+bufferText+
			"): the repository refuses that", "leave buffer_size out")
	}
}
