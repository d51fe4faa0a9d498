package httpclient

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	tokenEvery = time.Second // how often the file is looked at
	maxToken   = 8 << 10     // bytes; more does not fit common limits for headers
)

// tokenFile keeps the Authorization header of the token in a file.
type tokenFile struct {
	path string
	log  *slog.Logger

	header atomic.Pointer[[]string] // the header's value, ready to stand in a request
	next   atomic.Int64             // when to look again, Unix nanoseconds

	mu   sync.Mutex
	info os.FileInfo // of the file that was read
}

// openToken reads the token; path "" gives nil, which sends none.
func openToken(path string, log *slog.Logger) (*tokenFile, error) {
	if path == "" {
		return nil, nil
	}
	t := &tokenFile{path: path, log: log}
	return t, t.reload()
}

// authorization returns the header's value, nil for none. A file that can't be
// read any more leaves the token as it was.
func (t *tokenFile) authorization(now time.Time) []string {
	if t == nil {
		return nil
	}
	if due := t.next.Load(); now.UnixNano() >= due && t.next.CompareAndSwap(due, now.Add(tokenEvery).UnixNano()) {
		if err := t.reload(); err != nil {
			t.log.Warn("token file can't be read; the token stays", "err", err)
		}
	}
	return *t.header.Load()
}

func (t *tokenFile) reload() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	info, err := os.Stat(t.path)
	if err != nil {
		return fmt.Errorf("token: %w", err)
	}
	if t.info != nil && os.SameFile(info, t.info) && info.ModTime().Equal(t.info.ModTime()) && info.Size() == t.info.Size() {
		return nil
	}
	f, err := os.Open(t.path)
	if err != nil {
		return fmt.Errorf("token: %w", err)
	}
	defer f.Close()
	token, err := io.ReadAll(io.LimitReader(f, maxToken+1))
	if err != nil {
		return fmt.Errorf("token: %w", err)
	}
	token = bytes.TrimSpace(token)
	switch {
	case len(token) == 0:
		return fmt.Errorf("token: %s is empty", t.path)
	case len(token) > maxToken:
		return fmt.Errorf("token: %s has more than %d bytes", t.path, maxToken)
	}
	for _, b := range token { // RFC 6750, 2.1; anything else would break the header
		if b <= ' ' || b > '~' {
			return fmt.Errorf("token: %s has a byte that can't stand in a header", t.path)
		}
	}
	t.header.Store(&[]string{"Bearer " + string(token)})
	if t.info != nil {
		t.log.Info("token file was read again", "path", t.path)
	}
	t.info = info
	return nil
}
