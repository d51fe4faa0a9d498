package selfhost

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"switchbridge/faas/function/httphost"
	"switchbridge/faas/instance/wasmhost"
	"switchbridge/internal/listen"
	"switchbridge/internal/tracing"
	"switchbridge/internal/yamlerr"
	"switchbridge/state/stores"
)

// Config says what to serve, where and to whom. configs/functions.yaml documents every key.
type Config struct {
	Listen   string           `yaml:"listen"` // HOST:PORT or unix:PATH
	Plain    bool             `yaml:"plain"`  // HTTP without TLS
	TLS      TLS              `yaml:"tls"`
	Token    string           `yaml:"token_file"`
	Admin    string           `yaml:"admin"` // HOST:PORT of metrics and state; empty: none
	Records  string           `yaml:"records"`
	LameDuck *time.Duration   `yaml:"lame_duck"`     // at the end: how long requests are still taken while /readyz says no; nil: see lameDuck
	Drain    time.Duration    `yaml:"drain_timeout"` // at the end: LameDuck, and for events that are being decided
	CacheDir string           `yaml:"cache"`         // of compiled guests; empty: none
	State    stores.Settings  `yaml:"state"`
	Tracing  tracing.Settings `yaml:"tracing"`

	Functions []Function `yaml:"functions"`

	// Proxied says that a platform's proxy is before this server, which ends TLS: Listen is what
	// the platform handed over.
	Proxied bool `yaml:"-"`
	// Tokens are bearer tokens from the environment, with white space between, in place of Token.
	Tokens string `yaml:"-"`
	// Version is the program's, for traces.
	Version string `yaml:"-"`
}

// TLS is the server's certificate, and whose certificates callers may show.
type TLS struct {
	Cert     string `yaml:"cert"` // PEM; empty: one of the development CA
	Key      string `yaml:"key"`
	ClientCA string `yaml:"client_ca"`
	DevCA    string `yaml:"dev_ca"` // folder of the development CA
}

// Function is one function: where it answers, what decides, and within which limits.
type Function struct {
	Name string `yaml:"name"`
	Host string `yaml:"host"` // host name that it answers for; empty: any
	Path string `yaml:"path"` // path that it answers at; empty: any

	// What decides: the controller in a pristine WebAssembly instance for each event, or with
	// Native the controller called, or with Wasm the guest in that file.
	Native    bool   `yaml:"native"`
	Wasm      string `yaml:"wasm"`
	Policy    string `yaml:"policy"`    // a policy file; a guest is given it compiled
	Configure string `yaml:"configure"` // a file that a guest with policies of its own is given as it is

	Concurrency int           `yaml:"concurrency"` // events at once; further ones are answered with 429
	Deadline    time.Duration `yaml:"deadline"`    // of one event in a guest
	Instances   int           `yaml:"instances"`   // guests that decide at one time; 0: twice the cores
	Memory      int           `yaml:"memory_mib"`  // greatest memory of one guest
}

// Defaults of absent keys.
const (
	DefaultListen = "127.0.0.1:8443"
	DefaultName   = "controller"
	DefaultDrain  = 9 * time.Second // platforms end a container 10 s (Cloud Run) or 30 s (Kubernetes) after they asked it to go

	// DefaultLameDuck is for the port that a platform hands over. Its proxy goes on sending until it has heard that the container goes:
	// Kubernetes tells container and proxies at the same time.
	DefaultLameDuck = 3 * time.Second
)

// Default returns a Config without functions.
func Default() Config {
	return Config{Records: "-", Drain: DefaultDrain, State: stores.Default(), Tracing: tracing.Default()}
}

// DefaultFunction returns the controller in pristine instances, which answers everywhere.
func DefaultFunction() Function {
	return Function{Name: DefaultName, Concurrency: httphost.DefaultMaxConcurrent, Deadline: wasmhost.DefaultDeadline, Memory: wasmhost.DefaultMemoryLimit >> 20}
}

// UnmarshalYAML gives a function the defaults.
func (f *Function) UnmarshalYAML(n *yaml.Node) error {
	type plain Function
	*f = DefaultFunction()
	f.Name = ""
	// A decoder's KnownFields doesn't reach into here.
	for i := 0; i+1 < len(n.Content); i += 2 {
		if key := n.Content[i]; !functionKeys[key.Value] {
			return fmt.Errorf("line %d: unknown key %q", key.Line, key.Value)
		}
	}
	return n.Decode((*plain)(f))
}

var functionKeys = map[string]bool{"name": true, "host": true, "path": true, "native": true, "wasm": true, "policy": true,
	"configure": true, "concurrency": true, "deadline": true, "instances": true, "memory_mib": true}

// Load reads a file. Paths in it are relative to the file's folder.
func Load(path string) (Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return Config{}, err
	}
	defer f.Close()
	return Parse(f, path)
}

// Parse reads a configuration; name stands in errors and its folder is what relative paths start
// from. It doesn't validate: flags may still change it.
func Parse(r io.Reader, name string) (Config, error) {
	c := Default()
	if _, err := yamlerr.Load(r, name, &c); err != nil {
		return Config{}, err
	}
	c.resolve(filepath.Dir(name))
	return c, nil
}

// resolve makes paths relative to dir.
func (c *Config) resolve(dir string) {
	at := func(p *string) {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	c.State.Resolve(at)
	for _, p := range []*string{&c.TLS.Cert, &c.TLS.Key, &c.TLS.ClientCA, &c.TLS.DevCA, &c.Token, &c.CacheDir} {
		at(p)
	}
	if c.Records != "-" && c.Records != "off" {
		at(&c.Records)
	}
	if path, ok := strings.CutPrefix(c.Listen, unixPrefix); ok {
		at(&path)
		c.Listen = unixPrefix + path
	}
	for i := range c.Functions {
		at(&c.Functions[i].Wasm)
		at(&c.Functions[i].Policy)
		at(&c.Functions[i].Configure)
	}
}

const unixPrefix = "unix:"

// address is where to listen, as net.Listen wants it.
func (c *Config) address() (network, address string) {
	if path, ok := strings.CutPrefix(c.Listen, unixPrefix); ok {
		return "unix", path
	}
	return "tcp", c.Listen
}

// local reports whether only this machine can call. What a platform's proxy forwards comes from
// anywhere, whatever address it is forwarded to.
func (c *Config) local() bool {
	if c.Proxied {
		return false
	}
	network, address := c.address()
	return network == "unix" || listen.Loopback(address)
}

func (c *Config) authorises() bool {
	return c.Token != "" || c.Tokens != "" || c.TLS.ClientCA != ""
}

// lameDuck is how long requests are still taken at the end.
func (c *Config) lameDuck() time.Duration {
	switch {
	case c.LameDuck != nil:
		return *c.LameDuck
	case c.Proxied:
		return min(DefaultLameDuck, c.Drain/2)
	}
	return 0
}

// Validate checks what can be without opening a file.
func (c *Config) Validate() error {
	network, address := c.address()
	if network == "tcp" {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			return fmt.Errorf("listen %q: want HOST:PORT or unix:PATH", c.Listen)
		}
		if _, err := net.LookupPort("tcp", port); err != nil {
			return fmt.Errorf("listen %q: port %q, of --listen or the platform's PORT: want a number up to 65535", c.Listen, port)
		}
	}
	switch {
	case (c.TLS.Cert == "") != (c.TLS.Key == ""):
		return errors.New("--cert and --key go together")
	case c.Proxied && !c.authorises():
		return fmt.Errorf("%s is a platform's, which anybody may call: it needs SWITCHBRIDGE_TOKENS or --token-file", c.Listen)
	case !c.local() && !c.authorises():
		return fmt.Errorf("%s is not loopback: it needs --token-file or --client-ca, "+
			"since whoever may call the function may ask what your policy is", c.Listen)
	case c.plain() && (c.TLS.Cert != "" || c.TLS.ClientCA != ""):
		return errors.New("tls: certificates are given, and the function is served without TLS")
	case c.Plain && !c.local() && !c.Proxied:
		return fmt.Errorf("%s is not loopback: HTTP without TLS is for loopback, unix sockets and the port that a platform hands over (PORT)", c.Listen)
	case c.Token != "" && c.Tokens != "":
		return errors.New("tokens are in the environment and in a file: want one of them")
	case c.Drain <= 0:
		return fmt.Errorf("drain_timeout: %v is not a positive duration", c.Drain)
	case c.lameDuck() < 0 || c.lameDuck() >= c.Drain:
		return fmt.Errorf("lame_duck: %v: want less than drain_timeout, %v, which it is a part of", c.lameDuck(), c.Drain)
	case len(c.Functions) == 0:
		return errors.New("functions: none")
	}
	if err := c.State.Validate(); err != nil {
		return fmt.Errorf("state.%w", err)
	}
	if err := c.Tracing.Validate(); err != nil {
		return fmt.Errorf("tracing.%w", err)
	}
	if c.Admin != "" {
		if err := listen.CheckHostPort(c.Admin); err != nil {
			return fmt.Errorf("admin %q: want HOST:PORT: %w", c.Admin, err)
		}
	}
	for i := range c.Functions {
		f := &c.Functions[i]
		if err := f.validate(); err != nil {
			return fmt.Errorf("functions[%d] %q: %w", i, f.Name, err)
		}
		for j := range i {
			if c.Functions[j].Name == f.Name {
				return fmt.Errorf("functions[%d] %q: functions[%d] has this name already", i, f.Name, j)
			}
			if b := &c.Functions[j]; b.hides(f) {
				return fmt.Errorf("functions[%d] %q: functions[%d] %q answers before it, always", i, f.Name, j, b.Name)
			}
		}
	}
	return nil
}

// plain reports whether there is no TLS: where it was said, on unix sockets, and behind a
// platform's proxy unless there is a certificate.
func (c *Config) plain() bool {
	network, _ := c.address()
	return c.Plain || network == "unix" && c.TLS.Cert == "" || c.Proxied && c.TLS.Cert == ""
}

// hides reports whether f answers every request that g would, so that g, after it, never does.
func (f *Function) hides(g *Function) bool {
	return (f.Host == "" || strings.EqualFold(f.Host, g.Host)) && (f.Path == "" || f.Path == g.Path)
}

func (f *Function) validate() error {
	switch {
	case f.Name == "":
		return errors.New("want a name")
	case f.Path != "" && !strings.HasPrefix(f.Path, "/"):
		return fmt.Errorf("path %q doesn't begin with /", f.Path)
	case f.Native && f.Wasm != "":
		return errors.New("native and wasm: give only one of them")
	case f.Configure != "" && f.Wasm == "":
		return errors.New("configure is for a guest of one's own (wasm); the controller takes a policy")
	case f.Configure != "" && f.Policy != "":
		return errors.New("policy and configure: a guest is configured once")
	case f.Concurrency < 1:
		return errors.New("concurrency: want at least 1")
	case f.Deadline <= 0:
		return fmt.Errorf("deadline: %v is not a positive duration", f.Deadline)
	case f.Instances < 0:
		return errors.New("instances: want at least 0")
	case f.Memory < 1 || f.Memory > 4096:
		return fmt.Errorf("memory_mib: %d: want 1 to 4096", f.Memory)
	}
	return nil
}

// host is the wasmhost.Config of a guest of one's own.
func (f *Function) host() wasmhost.Config {
	return wasmhost.Config{Name: f.Name, Deadline: f.Deadline, Instances: f.Instances, MemoryLimit: uint64(f.Memory) << 20}
}
