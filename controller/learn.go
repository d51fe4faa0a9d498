package controller

import (
	"switchbridge/flow"
)

// learn adds to a decision's rule, which sends packets of (in_port, eth_src) on
// to the second table, the rule there that sends packets for that address out
// of that port. Both are made of the same packet and end together at the
// latest, so that a host which moves or falls silent is learned anew. A group
// address is no host's: nothing is learned of it. j is what the first
// rule was made of.
func (c *Controller) learn(d *flow.Decision, p *flow.Match, j *flow.Judgement) {
	if !p.Has(flow.FieldInPort|flow.FieldEthSrc) || p.EthSrc.Multicast() {
		d.Rules = d.Rules[:0]
		return
	}
	var m flow.Match
	m.SetEthDst(p.EthSrc, flow.MACExact)
	d.Rules = append(d.Rules, flow.Rule{
		Command:     flow.Add,
		Table:       c.install.Table + 1,
		Priority:    c.install.Priority,
		HardTimeout: j.HardTimeout,
		BufferID:    flow.NoBuffer,
		Match:       m,
		Actions:     []flow.Action{flow.OutputTo(p.InPort)},

		CoversIncomplete: j.CoversIncomplete,
	})
}
