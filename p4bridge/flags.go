package p4bridge

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"switchbridge/p4bridge/mapping"
	"switchbridge/p4bridge/pipeline"
	"switchbridge/p4src"
)

// maxPort is the largest port that a list may name; BMv2's are 9 bits.
const maxPort = 1 << 16

// ParseSwitch reads the short form of a switch that the command line takes:
//
//	device=1,addr=127.0.0.1:9559[,miss=punt][,ports=1-4+7][,election=10][,entries=true][,p4info=FILE,json=FILE,mapping=FILE]
//
// Without p4info, json and mapping the program is switchbridge.p4.
func ParseSwitch(text string) (Config, error) {
	var c Config
	files := map[string]string{}
	for part := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(part, "=")
		if !ok || value == "" {
			return c, fmt.Errorf("p4 %q: %q is not key=value", text, part)
		}
		var err error
		switch key {
		case "device":
			c.Device, err = strconv.ParseUint(value, 0, 64)
		case "addr":
			c.Addr = value
		case "miss":
			c.Miss, err = ParseMiss(value)
		case "ports":
			c.Ports, err = ParsePorts(value)
		case "election":
			c.Election.Low, err = strconv.ParseUint(value, 0, 64)
		case "entries":
			c.Entries, err = strconv.ParseBool(value)
		case "p4info", "json", "mapping":
			files[key] = value
		default:
			err = fmt.Errorf("no such key; there are device, addr, miss, ports, election, entries, p4info, json, mapping")
		}
		if err != nil {
			return c, fmt.Errorf("p4 %q: %s: %w", text, key, err)
		}
	}
	if len(c.Ports) == 0 {
		c.Ports = []uint32{1, 2, 3, 4, 5, 6, 7, 8}
	}
	var err error
	if c.Pipeline, c.Mapping, err = LoadProgram(files["p4info"], files["json"], files["mapping"]); err != nil {
		return c, fmt.Errorf("p4 %q: %w", text, err)
	}
	return c, nil
}

// ParsePorts reads a list such as "1-4+7".
func ParsePorts(text string) (ports []uint32, err error) {
	for part := range strings.SplitSeq(text, "+") {
		low, high, ranged := strings.Cut(part, "-")
		if !ranged {
			high = low
		}
		l, err1 := strconv.ParseUint(low, 10, 32)
		h, err2 := strconv.ParseUint(high, 10, 32)
		if err1 != nil || err2 != nil || l == 0 || h < l || h > maxPort {
			return nil, fmt.Errorf("ports %q: want numbers from 1 and ranges, such as 1-4+7", text)
		}
		for p := l; p <= h; p++ {
			ports = append(ports, uint32(p))
		}
	}
	return ports, nil
}

// LoadProgram reads a P4 program and its mapping from files. All three names
// empty is switchbridge.p4; a mapping alone is another mapping of it.
func LoadProgram(p4info, json, file string) (*pipeline.Pipeline, *mapping.Mapping, error) {
	p, f := p4src.Switchbridge(), mapping.Default()
	switch {
	case (p4info == "") != (json == ""):
		return nil, nil, fmt.Errorf("p4info and json go together")
	case p4info != "" && file == "":
		return nil, nil, fmt.Errorf("a program of your own needs a mapping")
	case p4info != "":
		info, err := os.ReadFile(p4info)
		if err != nil {
			return nil, nil, err
		}
		device, err := os.ReadFile(json)
		if err != nil {
			return nil, nil, err
		}
		if p, err = pipeline.Load(info, device); err != nil {
			return nil, nil, fmt.Errorf("%s, %s: %w", p4info, json, err)
		}
	}
	if file != "" {
		r, err := os.Open(file)
		if err != nil {
			return nil, nil, err
		}
		defer r.Close()
		if f, err = mapping.Parse(r, file); err != nil {
			return nil, nil, err
		}
	}
	m, err := f.Bind(p)
	return p, m, err
}
