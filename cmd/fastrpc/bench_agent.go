package main

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"net"
	"os"

	"github.com/spf13/cobra"

	"github.com/fastrpc/fastrpc/bench"
)

// agentPort is where an agent waits unless it is told otherwise.
const agentPort = "9150"

func benchAgentCommand() *cobra.Command {
	var listen string
	var c bench.AgentConfig
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run the server's side of a comparison between two machines",
		Long: `Agent waits for 'fastrpc bench compare --agent' on another machine, which then runs whole comparisons with its
clients there and the servers here. It stays, for one driver after the other, until Ctrl-C.

Both machines need the same build of fastrpc; of the systems of others those take part that both have. A driver
must know the token: agent takes it from --token or $` + tokenVariable + `, or makes one up and prints it. The token itself
is not sent, and a driver can start nothing but this program and the peers beside it; but the connection is not
encrypted, so it belongs on a network of your own. The systems listen on ports of their own, TCP and UDP: let the
driver's machine through to all of them.`,
		Example: `  server$ sudo fastrpc bench agent
  client$ sudo FASTRPC_BENCH_TOKEN=... fastrpc bench compare --agent server:9150
  client$ sudo FASTRPC_BENCH_TOKEN=... fastrpc bench compare --agent server:9150 --interface eth1 --cpus 2,3`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			exe, err := os.Executable()
			if err != nil {
				return err
			}
			bench.AddPeers(peersDir(exe), []string{bench.All})
			c.Child, c.LockFile = []string{exe, "bench", benchChild}, lockFile
			c.Log = func(s string) { fmt.Fprintf(cmd.ErrOrStderr(), "fastrpc: %s\n", s) }
			given := cmp.Or(c.Token, os.Getenv(tokenVariable))
			c.Token = cmp.Or(given, rand.Text())
			var lc net.ListenConfig
			ln, err := lc.Listen(cmd.Context(), "tcp", listen)
			if err != nil {
				return fmt.Errorf("--listen %s: %w", listen, err)
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "fastrpc: agent listens on %v\n", ln.Addr())
			if given == "" {
				_, port, _ := net.SplitHostPort(ln.Addr().String())
				fmt.Fprintf(cmd.ErrOrStderr(), "on the other machine: %s=%s fastrpc bench compare --agent HOST:%s\n", tokenVariable, c.Token, port)
			}
			return bench.Agent(cmd.Context(), ln.(*net.TCPListener), c)
		},
	}
	f := cmd.Flags()
	f.StringVar(&listen, "listen", ":"+agentPort, "HOST:PORT to wait at, TCP")
	f.StringVar(&c.Token, "token", "", "what a driver must know; by default $"+tokenVariable+", else made up and printed")
	f.StringVar(&c.Interface, "interface", "", "serve on this interface; by default the one that leads to the driver's")
	_ = cmd.RegisterFlagCompletionFunc("interface", completeInterface)
	return cmd
}
