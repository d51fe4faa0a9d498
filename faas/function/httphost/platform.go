package httphost

import "net"

// ListenAddress is where a function listens when nothing else is said: at the port that the
// platform hands over, or at fallback without one. On Cloud Run, Knative and OpenFaaS (PORT) the
// platform's proxy is another process in the same pod or sandbox and comes over the network; on
// Azure (FUNCTIONS_CUSTOMHANDLER_PORT) the Functions host asks over loopback.
func ListenAddress(getenv func(string) string, fallback string) string {
	if port := getenv("PORT"); port != "" {
		return net.JoinHostPort("", port)
	}
	if port := getenv("FUNCTIONS_CUSTOMHANDLER_PORT"); port != "" {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return fallback
}
