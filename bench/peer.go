package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"time"
)

// A peer is a System of another program, so that what other people's systems depend on is no dependency of this one. Its processes are that
// program's; only its description is here.
type peer struct {
	Label     string   `json:"name"`
	NeedsXDP  bool     `json:"bypass"`
	Workloads []string `json:"workloads"`

	child []string
}

func (p *peer) Name() string             { return p.Label }
func (p *peer) Bypass() bool             { return p.NeedsXDP }
func (p *peer) Has(workload string) bool { return slices.Contains(p.Workloads, workload) }

var errElsewhere = errors.New("the system runs in a program of its own")

func (p *peer) Serve(context.Context, Endpoint, func(Ready)) error { return errElsewhere }

func (p *peer) Connect(context.Context, Endpoint) (Caller, error) { return nil, errElsewhere }

// The arguments of a program of peers.
const (
	listPeers = "list"
	peerChild = "child"
)

// PeerMain is what a program of peers does: it registers its systems and, as its only argument says, lists them or serves one side of one run.
func PeerMain(args []string, in io.Reader, out io.Writer, systems ...System) error {
	var list []peer
	for _, s := range systems {
		Register(s)
		p := peer{Label: s.Name(), NeedsXDP: s.Bypass()}
		for _, w := range Workloads() {
			if has(s, w) {
				p.Workloads = append(p.Workloads, w)
			}
		}
		list = append(list, p)
	}
	switch {
	case len(args) == 1 && args[0] == listPeers:
		return json.NewEncoder(out).Encode(list)
	case len(args) == 1 && args[0] == peerChild:
		return Child(in, out)
	}
	return fmt.Errorf("this program is run by 'fastrpc bench compare'; its argument is %q or %q", listPeers, peerChild)
}

// listLimit is how long a program of peers may take to list them.
const listLimit = 10 * time.Second

// AddPeers registers the systems of a program of peers, which calls [PeerMain].
func AddPeers(program string) error {
	ctx, cancel := context.WithTimeout(context.Background(), listLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, listPeers)
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	var list []*peer
	if err == nil {
		err = json.Unmarshal(text, &list)
	}
	if err != nil {
		return fmt.Errorf("bench: the systems of %s: %w", program, err)
	}
	for _, p := range list {
		p.child = []string{program, peerChild}
		Register(p)
	}
	return nil
}

// childOf is the command of a system's processes.
func (c *Config) childOf(system string) []string {
	if p, ok := systems[system].(*peer); ok {
		return p.child
	}
	return c.Child
}
