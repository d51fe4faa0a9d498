package policyhost

import (
	"context"
	"log/slog"
	"time"

	"switchbridge/faas/instance/guest"
	"switchbridge/internal/files"
	"switchbridge/internal/watched"
)

// MaxConfiguration bounds what is read for a guest's configure, in bytes.
const MaxConfiguration = guest.MaxPolicy

// Configuration is the policy file of a guest with its own form of policies. Its content is given to the guest's
// configure unchanged.
type Configuration struct {
	*watched.Value[[]byte] // nil where there is no file
	path                   string
	log                    *slog.Logger
	set                    func(context.Context, []byte) error
}

// OpenConfiguration reads the file. An empty path is an empty configuration. results may be nil.
func OpenConfiguration(path string, log *slog.Logger, results *watched.Results) (*Configuration, []byte, error) {
	c := &Configuration{path: path, log: log}
	if path == "" {
		return c, nil, nil
	}
	var err error
	c.Value, err = watched.Open(watched.Source[[]byte]{What: "policy", Paths: []string{path}, Log: log, Results: results,
		Read: func() ([]byte, []string, error) {
			b, err := files.ReadFile(path, MaxConfiguration)
			return b, nil, err
		}, Use: c.use})
	if err != nil {
		return nil, nil, err
	}
	return c, c.Last(), nil
}

// Follow calls set with the new content from now on. It is called once, before anything looks at the file.
func (c *Configuration) Follow(set func(context.Context, []byte) error) { c.set = set }

// Files are those to watch.
func (c *Configuration) Files() []watched.File {
	if c.Value == nil {
		return nil
	}
	return []watched.File{c.Value}
}

func (c *Configuration) use(ctx context.Context, b []byte) error {
	start := time.Now()
	if err := c.set(ctx, b); err != nil {
		return err
	}
	c.log.Info("reloaded", "what", "policy", "file", c.path, "bytes", len(b), "took_seconds", time.Since(start).Seconds())
	return nil
}

// Close removes the file from the results.
func (c *Configuration) Close() {
	if c.Value != nil {
		c.Value.Close()
	}
}
