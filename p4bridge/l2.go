package p4bridge

import (
	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"

	"switchbridge/flow"
	"switchbridge/p4bridge/pipeline"
)

// NORMAL means the table of learned addresses, which a P4 switch does not fill
// by itself: here it is filled from eth_src and in_port of events. The newest
// wins. What is there ages by the switch's own idle timeout.

func (o *owner) isL2(table uint32) bool {
	l := o.s.cfg.Mapping.L2
	return l != nil && l.Table.ID == table
}

// learn notes where an address is.
func (o *owner) learn(m *flow.Match) {
	l := o.s.cfg.Mapping.L2
	if l == nil || !m.Has(flow.FieldEthSrc|flow.FieldInPort) || m.EthSrc.Multicast() || m.InPort.Reserved() {
		return
	}
	if port, ok := o.l2[m.EthSrc]; ok && port == m.InPort {
		return
	}
	port, err := pipeline.Uint(uint64(m.InPort), l.Port.Width)
	if err != nil {
		return // the switch itself reported the port, as wide as its own type
	}
	e := &p4v1.TableEntry{
		TableId: l.Table.ID,
		Match: []*p4v1.FieldMatch{{FieldId: l.MAC.ID, FieldMatchType: &p4v1.FieldMatch_Exact_{
			Exact: &p4v1.FieldMatch_Exact{Value: pipeline.Canonical(append([]byte(nil), m.EthSrc[:]...))}}}},
		Action: &p4v1.TableAction{Type: &p4v1.TableAction_Action{Action: &p4v1.Action{
			ActionId: l.Action.ID, Params: []*p4v1.Action_Param{{ParamId: l.Port.ID, Value: port}},
		}}},
		ControllerMetadata: cookie(o.s.cfg.GatewayID, flow.PolicyVersion{}, 0),
	}
	if l.Table.IdleTimeout && o.s.cfg.L2Age > 0 {
		e.IdleTimeoutNs = o.s.cfg.L2Age.Nanoseconds()
	}
	if o.add(&change{entry: e, table: l.Table}) == nil { // a full table floods, which is right, if slow
		o.l2[m.EthSrc] = m.InPort
	}
}

// forget lets an address be learned anew.
func (o *owner) forget(e *p4v1.TableEntry) {
	if mac, ok := macOf(e); ok {
		delete(o.l2, mac)
	}
}

// relearn notes an entry that was found in the switch.
func (o *owner) relearn(e *p4v1.TableEntry) {
	mac, ok := macOf(e)
	params := e.GetAction().GetAction().GetParams()
	if !ok || len(params) != 1 {
		return
	}
	if port, err := pipeline.ToUint(params[0].GetValue()); err == nil {
		o.l2[mac] = flow.PortNo(port)
	}
}

func macOf(e *p4v1.TableEntry) (mac flow.MAC, ok bool) {
	if len(e.GetMatch()) != 1 {
		return mac, false
	}
	b, err := pipeline.Pad(e.GetMatch()[0].GetExact().GetValue(), 48)
	if err != nil {
		return mac, false
	}
	return flow.MAC(b), true
}
