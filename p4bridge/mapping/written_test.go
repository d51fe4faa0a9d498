package mapping

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"switchbridge/flow"
	"switchbridge/p4src"
)

// What is written of an entry is what an answer would say to have it.
func TestWritten(t *testing.T) {
	p := p4src.Switchbridge()
	m, err := Default().Bind(p)
	if err != nil {
		t.Fatal(err)
	}
	var match flow.Match
	match.SetInPort(1)
	match.SetEthSrc(flow.MAC{2, 0, 0, 0, 0, 1}, flow.MACExact)
	match.SetEthType(flow.EthTypeIPv4)
	match.SetIPProto(flow.ProtoTCP)
	match.SetL4Dst(22)
	rule := flow.Rule{Priority: 100, Match: match, Actions: []flow.Action{flow.OutputTo(2)}}
	e, table, err := m.Entry(&rule, nil)
	if err != nil {
		t.Fatal(err)
	}
	text := Written(table.P4, e)
	for _, want := range []string{"table " + table.P4.Name + ": ", "02:00:00:00:00:01", "0x16", "0x800", "0x6", ", priority 100", " -> ", "0x2)"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s lacks %s", text, want)
		}
	}
	// Read back, each key is the same.
	for i := range table.P4.Fields {
		f := &table.P4.Fields[i]
		for _, k := range e.GetMatch() {
			if k.GetFieldId() != f.ID {
				continue
			}
			back, err := directKey(f, keyText(f, k))
			if err != nil || !proto.Equal(back, k) {
				t.Errorf("%s %s is read back as %v (%v), want %v", f.Name, keyText(f, k), back, err, k)
			}
		}
	}
	if text := Written(table.P4, nil); !strings.HasPrefix(text, "table "+table.P4.Name+": every packet") {
		t.Error(text)
	}
}
