// Package ringbuf has the two queues that packets and calls pass through.
//
// [Producer] and [Consumer] are the two ends of a single-producer/single-consumer ring in memory that the caller gives, in practice memory
// shared with the kernel: the four rings of an AF_XDP socket. An end moves in three steps, acquire, data, release, once for each burst:
//
//	producer                                consumer
//	Acquire: load ->consumer, if needed     Acquire: load ->producer, if needed
//	Slot:    write the entries              Slot:    read the entries
//	Release: store ->producer               Release: store ->consumer
//
// Each end keeps its own index and a cached copy of the other's in private memory, so that a burst costs one atomic store and at most
// one atomic load of a shared cache line. The pairing of the loads and stores is that of the kernel's net/xdp/xsk_queue.h (comment "The
// structure of the shared state of the rings"), whose functions the steps name.
//
// [Queue] is a bounded queue from many goroutines to one, in ordinary memory: how work is handed to the goroutine that polls.
//
// Neither blocks, allocates after its making, or takes a lock.
package ringbuf
