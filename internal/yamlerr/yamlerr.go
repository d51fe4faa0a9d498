// Package yamlerr says in the words of a configuration file what the YAML
// package says in Go's.
package yamlerr

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// syntaxWords is what the YAML package says of text that is no YAML, and what is said instead. Of those marked it counts lines from 0.
var syntaxWords = []struct {
	text, instead string
	fromZero      bool
}{
	{"found character that cannot start any token", "no value begins with this character: indent with spaces, not with tabs, and quote text that begins with @ or `", false},
	{"did not find expected ',' or '}'", "a { is not closed: want , or }", true},
	{"did not find expected ',' or ']'", "a [ is not closed: want , or ]", true},
	{"did not find expected '-' indicator", "a line of the list here has another indentation", true},
	{"did not find expected key", "a line of the mapping here has another indentation, or no key", true},
	{"did not find expected node content", "want a value", true},
	{"did not find expected <document start>", "want a key and a colon", true},
	{"mapping values are not allowed in this context", "a colon where a value is not over: begin a new line, or quote the text", false},
	{"could not find expected ':'", "want a colon and a space after the key", false},
	{"UTF-8", notText, false},
	{"control characters are not allowed", notText, false},
}

const notText = "it is no text in UTF-8"

// Syntax says what is wrong with text that is no YAML, and on which of its lines; 0 where that is not known. err is what the YAML package says.
func Syntax(err error, text []byte) (line int, msg string) {
	msg = strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(msg, "line "); ok {
		number, problem, _ := strings.Cut(rest, ": ")
		if n, err := strconv.Atoi(number); err == nil {
			line, msg = n, problem
		}
	}
	for _, w := range syntaxWords {
		if strings.Contains(msg, w.text) {
			switch msg = w.instead; {
			case line == 0 && msg != notText:
				line = 1
			case line > 0 && w.fromZero:
				line++
			}
			break
		}
	}
	return min(line, max(1, bytes.Count(bytes.TrimRight(text, "\n"), []byte("\n"))+1)), msg
}

// Readable turns an error of decoding a file's text into one about lines, keys and what
// is wanted; any other error is returned as it is.
func Readable(err error, text []byte) error {
	var te *yaml.TypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &te):
	case strings.HasPrefix(err.Error(), "yaml: "):
		line, msg := Syntax(err, text)
		if line > 0 {
			msg = fmt.Sprintf("line %d: %s", line, msg)
		}
		return errors.New(msg)
	default:
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
