//go:build linux

package afxdp

import (
	"bytes"
	"os"
	"strconv"
	"time"
)

const (
	// A queue that another socket holds may be given up, by a process that is being replaced.
	bindPatience = time.Second
	// A closed socket's queue is freed after an RCU grace period and from a work queue (net/xdp/xsk.c, xsk_destruct; xsk_buff_pool.c,
	// xp_put_pool): some 20 ms later, but 2 s were seen on overloaded CPUs.
	releasePatience = 5 * time.Second
	bindRetryPause  = 2 * time.Millisecond
)

// retryBind says whether a queue that has been busy for so long is worth another try.
func retryBind(waited time.Duration) bool {
	if waited > bindPatience && (waited > releasePatience || openSockets() != 1) {
		return false
	}
	time.Sleep(bindRetryPause)
	return true
}

// openSockets counts the AF_XDP sockets of the calling thread's network namespace, of all processes; -1 if that cannot be found out. A closed
// socket no longer counts while its queue is still busy: if the only one is the one that wants to bind, nobody holds the queue.
func openSockets() int {
	table, err := os.ReadFile("/proc/thread-self/net/protocols")
	if err != nil {
		return -1
	}
	for line := range bytes.Lines(table) { // name, size, sockets, ...
		if f := bytes.Fields(line); len(f) > 2 && string(f[0]) == "XDP" {
			if n, err := strconv.Atoi(string(f[2])); err == nil {
				return n
			}
		}
	}
	return -1
}
