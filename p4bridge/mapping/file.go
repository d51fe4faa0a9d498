package mapping

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"

	"switchbridge/internal/yamlerr"
)

// File is a mapping as it is written, not yet checked against a P4Info.
type File struct {
	name string
	text string
	raw  rawFile
}

// The raw structs have the file's structure. Every name keeps its node, so that an error
// can name its line.
type rawFile struct {
	Pipeline   string            `yaml:"pipeline"`
	Tables     []rawTable        `yaml:"tables"`
	Digest     *rawDigest        `yaml:"digest"`
	PacketIn   *rawPacketIn      `yaml:"packet_in"`
	PacketOut  *rawPacketOut     `yaml:"packet_out"`
	Miss       *rawMiss          `yaml:"miss"`
	L2         *rawL2            `yaml:"l2"`
	Setup      []rawSetup        `yaml:"setup"`
	FloodGroup uint32            `yaml:"flood_group"`
	Multicast  []rawMulticast    `yaml:"multicast"`
	Clone      []rawClone        `yaml:"clone"`
	CPUPort    uint32            `yaml:"cpu_port"`
	PortNames  map[uint32]string `yaml:"port_names"`
	Counters   []name            `yaml:"counters"`
}

type rawTable struct {
	OpenFlow uint8             `yaml:"openflow"`
	Table    name              `yaml:"table"`
	Priority rawPriority       `yaml:"priority"`
	Fields   map[name]nameList `yaml:"fields"`
	Tagged   name              `yaml:"tagged"`
	Always   map[name]name     `yaml:"always"`
	Implied  map[name]uint64   `yaml:"implied"`
	Actions  map[name]rawCall  `yaml:"actions"`
	Default  *rawCall          `yaml:"default_action"`
}

type rawPriority struct {
	Min uint16  `yaml:"min"`
	Max *uint16 `yaml:"max"`
}

// rawCall is a P4 action with its parameters, or its name alone.
type rawCall struct {
	Action name            `yaml:"action"`
	Params map[name]name   `yaml:"params"`
	Only   map[name]uint64 `yaml:"only"`
}

type rawDigest struct {
	Name    name              `yaml:"name"`
	Fields  map[name]nameList `yaml:"fields"`
	Tagged  name              `yaml:"tagged"`
	Implied map[name]uint64   `yaml:"implied"`
}

type rawPacketIn struct {
	InPort name              `yaml:"in_port"`
	Reason name              `yaml:"reason"`
	Fields map[name]nameList `yaml:"fields"`
	Tagged name              `yaml:"tagged"`
}

type rawPacketOut struct {
	Port   name            `yaml:"port"`
	InPort name            `yaml:"in_port"`
	Output map[name]uint64 `yaml:"output"`
	Flood  map[name]uint64 `yaml:"flood"`
	Normal map[name]uint64 `yaml:"normal"`
}

type rawMiss struct {
	Table    name          `yaml:"table"`
	Match    map[name]name `yaml:"match"`
	Digest   *rawCall      `yaml:"digest"`
	Punt     *rawCall      `yaml:"punt"`
	Clone    *rawCall      `yaml:"clone"`
	Flood    *rawCall      `yaml:"flood"`
	Drop     *rawCall      `yaml:"drop"`
	ByItself nameList      `yaml:"by_itself"`
	Meter    name          `yaml:"meter"`
}

type rawL2 struct {
	Table  name `yaml:"table"`
	MAC    name `yaml:"mac"`
	Action name `yaml:"action"`
	Port   name `yaml:"port"`
}

type rawSetup struct {
	Table    name          `yaml:"table"`
	Each     name          `yaml:"each"`
	Match    map[name]name `yaml:"match"`
	Priority uint16        `yaml:"priority"`
	Action   name          `yaml:"action"`
	Params   map[name]name `yaml:"params"`
	OneOf    []rawWay      `yaml:"one_of"`
	Default  *rawCall      `yaml:"default_action"`
}

// rawWay is one of the actions among which a selector chooses.
type rawWay struct {
	Action name          `yaml:"action"`
	Params map[name]name `yaml:"params"`
	Weight uint16        `yaml:"weight"`
}

type rawMulticast struct {
	Group uint32   `yaml:"group"`
	Ports []uint32 `yaml:"ports"`
	Each  name     `yaml:"each"`
}

type rawClone struct {
	Session  uint32   `yaml:"session"`
	Ports    []uint32 `yaml:"ports"`
	Truncate uint16   `yaml:"truncate"`
}

// name is a string that remembers its line.
type name struct {
	string
	line int
}

func (n *name) UnmarshalYAML(v *yaml.Node) error {
	if v.Kind != yaml.ScalarNode {
		return fmt.Errorf("line %d: want a name", v.Line)
	}
	n.string, n.line = v.Value, v.Line
	return nil
}

// nameList is one name or a list of them.
type nameList []name

func (l *nameList) UnmarshalYAML(v *yaml.Node) error {
	if v.Kind == yaml.ScalarNode {
		*l = nameList{{v.Value, v.Line}}
		return nil
	}
	return v.Decode((*[]name)(l))
}

func (c *rawCall) UnmarshalYAML(v *yaml.Node) error {
	if v.Kind == yaml.ScalarNode {
		c.Action = name{v.Value, v.Line}
		return nil
	}
	type plain rawCall // without this method
	return v.Decode((*plain)(c))
}

// Parse reads a mapping file; file names it in errors. Unknown keys are errors.
func Parse(r io.Reader, file string) (*File, error) {
	b, err := yamlerr.Read(r, file)
	if err != nil {
		return nil, err
	}
	f := &File{name: file, text: string(b)}
	var doc yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(doc.Content) == 0 {
		return nil, fmt.Errorf("%s: empty", file)
	}
	c := checker{file: file}
	c.value(doc.Content[0], reflect.TypeFor[rawFile](), "")
	switch {
	case c.nodes > maxNodes:
		return nil, fmt.Errorf("%s: more than %d values", file, maxNodes)
	case len(c.errs) > 0:
		return nil, errors.Join(c.errs...)
	}
	if err := yamlerr.CheckNumbers(b, &f.raw); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := doc.Decode(&f.raw); err != nil {
		return nil, fmt.Errorf("%s: %w", file, yamlerr.Readable(err, b))
	}
	if len(f.raw.Tables) == 0 {
		return nil, fmt.Errorf("%s: tables: none is mapped", file)
	}
	return f, nil
}

//go:embed switchbridge.yaml
var defaultFile string

// Default returns the mapping for switchbridge.p4.
func Default() *File {
	f, err := Parse(strings.NewReader(defaultFile), "switchbridge.yaml")
	if err != nil {
		panic(err) // the file is built in, and a test reads it
	}
	return f
}

// Name returns the file's name as given to [Parse].
func (f *File) Name() string { return f.name }

// Text returns the file's text.
func (f *File) Text() string { return f.text }
