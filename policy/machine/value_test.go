package machine

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"switchbridge/flow"
	"switchbridge/policy/header"
	"switchbridge/policy/wire"
)

// counting is a machine whose windows are as large as may be.
func counting(t testing.TB) *machine {
	var tcp flow.Match
	tcp.SetIPProto(flow.ProtoTCP)
	c := &Config{Machines: []Machine{{Name: "m", Key: Src, States: make([]State, 3), Transitions: []Transition{
		{From: 7, To: 1, Packet: &Packet{Match: header.Condition{Header: tcp}, Count: 200, Distinct: flow.FieldL4Dst, Within: time.Hour}},
		{From: 1, To: 1, Packet: &Packet{}},
		{From: 3, To: 2, Packet: &Packet{Count: 90, Distinct: flow.FieldIPDst, Within: time.Minute}},
	}}}}
	for i, name := range []string{"a", "b", "c"} {
		c.Machines[0].States[i].Name = name
	}
	if err := c.Validate(nil); err != nil {
		t.Fatal(err)
	}
	return &c.Compile().(*link).machines[0]
}

func full(m *machine) *value {
	const now = 1_800_000_000_000
	v := &value{state: 2, serial: 1 << 40, entered: now - 1<<36, written: now}
	for i := range v.ids {
		v.ids[i] = seen{id: uint64(i + 1), state: uint8(i % 3)}
	}
	for i := range m.Transitions {
		t := m.Transitions[i].Packet
		for j := 0; j < int(t.Count)-1; j++ {
			w := v.window(i)
			w.entries = append(w.entries, entry{now - int64(j)%t.Within.Milliseconds(), bytes.Repeat([]byte{byte(j)}, distinctSize(t.Distinct))})
		}
	}
	return v
}

func TestValues(t *testing.T) {
	m := counting(t)
	if len(m.hashBytes()) == 0 || m.hash == 0 {
		t.Error("no hash")
	}
	small := &value{state: 1, serial: 1, entered: 1, written: 1}
	for name, want := range map[string]*value{"full": full(m), "small": small} {
		b := want.append(nil, m)
		t.Logf("%s: %d bytes", name, len(b))
		if len(b) > flow.MaxState {
			t.Errorf("%s: %d bytes, no store takes more than %d", name, len(b), flow.MaxState)
		}
		var got value
		if why := got.parse(b, m); why != "" || !reflect.DeepEqual(&got, want) {
			t.Errorf("%s: %s\n got %+v\nwant %+v", name, why, got, want)
		}
		for n := range b {
			if why := new(value).parse(b[:n:n], m); why != faultCorrupt {
				t.Errorf("%s: cut to %d of %d bytes: %q", name, n, len(b), why)
			}
		}
	}
	want := []byte{1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}
	if got := small.append(nil, m); !bytes.Equal(got[atState:], want) || got[0] != 1 {
		t.Errorf("%x, want at the end %x", got, want)
	}
}

// What is older than it counts goes, and a value that came back has never too much.
func TestWindowsAreBounded(t *testing.T) {
	m := counting(t)
	v := full(m)
	for i := range v.windows {
		w := &v.windows[i]
		if n := len(w.entries); n >= int(m.Transitions[w.transition].Packet.Count) {
			t.Errorf("%d entries", n)
		}
	}
	v.written += time.Minute.Milliseconds()
	var got value
	if why := got.parse(v.append(nil, m), m); why != "" || len(got.windows) != 1 {
		t.Errorf("%s: %d windows, want the one of an hour", why, len(got.windows))
	}
}

func (m *machine) hashBytes() []byte {
	w := wire.NewWriter(nil)
	m.write(w)
	return w.Bytes()
}

func FuzzValue(f *testing.F) {
	m := counting(f)
	f.Add(full(m).append(nil, m)[13:], uint64(0))
	f.Add((&value{serial: 1, entered: 1, written: 1}).append(nil, m)[13:], uint64(1))
	f.Fuzz(func(t *testing.T, rest []byte, now uint64) {
		// The checksum and the hash are right, so that what is behind them is read.
		b := (&value{}).append(nil, m)[:13]
		b = append(b, rest...)
		resum(b)
		var v value
		if v.parse(b, m) == "" {
			again := v.append(nil, m)
			var back value
			if why := back.parse(again, m); why != "" || back.state != v.state || back.serial != v.serial || back.entered != v.entered || back.ids != v.ids {
				t.Fatalf("%x\nbecomes %x: %s", b, again, why)
			}
		}
		at := int64(now >> 1)
		if m.load(b, at, &v) == "" {
			m.left(&v, max(at, v.written))
		}
	})
}

func resum(b []byte) {
	if len(b) > 5 {
		le.PutUint32(b[1:], checksum(b))
	}
}

// A machine without alternatives has the bytes, and so the states, that it had before there were any, whatever other machines have.
func TestAlternativesLeaveOthersTheirStates(t *testing.T) {
	port := func(p uint16) (c header.Condition) {
		c.Header.SetIPProto(flow.ProtoTCP)
		c.Dst = &header.PortRange{First: p, Last: p}
		return c
	}
	plain := Machine{Name: "plain", For: port(1), Key: Network, States: []State{{Name: "a"}}}
	more := Machine{Name: "more", For: port(2), Or: []header.Condition{port(3)}, Key: Network, States: []State{{Name: "a"}}}
	hash := func(c *Config, i int) uint64 { return c.Compile().(*link).machines[i].hash }
	alone, both := &Config{Machines: []Machine{plain}}, &Config{Machines: []Machine{plain, more}}
	if hash(alone, 0) != hash(both, 0) {
		t.Error("a machine's states begin again when another one has alternatives")
	}
	less := more
	less.Or = nil
	if hash(&Config{Machines: []Machine{less}}, 0) == hash(both, 1) {
		t.Error("a machine with another alternative goes on with the old states")
	}
}
