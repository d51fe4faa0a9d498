package contract

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"switchbridge/flow"
)

// AddTravel adds a travelling state to those of an event or an answer, of which there may be max.
func AddTravel(list []flow.Travelling, t flow.Travelling, max int) ([]flow.Travelling, error) {
	switch {
	case len(list) >= max:
		return list, fmt.Errorf("more than %d travelling states", max)
	case t.Name == "" || len(t.Name) > flow.MaxTravelName || strings.ContainsFunc(t.Name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
	}):
		return list, fmt.Errorf("travelling state %q: want a name of at most %d letters, digits, hyphens, dots and underscores", Printable(t.Name), flow.MaxTravelName)
	case t.Version == 0:
		return list, fmt.Errorf("travelling state %s: no version", t.Name)
	case len(t.Data) > flow.MaxState:
		return list, fmt.Errorf("travelling state %s: %d bytes, more than %d", t.Name, len(t.Data), flow.MaxState)
	case t.TTL < 0:
		return list, fmt.Errorf("travelling state %s: it is kept for %v", t.Name, t.TTL)
	}
	for i := range list {
		if list[i].Name == t.Name && list[i].Key == t.Key {
			return list, fmt.Errorf("travelling state %s of key %v: given twice", t.Name, t.Key)
		}
	}
	return append(list, t), nil
}

// TravelSeconds is how a state's time is written.
func TravelSeconds(ttl time.Duration) uint64 { return uint64((ttl + time.Second - 1) / time.Second) }

// MaxTravelSeconds is the longest that can be asked for.
const MaxTravelSeconds = uint64(1<<63-1) / uint64(time.Second)

// TravelText is the value of [HeaderTravel]: <name>;<key>;<version>;<seconds>;<base64>, with commas between.
func TravelText(list []flow.Travelling) string {
	if len(list) == 0 {
		return ""
	}
	var b []byte
	for i := range list {
		t := &list[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(append(b, t.Name...), ';'), t.Key.String()...), ';')
		b = append(strconv.AppendUint(b, t.Version, 10), ';')
		b = append(strconv.AppendUint(b, TravelSeconds(t.TTL), 10), ';')
		b = base64.StdEncoding.AppendEncode(b, t.Data)
	}
	return string(b)
}

// ParseTravel is TravelText's inverse. It appends to list, which may have max.
func ParseTravel(list []flow.Travelling, text string, max int) ([]flow.Travelling, error) {
	for text != "" {
		var one string
		one, text, _ = strings.Cut(text, ",")
		fail := func(err error) ([]flow.Travelling, error) { return list, fmt.Errorf("%s: %w", HeaderTravel, err) }
		fields := strings.Split(strings.TrimSpace(one), ";")
		if len(fields) != 5 {
			return fail(fmt.Errorf("%q: want <name>;<key>;<version>;<seconds>;<base64>", Printable(one)))
		}
		t := flow.Travelling{Name: fields[0]}
		var err error
		if t.Key, err = flow.ParseStateKey(fields[1]); err != nil {
			return fail(err)
		}
		if t.Version, err = strconv.ParseUint(fields[2], 10, 64); err != nil {
			return fail(fmt.Errorf("version %q: want a number", Printable(fields[2])))
		}
		seconds, err := strconv.ParseUint(fields[3], 10, 64)
		if err != nil || seconds > MaxTravelSeconds {
			return fail(fmt.Errorf("%q: want seconds", Printable(fields[3])))
		}
		t.TTL = time.Duration(seconds) * time.Second
		if fields[4] != "" {
			if len(fields[4]) > base64.StdEncoding.EncodedLen(flow.MaxState) {
				return fail(fmt.Errorf("state %s: more than %d bytes", Printable(t.Name), flow.MaxState))
			}
			if t.Data, err = base64.StdEncoding.DecodeString(fields[4]); err != nil {
				return fail(fmt.Errorf("state %s: not base64: %w", Printable(t.Name), err))
			}
		}
		if list, err = AddTravel(list, t, max); err != nil {
			return fail(err)
		}
	}
	return list, nil
}
