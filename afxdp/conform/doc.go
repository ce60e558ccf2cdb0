// Package conform holds the cases that the Linux kernel tests its own AF_XDP sockets with (tools/testing/selftests/bpf: test_xsk.c and
// xskxceiver.c), run through package afxdp: what those C programs find to be true of the kernel must be true of this library on top of it.
// It is tests only.
//
// Every row of the table runs in generic, native and zero-copy mode, each by interrupt and by busy polling. A row sends a generated stream
// whose payload numbers packets and words, and compares order, length, place in the chunk and every byte of what arrives; each chunk
// is followed from owner to owner. A row that the device refuses is skipped with the kernel's own answer; whether the kernel really
// refuses is asked of it by bare system calls, without this library. All else is a failure. A summary closes the run.
//
// Without flags the test makes a veth pair in a network namespace of its own. To test a driver, give it two ports that are cabled to each
// other and carry nothing else:
//
//	go test -c -o conform.test ./afxdp/conform
//	./conform.test -test.v -conform.pair eth1,eth2
//
// The binary needs no other file or program. It wants root and Linux 5.18 (XDP programs for packets of several buffers); rows with such
// packets want 6.6.
package conform
