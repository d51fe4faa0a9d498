package jsonenc

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
	"unsafe"

	"switchbridge/flow"
)

// pathError is an error and where in the body it stands.
type pathError struct {
	path string
	err  error
}

func (e *pathError) Error() string { return e.path + ": " + e.err.Error() }
func (e *pathError) Unwrap() error { return e.err }

// at puts a member's name or an index in front of err's path.
func at(step string, err error) error {
	if err == nil {
		return nil
	}
	p, ok := err.(*pathError)
	if !ok {
		return &pathError{step, err}
	}
	if !strings.HasPrefix(p.path, "[") {
		step += "."
	}
	return &pathError{step + p.path, p.err}
}

var errUnknown = errors.New("unknown member")

// The functions below cut a body that [check] has found to be JSON into the
// texts of its members and elements, without building anything of it. They are
// what encoding/json's Decoder would be used for, at a fifth of its time.

// space returns the index of the first byte from i on that is not white space.
func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// quoted returns the index after the string that begins at i.
func quoted(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

// valueEnd returns the index after the value that begins at i.
func valueEnd(b []byte, i int) int {
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			i = quoted(b, i)
			if depth == 0 {
				return i
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth <= 1 {
				return i + depth // 0: the end of what a number or word stands in
			}
			depth--
		case ',', ' ', '\n', '\t', '\r':
			if depth == 0 {
				return i
			}
		}
		i++
	}
	return i
}

// members calls f for each member of the object in raw. A member that is null
// counts as absent, since many languages write an absent one so. A name that
// occurs twice is an error: readers disagree on which one counts.
func members(raw []byte, f func(name string, value json.RawMessage) error) error {
	i := space(raw, 0)
	if raw[i] != '{' {
		return fmt.Errorf("%s, want an object", shown(raw))
	}
	var few [16]string
	names := few[:0]
	for i = space(raw, i+1); raw[i] != '}'; {
		end := quoted(raw, i)
		name, err := stringOf(raw[i:end])
		if err != nil {
			return err
		}
		switch {
		case slices.Contains(names, name):
			return at(name, errors.New("occurs twice"))
		case len(names) == maxMembers:
			return fmt.Errorf("object has more than %d members", maxMembers)
		}
		names = append(names, name)
		i = space(raw, space(raw, end)+1) // past the colon
		end = valueEnd(raw, i)
		if value := raw[i:end]; string(value) != "null" {
			if err := f(name, value); err != nil {
				return at(name, err)
			}
		}
		i = next(raw, end)
	}
	return nil
}

// elements calls f for each element of the list in raw, at most limit.
func elements(raw []byte, limit int, f func(i int, value json.RawMessage) error) error {
	i := space(raw, 0)
	if raw[i] != '[' {
		return fmt.Errorf("%s, want a list", shown(raw))
	}
	i = space(raw, i+1)
	for n := 0; raw[i] != ']'; n++ {
		if n == limit {
			return fmt.Errorf("more than %d elements", limit)
		}
		end := valueEnd(raw, i)
		if err := f(n, raw[i:end]); err != nil {
			return at("["+strconv.Itoa(n)+"]", err)
		}
		i = next(raw, end)
	}
	return nil
}

// next returns where what follows a member or an element begins.
func next(raw []byte, i int) int {
	i = space(raw, i)
	if raw[i] == ',' {
		i = space(raw, i+1)
	}
	return i
}

// shown returns the start of a value for an error.
func shown(raw []byte) string {
	const most = 40
	if len(raw) > most {
		return fmt.Sprintf("%q...", raw[:most])
	}
	return fmt.Sprintf("%q", raw)
}

func stringOf(raw json.RawMessage) (string, error) {
	if raw[0] != '"' {
		return "", fmt.Errorf("%s, want a string", shown(raw))
	}
	if text := raw[1 : len(raw)-1]; bytes.IndexByte(text, '\\') < 0 && utf8.Valid(text) {
		return string(text), nil
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return s, err
}

// textOf returns a number's digits or a string's content.
func textOf(raw json.RawMessage) (string, error) {
	switch c := raw[0]; {
	case c == '"':
		return stringOf(raw)
	case c == '-' || c >= '0' && c <= '9':
		return string(raw), nil
	}
	return "", fmt.Errorf("%s, want a number or a string", shown(raw))
}

type unsigned interface {
	~uint8 | ~uint16 | ~uint32 | ~uint64
}

// uintOf reads a number, or a string that holds one in decimal or, with 0x, in
// hexadecimal.
func uintOf[T unsigned](raw json.RawMessage) (T, error) {
	text, err := textOf(raw)
	if err != nil {
		return 0, err
	}
	return parseUint[T](text)
}

func parseUint[T unsigned](text string) (T, error) {
	bits := int(unsafe.Sizeof(T(0))) * 8
	v, err := flow.ParseNumber(text, bits)
	if err != nil {
		return 0, fmt.Errorf("%s, want a whole number of at most %d bits, in decimal or in hexadecimal after 0x", shown([]byte(text)), bits)
	}
	return T(v), nil
}

// limited reads a number of at most limit.
func limited[T unsigned](raw json.RawMessage, limit T) (T, error) {
	v, err := uintOf[T](raw)
	if err == nil && v > limit {
		err = fmt.Errorf("%d, want at most %d", v, limit)
	}
	return v, err
}

func boolOf(raw json.RawMessage) (bool, error) {
	switch string(raw) {
	case "true", "false":
		return raw[0] == 't', nil
	}
	return false, fmt.Errorf("%s, want true or false", shown(raw))
}

func secondsOf(raw json.RawMessage) (time.Duration, error) {
	s, err := uintOf[uint16](raw)
	return time.Duration(s) * time.Second, err
}

// portOf reads a number or a reserved port's name, with or without Ryu's OFPP_.
func portOf(raw json.RawMessage) (flow.PortNo, error) {
	text, err := textOf(raw)
	if err != nil {
		return 0, err
	}
	return flow.ParsePort(strings.TrimPrefix(text, "OFPP_"))
}

func macOf(raw json.RawMessage) (flow.MAC, error) {
	text, err := stringOf(raw)
	if err != nil {
		return flow.MAC{}, err
	}
	return flow.ParseMAC(text)
}

// base64Of appends what raw holds to b, at most limit bytes.
func base64Of(raw json.RawMessage, b []byte, limit int) ([]byte, error) {
	text, err := stringOf(raw)
	if err != nil {
		return b, err
	}
	if len(text) > base64.StdEncoding.EncodedLen(limit) {
		return b, fmt.Errorf("more than %d bytes", limit)
	}
	out, err := base64.StdEncoding.AppendDecode(b, []byte(text))
	if err != nil {
		return b, fmt.Errorf("not base64: %w", err)
	}
	if len(out)-len(b) > limit {
		return b, fmt.Errorf("more than %d bytes", limit)
	}
	return out, nil
}

// named is a number of which some values have names.
type named interface {
	~uint8
	String() string
}

// nameOf reads one of the values from first to last by its name.
func nameOf[T named](raw json.RawMessage, first, last T) (T, error) {
	text, err := stringOf(raw)
	if err != nil {
		return 0, err
	}
	var names []string
	for v := first; v <= last; v++ {
		if v.String() == text {
			return v, nil
		}
		names = append(names, v.String())
	}
	return 0, fmt.Errorf("%q, want one of %s", text, strings.Join(names, ", "))
}

// reasonOf is nameOf for a value that a switch may have chosen beyond those that
// have names: it may be a number, too.
func reasonOf[T named](raw json.RawMessage, first, last T) (T, error) {
	text, err := textOf(raw)
	if err == nil && text != "" && text[0] >= '0' && text[0] <= '9' {
		return parseUint[T](text)
	}
	return nameOf(raw, first, last)
}

// prefixOf reads an address with or without a prefix length or a mask. A mask
// that is not a prefix can't be expressed, and is refused rather than widened.
func prefixOf(raw json.RawMessage, v4 bool) (netip.Prefix, error) {
	text, err := stringOf(raw)
	if err != nil {
		return netip.Prefix{}, err
	}
	address, mask, masked := strings.Cut(text, "/")
	a, err := addrOf(address, v4)
	if err != nil {
		return netip.Prefix{}, err
	}
	n := a.BitLen()
	if masked {
		if n, err = maskLen(mask, a); err != nil {
			return netip.Prefix{}, fmt.Errorf("%q: %w", text, err)
		}
	}
	return a.Prefix(n)
}

func addrOf(text string, v4 bool) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	if err != nil || a.Is4() != v4 || a.Zone() != "" {
		family := "IPv6"
		if v4 {
			family = "IPv4"
		}
		return netip.Addr{}, fmt.Errorf("%q is not an %s address", text, family)
	}
	return a, nil
}

// maskLen reads "24" or "255.255.255.0".
func maskLen(text string, a netip.Addr) (int, error) {
	if n, err := flow.ParseNumber(text, 8); err == nil {
		if int(n) > a.BitLen() {
			return 0, fmt.Errorf("prefix length %d, want at most %d", n, a.BitLen())
		}
		return int(n), nil
	}
	m, err := netip.ParseAddr(text)
	if err != nil || m.Is4() != a.Is4() || m.Zone() != "" {
		return 0, fmt.Errorf("mask %q is neither a prefix length nor a mask of the same family", text)
	}
	ones, done := 0, false
	for _, b := range m.AsSlice() {
		for bit := 7; bit >= 0; bit-- {
			one := b>>bit&1 == 1
			if one && done {
				return 0, fmt.Errorf("mask %s is not a prefix", m)
			}
			if one {
				ones++
			} else {
				done = true
			}
		}
	}
	return ones, nil
}
