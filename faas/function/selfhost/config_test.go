package selfhost

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestValidate(t *testing.T) {
	good := func() Config { return base(fn("f", func(f *Function) { f.Native = true })) }
	if err := new(Config).Validate(); err == nil {
		t.Error("nothing is valid")
	}
	for _, row := range []struct {
		name   string
		change func(*Config)
		want   string // empty: valid
	}{
		{"as it is", func(*Config) {}, ""},
		{"a unix socket", func(c *Config) { c.Listen = "unix:/s" }, ""},
		{"no port", func(c *Config) { c.Listen = "127.0.0.1" }, "want HOST:PORT"},
		{"no number", func(c *Config) { c.Listen = ":abc" }, `port "abc", of --listen or the platform's PORT`},
		{"too large a number", func(c *Config) { c.Listen = "127.0.0.1:65536" }, `port "65536"`},
		{"a name twice", func(c *Config) {
			c.Functions = append([]Function{fn("f", func(f *Function) { f.Path = "/g" })}, c.Functions...)
		}, `functions[1] "f": functions[0] has this name already`},
		{"open to all", func(c *Config) { c.Listen, c.Plain = ":8443", false }, "is not loopback: it needs --token-file or --client-ca"},
		{"a token", func(c *Config) { c.Listen, c.Plain, c.Token = ":8443", false, "token" }, ""},
		{"client certificates", func(c *Config) { c.Listen, c.Plain, c.TLS.ClientCA = ":8443", false, "ca" }, ""},
		{"plain and off loopback", func(c *Config) { c.Listen, c.Token = ":8443", "token" }, "HTTP without TLS"},
		{"behind a platform's proxy", func(c *Config) { c.Listen, c.Proxied, c.Tokens = ":8080", true, "x" }, ""},
		{"behind a proxy, open to all", func(c *Config) { c.Listen, c.Proxied = ":8080", true }, "needs SWITCHBRIDGE_TOKENS"},
		{"behind a proxy on loopback, open to all", func(c *Config) { c.Proxied = true }, "needs SWITCHBRIDGE_TOKENS"},
		{"client certificates behind a proxy", func(c *Config) { c.Listen, c.Proxied, c.TLS.ClientCA = ":8080", true, "ca" }, "without TLS"},
		{"a certificate alone", func(c *Config) { c.TLS.Cert = "c" }, "go together"},
		{"plain with a certificate", func(c *Config) { c.TLS.Cert, c.TLS.Key = "c", "k" }, "without TLS"},
		{"two sources of tokens", func(c *Config) { c.Token, c.Tokens = "a", "b" }, "want one of them"},
		{"no time to drain", func(c *Config) { c.Drain = 0 }, "drain_timeout"},
		{"a lame duck", func(c *Config) { c.LameDuck = new(8 * time.Second) }, ""},
		{"a lame duck without end", func(c *Config) { c.LameDuck = new(9 * time.Second) }, "lame_duck: 9s: want less than drain_timeout, 9s"},
		{"a lame duck before its time", func(c *Config) { c.LameDuck = new(-time.Second) }, "lame_duck"},
		{"a short end behind a platform's proxy", func(c *Config) { c.Listen, c.Proxied, c.Tokens, c.Drain = ":8080", true, "x", time.Second }, ""},
		{"admin", func(c *Config) { c.Admin = "x" }, `admin "x"`},
		{"no function", func(c *Config) { c.Functions = nil }, "functions: none"},
		{"no name", func(c *Config) { c.Functions[0].Name = "" }, "want a name"},
		{"path", func(c *Config) { c.Functions[0].Path = "x" }, "doesn't begin with /"},
		{"native wasm", func(c *Config) { c.Functions[0].Wasm = "x" }, "native and wasm"},
		{"configured without a guest", func(c *Config) { c.Functions[0].Configure = "x" }, "configure is for a guest"},
		{"configured twice", func(c *Config) { f := &c.Functions[0]; f.Native, f.Wasm, f.Configure, f.Policy = false, "x", "x", "x" }, "configured once"},
		{"concurrency", func(c *Config) { c.Functions[0].Concurrency = 0 }, "concurrency"},
		{"deadline", func(c *Config) { c.Functions[0].Deadline = 0 }, "deadline"},
		{"instances", func(c *Config) { c.Functions[0].Instances = -1 }, "instances"},
		{"memory", func(c *Config) { c.Functions[0].Memory = 4097 }, "memory_mib"},
		{"a function that is never asked", func(c *Config) {
			c.Functions = append(c.Functions, fn("g", func(f *Function) { f.Path = "/g" }))
		}, `functions[1] "g": functions[0] "f" answers before it, always`},
		{"in the right order", func(c *Config) {
			c.Functions = append([]Function{fn("g", func(f *Function) { f.Path = "/g" })}, c.Functions...)
		}, ""},
	} {
		c := good()
		row.change(&c)
		err := c.Validate()
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"listn: x\n", `f.yaml: line 1: unknown key "listn"`},
		{"drain_timeout: 5 apples\n", "want a duration such as 500ms"},
		{"functions:\n  - name: a\n    polcy: x\n", `line 3: unknown key "polcy"`},
		{"functions: {}\n", "f.yaml"},
		{"functions: [x]\n", "f.yaml"},
		{strings.Repeat("#", 1<<20+1), "larger than"},
	} {
		if _, err := Parse(strings.NewReader(row.text), "f.yaml"); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%.40q: %v, want %q", row.text, err, row.want)
		}
	}
}

// TestReference loads the file that documents every key.
func TestReference(t *testing.T) {
	path := filepath.Join("..", "..", "..", "configs", "functions.yaml")
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for key := range functionKeys {
		if !strings.Contains(string(text), key+":") {
			t.Errorf("%s doesn't show %s", path, key)
		}
	}
	for _, key := range []string{"listen", "plain", "cert", "key", "client_ca", "dev_ca", "token_file", "admin", "records", "lame_duck", "drain_timeout", "cache"} {
		if !strings.Contains(string(text), key+":") {
			t.Errorf("%s doesn't show %s", path, key)
		}
	}
	if dir := filepath.Join("..", "..", "..", "configs"); c.Functions[0].Policy != filepath.Join(dir, "policies", "office.yaml") {
		t.Errorf("policy %s is not beside the file", c.Functions[0].Policy)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("listen: 127.0.0.1:0\nfunctions:\n  - {name: a, path: /a, deadline: 1s}\n")
	f.Add("functions: [[]]")
	f.Add("functions:\n  - *a")
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := Parse(strings.NewReader(text), "f.yaml"); err == nil {
			_ = c.Validate()
		}
	})
}
