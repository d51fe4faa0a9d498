package httphost

import (
	"fmt"
	"net/http"
	"net/url"

	"switchbridge/flow/contract"
)

// checkEnvelope checks what the contract leaves optional of a CloudEvent, where it is there.
// Another reader of the same request, such as a broker's log, must not see another event: so no
// attribute may come twice, and the content type has one place.
func checkEnvelope(h http.Header) error {
	for _, name := range [...]string{"Ce-Specversion", "Ce-Type", "Ce-Source", "Ce-Id", "Ce-Subject", "Ce-Time", "Content-Type",
		contract.HeaderAccepts, contract.HeaderIncomplete, contract.HeaderRehearsal} {
		if len(h[name]) > 1 {
			return fmt.Errorf("%s comes %d times", name, len(h[name]))
		}
	}
	// CloudEvents 1.0.2, HTTP protocol binding, 3.1.1: datacontenttype is the header Content-Type.
	if v := h.Get("Ce-Datacontenttype"); v != "" && v != h.Get("Content-Type") {
		return fmt.Errorf("ce-datacontenttype %q: the content type is %q", v, h.Get("Content-Type"))
	}
	// CloudEvents 1.0.2, 3.1.2: dataschema is a URI, which is never empty.
	if values, given := h["Ce-Dataschema"]; given {
		if u, err := url.Parse(values[0]); err != nil || values[0] == "" || u.Scheme == "" {
			return fmt.Errorf("ce-dataschema %q: want a URI", values[0])
		}
	}
	return nil
}
