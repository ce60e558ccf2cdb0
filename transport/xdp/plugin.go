package xdp

import (
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// pluginPatience bounds the talk with a device plugin, which itself asks the kubelet about us.
const pluginPatience = 10 * time.Second

// handed are the XSKMAPs that device plugins gave to this process, by socket and interface, for as long as it runs: a plugin answers one
// connection for each allocation, and then removes its socket (intel/afxdp-plugins-for-kubernetes, internal/udsserver/udsserver.go,
// server.start), so that nobody is asked twice.
var handed = struct {
	sync.Mutex
	fds map[[2]string]int
}{fds: map[[2]string]int{}}

// handedOver returns a descriptor, the caller's to close, of the XSKMAP that the device plugin behind a Unix socket has for an interface.
func handedOver(socket, iface string) (int, error) {
	handed.Lock()
	defer handed.Unlock()
	key := [2]string{socket, iface}
	fd, ok := handed.fds[key]
	if !ok {
		var err error
		if fd, err = askPlugin(socket, iface); err != nil {
			return -1, fmt.Errorf("the device plugin behind %s: %w", socket, err)
		}
		handed.fds[key] = fd
	}
	return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
}

// askPlugin speaks version 0.1 of the plugin's protocol (constants/constants.go): packets of 64 bytes at most, one answer to each request.
func askPlugin(socket, iface string) (int, error) {
	pod, err := os.Hostname() // in a pod, its name
	if err != nil {
		return -1, err
	}
	c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: socket, Net: "unixpacket"})
	if err != nil {
		return -1, fmt.Errorf("%w; it answers once for each start of a pod, and gives up after the time that its configuration says (udsTimeout)", err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(pluginPatience)); err != nil {
		return -1, err
	}
	if _, err := ask(c, "/connect,"+pod, "/host_ok"); err != nil {
		return -1, fmt.Errorf("%w: it grants interfaces to pods by name, and this one says that it is %q", err, pod)
	}
	fd, err := ask(c, "/xsk_map_fd,"+iface, "/fd_ack")
	if err != nil {
		return -1, fmt.Errorf("%w: it granted this pod no interface named %s", err, iface)
	}
	if fd < 0 {
		return -1, fmt.Errorf("it acknowledged and sent no descriptor for %s", iface)
	}
	_, _ = ask(c, "/fin", "/fin_ack") // we have what we came for
	return fd, nil
}

// ask sends a request and returns the descriptor that came with the answer; -1 stands for none.
func ask(c *net.UnixConn, request, want string) (fd int, err error) {
	if _, err := c.Write([]byte(request)); err != nil {
		return -1, err
	}
	answer, control := make([]byte, 64), make([]byte, unix.CmsgSpace(4)) // room for one descriptor: the kernel closes further ones
	n, controlLen, _, _, err := c.ReadMsgUnix(answer, control)
	if err != nil {
		return -1, err
	}
	fd = -1
	if messages, err := unix.ParseSocketControlMessage(control[:controlLen]); err == nil && len(messages) == 1 {
		if fds, err := unix.ParseUnixRights(&messages[0]); err == nil && len(fds) == 1 {
			fd = fds[0]
		}
	}
	if got := string(answer[:n]); got != want {
		if fd >= 0 {
			unix.Close(fd)
		}
		return -1, fmt.Errorf("it answered %q to %q", got, request)
	}
	return fd, nil
}
