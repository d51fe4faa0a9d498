package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// OnHangup returns a context that SIGHUP ends where the program has a
// controlling terminal: that was closed, and the program ends as with SIGTERM.
// Without one, under a service manager, SIGHUP calls reload. So it does where
// whoever started the program had SIGHUP ignored, as nohup does.
//
// Whether there is a terminal is found out now: one that was closed can't be
// asked.
func OnHangup(ctx context.Context, reload func(context.Context)) (context.Context, context.CancelFunc) {
	ends := hasTerminal() && !signal.Ignored(syscall.SIGHUP)
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer signal.Stop(hangup)
		for {
			select {
			case <-hangup:
				if ends {
					cancel()
					// Not back to the default, which would end the program at the second of the
					// signals that a closing shell sends.
					signal.Ignore(syscall.SIGHUP)
					return
				}
				reload(ctx)
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, cancel
}

// hasTerminal reports whether the process has a controlling terminal.
func hasTerminal() bool {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	f.Close()
	return true
}
