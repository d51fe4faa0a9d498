package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"switchbridge/cmd/internal/cli"
	"switchbridge/replay"
)

func replayCommand() *cobra.Command {
	var cfg replay.Config
	var client cli.ClientFlags
	var function, version, records, format, ports string
	var asJSON, quiet bool
	c := &cobra.Command{
		Use:   "replay FILE...",
		Short: "Play captures as PACKET_INs, to a function or to a gateway",
		Long: `Play captures (pcap or pcapng, plain or compressed by gzip; - is standard input),
or a gateway's records of decisions (log.records), as the PACKET_INs that a switch would have sent: to a function's URL, as the
paper's agent does, or from fake switches to a gateway or any OpenFlow controller.

Records of decisions say at which port of a switch a packet came in. A capture does not:
all its packets come in at port 1, unless --ports maps their sources to ports. Sources are
MAC addresses, IP addresses or prefixes, in the flag or in a file with one on each line.
If a policy looks at in_port, its verdicts are only as good as this mapping.`,
		Example: `  switchbridge replay --function https://127.0.0.1:8443 --function-ca ca.pem home.pcapng
  switchbridge replay --gateway 127.0.0.1:6653 --pace max --agents 4 --records out.jsonl *.pcap
  switchbridge replay --function https://127.0.0.1:8443 --mode packet records.jsonl
  switchbridge replay --function https://127.0.0.1:8443 --ports 10.1.0.0/24=4,10.0.0.1=2 office.pcap`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cli.Usagef("replay wants at least one capture")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) (err error) {
			if cfg.Protocol, err = cli.OpenFlowVersion(version); err != nil {
				return err
			}
			if (function == "") == (len(cfg.Gateways) == 0) {
				return cli.Usagef("replay wants either --function or --gateway")
			}
			if ports != "" {
				if cfg.Ports, err = replay.ParsePorts(ports); err != nil {
					return cli.Usage(err)
				}
			}
			cfg.Files, cfg.Stdin, cfg.Timeout = args, c.InOrStdin(), client.Timeout
			if function != "" {
				f, err := client.Open(function, cfg.Handshake == replay.HandshakeFull)
				if err != nil {
					return err
				}
				defer f.Close()
				cfg.Decider = f
			}
			if records != "" {
				out, closeOut, err := openRecords(records, c.OutOrStdout())
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, closeOut()) }()
				if cfg.Records, err = replay.ParseRecorder(format, out); err != nil {
					return cli.Usage(err)
				}
			}
			var bar *cli.Progress
			if !quiet && !asJSON {
				bar = cli.NewProgress(c.ErrOrStderr(), "bytes")
				cfg.OnProgress = shows(bar)
			}
			summary, err := replay.Run(c.Context(), cfg)
			bar.End()
			if wrong := (*replay.ConfigError)(nil); errors.As(err, &wrong) {
				return cli.Usage(err)
			}
			if summary == nil || err != nil && summary.Packets == 0 {
				return err
			}
			if asJSON {
				return errors.Join(cli.WriteJSON(c.OutOrStdout(), summary), err)
			}
			return errors.Join(summary.WriteText(c.OutOrStdout()), err)
		},
	}
	fl := c.Flags()
	client.Register(fl)
	fl.StringVar(&function, "function", "", "the function's URL")
	fl.StringArrayVar(&cfg.Gateways, "gateway", nil, "an OpenFlow controller: HOST:PORT or unix:PATH (repeatable; the switches are spread over them)")
	fl.StringVar(&version, "openflow", "1.3", "version to speak: 1.0 or 1.3")
	fl.StringVar(&cfg.Handshake, "handshake", replay.HandshakeCombined, "combined; two: HELLO in a request before each event; full: three requests for each event")
	fl.StringVar(&cfg.Mode, "mode", replay.ModeFlow, "flow: send the first packet of each flow; packet: send every packet")
	fl.DurationVar(&cfg.FlowTimeout, "flow-timeout", time.Minute, "a flow without packets for so long begins anew")
	fl.DurationVar(&cfg.From, "from", 0, "begin at this offset of the capture")
	fl.DurationVar(&cfg.To, "to", 0, "end at this offset of the capture; 0 is its end")
	fl.Int64Var(&cfg.Limit, "limit", 0, "most events; 0 is all")
	fl.StringVar(&cfg.Pace, "pace", replay.PaceReal, "real: as recorded; max: as fast as the answers come")
	fl.Float64Var(&cfg.Speed, "speed", 1, "with --pace real: 10 plays ten seconds in one")
	fl.IntVar(&cfg.Agents, "agents", 1, "switches")
	fl.StringVar(&cfg.Split, "split", replay.SplitAddress, "how packets are divided among the switches: by address or time")
	fl.StringVar(&ports, "ports", "", "ports where sources come in: ADDRESS=PORT,... or a file of such lines; all others come in at port 1")
	fl.IntVar(&cfg.InFlight, "in-flight", 0, "events of a switch that wait for answers at once; 0: 64 at the real pace, 1 at the maximum pace")
	fl.StringVar(&records, "records", "", "file for a record of each event; - is standard output")
	fl.StringVar(&format, "format", "json", "of the records: json (lines) or csv")
	fl.BoolVar(&asJSON, "json", false, "print the summary as JSON")
	fl.BoolVar(&quiet, "quiet", false, "no progress bar")
	c.AddCommand(generateCommand())
	return c
}

// shows has a bar follow a replay's way through the capture.
func shows(bar *cli.Progress) func(replay.Progress) {
	return func(p replay.Progress) {
		rate := 0.0
		if s := p.Elapsed.Seconds(); s > 0 {
			rate = float64(p.Events) / s
		}
		bar.Set(p.Read, p.Size, fmt.Sprintf("%d events, %.0f/s", p.Events, rate))
	}
}

func generateCommand() *cobra.Command {
	var cfg replay.GenerateConfig
	var profile, expected string
	c := &cobra.Command{
		Use:   "generate FILE",
		Short: "Make a capture of an organisation's, a home's or an IoT network's size",
		Long: `Make a capture from a seed: new flows as an organisation (34,974 in an hour), a
home or an IoT network has them, with the verdicts that a blocklist of
203.0.113.0/24 must give, as CSV.`,
		Example: `  switchbridge replay generate office.pcap
  switchbridge replay generate --profile home --seed 7 --expected verdicts.csv home.pcap`,
		Args: cli.Exactly(1, "a file to write"),
		RunE: func(c *cobra.Command, args []string) (err error) {
			if cfg.Profile, err = replay.ProfileNamed(profile); err != nil {
				return cli.Usage(err)
			}
			out, err := os.Create(args[0])
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, out.Close()) }()
			var verdicts io.Writer
			if expected != "" {
				f, err := os.Create(expected)
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, f.Close()) }()
				verdicts = f
			}
			g, err := replay.Generate(out, verdicts, cfg)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s: %d flows, of which %d are to be denied, in %d packets\n", args[0], g.Flows, g.Denied, g.Packets)
			return err
		},
	}
	c.Flags().StringVar(&profile, "profile", "organisation", "organisation, home or iot")
	c.Flags().Uint64Var(&cfg.Seed, "seed", 1, "the same seed makes the same capture")
	c.Flags().Float64Var(&cfg.BlockedShare, "blocked", 0.05, "share of the flows that go to blocked addresses")
	c.Flags().StringVar(&expected, "expected", "", "file for the expected verdicts, as CSV")
	return c
}
