package conformance

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"switchbridge/controller"
	"switchbridge/faas/function"
	"switchbridge/faas/function/httphost"
	"switchbridge/faas/instance/embedded"
	"switchbridge/faas/platform/fastlyhost"
	"switchbridge/faas/platform/fastlyhost/fastlytest"
	"switchbridge/faas/platform/workershost"
	"switchbridge/faas/platform/workershost/workerstest"
	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/jsonenc"
	"switchbridge/flow/contract/openflow"
	"switchbridge/functiontest"
	"switchbridge/internal/built"
	"switchbridge/policy/blob"
	"switchbridge/state/stores"
	"switchbridge/state/stores/every"
	"switchbridge/state/travel"
)

// kept has states of a controller travel, as the gateway and `function serve` do, with keys in a file.
func kept(t *testing.T, c stores.Controller, next flow.Decider, keys string) flow.Decider {
	t.Helper()
	s := stores.Default()
	s.URL, s.SealFile = travel.URL, filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(s.SealFile, []byte(keys), 0o600); err != nil {
		t.Fatal(err)
	}
	keeper, err := stores.Open(t.Context(), s, every.Openers, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	k, err := keeper.Keep("f", c, stores.SeveralGateways)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Takes(Travelling()); err != nil {
		t.Fatal(err)
	}
	return k.Decider(next)
}

// The platforms' own stores.
func TestKeeps(t *testing.T) {
	for _, codec := range []contract.Codec{openflow.Codec{}, jsonenc.Codec{}} {
		t.Run("Fastly, "+codec.ContentType(), func(t *testing.T) {
			var functions []flow.Decider
			kv := new(fastlytest.KVStore)
			for range 2 {
				exchange, _ := fastlyWith(t, Travelling(), nil, kv)
				functions = append(functions, functiontest.Client(codec, exchange))
			}
			Keeps(t, functions...)
		})
		t.Run("Workers, "+codec.ContentType(), func(t *testing.T) {
			compiled, err := blob.Pack(Travelling())
			if err != nil {
				t.Fatal(err)
			}
			Keeps(t, functiontest.Client(codec, workerstest.Start(t, workerstest.Options{Policy: compiled, States: t.TempDir()}).Exchange))
		})
	}
}

func TestTravels(t *testing.T) {
	if err := Travelling().Validate(); err != nil {
		t.Fatal(err)
	}
	compiled, err := blob.Pack(Travelling())
	if err != nil {
		t.Fatal(err)
	}
	outer := t
	t.Run("native", func(t *testing.T) {
		Travels(t, func(t *testing.T, keys string) flow.Decider {
			c := controller.New(Travelling())
			return kept(t, c, c, keys)
		})
	})
	f, err := embedded.New(embedded.Options{Wasm: built.Guest(t, guestPackage, true), Policy: Travelling(), CacheDir: built.CacheDir(t)})
	if err != nil {
		t.Fatal(err)
	}
	start(t, f)
	t.Run("embedded", func(t *testing.T) {
		Travels(t, func(t *testing.T, keys string) flow.Decider { return kept(t, f, f, keys) })
	})
	workers := make(map[string]*workerstest.Worker) // by their keys
	for _, codec := range []contract.Codec{openflow.Codec{}, jsonenc.Codec{}} {
		t.Run("function serve, "+codec.ContentType(), func(t *testing.T) {
			Travels(t, func(t *testing.T, keys string) flow.Decider {
				h, err := httphost.New(httphost.Config{Decider: kept(t, f, f, keys), Codecs: []contract.Codec{openflow.Codec{}, jsonenc.Codec{}}})
				if err != nil {
					t.Fatal(err)
				}
				return functiontest.Client(codec, overHTTP(t, h, false))
			})
		})
		t.Run("Workers, "+codec.ContentType(), func(t *testing.T) {
			workerstest.Need(t) // since a subtest can't skip the test whose workers they are
			Travels(t, func(_ *testing.T, keys string) flow.Decider {
				if workers[keys] == nil {
					workers[keys] = workerstest.Start(outer, workerstest.Options{Policy: compiled, Env: []string{workershost.TokensBinding + "=" + workerstest.Token, travel.EnvKeys + "=" + keys}})
				}
				return functiontest.Client(codec, workers[keys].Exchange)
			})
		})
		t.Run("Fastly, "+codec.ContentType(), func(t *testing.T) {
			Travels(t, func(t *testing.T, keys string) flow.Decider {
				exchange, _ := fastlyWith(t, Travelling(), map[string]string{fastlyhost.KeyStateKeys: keys}, nil)
				return functiontest.Client(codec, exchange)
			})
		})
	}
	t.Run("WASI command", func(t *testing.T) {
		whole := newCommand(t, compiled)
		for _, codec := range []contract.Codec{openflow.Codec{}, jsonenc.Codec{}} {
			t.Run(codec.ContentType(), func(t *testing.T) {
				Travels(t, func(t *testing.T, keys string) flow.Decider {
					c := *whole
					c.keys = keys
					return function.NewDecider(&c, codec)
				})
			})
		}
	})
}
