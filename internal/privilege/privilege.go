// Package privilege gives up what a process has no more use for.
package privilege

import (
	"fmt"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// Drop takes from the process all capabilities but those in keep, and from those the ones that it does not have. It does so on every thread,
// those to come included, and for good: nothing that the process executes gets more either (no_new_privs). The user remains who it is, so
// that what belongs to root stays open to a process that root started.
func Drop(keep ...cap.Value) error {
	have, left := cap.GetProc(), cap.NewSet()
	for _, c := range keep {
		if ok, err := have.GetFlag(cap.Permitted, c); err == nil && ok {
			if err := left.SetFlag(cap.Permitted, true, c); err != nil {
				return fmt.Errorf("privilege: %v: %w", c, err)
			}
			if err := left.SetFlag(cap.Effective, true, c); err != nil {
				return fmt.Errorf("privilege: %v: %w", c, err)
			}
		}
	}
	if _, err := cap.Prctlw(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("privilege: no_new_privs: %w", err)
	}
	if err := left.SetProc(); err != nil { // the ambient set shrinks with the permitted one (security/commoncap.c, cap_capset)
		return fmt.Errorf("privilege: dropping capabilities: %w", err)
	}
	return nil
}
