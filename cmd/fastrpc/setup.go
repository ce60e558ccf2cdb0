package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fastrpc/fastrpc/bpf"
	"github.com/fastrpc/fastrpc/transport/xdp"
)

// setupFlags are setup's flags as they are given.
type setupFlags struct {
	user, group, perm string
	mode, dir         string
	prefixes          []string
	queues            int
	remove            bool
}

func setupCommand() *cobra.Command {
	var f setupFlags
	cmd := &cobra.Command{
		Use:   "setup IFACE",
		Short: "Let others serve on an interface without being root",
		Long: `Setup attaches the steering program to an interface, once, as root, and pins it in the BPF file system. From
then on 'serve', 'call' and every program that names xdp://...?program=pinned need only CAP_NET_RAW, and
several of them share the interface, each with ports and queues of its own. What a process had is free again when
it ends, however it ends.

Who may open the pinned maps may take the packets of any port from the interface: --user, --group and --perm say
who that is. The program stays until 'setup IFACE --remove' or until the machine restarts. Setup may be run again:
it then sets the prefixes and permissions anew and disturbs nobody.`,
		Example: `  sudo fastrpc setup eth0 --user alice
  sudo fastrpc setup eth0 --group rpc --queues 4 --prefixes 10.1.0.0/16
  sudo fastrpc setup eth0 --remove`,
		Args:              usageArgs(cobra.ExactArgs(1)),
		ValidArgsFunction: completeInterface,
		RunE: func(cmd *cobra.Command, args []string) error {
			return setup(cmd, args[0], &f)
		},
	}
	cmd.Flags().StringVar(&f.user, "user", "", "who may use it: the owner of the pinned maps, by name or number (default root)")
	cmd.Flags().StringVar(&f.group, "group", "", "likewise, their group")
	cmd.Flags().StringVar(&f.perm, "perm", "0660", "permissions of the pinned maps, in octal")
	cmd.Flags().StringVar(&f.mode, "mode", "auto", "where the program runs: auto, native or generic")
	cmd.Flags().IntVar(&f.queues, "queues", 0, "how many queues, from the first on, can be served (default all that the interface can have)")
	cmd.Flags().StringSliceVar(&f.prefixes, "prefixes", nil, "sources whose packets are taken, such as 10.1.0.0/16 (default all)")
	cmd.Flags().StringVar(&f.dir, "dir", "", "folder of a BPF file system to pin in (default "+bpf.PinDir("IFACE")+")")
	cmd.Flags().BoolVar(&f.remove, "remove", false, "undo it all")
	_ = cmd.RegisterFlagCompletionFunc("mode", cobra.FixedCompletions([]string{"auto", "native", "generic"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func setup(cmd *cobra.Command, iface string, f *setupFlags) error {
	needs, err := xdp.NeedsOf(iface)
	dir := f.dir
	switch {
	case dir == "" && err == nil:
		dir = bpf.PinDir(needs.Name)
	case dir == "":
		dir = bpf.PinDir(iface)
	}
	if f.remove { // also when the interface is gone
		if err := bpf.Unpin(dir); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s is not set up any more: nothing is pinned in %s\n", iface, dir)
		return nil
	}
	o, flagErr := f.options()
	if flagErr != nil {
		return usageError{flagErr}
	}
	if err != nil {
		return err
	}
	o.MultiBuffer = needs.MultiBuffer
	p, err := bpf.Pin(needs.Ifindex, dir, o)
	if err != nil {
		return err
	}
	return report(cmd, needs, f, dir, p)
}

// report says what was done, and what those who serve need now.
func report(cmd *cobra.Command, needs xdp.Needs, f *setupFlags, dir string, p bpf.Pinned) error {
	is := "is set up"
	if p.Found {
		is = "was set up before, and has new permissions and prefixes"
	}
	who, query := "root", "pinned"
	if f.user != "" {
		who = f.user
	}
	if f.group != "" {
		who += ", group " + f.group
	}
	if f.dir != "" {
		query = dir
	}
	for above := filepath.Dir(dir); above != "/"; above = filepath.Dir(above) {
		if st, err := os.Stat(above); err == nil && who != "root" && st.Mode()&0o001 == 0 {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s lets only its owner pass (mode %04o): run 'chmod o+x %[1]s', or pin elsewhere with --dir\n", above, st.Mode().Perm())
		}
	}
	if p.WhyGeneric != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "generic mode, because %v\n", p.WhyGeneric)
	}
	memory := needs.Queues * needs.QueueBytes
	_, err := fmt.Fprintf(cmd.OutOrStdout(), `%[1]s %[2]s: the steering program, in %[3]v mode for %[4]d queues, is pinned in %[5]s, for %[6]s

A process that serves or calls over it needs CAP_NET_RAW, and locked memory for its packets: %[7]d KiB a queue, %[8]d KiB for all.

  sudo setcap cap_net_raw=ep fastrpc                 # systemd: AmbientCapabilities=CAP_NET_RAW
  ulimit -l %-40[8]d # systemd: LimitMEMLOCK=%[8]dK
  fastrpc serve --listen 'xdp://%[1]s:9000?program=%[9]s' --insecure

Several of them share %[1]s with ports and queues of their own: ?program=%[9]s&queues=0, ?program=%[9]s&queues=1.
'fastrpc setup %[1]s --remove' undoes it.
`, needs.Name, is, p.Mode, p.Queues, dir, who, needs.QueueBytes>>10, memory>>10, query)
	return err
}

// options checks the flags.
func (f *setupFlags) options() (o bpf.PinOptions, err error) {
	modes := map[string]bpf.Mode{"auto": bpf.Auto, "native": bpf.Native, "generic": bpf.Generic}
	mode, ok := modes[f.mode]
	if !ok {
		return o, fmt.Errorf("--mode %s is none of auto, native and generic", f.mode)
	}
	if f.queues < 0 {
		return o, fmt.Errorf("--queues %d: give their number, or leave it out for all", f.queues)
	}
	perm, err := strconv.ParseUint(f.perm, 8, 16)
	if err != nil || perm&^0o666 != 0 {
		return o, fmt.Errorf("--perm %s: give permissions to read and write, such as 0660", f.perm)
	}
	o = bpf.PinOptions{Options: bpf.Options{Mode: mode, Queues: f.queues}, Perm: fs.FileMode(perm)}
	for _, s := range f.prefixes {
		p, err := netip.ParsePrefix(strings.TrimSpace(s))
		if err != nil {
			return o, fmt.Errorf("--prefixes: %w", err)
		}
		o.Prefixes = append(o.Prefixes, p)
	}
	if o.UID, err = number(f.user, func(name string) (string, error) {
		u, err := user.Lookup(name)
		if err != nil {
			return "", err
		}
		return u.Uid, nil
	}); err != nil {
		return o, fmt.Errorf("--user %s: %w", f.user, err)
	}
	if o.GID, err = number(f.group, func(name string) (string, error) {
		g, err := user.LookupGroup(name)
		if err != nil {
			return "", err
		}
		return g.Gid, nil
	}); err != nil {
		return o, fmt.Errorf("--group %s: %w", f.group, err)
	}
	return o, nil
}

// number is the ID of a user or group that is given by name or number; 0, root's, when none is.
func number(given string, lookup func(name string) (string, error)) (int, error) {
	if given == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(given, 10, 31); err == nil {
		return int(n), nil
	}
	id, err := lookup(given)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(id)
	if err != nil {
		return 0, errors.New("has no number")
	}
	return n, nil
}
