package paper

import (
	"context"
	"errors"
	"fmt"

	"switchbridge/bench"
	"switchbridge/bench/stats"
)

// agreement has cbench and this load generator say what they measure of the same controllers.
func (e *evaluation) agreement(ctx context.Context) error {
	s := e.section("Cbench beside this load generator",
		fmt.Sprintf("What both measure of the same process, in turn, in cbench's terms: all messages that answer, a second; in latency mode any of them lets the next packet go. "+
			"Medians of %s. They agree where they are no more than a tenth apart; a ratio that is above 1 says that this load generator sees more.", rounds(e.scale.agreementRounds)),
		"controller", "mode", "here, messages/s", "min", "max", "cbench, messages/s", "min", "max", "here / cbench", "they")
	var peers []bench.Peer
	for _, p := range e.cfg.Peers {
		if _, err := p.Find(); err != nil {
			s.Missing = append(s.Missing, (&measured{peer: p, err: err}).missing())
			continue
		}
		peers = append(peers, p)
	}
	rows, err := bench.Agreement(ctx, bench.AgreementConfig{
		Peers: peers, Cbench: bench.Cbench{Program: e.cfg.Cbench}, Rounds: e.scale.agreementRounds, Duration: e.scale.agreementRun,
		OnRound: func(n int, p *bench.Peer) {
			e.step("%s, by cbench and by this load generator, round %d of %d", p.Name, n+1, e.scale.agreementRounds)
		},
	})
	if errors.Is(err, bench.ErrNotInstalled) {
		s.Missing = append(s.Missing, "cbench is not installed ("+bench.CbenchInstall+")")
		return nil
	}
	if err != nil {
		return nil // cancelled, which Run reports
	}
	for _, row := range rows {
		o, c := stats.SpreadOf(row.Ours), stats.SpreadOf(row.Cbench)
		if row.Err != "" {
			s.Missing = append(s.Missing, row.Name+", "+row.Mode+": "+oneLine(errors.New(row.Err)))
			continue
		}
		s.row(row.Name, row.Mode, num(o.Median), num(o.Min), num(o.Max), num(c.Median), num(c.Min), num(c.Max), num(row.Ratio()), row.Verdict())
		e.report.note("agreement/"+row.Name+", "+row.Mode, "here / cbench", 0, row.Ratio())
	}
	return nil
}
