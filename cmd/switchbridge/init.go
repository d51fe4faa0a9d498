package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"switchbridge/cmd/internal/cli"
	"switchbridge/internal/vsctl"
	"switchbridge/settings"
	"switchbridge/settings/starter"
)

// initFlags are the choices that one begins with.
type initFlags struct {
	bridge, dir, listen, allow string
	starter.Choice
}

func initCommand() *cobra.Command {
	var f initFlags
	c := &cobra.Command{
		Use:   "init",
		Short: "Write a first configuration and policy for a bridge, and say what to type next",
		Long: `Write a small configuration and a policy for the Open vSwitch bridge of this machine,
with comments, and print what to type next. Nothing is changed in Open vSwitch, and
no file is replaced.

The policy allows everything but Telnet, which is denied as an example. With
--allow listed it allows only what it names. With --function the function decides,
and no policy is written.`,
		Example: `  switchbridge init
  switchbridge init --bridge br0 --allow listed --dir office
  switchbridge init --bridge br0 --function https://127.0.0.1:8443 --function-ca ca.pem --dir remote`,
		Args: cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c) },
	}
	d, fl := settings.Default(), c.Flags()
	fl.StringVar(&f.bridge, "bridge", "", "the bridge (default: the only one; br0 where there is none)")
	fl.StringVar(&f.dir, "dir", ".", "folder for the files; it is made if it does not exist")
	fl.StringVar(&f.allow, "allow", "all", "what the first policy allows: all, or listed, which allows only what the policy names")
	fl.StringVar(&f.listen, "openflow", d.OpenFlow.Listen[0].String(), "where the bridge connects: tcp:HOST:PORT or unix:PATH")
	fl.StringVar(&f.Admin, "admin", d.Admin.Listen, "address of the page, metrics, health and state")
	fl.StringVar(&f.Function, "function", "", "URL of a function that decides")
	fl.StringVar(&f.TokenFile, "function-token-file", "", "file with the bearer token for the function")
	fl.StringVar(&f.FunctionCA, "function-ca", "", "PEM file of the authority that signed the function's certificate")
	fl.StringVar(&f.Encoding, "encoding", "", "encoding of events and answers: openflow (default) or json")
	return c
}

func (f *initFlags) run(c *cobra.Command) error {
	var err error
	switch {
	case f.allow != "all" && f.allow != "listed":
		return cli.Usagef("--allow %q: want all or listed", f.allow)
	case f.Function == "" && f.TokenFile+f.FunctionCA+f.Encoding != "":
		return cli.Usagef("--function-token-file, --function-ca and --encoding want --function")
	}
	if f.Listen, err = settings.ParseListen(f.listen); err != nil {
		return cli.Usagef("--openflow: %w", err)
	}
	if f.Listen.Secure {
		return cli.Usagef("--openflow %s: TLS wants certificates: write openflow.listen and openflow.tls into the file", f.listen)
	}
	f.Listed = f.allow == "listed"
	for _, path := range []*string{&f.TokenFile, &f.FunctionCA} {
		if *path == "" {
			continue
		}
		if _, err := os.Stat(*path); err != nil {
			return err
		}
		if *path, err = filepath.Abs(*path); err != nil { // in the file, paths start from its folder
			return err
		}
	}
	found, err := f.find(c.Context(), c.ErrOrStderr())
	if err != nil {
		return err
	}
	files := f.Files()
	config := filepath.Join(f.dir, starter.ConfigFile)
	if _, err := settings.Parse(strings.NewReader(files[0].Text), config); err != nil {
		return cli.Usage(err) // a flag's value, which is in it
	}
	if err := starter.Write(f.dir, files); err != nil {
		return err
	}
	out := c.OutOrStdout()
	for _, file := range files {
		fmt.Fprintln(out, "wrote", filepath.Join(f.dir, file.Name))
	}
	f.next(out, config, found)
	return nil
}

// find looks which bridge it is to be, and says what there is to know about it.
func (f *initFlags) find(ctx context.Context, w io.Writer) (found bool, err error) {
	sw, err := vsctl.Read(ctx)
	switch {
	case errors.Is(err, vsctl.ErrNotInstalled):
		return false, fmt.Errorf("%w: Open vSwitch is not installed; type: apt install openvswitch-switch", err)
	case errors.Is(err, vsctl.ErrNotRunning):
		return false, fmt.Errorf("%w: it is not running; type: service openvswitch-switch start", err)
	case errors.Is(err, vsctl.ErrForbidden):
		return false, fmt.Errorf("%w; type: sudo %s init", err, vsctl.Quoted(os.Args[0]))
	case err != nil:
		return false, err
	}
	var names []string
	for _, b := range sw.Bridges {
		names = append(names, b.Name)
	}
	switch {
	case f.bridge == "" && len(names) > 1:
		return false, cli.Usagef("there are several bridges: say --bridge with one of %s", strings.Join(names, ", "))
	case f.bridge == "" && len(names) == 1:
		f.bridge = names[0]
	case f.bridge == "":
		f.bridge = "br0"
	}
	f.VLANLimit, f.Bridge.Name = sw.VLANLimit, f.bridge
	i := slices.Index(names, f.bridge)
	if i < 0 {
		fmt.Fprintf(w, "there is no bridge %s yet\n", f.bridge)
		return false, nil
	}
	f.Bridge = sw.Bridges[i]
	fmt.Fprintf(w, "found bridge %s: %s, fail mode %s, ports: %s\n", f.bridge, protocolsText(f.Bridge.Protocols), f.Bridge.FailMode, f.Ports())
	for _, c := range f.Bridge.Controllers {
		if !f.Listen.Takes(c.Target) {
			fmt.Fprintf(w, "it has another controller, %s, which \"ovs-vsctl set-controller\" below takes away (docs/coming-from.md)\n", c.Target)
		}
	}
	return true, nil
}

func protocolsText(list []string) string {
	if len(list) == 0 {
		return "OpenFlow 1.0 and up"
	}
	return strings.Join(list, ", ")
}

// next prints what to type now. The gateway is started first: a bridge in fail mode secure forwards nothing new without one.
func (f *initFlags) next(w io.Writer, config string, found bool) {
	program, name := vsctl.Quoted(os.Args[0]), f.bridge
	fmt.Fprintf(w, "\nNow type, in a terminal of its own:\n\n    %s run --config %s\n\nand in another one, as root:\n\n", program, vsctl.Quoted(config))
	if !found {
		fmt.Fprintf(w, "    %s\n", vsctl.AddBridge(name))
	} else if f.Bridge.Datapath == "system" && !vsctl.HasKernelModule() {
		fmt.Fprintf(w, "    ovs-vsctl set bridge %s datapath_type=netdev     # this kernel has no Open vSwitch\n", vsctl.Quoted(name))
	}
	if len(f.Bridge.Protocols) > 0 && !slices.Contains(f.Bridge.Protocols, "OpenFlow13") && !slices.Contains(f.Bridge.Protocols, "OpenFlow10") {
		fmt.Fprintf(w, "    ovs-vsctl set bridge %s protocols=OpenFlow10,OpenFlow13\n", vsctl.Quoted(name))
	}
	doctor := program + " doctor --config " + vsctl.Quoted(config)
	fmt.Fprintf(w, "    %s\n    %s\n\nThe page is http://%s/\n", vsctl.HandOver(name, f.Listen.Target()), doctor, f.Admin)
}
