package p4bridge

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"switchbridge/p4bridge/mapping"
	"switchbridge/p4bridge/pipeline"
)

// Program is what a session makes entries of rules with, for those who want to know what its switch would get.
type Program struct {
	P4Info  []byte // in binary form
	Device  []byte // the program as compiled for the switch
	File    string // the mapping's name
	Mapping string // its text
	Meters  []mapping.Meter
}

// Program returns the program and the mapping that the session works with.
func (s *Session) Program() (Program, error) {
	m := s.cfg.Mapping
	info, err := proto.Marshal(m.Pipeline.Info)
	return Program{P4Info: info, Device: m.Pipeline.Device, File: m.File.Name(), Mapping: m.File.Text(), Meters: s.cfg.Meters}, err
}

// Bind reads the program and its mapping.
func (p *Program) Bind() (*mapping.Mapping, error) {
	program, err := pipeline.Load(p.P4Info, p.Device)
	if err != nil {
		return nil, err
	}
	f, err := mapping.Parse(strings.NewReader(p.Mapping), p.File)
	if err != nil {
		return nil, err
	}
	m, err := f.Bind(program)
	if err != nil {
		return nil, fmt.Errorf("mapping %s does not fit:\n%w", p.File, err)
	}
	return m.WithMeters(p.Meters), nil
}
