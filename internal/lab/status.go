package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Info describes a lab of this machine.
type Info struct {
	Name    string
	Client  Host
	Server  Host
	Pids    []int  // processes that have a thread in one of the namespaces, ascending
	Missing string // what a whole lab would have and this one lacks; empty when whole. Down removes it
}

// Status lists the labs of this machine by name, leftovers of broken ones included.
func Status() ([]Info, error) {
	entries, err := os.ReadDir(runDir)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		for _, r := range roles {
			name, ok := strings.CutSuffix(e.Name(), r.suffix)
			if !ok || checkName(name) != nil || slices.Contains(names, name) {
				continue
			}
			ns, err := r.open(name)
			if errors.Is(err, ErrForeign) || errors.Is(err, ErrNotExist) || errors.Is(err, errNoNamespace) {
				continue // or gone in the meantime
			}
			if err != nil {
				return nil, err
			}
			unix.Close(ns)
			names = append(names, name)
		}
	}
	slices.Sort(names)
	infos := make([]Info, len(names))
	for i, name := range names {
		if infos[i], err = status(name); err != nil {
			return nil, err
		}
	}
	return infos, nil
}

func status(name string) (Info, error) {
	info := Info{Name: name}
	var missing []string
	var inodes []string
	l := &Lab{}
	for _, r := range roles {
		h, lacks, err := r.inspect(name)
		if errors.Is(err, ErrNotExist) || errors.Is(err, ErrForeign) || errors.Is(err, errNoNamespace) {
			lacks, err = "namespace "+r.namespace(name), nil
		}
		if err != nil {
			return info, err
		}
		if lacks != "" {
			missing = append(missing, lacks)
		}
		*r.of(l) = h
		if h.Namespace != "" {
			var st unix.Stat_t
			if err := unix.Stat(r.path(name), &st); err == nil {
				inodes = append(inodes, fmt.Sprintf("net:[%d]", st.Ino))
			}
		}
	}
	info.Client, info.Server, info.Missing = l.client, l.server, strings.Join(missing, ", ")
	info.Pids = occupants(inodes)
	return info, nil
}

// inspect reads what is there of one host; missing says what is not.
func (r *role) inspect(lab string) (h Host, missing string, err error) {
	ns, err := r.open(lab)
	if err != nil {
		return Host{}, "", err
	}
	defer unix.Close(ns)
	h = Host{Namespace: r.namespace(lab)}
	err = inside(ns, func() error {
		link, err := netlink.LinkByName(Interface)
		if errors.As(err, &netlink.LinkNotFoundError{}) {
			missing = Interface + " in " + h.Namespace
			return nil
		}
		if err != nil {
			return err
		}
		h = r.host(lab, link)
		addrs, err := netlink.AddrList(link, netlink.FAMILY_ALL)
		if err != nil {
			return err
		}
		for _, p := range []string{r.ipv4.String(), r.ipv6.String()} {
			if !slices.ContainsFunc(addrs, func(a netlink.Addr) bool { return a.IPNet.String() == p }) {
				missing = "address " + p + " in " + h.Namespace
			}
		}
		return nil
	})
	return h, missing, err
}

// occupants lists the processes that have a thread in one of the namespaces, given as /proc names them. Those that end meanwhile are left
// out.
func occupants(inodes []string) []int {
	var pids []int
	threads, _ := filepath.Glob("/proc/[0-9]*/task/[0-9]*/ns/net") // the pattern is well formed
	for _, t := range threads {
		ns, err := os.Readlink(t)
		if err != nil || !slices.Contains(inodes, ns) {
			continue
		}
		if pid, err := strconv.Atoi(strings.Split(t, "/")[2]); err == nil && !slices.Contains(pids, pid) {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}
