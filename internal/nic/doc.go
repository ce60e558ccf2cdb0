// Package nic reads and sets what a network device can do for the queues of AF_XDP: channels, receive-side scaling (RSS), n-tuple rules,
// interrupt coalescing, ring sizes, statistics, and the NAPI instances that poll the queues.
//
// A [Device] belongs to the network namespace of the thread that opened it, and may be used from any thread afterwards. Most devices lack
// some of this: what a driver does not have is answered with an error that matches [errors.ErrUnsupported], which is no fault of the
// device. Reading needs no privilege; changing needs CAP_NET_ADMIN.
//
// What this process changes and must give back, also after it was killed, goes through a [Claim].
package nic
