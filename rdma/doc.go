// Package rdma speaks verbs, the interface of InfiniBand and RoCE network cards: devices, memory regions, completion queues, queue pairs,
// and the connection manager that finds addresses for them. Built with the tag rdma it uses libibverbs and librdmacm through cgo:
//
//	apt-get install libibverbs-dev librdmacm-dev
//	go build -tags rdma
//
// An object is made from the one that it belongs to, and closed before it:
//
//	Device → Context → PD → MR, QP, SRQ, AH
//	                 → CQ
//
// Work is posted and polled in bursts, with a single call into C for each burst. What is posted names memory by address; that memory is
// registered ([PD.Register]) and not Go's, so C never holds a pointer of Go's. No method that posts or polls allocates or blocks.
//
// Above that, an Exporter lets clients reach memory under names, with rights and for the time of a lease, and an Importer carries out batches of
// one-sided operations on it: reads, writes and atomics, of which the other side's processor knows nothing. Package examples/kv shows how a
// table is read so while its server writes it.
//
// Errors are a [VerbError], which has the verb and the errno, or a [CompletionError], which has the status of a work completion; both say
// what to do next where something can be done.
//
// 'fastrpc doctor --rdma' tells which devices a machine has, and what they lack; docs/hardware.md is about cards, drivers and fabrics.
//
// Without the tag the package has only what needs no card: the forms of work requests, addresses and errors.
package rdma
