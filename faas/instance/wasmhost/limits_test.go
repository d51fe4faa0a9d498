package wasmhost

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"switchbridge/faas/instance/guest"
)

// withMemory is a raw guest with another memory section and more data segments, if any.
func withMemory(g rawGuest, memory []byte, segments ...[]byte) []byte {
	sections, _, err := split(g.bytes())
	if err != nil {
		panic(err)
	}
	wasm := []byte(wasmHeader)
	for _, id := range sectionOrder {
		body := sections[id]
		switch {
		case id == sectionMemory:
			body = section(id, memory)[2:]
		case id == sectionData && segments != nil:
			all := section(id, append([][]byte{body[1:]}, segments...)...)
			r := reader{b: all, at: 1}
			body = r.take(r.u32())
		}
		if body != nil {
			wasm = append(append(append(wasm, byte(id)), leb(len(body))...), body...)
		}
	}
	return wasm
}

// segment is a data segment at an address.
func segment(at int, data ...byte) []byte {
	return code(0, i32Const(at), opEnd, leb(len(data)), data)
}

func TestMemoryLimits(t *testing.T) {
	const pages = wasiPages
	const end = pages * wasmPage
	g := rawGuest{version: guest.ABIVersion}
	limits := func(flags int, minimum, maximum int) []byte {
		if flags == 0 {
			return code(0, leb(minimum))
		}
		return code(flags, leb(minimum), leb(maximum))
	}
	const most = maxMemory / wasmPage
	for _, row := range []struct {
		name  string
		wasm  []byte
		limit uint64
		want  string // empty: it runs
	}{
		{"as much as there is", withMemory(g, limits(0, most, 0)), 1 << 32, ""},
		{"more than there is", withMemory(g, limits(0, most+1, 0)), 1 << 32, "larger than a guest's may be"},
		{"4 GiB", withMemory(g, limits(0, 1<<16, 0)), 1 << 32, "larger than a guest's may be"},
		{"more than 4 GiB", withMemory(g, limits(0, 1<<32-1, 0)), 1 << 32, "larger than a guest's may be"},
		{"may grow to 4 GiB", withMemory(g, limits(1, 2, 1<<16)), 0, ""},
		{"may grow to less than it has", withMemory(g, limits(1, 2, 1)), 0, "> max"},
		{"more than the limit", withMemory(g, limits(0, 1025, 0)), 64 << 20, "begins with 67174400 bytes of memory, limit 67108864"},
		{"the limit", withMemory(g, limits(0, 1024, 0)), 64 << 20, ""},
		{"shared", withMemory(g, limits(3, 2, 2)), 0, "shared"},
		{"of 64 bits", withMemory(g, limits(4, 2, 0)), 0, "64-bit"},
		{"of 64 bits, with a limit", withMemory(g, limits(5, 2, 2)), 0, "64-bit"},
		{"flags in two bytes", withMemory(g, code(0x80, 0, 2)), 0, "shared"},

		{"data at the end", withMemory(g, limits(0, pages, 0), segment(end-2, 1, 2)), 0, ""},
		{"no data at the end", withMemory(g, limits(0, pages, 0), segment(end)), 0, ""},
		{"data over the end", withMemory(g, limits(0, pages, 0), segment(end-1, 1, 2)), 0, "unusable guest"},
		{"no data past the end", withMemory(g, limits(0, pages, 0), segment(end+1)), 0, "unusable guest"},
		{"data far past the end", withMemory(g, limits(0, pages, 0), segment(-1, 1)), 0, "past all memory"},
		{"data at what would be a mark", withMemory(g, limits(0, pages, 0), segment(-reserved, 1)), 0, "past all memory"},
		{"data before what would be a mark", withMemory(g, limits(0, pages, 0), segment(-reserved-1, 1)), 0, "unusable guest"},
		{"data at a global's place", withMemory(g, limits(0, pages, 0), code(0, opGlobalGet, 0, opEnd, 1, 1)), 0, "data segment"},
		{"data at a sum", withMemory(g, limits(0, pages, 0), code(0, i32Const(1), i32Const(1), opI32Add, opEnd, 1, 1)), 0, "data segment"},
	} {
		t.Run(row.name, func(t *testing.T) {
			config := Config{Wasm: row.wasm, MemoryLimit: row.limit, WarmUp: [][]byte{}}
			if row.want != "" {
				if err := fails(t, config); !strings.Contains(err.Error(), row.want) {
					t.Errorf("got %q, want %q", err, row.want)
				}
				return
			}
			if strings.HasPrefix(row.name, "as much") {
				m, err := prepareModule(row.wasm) // an image of 4 GiB takes 4 GiB
				if err != nil || m == nil {
					t.Error(err)
				}
				return
			}
			h := run(t, config)
			if _, err := ask(h, "1", ""); err != nil {
				t.Error(err)
			}
			checkPristine(t, h)
		})
	}
}

// TestAllMemoryThereIs has an event grow to the greatest memory and store to its end.
func TestAllMemoryThereIs(t *testing.T) {
	const most = maxMemory / wasmPage
	grow := func(by int) []byte { return code(i32Const(by), opMemoryGrow, 0) }
	g := rawGuest{version: guest.ABIVersion, decide: code(
		i32Const(0), grow(most-1), opI32Store, 2, leb(rawBody), // one page more than there is
		i32Const(0), grow(most-2), opI32Store, 2, leb(rawBody+4),
		i32Const(0), opMemorySize, 0, opI32Store, 2, leb(rawBody+8),
		i32Const(0), grow(1), opI32Store, 2, leb(rawBody+12),
		i32Const(most*wasmPage-8-(1<<32)), i64Const(0x0102030405060708), i64Store, 3, 0,
		i32Const(0), i32Const(most*wasmPage-8-(1<<32)), i64Load, 3, 0, i64Store, 3, leb(rawBody+16),
		goodAnswer)}
	h := run(t, Config{Wasm: g.bytes(), MemoryLimit: 1 << 32, WarmUp: [][]byte{}})
	want := append(vectors(1<<32-1, 2, most, 1<<32-1), 8, 7, 6, 5, 4, 3, 2, 1)
	for range 3 {
		a, err := ask(h, "1", "")
		if err != nil || !bytes.Equal(a.Body[:24], want) {
			t.Fatalf("%x, %v; want %x", a.Body, err, want)
		}
	}
	if s := h.Stats(); s.Grew != 3 {
		t.Errorf("%+v", s)
	}
}

// processorTime is what this process has had of the processors: of a clock on the wall, a busy machine takes any part.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// TestHostileCodeIsRewrittenQuickly has functions in which whatever is looked for is far away.
func TestHostileCodeIsRewrittenQuickly(t *testing.T) {
	const many = 200000 / thinned
	repeat := func(b []byte) []byte { return bytes.Repeat(b, many) }
	everywhere := []byte{}
	for i := range many / 4 {
		everywhere = append(everywhere, code(get(0), i32Const(1), opI32Store8, 0, leb(i<<blockBits), i64Const(0), set(localI64))...)
	}
	for name, program := range map[string][]byte{
		"addresses that nothing takes": code(repeat(get(0)), repeat(code(0x1a))),
		"variables of the stack's":     code(repeat(code(get(0), opI64ExtendI32U, i64Const(1), opI64Add, opI32WrapI64)), repeat(code(0x1a))),
		"a mark for every block":       everywhere,
		"loops in blocks":              code(repeat(code(opLoop, blockEmpty, opBlock, blockEmpty)), repeat(code(opEnd, opEnd))),
		"ifs after marks":              code(everywhere[:20000], repeat(code(get(0), opIf, blockEmpty, opEnd))),
		"ifs in ifs":                   code(everywhere[:20000], repeat(code(get(0), opIf, blockEmpty)), repeat(code(opEnd))),
	} {
		began := processorTime(t)
		_, err := prepareModule(stackModule(code(program, i64Const(1)), true, 1))
		if took := processorTime(t) - began; err != nil || took > 10*time.Second {
			t.Errorf("%s: %v after %v", name, err, took)
		} else {
			t.Logf("%s: %v", name, took)
		}
	}
}
