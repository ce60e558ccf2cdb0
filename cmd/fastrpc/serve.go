package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"github.com/fastrpc/fastrpc"
	"github.com/fastrpc/fastrpc/internal/privilege"
	"github.com/fastrpc/fastrpc/transport"
	"github.com/fastrpc/fastrpc/transport/xdp"
)

func serveCommand() *cobra.Command {
	var listen string
	var insecure bool
	var drain time.Duration
	cmd := &cobra.Command{
		Use:   "serve --listen TARGET --insecure",
		Short: "Serve the built-in methods",
		Long: `Serve the built-in methods, until Ctrl-C:

  echo    replies with the request
  sink    takes any request and replies with its length in bytes, in decimal
  source  takes a length in bytes, in decimal, and replies with so many bytes
  sleep   takes a duration, such as 10ms, and replies when it has passed

TARGET is xdp://IFACE:PORT to serve past the kernel's network stack, udp://ADDRESS:PORT or tcp://ADDRESS:PORT
over the kernel's, rdma://ADDRESS:PORT over an RDMA card in a program built with RDMA ('make build-rdma'),
or auto://IFACE:PORT for the best that works. After the first Ctrl-C requests in progress may finish; a second
one ends the program at once.

When everything is open, serve drops all capabilities, root's too. It keeps what giving back takes, if it had it:
CAP_NET_ADMIN where TARGET names queues, busypoll or whose program it is, for the card's settings, and with
program=dispatcher what detaching from a dispatcher takes; and over rdma:// CAP_IPC_LOCK, for connections to come.`,
		Example: `  fastrpc serve --listen xdp://eth0:9000 --insecure
  fastrpc serve --listen udp://0.0.0.0:9000 --insecure`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if listen == "" {
				return usageError{errors.New("nothing to listen on: say --listen xdp://IFACE:PORT")}
			}
			if err := checkInsecure(insecure); err != nil {
				return err
			}
			if err := checkTarget(listen); err != nil {
				return err
			}
			return serve(cmd, listen, drain)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "", "what to serve on, such as xdp://eth0:9000")
	cmd.Flags().DurationVar(&drain, "drain", 5*time.Second, "how long requests in progress may take after Ctrl-C")
	addInsecure(cmd, &insecure)
	_ = cmd.RegisterFlagCompletionFunc("listen", completeListen)
	_ = cmd.RegisterFlagCompletionFunc("drain", cobra.NoFileCompletions)
	return cmd
}

func serve(cmd *cobra.Command, target string, drain time.Duration) error {
	ctx := cmd.Context()
	srv := fastrpc.NewServer(fastrpc.WithInsecure())
	for _, m := range methods {
		if m.inline {
			srv.HandleInline(m.name, m.handle)
		} else {
			srv.Handle(m.name, m.handle)
		}
	}
	addr, err := srv.Listen(ctx, target)
	if err != nil {
		return err
	}
	if err := dropPrivileges(target); err != nil {
		return errors.Join(err, srv.Shutdown(ctx))
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "serving %s at %v over %s\n", strings.Join(methodNames(), ", "), addr, strings.Join(srv.Transports(), ", "))
	<-ctx.Done()
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	return srv.Shutdown(limit)
}

// dropPrivileges leaves the process with what the targets need until they are closed.
func dropPrivileges(targets ...string) error {
	var keep []cap.Value
	for _, target := range targets {
		t, err := transport.ParseTarget(target)
		if err != nil {
			return err
		}
		for _, name := range xdp.NeededWhenOpen(t) {
			c, err := cap.FromName(name)
			if err != nil {
				return err
			}
			keep = append(keep, c)
		}
		if t.Scheme == "rdma" {
			keep = append(keep, cap.IPC_LOCK) // the memory of each connection's queue pair is pinned when somebody connects
		}
	}
	return drop(keep...)
}

var drop = privilege.Drop // replaced in tests that serve in their own process

// Encryption and authentication are never left out silently.

func addInsecure(cmd *cobra.Command, insecure *bool) {
	cmd.Flags().BoolVar(insecure, "insecure", false, "go without encryption and authentication, on a network that you trust")
}

func checkInsecure(insecure bool) error {
	if insecure {
		return nil
	}
	return usageError{errors.New("no credentials: say --insecure to go without encryption and authentication, on a network that you trust")}
}

// checkTarget refuses a target that is none, or whose scheme this program has no driver for.
func checkTarget(target string) error {
	t, err := transport.ParseTarget(target)
	if err != nil {
		return usageError{fmt.Errorf("address %q: %w", target, err)}
	}
	if !slices.Contains(schemes(), t.Scheme) {
		return usageError{fmt.Errorf("%s: scheme %q is none of %s", target, t.Scheme, strings.Join(schemes(), ", "))}
	}
	return nil
}

// completeListen completes SCHEME://INTERFACE: and leaves the port to the user.
func completeListen(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var out []string
	for _, scheme := range schemes() {
		for _, name := range interfaceNames() {
			out = append(out, scheme+"://"+name+":")
		}
	}
	return out, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
}

func schemes() []string { return append(transport.Schemes(), "auto") }
