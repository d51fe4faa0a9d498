// Package tokenfile keeps the tokens that a file has, and reads them again when
// it changes. It is beside auth, which edge platforms' guests link: they have no
// files.
package tokenfile

import (
	"fmt"
	"log/slog"

	"switchbridge/faas/function/auth"
	"switchbridge/internal/files"
	"switchbridge/internal/watched"
)

// File is a file of tokens. It is a httphost.Checker.
type File struct{ *watched.Value[auth.Tokens] }

// maxFile bounds what is read: two tokens, and comments.
const maxFile = 64 << 10

// Open reads the file for the first time. log and results may be nil.
func Open(path string, log *slog.Logger, results *watched.Results) (*File, error) {
	v, err := watched.Open(watched.Source[auth.Tokens]{What: "token", Paths: []string{path}, Log: log, Results: results,
		Read: func() (auth.Tokens, []string, error) {
			text, err := files.ReadFile(path, maxFile)
			if err != nil {
				return auth.Tokens{}, nil, fmt.Errorf("token file: %w", err)
			}
			tokens, err := auth.ParseTokens(string(text))
			if err != nil {
				return auth.Tokens{}, nil, fmt.Errorf("token file %s: %w", path, err)
			}
			return tokens, nil, nil
		}})
	if err != nil {
		return nil, err
	}
	return &File{v}, nil
}

// Check is auth.Tokens.Check. A file that became unreadable or empty changes
// nothing.
func (f *File) Check(authorization string) error { return f.Get().Check(authorization) }
