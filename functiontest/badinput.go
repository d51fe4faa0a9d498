package functiontest

import (
	"net/http"
	"strings"
	"time"

	"switchbridge/flow"
	"switchbridge/flow/contract"
)

// Bad is a request that no gateway makes.
type Bad struct {
	Name   string
	Change func(h http.Header, body []byte) []byte
	Status int    // that a function should answer with
	Must   bool   // not to answer with a 4xx is an error, for lack of anything to decide by
	Only   string // the content type that it is bad in; empty: all
}

// BadInput are what a function is sent that no gateway sends, in an encoding.
func BadInput(contentType string) (list []Bad) {
	as := func(body string) func(http.Header, []byte) []byte {
		return func(http.Header, []byte) []byte { return []byte(body) }
	}
	for _, b := range []Bad{
		{"a body too large", func(_ http.Header, b []byte) []byte { return append(b, make([]byte, flow.MaxBody)...) }, 413, false, ""},
		{"another content type", func(h http.Header, b []byte) []byte { h.Set("Content-Type", "text/xml"); return b }, 415, false, ""},
		{"no content type", func(h http.Header, b []byte) []byte { h.Del("Content-Type"); return b }, 415, false, ""},
		{"a content encoding", func(h http.Header, b []byte) []byte { h.Set("Content-Encoding", "gzip"); return b }, 415, false, ""},
		{"another event", func(h http.Header, b []byte) []byte {
			h.Set(contract.HeaderType, "switchbridge.unheard_of.v9")
			return b
		}, 400, false, ""},
		{"no id", func(h http.Header, b []byte) []byte { h.Del(contract.HeaderID); return b }, 400, false, ""},
		{"no JSON", func(_ http.Header, b []byte) []byte { return b[:len(b)/2] }, 400, true, contract.TypeJSON},
		{"JSON of nothing", as("null"), 400, false, contract.TypeJSON},
		{"an empty object", as("{}"), 400, false, contract.TypeJSON},
		{"no body", as(""), 400, false, contract.TypeJSON},
		{"a list", as("[]"), 400, false, contract.TypeJSON},
		{"a switch that is none", as(`{"switch":7}`), 400, false, contract.TypeJSON},
		{"another protocol", func(_ http.Header, b []byte) []byte {
			return []byte(strings.Replace(string(b), "OpenFlow 1.3", "OpenFlow 9.9", 1))
		}, 400, false, contract.TypeJSON},
		{"OpenFlow that is none", as("{}"), 400, true, contract.TypeOpenFlow},
	} {
		if b.Only == "" || b.Only == contentType {
			list = append(list, b)
		}
	}
	return list
}

// Request is the request that is bad.
func (b *Bad) Request(codec contract.Codec) (http.Header, []byte, error) {
	h, body, err := request(codec, &flow.Event{Type: flow.EventSwitchConnected, ID: "e-1", Session: "s-1", Time: time.Unix(1700000000, 0).UTC(), XID: 1,
		Switch: Switch(flow.OpenFlow13), Accepts: flow.AcceptsAll})
	if err != nil {
		return nil, nil, err
	}
	return h, b.Change(h, body), nil
}
