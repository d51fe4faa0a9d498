// Package bounded reads files of which nobody knows how large they are.
package bounded

import (
	"fmt"
	"io"
	"os"
)

// ReadFile is os.ReadFile for at most limit bytes. More is an error, for which no more is read.
func ReadFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s: larger than %d bytes", path, limit)
	}
	return b, nil
}
