// Package adminside is what the operator's sides of the gateway and of the
// functions' server have in common.
package adminside

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// open are the paths of probes and scrapers, which call by whatever address
// they find. They tell no more than that.
var open = map[string]bool{"/healthz": true, "/readyz": true, "/metrics": true}

// Hosts has next serve requests that call the server by a name or address of
// its own: the address that a connection came to, loopback, the machine's name,
// and names. A page in an operator's browser can have its own name lead here (DNS
// rebinding) and would read the answers; its requests carry that name.
func Hosts(names []string, next http.Handler) http.Handler {
	names = slices.Clone(names)
	if name, err := os.Hostname(); err == nil {
		names = append(names, name)
	}
	for i, name := range names {
		names[i] = canonical(name)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !open[r.URL.Path] && !ours(r, names) {
			WriteError(w, http.StatusMisdirectedRequest, fmt.Errorf("host %q is no name or address of this server: call it by its address, or add the name to its configuration (admin.hosts)", r.Host))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func ours(r *http.Request, names []string) bool {
	host := canonical(r.Host)
	if host == "" || host == "localhost" { // HTTP/1.0 has no Host, and browsers don't speak it
		return true
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return slices.Contains(names, host)
	}
	if ip.IsLoopback() || slices.Contains(names, host) {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ok && local.AddrPort().Addr().Unmap() == ip.Unmap()
}

// canonical is a host as it is compared: no port, no brackets, lower case.
func canonical(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
}

// WriteJSON writes v as people can read it.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v) // the caller is gone
}

// WriteError writes {"error": ...}.
func WriteError(w http.ResponseWriter, status int, err error) {
	WriteJSON(w, status, map[string]string{"error": err.Error()})
}

// maxBody bounds an action's body.
const maxBody = 64 << 10

// ReadJSON reads an action's body into v, strictly. An empty body leaves v as it
// is. Its errors say what is wrong and where.
func ReadJSON(r *http.Request, v any) error {
	b, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	switch {
	case err != nil:
		return fmt.Errorf("the body can't be read: %w", err)
	case len(b) > maxBody:
		return fmt.Errorf("the body has more than %d bytes", maxBody)
	case len(strings.TrimSpace(string(b))) == 0:
		return nil
	}
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		var syntax *json.SyntaxError
		var typ *json.UnmarshalTypeError
		switch {
		case errors.As(err, &syntax):
			return fmt.Errorf("the body is not JSON: byte %d: %w", syntax.Offset, err)
		case errors.As(err, &typ):
			return fmt.Errorf("the body: byte %d: %s: want %s, not %s", typ.Offset, typ.Field, typ.Type, typ.Value)
		}
		return fmt.Errorf("the body: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if d.More() {
		return fmt.Errorf("the body: byte %d: more follows the object", d.InputOffset())
	}
	return nil
}
