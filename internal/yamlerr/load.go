package yamlerr

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
)

// maxFile is how large a configuration file may be, in bytes.
const maxFile = 1 << 20

// Load decodes a configuration file into a structure that has the defaults already, and returns the file's text. Unknown keys are errors, as are numbers
// that [CheckNumbers] refuses. name stands before each error.
func Load(r io.Reader, name string, into any) ([]byte, error) {
	text, err := Read(r, name)
	if err != nil {
		return nil, err
	}
	if err := CheckNumbers(text, into); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", name, Readable(err, text))
	}
	return text, nil
}

// Read returns the text of a configuration file, which has at most 1 MiB. name stands before each error.
func Read(r io.Reader, name string) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s: larger than %d bytes", name, maxFile)
	}
	return text, nil
}
