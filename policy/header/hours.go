package header

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"switchbridge/policy/syntax"
)

var flagNames = []string{"fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"} // by bit

// ParseFlags reads a flag or a list of them; no- before one says that it must not be there.
func ParseFlags(f *syntax.File, n *syntax.Node, where string) (flags Flags) {
	list := []*syntax.Node{n}
	if n.Shape == syntax.Sequence {
		list = n.Content
	}
	for _, n := range list {
		s, ok := f.Scalar(n, where)
		if !ok {
			continue
		}
		name, not := strings.CutPrefix(s, "no-")
		i := slices.Index(flagNames, name)
		switch {
		case i < 0:
			f.Errorf(n, "%s: %q: want one of %s, or no- and one of them%s", where, s, strings.Join(flagNames, ", "), syntax.Nearest(s, flagNames))
		case not:
			flags.Clear |= 1 << i
		default:
			flags.Set |= 1 << i
		}
	}
	if len(list) == 0 {
		f.Errorf(n, "%s: want a flag", where)
	}
	return flags
}

var dayNames = []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}

const day = 24 * 60 // minutes

// parseDays reads a day, or a range of days that may go over the end of a week.
func parseDays(s string) (days [7]bool, err error) {
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		last = first
	}
	a, b := slices.Index(dayNames, first), slices.Index(dayNames, last)
	if a < 0 || b < 0 {
		return days, fmt.Errorf("%q: want a day such as mon, or days such as mon-fri, of %s", s, strings.Join(dayNames, ", "))
	}
	for d := a; ; d = (d + 1) % 7 {
		days[d] = true
		if d == b {
			return days, nil
		}
	}
}

// parseHours reads 08:00-17:30, in minutes. What ends before it begins ends on the next day.
func parseHours(s string) (span [2]int, err error) {
	first, last, ok := strings.Cut(s, "-")
	for i, text := range []string{first, last} {
		t, err := time.Parse("15:04", text)
		switch {
		case ok && text == "24:00" && i == 1:
			span[i] = day
		case !ok || err != nil || len(text) != 5:
			return span, fmt.Errorf("%q: want the time from when until when, such as 08:00-17:30 or 22:00-06:00", s)
		default:
			span[i] = t.Hour()*60 + t.Minute()
		}
	}
	if span[0] == span[1] {
		return span, fmt.Errorf("%q: it ends when it begins", s)
	}
	if span[1] < span[0] {
		span[1] += day
	}
	return span, nil
}

// spans combines days and hours. Hours that go over midnight belong to the day on which they begin.
func spans(days [7]bool, hours [][2]int) (list []Span) {
	var minutes [Week]bool
	for d, on := range days {
		for _, h := range hours {
			for m := h[0]; on && m < h[1]; m++ {
				minutes[(d*day+m)%Week] = true
			}
		}
	}
	for m := range minutes {
		if !minutes[m] || m > 0 && minutes[m-1] {
			continue
		}
		end := m
		for end < Week && minutes[end] {
			end++
		}
		list = append(list, Span{uint16(m), uint16(end)})
	}
	return list
}

// listOf reads one value or a list of them.
func listOf[T any](f *syntax.File, n *syntax.Node, where string, parse func(string) (T, error)) (list []T) {
	items := []*syntax.Node{n}
	if n.Shape == syntax.Sequence {
		items = n.Content
	}
	for _, item := range items {
		if v, ok := syntax.Parsed(f, item, where, parse); ok {
			list = append(list, v)
		}
	}
	if len(items) == 0 {
		f.Errorf(n, "%s: want at least one value", where)
	}
	return list
}

// The years whose changes of local time a compiled policy knows. After them the last one stays.
const firstYear, lastYear = 2020, 2045

// ShiftsOf returns the shifts of local time in a place, or nil for UTC.
func ShiftsOf(place *time.Location) (list []Shift) {
	if place == time.UTC {
		return nil
	}
	end := time.Date(lastYear, 1, 1, 0, 0, 0, 0, time.UTC)
	for t := time.Date(firstYear, 1, 1, 0, 0, 0, 0, time.UTC); t.Before(end); {
		in := t.In(place)
		_, offset := in.Zone()
		if n := len(list); n == 0 || int(list[n-1].Offset) != offset {
			list = append(list, Shift{t.Unix(), int32(offset)})
		}
		_, next := in.ZoneBounds()
		if next.IsZero() {
			break
		}
		if !next.After(t) { // around a new year the library may name the moment that it was asked about
			next = t.Add(time.Hour)
		}
		t = next
	}
	if len(list) > 0 {
		list[0].From = 0
	}
	return list
}
