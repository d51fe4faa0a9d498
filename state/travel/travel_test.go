package travel

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"switchbridge/flow"
	"switchbridge/flow/decider"
	"switchbridge/internal/frames"
	"switchbridge/state"
	"switchbridge/state/statetest"
)

// newKeys returns keys, and their text.
func newKeys(t testing.TB, n int) (*Keys, []string) {
	t.Helper()
	var text []string
	for range n {
		raw := make([]byte, KeySize)
		_, _ = rand.Read(raw)
		text = append(text, base64.StdEncoding.EncodeToString(raw))
	}
	k, err := ParseKeys(strings.Join(text, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return k, text
}

func TestParseKeys(t *testing.T) {
	_, text := newKeys(t, 8)
	for _, row := range []struct{ text, want string }{
		{text[0], ""},
		{"\n " + strings.Join(text[:8], " \r\n\t") + "\n", ""},
		{"", "no key"},
		{" \n", "no key"},
		{text[0] + " x", "key 2: want 32 bytes in base64"},
		{text[0][:40], "key 1: want 32 bytes"},
		{text[0] + text[1], "key 1: want 32 bytes"},
		{strings.Join(append(text, text[0]), " "), "more than 8 keys"},
	} {
		_, err := ParseKeys(row.text)
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%.60q: %v, want %q", row.text, err, row.want)
		}
		if err != nil && strings.Contains(err.Error(), text[0][:40]) {
			t.Errorf("the error tells the key: %v", err)
		}
	}
}

// A seal opens by its key, for what it was made, and not if any bit of it is another.
func TestSeal(t *testing.T) {
	keys, text := newKeys(t, 2)
	expires := time.UnixMilli(1_800_000_000_123)
	data := []byte("quiet")
	b, err := keys.seal("scan/10.0.0.1", 7, expires, data)
	if err != nil || len(b) != overhead+len(data) || bytes.Contains(b, data) {
		t.Fatalf("%x, %v", b, err)
	}
	if version, until, got, err := keys.open("scan/10.0.0.1", b); err != nil || version != 7 || !until.Equal(expires) || !bytes.Equal(got, data) {
		t.Errorf("version %d until %v: %q, %v", version, until, got, err)
	}
	again, _ := keys.seal("scan/10.0.0.1", 7, expires, data)
	if bytes.Equal(again, b) || bytes.Equal(again[atNonce:atNonce+nonceSize], b[atNonce:atNonce+nonceSize]) {
		t.Error("two seals have one nonce")
	}
	if _, _, _, err := keys.open("scan/10.0.0.2", b); !errors.Is(err, state.ErrCorrupt) {
		t.Errorf("another key's: %v", err)
	}
	for i := range b {
		for bit := range 8 {
			b[i] ^= 1 << bit
			if _, _, got, err := keys.open("scan/10.0.0.1", b); err == nil {
				t.Errorf("bit %d of byte %d: %q", bit, i, got)
			}
			b[i] ^= 1 << bit
		}
	}
	for n := range b {
		if _, _, _, err := keys.open("scan/10.0.0.1", b[:n]); !errors.Is(err, state.ErrCorrupt) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	newer := append([]byte{form + 1}, b[1:]...)
	if _, _, _, err := keys.open("scan/10.0.0.1", newer); !errors.Is(err, state.ErrNewer) {
		t.Errorf("a newer form: %v", err)
	}
	empty, _ := keys.seal("k", 1, time.Time{}, nil)
	if version, until, got, err := keys.open("k", empty); err != nil || version != 1 || !until.IsZero() || got == nil || len(got) != 0 {
		t.Errorf("nothing, for ever: version %d until %v: %q, %v", version, until, got, err)
	}

	// A rotation: the new key is made known, then seals, then the old one goes.
	parse := func(order ...int) *Keys {
		var list []string
		for _, i := range order {
			list = append(list, text[i])
		}
		k, err := ParseKeys(strings.Join(list, " "))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	for _, row := range []struct {
		name        string
		seals, open *Keys
		want        error
	}{
		{"known", parse(0), parse(0, 1), nil},
		{"seals", parse(1, 0), parse(0, 1), nil},
		{"old one still opens", parse(0, 1), parse(1, 0), nil},
		{"old one is gone", parse(1, 0), parse(1), nil},
		{"rotated away", parse(0), parse(1), state.ErrSealed},
		{"not known yet", parse(1, 0), parse(0), state.ErrSealed},
	} {
		b, err := row.seals.seal("k", 1, expires, data)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, got, err := row.open.open("k", b); !errors.Is(err, row.want) || err == nil && string(got) != "quiet" {
			t.Errorf("%s: %q, %v", row.name, got, err)
		}
	}
}

// gateway is a gateway's table with states behind it that travel, as a store for the suite. It has an event for each key: a packet from an address of its own.
type gateway struct {
	Store
	table *decider.State
}

type doKey struct{}

func newGateway(keys *Keys, limits decider.StateLimits) *gateway {
	g := &gateway{Store: *New(func() *Keys { return keys })}
	g.table = decider.NewState(flow.DeciderFunc(func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
		return ctx.Value(doKey{}).(func(state.Store) error)(g.Of(g, ev, d))
	}), limits)
	return g
}

func (*gateway) Version() flow.PolicyVersion                     { return flow.PolicyVersion{} }
func (*gateway) Stateful() bool                                  { return true }
func (*gateway) StateKeys(_ *flow.Event, keys []string) []string { return keys }
func (*gateway) OwnKeys(*flow.Event) int                         { return 0 }
func (*gateway) Travels(string) (name string, kind flow.StateKey, ok bool) {
	return "m", flow.StateSrc, true
}
func (*gateway) Promise() state.Promise { return (*Store)(nil).Promise() }

// event asks about a packet of a key.
func (g *gateway) event(ctx context.Context, key string, do func(state.Store) error) error {
	h := sha256.Sum256([]byte(key))
	ev := &flow.Event{Type: flow.EventPacketIn, Time: time.Now(), Switch: &flow.Switch{DPID: 1}, PacketIn: &flow.PacketIn{}}
	m := &ev.PacketIn.Match
	m.SetEthType(flow.EthTypeIPv6)
	m.SetIPSrc(netip.PrefixFrom(netip.AddrFrom16([16]byte(h[:16])), 128))
	var d flow.Decision
	if err := g.table.Decide(context.WithValue(ctx, doKey{}, do), ev, &d); err != nil {
		return err
	}
	if d.Failure != nil && strings.Contains(d.Failure.Error(), "no room") {
		return state.ErrFull
	}
	return d.Failure
}

func (g *gateway) Get(ctx context.Context, keys []string, values []state.Value) error {
	for i, key := range keys {
		if err := g.event(ctx, key, func(s state.Store) error { return s.Get(ctx, keys[i:i+1], values[i:i+1]) }); err != nil {
			return err
		}
	}
	return nil
}

func (g *gateway) CompareAndSwap(ctx context.Context, key string, old uint64, data []byte, ttl time.Duration) (version uint64, err error) {
	err = g.event(ctx, key, func(s state.Store) (err error) {
		version, err = s.CompareAndSwap(ctx, key, old, data, ttl)
		return err
	})
	return version, err
}

func (g *gateway) Delete(ctx context.Context, key string, old uint64) error {
	return g.event(ctx, key, func(s state.Store) error { return s.Delete(ctx, key, old) })
}

// With a gateway's table states that travel pass the suite of stores, all but the last 49 bytes of the largest value.
func TestStore(t *testing.T) {
	keys, _ := newKeys(t, 1)
	for _, c := range statetest.Cases {
		check := func(t *testing.T) {
			open := func(limits decider.StateLimits) func(context.Context) (state.Store, error) {
				g := newGateway(keys, limits)
				return func(context.Context) (state.Store, error) { return g, nil }
			}
			over := time.Duration(0)
			if c.Name == "full" { // the versions of what has expired take room for some minutes
				over = 3 * time.Minute
			}
			if err := c.Check(t.Context(), &statetest.Store{
				Open: open(decider.StateLimits{}), Full: open(decider.StateLimits{Entries: 3}),
				Expire:  func(ttl time.Duration) { time.Sleep(ttl + over) },
				Largest: state.MaxData - overhead,
			}); err != nil {
				t.Error(err)
			}
		}
		t.Run(c.Name, func(t *testing.T) {
			if c.Name == "linearizable" { // in a bubble all of a history would happen at one time
				check(t)
				return
			}
			synctest.Test(t, check)
		})
	}
}

// What the table does not check, the function does: what comes with an event must be of its keys.
func TestForgedStates(t *testing.T) {
	keys, _ := newKeys(t, 1)
	g := newGateway(keys, decider.StateLimits{})
	ev := &flow.Event{Accepts: flow.AcceptsTravel, Time: time.UnixMilli(1_800_000_000_000)}
	seal := func(key string, version uint64, expires time.Time) []byte {
		b, err := keys.seal(key, version, expires, []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, row := range []struct {
		name string
		data []byte
		want error
		last uint64
	}{
		{"its own", seal("m/a", 5, time.Time{}), nil, 0},
		{"another key's", seal("m/b", 5, time.Time{}), state.ErrCorrupt, 0},
		{"plain", append([]byte{form}, "blocked"...), state.ErrCorrupt, 0},
		{"after its time", seal("m/a", 5, ev.Time), nil, 5},
		{"gone", nil, nil, 9},
	} {
		ev.Travel = []flow.Travelling{{Name: "m", Key: flow.StatePort, Data: []byte("another kind's")}, {Name: "m", Key: flow.StateSrc, Version: 9, Data: row.data}}
		var d flow.Decision
		s := g.Of(g, ev, &d)
		values := make([]state.Value, 1)
		err := s.Get(t.Context(), []string{"m/a"}, values)
		if !errors.Is(err, row.want) || values[0].Last != row.last || (err == nil && row.last == 0) != (values[0].Version == 5) {
			t.Errorf("%s: %+v, %v", row.name, values[0], err)
		}
		_, err = s.CompareAndSwap(t.Context(), "m/a", 5, []byte("y"), time.Hour)
		switch {
		case row.want != nil && (!errors.Is(err, row.want) || len(d.Travel) != 0),
			row.want == nil && row.last != 0 && !errors.Is(err, state.ErrConflict),
			row.want == nil && row.last == 0 && (err != nil || d.Travel[0].Version != 6 || d.Travel[0].TTL != time.Hour):
			t.Errorf("%s: swap: %v, %+v", row.name, err, d.Travel)
		}
	}
	ev.Accepts = 0
	if err := g.Of(g, ev, new(flow.Decision)).Get(t.Context(), []string{"m/a"}, make([]state.Value, 1)); err == nil {
		t.Error("a gateway that brings nothing back is asked for states")
	}
	if err := g.Store.Get(t.Context(), nil, nil); err == nil {
		t.Error("states without an event")
	}
}

// BenchmarkEvent is what a state that travels costs its host: to open it, and to seal the next; or to seal a first one, each time another.
func BenchmarkEvent(b *testing.B) {
	keys, _ := newKeys(b, 1)
	g := newGateway(keys, decider.StateLimits{})
	ev := &flow.Event{Accepts: flow.AcceptsTravel, Time: time.Now()}
	values := make([]state.Value, 1)
	var d flow.Decision
	event := func(b *testing.B, names []string, old uint64, data []byte) {
		d.Travel = d.Travel[:0]
		s := g.Of(g, ev, &d)
		if err := s.Get(b.Context(), names, values); err != nil {
			b.Fatal(err)
		}
		if _, err := s.CompareAndSwap(b.Context(), names[0], old, data, time.Hour); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("first", func(b *testing.B) {
		var names [8 * keptCiphers]string
		for i := range names {
			names[i] = fmt.Sprintf("scan/10.0.%d.%d", i>>8, i&255)
		}
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			event(b, names[i%len(names):][:1], 0, make([]byte, 64))
		}
	})
	b.Run("next", func(b *testing.B) {
		sealed, _ := keys.seal("scan/10.0.0.1", 5, time.Now().Add(time.Hour), make([]byte, 64))
		ev.Travel = []flow.Travelling{{Name: "m", Key: flow.StateSrc, Version: 5, Data: sealed}}
		names := []string{"scan/10.0.0.1"}
		b.ReportAllocs()
		for b.Loop() {
			event(b, names, 5, values[0].Data)
		}
	})
}

// scans is a machine of each source.
type scans struct{ state.Machines }

func (scans) Travels(key string) (name string, kind flow.StateKey, ok bool) {
	return "scan", flow.StateSrc, strings.HasPrefix(key, "scan/")
}

// What an event may answer has states of its own, which it does not bring: they are unknown, and not taken for the event's.
func TestStatesOfAnotherPacket(t *testing.T) {
	keys, _ := newKeys(t, 1)
	m := flow.ParseFrame(frames.TCP(frames.Host(1).At(80), frames.Host(2).At(40000), frames.ACK, nil), 1)
	sealed, err := keys.seal("scan/10.0.0.1", 7, time.Time{}, []byte("good"))
	if err != nil {
		t.Fatal(err)
	}
	ev := &flow.Event{Type: flow.EventPacketIn, Accepts: flow.AcceptsTravel, Switch: &flow.Switch{}, PacketIn: &flow.PacketIn{Match: m},
		Travel: []flow.Travelling{{Name: "scan", Key: flow.StateSrc, Version: 7, Data: sealed}}}
	s := New(func() *Keys { return keys }).Of(scans{}, ev, new(flow.Decision))
	values := make([]state.Value, 2)
	if err := s.Get(t.Context(), []string{"scan/10.0.0.1", "scan/10.0.0.2"}, values); err != nil {
		t.Fatal(err)
	}
	if string(values[0].Data) != "good" || values[0].Version != 7 || !flow.UnknownState(values[1].Data) || values[1].Version != 0 {
		t.Errorf("values %+v", values)
	}
}

// The subkey of a state is what HKDF makes, whoever was sealed before.
func TestSubkey(t *testing.T) {
	keys, _ := newKeys(t, 1)
	k := keys.list[0]
	for _, name := range []string{"", "scan/10.0.0.1", strings.Repeat("x", state.MaxKey), "scan/10.0.0.1"} {
		want, err := hkdf.Expand(sha256.New, k.secret, "switchbridge state "+name, KeySize)
		if err != nil {
			t.Fatal(err)
		}
		if got := k.subkey(name); !bytes.Equal(got, want) {
			t.Errorf("%q: %x, want %x", name, got, want)
		}
	}
	for i := range 3 * keptCiphers { // more than are kept
		name := fmt.Sprint("k/", i)
		for range 2 {
			b, err := keys.seal(name, 1, time.Time{}, []byte(name))
			if err != nil {
				t.Fatal(err)
			}
			if _, _, data, err := keys.open(name, b); err != nil || string(data) != name {
				t.Fatalf("%s: %q, %v", name, data, err)
			}
		}
	}
}
