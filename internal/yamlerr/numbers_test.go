package yamlerr_test

import (
	"strings"
	"testing"
	"time"

	"switchbridge/internal/yamlerr"
)

func TestCheckNumbers(t *testing.T) {
	type inner struct{ N uint16 }
	type file struct {
		Port  int32            `yaml:"port"`
		Rate  float64          `yaml:"rate"`
		Name  string           `yaml:"name"`
		Wait  time.Duration    `yaml:"wait"`
		On    bool             `yaml:"on"`
		List  []uint8          `yaml:"list"`
		Map   map[uint8]uint64 `yaml:"map"`
		Ptr   *uint32          `yaml:"ptr"`
		Inner []inner          `yaml:"inner"`
		Any   any              `yaml:"any"`
	}
	for text, want := range map[string]string{
		"port: 10": "", "port: 0": "", "port: -3": "", "port: 0x1f": "", "port: x": "", "port:": "",
		"rate: 0.5": "", "rate: 10": "", "rate: 1e3": "", "rate: .nan": "",
		"name: 010": "", "wait: 5s": "", "on: true": "", "any: 010": "", "unknown: 010": "", "[": "", "": "",
		"port: 010":            `line 1: "010": want a whole number`,
		"\nport: 0b11":         `line 2: "0b11": want a whole number`,
		"port: 0o7":            `line 1: "0o7"`,
		"port: 1_0":            `line 1: "1_0"`,
		"port: +1":             `line 1: "+1"`,
		"port: 1.0":            `line 1: "1.0"`,
		"port: 08":             `line 1: "08"`,
		"rate: 010":            `line 1: "010": want a number in decimal`,
		"rate: 1_0.5":          `line 1: "1_0.5"`,
		"list: [1, 02]":        `line 1: "02"`,
		"map: {1: 01}":         `line 1: "01"`,
		"map: {01: 1}":         `line 1: "01"`,
		"ptr: 01":              `line 1: "01"`,
		"inner:\n- {n: 01}":    `line 2: "01"`,
		"port: 01\nptr: 02":    `line 1: "01": want a whole number in decimal without leading zeros, or in hexadecimal after 0x; line 2: "02"`,
		"port: &a 01\nptr: *a": `line 1: "01"`,
	} {
		err := yamlerr.CheckNumbers([]byte(text), new(file))
		if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
}
