package httpclient

import (
	"bytes"
	"fmt"
	"log/slog"

	"switchbridge/internal/files"
	"switchbridge/internal/watched"
)

const maxToken = 8 << 10 // bytes; more does not fit common limits for headers

// tokenFile keeps the Authorization header of the token in a file, ready to
// stand in a request.
type tokenFile struct{ *watched.Value[[]string] }

// openToken reads the token; path "" gives nil, which sends none.
func openToken(path string, log *slog.Logger, results *watched.Results) (*tokenFile, error) {
	if path == "" {
		return nil, nil
	}
	v, err := watched.Open(watched.Source[[]string]{What: "token", Paths: []string{path}, Log: log, Results: results,
		Read: func() ([]string, []string, error) {
			header, err := readToken(path)
			return header, nil, err
		}})
	if err != nil {
		return nil, err
	}
	return &tokenFile{v}, nil
}

// authorization returns the header's value, nil for none. A file that can't be
// read any more leaves the token as it was.
func (t *tokenFile) authorization() []string {
	if t == nil {
		return nil
	}
	return t.Get()
}

func (t *tokenFile) close() {
	if t != nil {
		t.Close()
	}
}

func readToken(path string) ([]string, error) {
	token, err := files.ReadFile(path, maxToken)
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	token = bytes.TrimSpace(token)
	if len(token) == 0 {
		return nil, fmt.Errorf("token: %s is empty", path)
	}
	for _, b := range token { // RFC 6750, 2.1; anything else would break the header
		if b <= ' ' || b > '~' {
			return nil, fmt.Errorf("token: %s has a byte that is not allowed in a header", path)
		}
	}
	return []string{"Bearer " + string(token)}, nil
}
