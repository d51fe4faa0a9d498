package function

import (
	"strings"

	"switchbridge/faas/instance/guest"
)

// What every host says in the same words, whatever it is written with.

// TooLarge refuses a body over the contract's limit.
func TooLarge() error { return statusError(413, "body of more than %d bytes", guest.MaxBody) }

// Encoded refuses a body with a content encoding.
func Encoded(encoding string) error {
	return statusError(415, "content encoding %.40q: bodies are sent as they are", encoding)
}

// NotSpoken refuses a content type where others are spoken.
func NotSpoken(contentType string, spoken ...string) error {
	return statusError(415, "content type %.80q: want %s", contentType, strings.Join(spoken, " or "))
}
