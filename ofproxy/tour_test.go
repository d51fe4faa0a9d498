package ofproxy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/internal/frames"
	"switchbridge/ofproxy/oftest"
)

// stop is a function that the tour names, and where it says that it is.
var stop = regexp.MustCompile("\\]\\(\\.\\./([a-z0-9_/]+\\.go)\\),\\s+`([A-Za-z0-9.]+)`")

// seen has the functions that were on the stack at some moments, as the tour writes
// them: "Session.PacketIn".
type seen struct {
	sync.Mutex
	names map[string]bool
}

func (s *seen) stack() {
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	s.Lock()
	defer s.Unlock()
	for {
		f, more := frames.Next()
		name := f.Function[strings.LastIndexByte(f.Function, '/')+1:] // ofproxy.(*session).next
		_, name, _ = strings.Cut(name, ".")
		s.names[strings.NewReplacer("(*", "", ")", "").Replace(name)] = true
		if !more {
			return
		}
	}
}

// looked notes who reads and writes a connection.
type looked struct {
	net.Conn
	seen *seen
}

func (c looked) Read(b []byte) (int, error)  { c.seen.stack(); return c.Conn.Read(b) }
func (c looked) Write(b []byte) (int, error) { c.seen.stack(); return c.Conn.Write(b) }

// docs/tour.md follows a packet from function to function. They are where it says, and a
// packet goes through those of them that are seen from its connection, its decision and
// its record.
func TestTour(t *testing.T) {
	text, err := os.ReadFile("../docs/tour.md")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "\n## "); n != 10 {
		t.Errorf("%d stops, want 10", n)
	}
	var named []string
	for _, m := range stop.FindAllStringSubmatch(string(text), -1) {
		named = append(named, m[2])
		if !slices.Contains(functions(t, filepath.Join("..", m[1])), m[2]) {
			t.Errorf("%s has no function %s", m[1], m[2])
		}
	}

	seen := &seen{names: map[string]bool{}}
	bubble(t, func(c *testConfig) {
		c.B.Decider = local(func(ev *flow.Event, d *flow.Decision) error { seen.stack(); return exactRule(ev, d) })
		c.B.OnDecision = func(*bridge.Record) { seen.stack() }
	}, func(r *rig) {
		client, server := net.Pipe()
		go r.server.ServeConn(r.ctx, looked{server, seen})
		sw := oftest.Serve(client, oftest.Config{DPID: 1})
		defer sw.Close()
		synctest.Wait()
		sw.Take()
		clear(seen.names) // what follows is the packet's
		sw.PacketIn(1, frames.TCP(frames.Host(1).At(40000), frames.Host(2).At(80), frames.SYN, nil))
		synctest.Wait()
	})
	for _, name := range []string{"session.next", "framer.fill", "session.packetIn", "Session.PacketIn", "Session.decide", "Bridge.decide",
		"Session.apply", "Session.carryOut", "Session.report", "outbox.flush"} {
		if !seen.names[name] {
			t.Errorf("the packet did not pass %s", name)
		}
		if !slices.Contains(named, name) {
			t.Errorf("the tour does not name %s", name)
		}
	}
}

// functions are those that a file declares, methods with their type.
func functions(t *testing.T, file string) (names []string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		name := fn.Name.Name
		if fn.Recv != nil {
			on := fn.Recv.List[0].Type
			if star, ok := on.(*ast.StarExpr); ok {
				on = star.X
			}
			if id, ok := on.(*ast.Ident); ok {
				name = id.Name + "." + name
			}
		}
		names = append(names, name)
	}
	return names
}
