package yamlerr

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

type inner struct {
	A int `yaml:"a"`
}

type file struct {
	Text     string          `yaml:"text"`
	Flag     bool            `yaml:"flag"`
	Wait     time.Duration   `yaml:"wait"`
	Small    uint8           `yaml:"small"`
	Port     uint16          `yaml:"port"`
	Big      uint32          `yaml:"big"`
	Count    int             `yaml:"count"`
	Rate     float64         `yaml:"rate"`
	Inner    inner           `yaml:"inner"`
	Inners   []inner         `yaml:"inners"`
	Small2   []uint8         `yaml:"smalls"`
	Switches map[string]bool `yaml:"switches"`
}

func TestReadable(t *testing.T) {
	for text, want := range map[string]string{
		"txet: a":                  `line 1: unknown key "txet"`,
		"text: a\nwiat: 1\n":       `line 2: unknown key "wiat"`,
		"text: [a]":                `line 1: a list: want text`,
		"text: {a: 1}":             `line 1: a mapping: want text`,
		"flag: maybe":              `line 1: "maybe": want true or false`,
		"wait: 5":                  `line 1: "5": want a duration such as 500ms or 5s`,
		"wait: soon":               `line 1: "soon": want a duration such as 500ms or 5s`,
		"small: 300":               `line 1: "300": want a number from 0 to 255`,
		"port: -1":                 `line 1: "-1": want a number from 0 to 65535`,
		"big: a":                   `line 1: "a": want a whole number, from 0`,
		"count: many":              `line 1: "many": want a whole number`,
		"rate: fast":               `line 1: "fast": want a number`,
		"inner: 3":                 `line 1: "3": want a mapping (key: value)`,
		"inner: [a]":               `line 1: a list: want a mapping (key: value)`,
		"inner: {b: 1}":            `line 1: unknown key "b"`,
		"inners: {a: 1}":           `line 1: a mapping: want a list`,
		"inners: a":                `line 1: "a": want a list`,
		"smalls: 3":                `line 1: "3": want a list, each entry a number from 0 to 255`,
		"smalls: [3, 300]":         `line 1: "300": want a number from 0 to 255`,
		"switches: secure":         `line 1: "secure": want a mapping (key: value)`,
		"flag: a\nrate: b\n":       `line 1: "a": want true or false; line 2: "b": want a number`,
		"text: a\ntext: b":         `line 2: key "text" is there twice, first in line 1`,
		"text: \"\"\nflag: \"\"\n": `line 2: nothing: want true or false`,
	} {
		d := yaml.NewDecoder(strings.NewReader(text))
		d.KnownFields(true)
		err := d.Decode(new(file))
		if err == nil {
			t.Errorf("%q is decoded", text)
			continue
		}
		if got := Readable(err, nil).Error(); got != want {
			t.Errorf("%q: %s\nwant %s", text, got, want)
		}
	}
	if other := errors.New("x"); Readable(other, nil) != other {
		t.Error("an error that is not YAML's is changed")
	}
	if Readable(nil, nil) != nil {
		t.Error("no error is one")
	}
}

// What is no YAML is said in the words of a file, with the line on which a person looks for it.
func TestSyntax(t *testing.T) {
	for text, want := range map[string]string{
		"a:\n\t- b: {}\n":                        "2: no value begins with this character",
		"a:\n  - b: 1\n  - {c: 1, d: 2\n  - e\n": "3: a { is not closed",
		"a:\n  - b: 1\n  - [c, d\n  - e: f\n":    "3: a [ is not closed",
		"a:\n  - b: 1\n    c: 2\n   d: 3\n":      "2: a line of the list here has another indentation",
		"a:\n  b: 1\n   c: 2\n":                  "3: a colon where a value is not over",
		"a:\n  b: 1\n c: 2\n":                    "3: a line of the mapping here has another indentation",
		"a: b: c\n":                              "1: a colon where a value is not over",
		"a: [":                                   "1: want a value",
		"a: {b: 1\n":                             "1: a { is not closed",
		"a: 1\nb\nc: 2\n":                        "2: want a colon and a space after the key",
		"a: \xff\xfe\n":                          "0: it is no text in UTF-8",
		"\xd4\xc3\xb2\xa1\x02\x00":               "0: it is no text in UTF-8",
	} {
		var doc yaml.Node
		err := yaml.Unmarshal([]byte(text), &doc)
		if err == nil {
			t.Errorf("%q is YAML", text)
			continue
		}
		line, msg := Syntax(err, []byte(text))
		if got := fmt.Sprintf("%d: %s", line, msg); !strings.HasPrefix(got, want) {
			t.Errorf("%q: %s\nwant %s (of %v)", text, got, want, err)
		}
	}
}
