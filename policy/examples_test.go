package policy_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"switchbridge/controller"
	"switchbridge/policy"
	"switchbridge/policy/eval"
	"switchbridge/policy/lookup"
	"switchbridge/policy/lookup/lookuptest"
	"switchbridge/policy/policyfile"
	"switchbridge/policy/policytest"
)

func check(t *testing.T, p *policy.Policy, list []policytest.Expectation) {
	t.Helper()
	if len(list) == 0 {
		t.Error("nothing is expected of it")
	}
	trial := eval.NewTrial(controller.New(p))
	for i := range list {
		e := &list[i]
		if got, met, err := trial.Try(t.Context(), e); err != nil || !met {
			t.Errorf("%s\n got %s, %v\nwant %s", e.Packet, got, err, e.Want)
		}
	}
}

// Every policy in a README, and on the page for who comes from other controllers, decides what the lines below it say.
func TestReadmeExamples(t *testing.T) {
	files, err := filepath.Glob("*/README.md")
	if err != nil || len(files) < 3 {
		t.Fatalf("READMEs %q, %v: want one for each policy", files, err)
	}
	reader := policyfile.Reader{Store: examples(t)}
	for _, file := range append(files, "README.md", "../docs/coming-from.md") {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Dir(filepath.Dir(file)) == "." && file != "README.md" {
			for _, section := range []string{"\n## Name\n", "\n## Description\n", "\n## Syntax\n", "\n## Examples\n"} {
				if !strings.Contains(string(body), section) {
					t.Errorf("%s has no section %q", file, strings.TrimSpace(section))
				}
			}
		}
		var p *policy.Policy
		for i, block := range strings.Split(string(body), "```") {
			kind, text, _ := strings.Cut(block, "\n")
			switch {
			case i%2 == 0:
			case kind == "yaml":
				doc, err := reader.Parse(t.Context(), text, file, filepath.Dir(file))
				if err != nil {
					t.Fatalf("%v", err)
				}
				p = doc.Policy
			case kind == "expect":
				if p == nil {
					t.Fatalf("%s: no policy stands before %q", file, text)
				}
				var list []policytest.Expectation
				for line := range strings.Lines(text) {
					e, err := policytest.ParseExpectation(line)
					if err != nil {
						t.Fatal(err)
					}
					list = append(list, e)
				}
				t.Run(file, func(t *testing.T) { check(t, p, list) })
				p = nil
			}
		}
	}
}

// examples has what policies in READMEs name that has to be looked up.
func examples(t *testing.T) *lookup.Store {
	dns := lookuptest.NewDNS(t)
	dns.Set("www.example.org", "203.0.113.10", "2001:db8:1::10")
	dns.Set("time.example.org", "203.0.113.11")
	dns.Set("bad.example.org", "203.0.113.66")
	pages := http.NewServeMux()
	for path, text := range map[string]string{
		"lists.example.net/bad.netset": "# the worst\n198.51.100.0/24\n",
		"lists.example.net/seen.csv":   "ip,last_seen\n203.0.113.77,2026-11-30\n",
	} {
		pages.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
	}
	web := httptest.NewTLSServer(pages)
	t.Cleanup(web.Close)
	client := web.Client()
	client.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, web.Listener.Addr().String())
	}
	client.Transport.(*http.Transport).TLSClientConfig.ServerName = "example.com" // its certificate's
	return lookup.NewStore(t.TempDir(), client, dns.Resolver(), nil)
}

// Every policy in configs loads, and decides what its comments say.
func TestExamplePolicies(t *testing.T) {
	files, err := filepath.Glob("../configs/policies/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("examples %q, %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			p, err := policyfile.Load(file)
			if err != nil {
				t.Fatal(err)
			}
			if p.Version().IsZero() {
				t.Error("it has no version")
			}
			body, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			list, err := policytest.Expectations(string(body))
			if err != nil {
				t.Fatal(err)
			}
			check(t, p, list)
		})
	}
}
