package controller

import (
	"switchbridge/flow"
)

// learn adds a rule to d. d's first rule sends packets of (in_port, eth_src) to the
// switch's second table; the new rule, in that table, sends packets for eth_src out of
// in_port. The second rule ends no later than the first, so that a host which moves or
// falls silent is learned anew. learn adds nothing for a group address, which
// belongs to no host. The first rule was made of j.
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
