package policyhost

import (
	"bytes"
	"context"
	"log/slog"
	"time"

	"switchbridge/faas/instance/guest"
	"switchbridge/internal/files"
)

// MaxConfiguration bounds what is read for a guest's configure, in bytes.
const MaxConfiguration = guest.MaxPolicy

// Configuration is a file that a guest's configure is given as it is: the policy of a guest that
// has a form of its own for it.
type Configuration struct {
	Watched
	path string
	last []byte
}

// OpenConfiguration reads the file. An empty path is an empty configuration.
func OpenConfiguration(path string, log *slog.Logger) (*Configuration, []byte, error) {
	c := &Configuration{Watched: newWatched(log), path: path}
	if path == "" {
		return c, nil, nil
	}
	c.files = []string{path}
	err := c.read()
	return c, c.last, err
}

func (c *Configuration) read() (err error) {
	c.stamp = c.look()
	c.last, err = files.ReadFile(c.path, MaxConfiguration)
	return err
}

// Watch calls set with the new content whenever the file has changed, until ctx is done. It
// returns nil.
func (c *Configuration) Watch(ctx context.Context, set func(context.Context, []byte) error) error {
	c.watch(ctx, func(ctx context.Context) error {
		if c.path == "" {
			return nil
		}
		before := c.last
		if err := c.read(); err != nil {
			c.last = before
			return err
		}
		if bytes.Equal(before, c.last) {
			return nil
		}
		start := time.Now()
		if err := set(ctx, c.last); err != nil {
			c.last = before
			return err
		}
		c.log.Info("configuration changed", "file", c.path, "bytes", len(c.last), "took", time.Since(start))
		return nil
	})
	return nil
}
