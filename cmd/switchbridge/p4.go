package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"switchbridge/cmd/internal/cli"
	"switchbridge/p4bridge"
	"switchbridge/p4bridge/mapping"
	"switchbridge/p4bridge/pipeline"
	"switchbridge/p4bridge/propose"
	"switchbridge/p4src"
)

func p4Command() *cobra.Command {
	c := &cobra.Command{Use: "p4", Short: "P4 programs", Args: cli.NoArgs}
	c.AddCommand(p4InfoCommand(), p4CheckCommand())
	return c
}

// p4Program is a program and where it was read from.
type p4Program struct {
	*pipeline.Pipeline
	info, json string // files; empty: it is Switchbridge's own
}

func p4InfoCommand() *cobra.Command {
	var device, miss, write string
	var mappings []string
	c := &cobra.Command{
		Use:   "info [PROGRAM]",
		Short: "Show what a P4 program offers, and propose a mapping for it",
		Long: `Show what a P4 program offers: tables, digests, packet headers, counters and meters.
Show what a policy can do with it: how the switch asks, what it can deny, how it
forwards. Propose a mapping, in which each guess is marked. With --mapping,
check instead whether that mapping fits.

PROGRAM is a P4Info file of p4c, with the compiled program in --json, or a folder
that has one of each. Without PROGRAM it is Switchbridge's own program.

The command fails if "switchbridge run" would fail: if a mapping does not fit, or if the
program has no way to ask about a packet.`,
		Example: `  switchbridge p4 info
  switchbridge p4 info build/ --write mapping.yaml
  switchbridge p4 info my.p4info.txtpb --json my.json --mapping my.yaml --miss punt`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			p, err := readProgram(args, device)
			if err != nil {
				return err
			}
			out := c.OutOrStdout()
			if err := mapping.Describe(out, p.Pipeline); err != nil {
				return err
			}
			switch {
			case len(mappings) > 0 && write != "":
				return cli.Usagef("p4 info: --write is for the mapping that is proposed, and --mapping says not to propose one")
			case len(mappings) > 0:
				return tryMappings(out, p.Pipeline, mappings, miss)
			case p.info == "" && write == "":
				return tryMapping(out, p.Pipeline, mapping.Default(), miss)
			}
			return proposeMapping(out, p, write)
		},
	}
	fl := c.Flags()
	fl.StringVar(&device, "json", "", "the program as compiled for BMv2, which must belong to PROGRAM")
	fl.StringSliceVar(&mappings, "mapping", nil, "mapping file to try (repeatable)")
	fl.StringVar(&miss, "miss", "", "with --mapping: also check whether this miss is possible (digest, punt, clone, flood, drop)")
	fl.StringVar(&write, "write", "", "write the proposed mapping to this file instead of printing it")
	return c
}

// readProgram reads a program's description, or returns Switchbridge's own.
func readProgram(args []string, device string) (p p4Program, err error) {
	if len(args) == 0 {
		if device != "" {
			return p, cli.Usagef("--json is the compiled form of a PROGRAM, and none is given")
		}
		return p4Program{Pipeline: p4src.Switchbridge()}, nil
	}
	p.info, p.json = args[0], device
	if st, err := os.Stat(args[0]); err != nil {
		return p, err
	} else if st.IsDir() {
		if p.info, p.json, err = programIn(args[0], device); err != nil {
			return p, err
		}
	}
	if p.json == "" {
		return p, cli.Usagef("%s is P4Info alone: --json must name the program as compiled beside it", p.info)
	}
	info, err := os.ReadFile(p.info)
	if err != nil {
		return p, err
	}
	compiled, err := os.ReadFile(p.json)
	if err != nil {
		return p, err
	}
	if p.Pipeline, err = pipeline.Load(info, compiled); err != nil {
		return p, fmt.Errorf("%s, %s: %w", p.info, p.json, err)
	}
	return p, nil
}

// programIn finds P4Info and the compiled program in a folder.
func programIn(dir, device string) (info, json string, err error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return "", "", err
	}
	json = device
	for _, f := range files {
		path, name := filepath.Join(dir, f.Name()), strings.ToLower(f.Name())
		switch {
		case strings.Contains(name, "p4info"):
			if info != "" {
				return "", "", fmt.Errorf("%s: both %s and %s may be P4Info: name one", dir, filepath.Base(info), f.Name())
			}
			info = path
		case strings.HasSuffix(name, ".json") && device == "":
			if json != "" {
				return "", "", fmt.Errorf("%s: both %s and %s may be the compiled program: name one with --json", dir, filepath.Base(json), f.Name())
			}
			json = path
		}
	}
	switch {
	case info == "":
		return "", "", fmt.Errorf("%s: no file with \"p4info\" in its name", dir)
	case json == "":
		return "", "", fmt.Errorf("%s: no .json file, which p4c-bm2-ss makes", dir)
	}
	return info, json, nil
}

func tryMappings(out io.Writer, p *pipeline.Pipeline, files []string, miss string) error {
	var errs []error
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		m, err := mapping.Parse(f, path)
		f.Close()
		if err == nil {
			err = tryMapping(out, p, m, miss)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// tryMapping says what a mapping gives, or fails with everything that does not fit.
func tryMapping(out io.Writer, p *pipeline.Pipeline, f *mapping.File, miss string) error {
	m, err := f.Bind(p)
	if err != nil {
		return fmt.Errorf("mapping %s does not fit:\n%w", f.Name(), err)
	}
	if err := m.Describe(out, f.Name()); err != nil {
		return err
	}
	for _, c := range propose.Cautions(p, m.HoldsPorts()) {
		fmt.Fprintln(out, " ", c)
	}
	if miss == "" && m.Miss != nil {
		return nil
	}
	if miss == "" {
		miss = p4bridge.MissDigest.String() // run's default, which such a mapping can't have
	}
	k, err := p4bridge.ParseMiss(miss)
	if err != nil {
		return cli.Usage(err)
	}
	return p4bridge.CheckMiss(m, k)
}

// proposeMapping works a mapping out and says what it gives.
func proposeMapping(out io.Writer, p p4Program, write string) error {
	name := "switchbridge.p4"
	if p.info != "" {
		name = filepath.Base(p.info)
	}
	pr, err := propose.Propose(p.Pipeline, name)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "\nwhat a policy can have:")
	for _, s := range pr.Holds() {
		fmt.Fprintln(out, " ", s)
	}
	text := pr.YAML()
	f, err := mapping.Parse(strings.NewReader(text), "proposed mapping")
	if err == nil {
		var m *mapping.Mapping
		if m, err = f.Bind(p.Pipeline); err == nil && pr.Miss() != "" {
			k, _ := p4bridge.ParseMiss(pr.Miss()) // Miss knows no other
			err = p4bridge.CheckMiss(m, k)
		}
	}
	if err != nil {
		err = fmt.Errorf("no mapping can be proposed: %w", err)
	}
	switch {
	case write != "" && err == nil:
		if err := os.WriteFile(write, []byte(text), 0o644); err != nil {
			return err
		}
	default:
		fmt.Fprintf(out, "\n%s", text)
	}
	if err != nil {
		return err
	}
	if err := pr.Governs(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nto run it:\n")
	if cpu, ok := pr.CPUPort(); ok {
		fmt.Fprintf(out, "  simple_switch_grpc --no-p4 --device-id 1 -i 1@veth1 -i 2@veth2 -- --grpc-server-addr 127.0.0.1:9559 --cpu-port %d\n", cpu)
	} else {
		fmt.Fprintf(out, "  simple_switch_grpc --no-p4 --device-id 1 -i 1@veth1 -i 2@veth2 -- --grpc-server-addr 127.0.0.1:9559\n")
	}
	if write == "" {
		write = "mapping.yaml"
	}
	program := ""
	if p.info != "" {
		program = fmt.Sprintf("p4info=%s,json=%s,", p.info, p.json)
	}
	fmt.Fprintf(out, "  switchbridge run --p4 device=1,addr=127.0.0.1:9559,ports=1-2,miss=%s,%smapping=%s\n", pr.Miss(), program, write)
	return nil
}
