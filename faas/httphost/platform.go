package httphost

// ListenAddress is where a function listens when nothing else is said: at the port that the
// platform hands over (PORT on Cloud Run and Knative, FUNCTIONS_CUSTOMHANDLER_PORT on Azure),
// on all addresses since the platform's proxy is before it; at fallback without one.
func ListenAddress(getenv func(string) string, fallback string) string {
	for _, name := range []string{"PORT", "FUNCTIONS_CUSTOMHANDLER_PORT"} {
		if port := getenv(name); port != "" {
			return ":" + port
		}
	}
	return fallback
}
