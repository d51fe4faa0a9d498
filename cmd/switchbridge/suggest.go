package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"switchbridge/cmd/internal/cli"
	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/policy/draft"
	"switchbridge/policy/eval"
	"switchbridge/policy/mud"
	"switchbridge/policy/policyfile"
	"switchbridge/replay/capture"
)

func suggestCommand() *cobra.Command {
	var records []string
	c := &cobra.Command{
		Use:   "suggest {CAPTURE | --records FILE}",
		Short: "Draft a policy that allows only what a capture or a gateway's records show",
		Long: `Draft a policy that allows only what a capture or a gateway's records of decisions show. Each line names its evidence. Hosts that behave alike share their lines. A
conversation that nobody answered, such as a scan, is not allowed. A device that asked a name
server before each of its conversations with the outside becomes a machine, which may speak
only after such a question.

Read the draft before you use it. It allows what happened, good or bad, and denies what did
not happen in that time. Its first lines say what it would have denied.`,
		Example: `  switchbridge policy suggest office.pcapng > draft.yaml
  switchbridge policy suggest --records records.jsonl > draft.yaml`,
		Args: observedArgs(&records, 0, ""),
		RunE: func(c *cobra.Command, args []string) error {
			files := append(args, records...)
			r, err := capture.NewReader(c.InOrStdin(), files...)
			if err != nil {
				return err
			}
			defer r.Close()
			p, seen, err := draft.Suggest(c.Context(), r)
			if err != nil {
				return err
			}
			p.Head = []string{fmt.Sprintf("A draft, of %d packets in %s: it allows what they show. Read it before you use it.", seen.Packets, strings.Join(files, ", "))}
			if seen.Unanswered > 0 {
				p.Head = append(p.Head, fmt.Sprintf("%d conversations that nobody answered are not allowed.", seen.Unanswered))
			}
			if seen.Incomplete > 0 {
				p.Head = append(p.Head, fmt.Sprintf("%d packets don't show all that they have (fragments, say) and are not looked at.", seen.Incomplete))
			}
			denied, err := deniedBy(c, p, files)
			if err != nil {
				return err
			}
			p.Head = append(p.Head, denied)
			_, err = p.WriteTo(c.OutOrStdout())
			return err
		},
	}
	recordsFlag(c, &records)
	return c
}

// deniedBy says what a draft would have denied of what it was made of.
func deniedBy(c *cobra.Command, p *draft.Policy, files []string) (string, error) {
	var text bytes.Buffer
	if _, err := p.WriteTo(&text); err != nil {
		return "", err
	}
	policy, err := policyfile.Parse(&text, "draft", ".")
	if err != nil {
		return "", fmt.Errorf("the draft is not a valid policy: %w", err)
	}
	r, err := capture.NewReader(c.InOrStdin(), files...)
	if err != nil {
		return "", err
	}
	defer r.Close()
	report, err := eval.EvalPCAP(c.Context(), controller.New(policy), r, eval.Options{})
	if err != nil {
		return "", err
	}
	packets := 0
	for _, f := range report.Flows {
		switch {
		case policy.Stateful():
			packets += f.PacketsDenied
		case f.Verdict != flow.Allow.String():
			packets += f.Packets
		}
	}
	return fmt.Sprintf("It would have denied %d of %d packets, in %d of %d flows.", packets, report.Packets, report.Denied, len(report.Flows)), nil
}

// mudFlags are what the network says of a profile's hosts.
type mudFlags struct {
	device, names                                               string
	controllers, manufacturers, models, name                    map[string]string
	myController, localNetworks, sameManufacturer, dns, gateway []string
}

func fromMUDCommand() *cobra.Command {
	var f mudFlags
	c := &cobra.Command{
		Use:   "from-mud PROFILE --device ADDRESS",
		Short: "Draft a policy for a device from its manufacturer's profile (MUD, RFC 8520)",
		Long: `Draft a policy for a device from its Manufacturer Usage Description (RFC 8520), in the form
of the RFC (acls) or of its draft (access-lists). The profile has names and classes of hosts;
the flags say which hosts these are. If no flag names the hosts of an entry, the entry is left
out, with a warning. Names are looked up now, or taken from a capture's DNS answers (--names).`,
		Example: `  switchbridge policy from-mud plug.mud.json --device 10.42.0.205 --names plug.pcap --gateway-address 10.42.0.1 --dns 10.42.0.1 > plug.yaml`,
		Args:    cli.Exactly(1, "a MUD file"),
		RunE: func(c *cobra.Command, args []string) error {
			o, err := f.options(c)
			if err != nil {
				return cli.Usage(err)
			}
			in, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer in.Close()
			profile, err := mud.Parse(in)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			p, notes, err := profile.Policy(c.Context(), o)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			for _, n := range notes {
				warn(c, errors.New(n))
			}
			_, err = p.WriteTo(c.OutOrStdout())
			return err
		},
	}
	fl := c.Flags()
	fl.StringVar(&f.device, "device", "", "the device's address")
	fl.StringVar(&f.names, "names", "", "take the addresses of names from DNS answers in this capture, instead of looking them up")
	fl.StringToStringVar(&f.name, "name", nil, "NAME=ADDRESS: don't look this name up (repeatable)")
	fl.StringToStringVar(&f.controllers, "controller", nil, "URI=ADDRESS: the hosts of a controller class (repeatable)")
	fl.StringToStringVar(&f.manufacturers, "manufacturer", nil, "AUTHORITY=PREFIX: devices of a manufacturer (repeatable)")
	fl.StringToStringVar(&f.models, "model", nil, "URI=PREFIX: devices of a model (repeatable)")
	fl.StringSliceVar(&f.myController, "my-controller", nil, "addresses of the device's controller")
	fl.StringSliceVar(&f.localNetworks, "local-networks", nil, "prefixes of the local networks")
	fl.StringSliceVar(&f.sameManufacturer, "same-manufacturer", nil, "addresses of the manufacturer's other devices")
	fl.StringSliceVar(&f.gateway, "gateway-address", nil, "addresses of the network's router: the controller urn:ietf:params:mud:gateway")
	fl.StringSliceVar(&f.dns, "dns", nil, "name servers that the device may ask, whatever its profile says")
	return c
}

func (f *mudFlags) options(c *cobra.Command) (o mud.Options, err error) {
	if o.Device, err = netip.ParseAddr(f.device); err != nil {
		return o, cli.Usagef("--device: want the device's address, such as 10.0.0.7, not %q", f.device)
	}
	for _, one := range []struct {
		flag string
		list []string
		to   *[]netip.Prefix
	}{{"my-controller", f.myController, &o.MyController}, {"local-networks", f.localNetworks, &o.LocalNetworks}, {"same-manufacturer", f.sameManufacturer, &o.SameManufacturer}, {"dns", f.dns, &o.DNS}} {
		if *one.to, err = prefixes(one.list); err != nil {
			return o, fmt.Errorf("--%s: %w", one.flag, err)
		}
	}
	for _, one := range []struct {
		flag string
		from map[string]string
		to   *map[string][]netip.Prefix
	}{{"controller", f.controllers, &o.Controllers}, {"manufacturer", f.manufacturers, &o.Manufacturers}, {"model", f.models, &o.Models}} {
		*one.to = make(map[string][]netip.Prefix)
		for key, value := range one.from {
			if (*one.to)[key], err = prefixes([]string{value}); err != nil {
				return o, fmt.Errorf("--%s: %w", one.flag, err)
			}
		}
	}
	gateway, err := prefixes(f.gateway)
	if err != nil {
		return o, fmt.Errorf("--gateway-address: %w", err)
	}
	if len(gateway) > 0 {
		o.Controllers[mud.Gateway] = gateway
	}
	known := make(map[string][]netip.Addr)
	if f.names != "" {
		r, err := capture.NewReader(c.InOrStdin(), f.names)
		if err != nil {
			return o, err
		}
		defer r.Close()
		if known, err = capture.Names(r); err != nil {
			return o, err
		}
	}
	for name, text := range f.name {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return o, cli.Usagef("--name: %s=%s: want NAME=ADDRESS, such as time.example.org=192.0.2.1", name, text)
		}
		known[name] = append(known[name], a)
	}
	o.Lookup = func(ctx context.Context, name string) ([]netip.Addr, error) {
		if list := known[name]; len(list) > 0 || f.names != "" {
			return list, nil
		}
		list, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
		var none *net.DNSError
		if errors.As(err, &none) && none.IsNotFound {
			return nil, nil
		}
		return list, err
	}
	return o, nil
}

// prefixes reads addresses and prefixes.
func prefixes(list []string) (out []netip.Prefix, err error) {
	for _, text := range list {
		p, err := netip.ParsePrefix(text)
		if a, wrong := netip.ParseAddr(text); wrong == nil {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil {
			return nil, fmt.Errorf("%q: want an address or a prefix", text)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}
