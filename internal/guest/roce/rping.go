//go:build rdma

package main

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
)

// rping -s and rping -c of rdmacm-utils read and write each other's memory, and compare it: they show that the hosts and the cable are good
// without anything of this project's in between.

func rpingServe(ctx context.Context, at netip.Addr) error { return rping(ctx, "-s", "-a", at.String()) }

func rpingCall(ctx context.Context, server netip.Addr) error {
	return persist(ctx, func() error { return rping(ctx, "-c", "-a", server.String()) })
}

func rping(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "/usr/bin/rping", append(args, "-V", "-C", "20", "-S", "4000")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("rping: %w\n%s", err, out)
	}
	return nil
}
