// Package yamlerr says in the words of a configuration file what the YAML
// package says in Go's.
package yamlerr

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Readable turns an error of decoding a file into one about lines, keys and what
// is wanted; any other error is returned as it is.
func Readable(err error) error {
	var te *yaml.TypeError
	if !errors.As(err, &te) {
		return err
	}
	// Compiled here, for most starts of a program have no such error.
	unknownKey := regexp.MustCompile(`^(line \d+): field (\S+) not found in type \S+$`)
	knownTwice := regexp.MustCompile(`^(line \d+): mapping key "(.*)" already defined at (line \d+)$`)
	wrongType := regexp.MustCompile("(?s)^(line \\d+): cannot unmarshal !!(\\w+)(?: `(.*)`)? into (\\S+)$")
	lines := make([]string, len(te.Errors))
	for i, e := range te.Errors {
		e = unknownKey.ReplaceAllString(e, `$1: unknown key "$2"`)
		e = knownTwice.ReplaceAllString(e, `$1: key "$2" is there twice, first in $3`)
		if m := wrongType.FindStringSubmatch(e); m != nil {
			e = fmt.Sprintf("%s: %s: want %s", m[1], found(m[2], m[3]), wanted(m[4]))
		}
		lines[i] = e
	}
	return errors.New(strings.Join(lines, "; "))
}

// found is what a file has; YAML's errors have the start of a scalar's text.
func found(tag, text string) string {
	switch {
	case tag == "seq":
		return "a list"
	case tag == "map":
		return "a mapping"
	case text == "":
		return "nothing"
	}
	return fmt.Sprintf("%q", text)
}

// wanted describes a Go type to who knows only YAML.
func wanted(typ string) string {
	switch typ {
	case "bool":
		return "true or false"
	case "string":
		return "text"
	case "time.Duration":
		return "a duration such as 500ms or 5s"
	case "uint8":
		return "a number from 0 to 255"
	case "uint16":
		return "a number from 0 to 65535"
	case "uint32", "uint64", "uint":
		return "a whole number, from 0"
	case "int", "int32", "int64":
		return "a whole number"
	case "float64":
		return "a number"
	}
	if elem, ok := strings.CutPrefix(typ, "[]"); ok {
		if what := wanted(elem); what != mapping {
			return "a list, each entry " + what
		}
		return "a list"
	}
	return mapping
}

// mapping stands for every structure of the program.
const mapping = "a mapping (key: value)"
