package contract

import (
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"switchbridge/flow"
)

// switchName stands among the fields of [flow.Reuse] for the switch itself.
const switchName = "switch"

// MaxReuseNames is how many fields an answer may say it hangs on.
const MaxReuseNames = 64

var errReplyAlone = errors.New("reply without reuse: for how long is not said")

// SaysReuse reports whether an answer to ev says for which other packets it holds, and the gateway takes it.
func SaysReuse(ev *flow.Event, d *flow.Decision) bool {
	return d.Reuse.For >= time.Second && ev.Accepts&flow.AcceptsReuse != 0 && ev.PacketIn != nil
}

// ReuseNames are the names of what an answer to a packet with headers m hangs on.
func ReuseNames(r *flow.Reuse, m *flow.Match) iter.Seq[string] {
	return func(yield func(string) bool) {
		for rest := r.Fields & flow.AllFields; rest != 0; rest &= rest - 1 {
			name, _ := (rest & -rest).Info().OXMOf(m) // another protocol's name is of the same field
			if !yield(name.Name) {
				return
			}
		}
		if r.Switch {
			yield(switchName)
		}
	}
}

// AddReuse adds what an answer hangs on.
func AddReuse(r *flow.Reuse, name string) error {
	if name == switchName {
		r.Switch = true
		return nil
	}
	f := FieldNamed(name)
	if f == 0 {
		return fmt.Errorf("field %q: want the name of a match field, or %s", Printable(name), switchName)
	}
	r.Fields |= f
	return nil
}

// CheckReuse says what is wrong with what has been read of a [flow.Reuse].
func CheckReuse(r *flow.Reuse) error {
	if r.For == 0 && r.Reply != nil {
		return errReplyAlone
	}
	return nil
}

// ReuseText are the values of [HeaderReuse] and [HeaderReply] for an answer to ev whose body is in the encoding c: the seconds, and after
// a space the fields with commas between; and a text as that of [IfReplyText]. They are empty where there is none, the gateway does not
// take it, or the body says it.
func ReuseText(c Codec, ev *flow.Event, d *flow.Decision) (reuse, reply string, err error) {
	if c.ContentType() == TypeJSON || !SaysReuse(ev, d) {
		return "", "", nil
	}
	reuse = strconv.FormatInt(int64(d.Reuse.For/time.Second), 10)
	if names := join(ReuseNames(&d.Reuse, &ev.PacketIn.Match)); names != "" {
		reuse += " " + names
	}
	reply, err = replyText(HeaderReply, c, ev, d.Reuse.Reply)
	return reuse, reply, err
}

// ParseReuse is ReuseText's inverse; d keeps what it has where the texts are empty.
func ParseReuse(c Codec, ev *flow.Event, reuse, reply string, d *flow.Decision) error {
	if reuse != "" {
		d.Reuse.Fields, d.Reuse.Switch = 0, false
		seconds, names, _ := strings.Cut(reuse, " ")
		s, err := strconv.ParseUint(seconds, 10, 16)
		if err != nil {
			return fmt.Errorf("%s %q: want seconds, a space, and fields", HeaderReuse, Printable(reuse))
		}
		d.Reuse.For = time.Duration(s) * time.Second
		n := 0
		for name := range list(names) {
			if n++; n > MaxReuseNames {
				return fmt.Errorf("%s: more than %d fields", HeaderReuse, MaxReuseNames)
			}
			if err := AddReuse(&d.Reuse, name); err != nil {
				return fmt.Errorf("%s: %w", HeaderReuse, err)
			}
		}
	}
	if err := parseReply(HeaderReply, c, ev, reply, &d.Reuse.Reply); err != nil {
		return err
	}
	if err := CheckReuse(&d.Reuse); err != nil {
		return fmt.Errorf("%s: %w", HeaderReply, err)
	}
	return nil
}
